//! Element-wise comparison: less or equal.

use crate::ops::prelude::*;

/// The op of [`less_equal`].
#[derive(Debug, Clone, Copy)]
pub struct LessEqual;

impl Op for LessEqual {
    fn name(&self) -> &'static str {
        "math.less_equal"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        elementwise::infer_comparison(self.name(), inputs, DTypes::NUMERIC)
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        dispatch_wide!(number, self, inputs, outputs, inputs[0].dtype(), T => {
            elementwise::run_comparison::<T>(inputs, outputs, PartialOrd::le)
        })
    }

    fn gradient(&self) -> Gradient {
        Gradient::NotDifferentiable
    }

    fn elementwise(&self) -> Option<Function> {
        Some(Function::LessEqual)
    }
}

/// `x <= y`, broadcast, as `bool`; a comparison with NaN is false. `tf.math.less_equal`.
///
/// # Errors
/// Dtypes that differ or are `bool`; shapes that do not broadcast.
///
/// ```
/// use tapeflow_core::math;
///
/// let y = math::less_equal([1.0f32, 2.0, 0.5], 1.0f32)?;
/// assert_eq!(y.to_vec::<bool>()?, [true, false, true]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn less_equal(x: impl Into<Tensor>, y: impl Into<Tensor>) -> Result<Tensor> {
    apply(LessEqual, &[&x.into(), &y.into()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_and_the_zeros_compare_as_ieee_says() {
        let y = less_equal([f32::NAN, 0.0], [f32::NAN, -0.0]).unwrap();
        assert_eq!(y.to_vec::<bool>().unwrap(), [false, true]);
    }

    #[test]
    fn what_is_refused() {
        assert!(less_equal([true], [false]).unwrap_err().is_dtype());
        assert!(less_equal([1.0f32], [1i32]).unwrap_err().is_dtype());
        let error = less_equal([1, 2], [1, 2, 3]).unwrap_err();
        assert_eq!(error.to_string(), "math.less_equal: shapes [2] and [3] do not broadcast");
    }
}
