//! Element-wise inequality.

use crate::ops::prelude::*;

/// The op of [`not_equal`].
#[derive(Debug, Clone, Copy)]
pub struct NotEqual;

impl Op for NotEqual {
    fn name(&self) -> &'static str {
        "math.not_equal"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        elementwise::infer_comparison(self.name(), inputs, DTypes::ANY)
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        dispatch_wide!(any, self, inputs, outputs, inputs[0].dtype(), T => {
            elementwise::run_comparison::<T>(inputs, outputs, PartialEq::ne)
        })
    }

    fn gradient(&self) -> Gradient {
        Gradient::NotDifferentiable
    }

    fn elementwise(&self) -> Option<Function> {
        Some(Function::NotEqual)
    }
}

/// `x != y`, broadcast, as `bool`; NaN differs from everything, itself included. `tf.math.not_equal`.
///
/// # Errors
/// Dtypes that differ; shapes that do not broadcast.
///
/// ```
/// use tapeflow_core::math;
///
/// let y = math::not_equal([1.0f32, 2.0, 0.5], 1.0f32)?;
/// assert_eq!(y.to_vec::<bool>()?, [false, true, true]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn not_equal(x: impl Into<Tensor>, y: impl Into<Tensor>) -> Result<Tensor> {
    apply(NotEqual, &[&x.into(), &y.into()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_and_the_zeros_compare_as_ieee_says() {
        let y = not_equal([f32::NAN, 0.0], [f32::NAN, -0.0]).unwrap();
        assert_eq!(y.to_vec::<bool>().unwrap(), [true, false]);
    }

    #[test]
    fn what_is_refused() {
        assert_eq!(not_equal([true, false], true).unwrap().dtype(), DType::Bool);
        assert!(not_equal([1.0f32], [1i32]).unwrap_err().is_dtype());
        let error = not_equal([1, 2], [1, 2, 3]).unwrap_err();
        assert_eq!(error.to_string(), "math.not_equal: shapes [2] and [3] do not broadcast");
    }
}
