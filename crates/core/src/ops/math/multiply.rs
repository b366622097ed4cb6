//! Element-wise product.

use crate::ops::prelude::*;

/// The op of [`multiply`].
#[derive(Debug, Clone, Copy)]
pub struct Multiply;

impl Op for Multiply {
    fn name(&self) -> &'static str {
        "math.multiply"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        elementwise::infer_binary(self.name(), inputs, DTypes::NUMERIC)
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        dispatch_wide!(number, self, inputs, outputs, inputs[0].dtype(), T => {
            elementwise::run_binary::<T, T>(inputs, outputs, Number::mul)
        })
    }

    fn gradient(&self) -> Gradient {
        Gradient::rule(Saves::INPUTS, |call, input| {
            multiply(call.upstream(), call.input(1 - input)).map(Some)
        })
    }

    fn elementwise(&self) -> Option<Function> {
        Some(Function::Multiply)
    }
}

/// `x * y`, broadcast; integers wrap. `tf.math.multiply`.
///
/// # Errors
/// Dtypes that differ or are `bool`; shapes that do not broadcast.
///
/// ```
/// use tapeflow_core::{Tensor, math};
///
/// let x = Tensor::from([[1.0f32, 2.0], [3.0, 4.0]]);
/// let y = math::multiply(&x, [10.0f32, 20.0])?;
/// assert_eq!(y.to_vec::<f32>()?, [10.0, 40.0, 30.0, 80.0]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn multiply(x: impl Into<Tensor>, y: impl Into<Tensor>) -> Result<Tensor> {
    apply_owned(Multiply, [x.into(), y.into()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::check_gradients;

    #[test]
    fn gradients_are_those_of_finite_differences() {
        check_gradients(
            |x| multiply(&x[0], &x[1]),
            &[Tensor::from([[1.0f64, -2.0], [3.0, 4.0]]), Tensor::from([0.5f64, -1.5])],
        );
    }
}
