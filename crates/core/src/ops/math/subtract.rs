//! Element-wise difference.

use crate::ops::math::negative;
use crate::ops::prelude::*;

/// The op of [`subtract`].
#[derive(Debug, Clone, Copy)]
pub struct Subtract;

impl Op for Subtract {
    fn name(&self) -> &'static str {
        "math.subtract"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        elementwise::infer_binary(self.name(), inputs, DTypes::NUMERIC)
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        dispatch_wide!(number, self, inputs, outputs, inputs[0].dtype(), T => {
            elementwise::run_binary::<T, T>(inputs, outputs, Number::sub)
        })
    }

    fn gradient(&self) -> Gradient {
        Gradient::rule(Saves::NOTHING, |call, input| match input {
            0 => Ok(Some(call.upstream().clone())),
            _ => negative(call.upstream()).map(Some),
        })
    }

    fn elementwise(&self) -> Option<Function> {
        Some(Function::Subtract)
    }
}

/// `x - y`, broadcast; integers wrap. `tf.math.subtract`.
///
/// # Errors
/// Dtypes that differ or are `bool`; shapes that do not broadcast.
///
/// ```
/// use tapeflow_core::{Tensor, math};
///
/// let x = Tensor::from([[1.0f32, 2.0], [3.0, 4.0]]);
/// let y = math::subtract(&x, [10.0f32, 20.0])?;
/// assert_eq!(y.to_vec::<f32>()?, [-9.0, -18.0, -7.0, -16.0]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn subtract(x: impl Into<Tensor>, y: impl Into<Tensor>) -> Result<Tensor> {
    apply_owned(Subtract, [x.into(), y.into()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::check_gradients;

    #[test]
    fn gradients_are_summed_over_broadcast_axes() {
        check_gradients(
            |x| subtract(&x[0], &x[1]),
            &[Tensor::from([[1.0f64, 2.0], [3.0, 4.0]]), Tensor::from([[5.0f64], [6.0]])],
        );
    }

    #[test]
    fn refusals_name_both_sides() {
        let error = subtract([1.0f32], [1i32]).unwrap_err();
        assert_eq!(error.to_string(), "math.subtract: dtypes float32 and int32 differ; cast one");
        assert!(subtract([true], [false]).unwrap_err().is_dtype());
        assert!(subtract([1.0f32, 2.0], [1.0f32, 2.0, 3.0]).unwrap_err().is_shape());
    }
}
