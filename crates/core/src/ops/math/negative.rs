//! Element-wise negation.

use crate::ops::prelude::*;

/// The op of [`negative`].
#[derive(Debug, Clone, Copy)]
pub struct Negative;

impl Op for Negative {
    fn name(&self) -> &'static str {
        "math.negative"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        elementwise::infer_unary(self.name(), inputs, DTypes::FLOATING.or(DTypes::SIGNED))
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        dispatch_wide!(number, self, inputs, outputs, inputs[0].dtype(), T => {
            elementwise::run_unary::<T, T>(inputs, outputs, Number::neg)
        })
    }

    fn gradient(&self) -> Gradient {
        Gradient::rule(Saves::NOTHING, |call, _| negative(call.upstream()).map(Some))
    }

    fn elementwise(&self) -> Option<Function> {
        Some(Function::Negative)
    }
}

/// `-x`; the lowest integer is its own negative. `tf.math.negative`.
///
/// # Errors
/// `x` is unsigned or `bool`.
///
/// ```
/// use tapeflow_core::math;
///
/// assert_eq!(math::negative([3.0f32, -2.0])?.to_vec::<f32>()?, [-3.0, 2.0]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn negative(x: impl Into<Tensor>) -> Result<Tensor> {
    apply_owned(Negative, [x.into()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::check_gradients;

    #[test]
    fn gradients_are_those_of_finite_differences() {
        check_gradients(|x| negative(&x[0]), &[Tensor::from([1.5f64, -0.5, 3.0])]);
    }
}
