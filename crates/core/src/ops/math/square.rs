//! Element-wise square.

use crate::ops::math::multiply;
use crate::ops::prelude::*;

/// The op of [`square`].
#[derive(Debug, Clone, Copy)]
pub struct Square;

impl Op for Square {
    fn name(&self) -> &'static str {
        "math.square"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        elementwise::infer_unary(self.name(), inputs, DTypes::NUMERIC)
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        dispatch_wide!(number, self, inputs, outputs, inputs[0].dtype(), T => {
            elementwise::run_unary::<T, T>(inputs, outputs, |x| Number::mul(x, x))
        })
    }

    fn gradient(&self) -> Gradient {
        Gradient::rule(Saves::INPUTS, |call, _| {
            let two = Tensor::scalar(2.0, call.input(0).dtype())?;
            multiply(call.upstream(), multiply(two, call.input(0))?).map(Some)
        })
    }

    fn elementwise(&self) -> Option<Function> {
        Some(Function::Square)
    }
}

/// `x * x`; integers wrap. `tf.math.square`.
///
/// # Errors
/// `x` is `bool`.
///
/// ```
/// use tapeflow_core::math;
///
/// assert_eq!(math::square([3.0f32, -2.0])?.to_vec::<f32>()?, [9.0, 4.0]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn square(x: impl Into<Tensor>) -> Result<Tensor> {
    apply_owned(Square, [x.into()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::check_gradients;

    #[test]
    fn gradients_are_those_of_finite_differences() {
        check_gradients(|x| square(&x[0]), &[Tensor::from([1.5f64, -0.5, 3.0])]);
    }
}
