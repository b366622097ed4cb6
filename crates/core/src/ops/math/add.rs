//! Element-wise sum.

use crate::ops::prelude::*;

/// The op of [`add`].
#[derive(Debug, Clone, Copy)]
pub struct Add;

impl Op for Add {
    fn name(&self) -> &'static str {
        "math.add"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        elementwise::infer_binary(self.name(), inputs, DTypes::NUMERIC)
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        dispatch_wide!(number, self, inputs, outputs, inputs[0].dtype(), T => {
            elementwise::run_binary::<T, T>(inputs, outputs, Number::add)
        })
    }

    fn gradient(&self) -> Gradient {
        Gradient::rule(Saves::NOTHING, |call, _| Ok(Some(call.upstream().clone())))
    }

    fn elementwise(&self) -> Option<Function> {
        Some(Function::Add)
    }
}

/// `x + y`, broadcast; integers wrap. `tf.math.add`.
///
/// # Errors
/// Dtypes that differ or are `bool`; shapes that do not broadcast.
///
/// ```
/// use tapeflow_core::{Tensor, math};
///
/// let x = Tensor::from([[1.0f32, 2.0], [3.0, 4.0]]);
/// let y = math::add(&x, [10.0f32, 20.0])?;
/// assert_eq!(y.to_vec::<f32>()?, [11.0, 22.0, 13.0, 24.0]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn add(x: impl Into<Tensor>, y: impl Into<Tensor>) -> Result<Tensor> {
    apply_owned(Add, [x.into(), y.into()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::check_gradients;

    #[test]
    fn gradients_are_summed_over_broadcast_axes() {
        check_gradients(
            |x| add(&x[0], &x[1]),
            &[Tensor::from([[1.0f64, 2.0], [3.0, 4.0]]), Tensor::from([[5.0f64], [6.0]])],
        );
    }

    #[test]
    fn refusals_name_both_sides() {
        let error = add([1.0f32], [1i32]).unwrap_err();
        assert_eq!(error.to_string(), "math.add: dtypes float32 and int32 differ; cast one");
        assert!(add([true], [false]).unwrap_err().is_dtype());
        assert!(add([1.0f32, 2.0], [1.0f32, 2.0, 3.0]).unwrap_err().is_shape());
    }
}
