//! Element-wise absolute value.

use crate::ops::math::{multiply, sign};
use crate::ops::prelude::*;

/// The op of [`abs`].
#[derive(Debug, Clone, Copy)]
pub struct Abs;

impl Op for Abs {
    fn name(&self) -> &'static str {
        "math.abs"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        elementwise::infer_unary(self.name(), inputs, DTypes::FLOATING.or(DTypes::SIGNED))
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        dispatch_wide!(number, self, inputs, outputs, inputs[0].dtype(), T => {
            elementwise::run_unary::<T, T>(inputs, outputs, Number::abs)
        })
    }

    fn gradient(&self) -> Gradient {
        Gradient::rule(Saves::INPUTS, |call, _| {
            multiply(call.upstream(), sign(call.input(0))?).map(Some)
        })
    }

    fn elementwise(&self) -> Option<Function> {
        Some(Function::Abs)
    }
}

/// `|x|`, whose gradient at 0 is 0; the lowest integer is its own. `tf.math.abs`.
///
/// # Errors
/// `x` is unsigned or `bool`.
///
/// ```
/// use tapeflow_core::math;
///
/// assert_eq!(math::abs([3.0f32, -2.0])?.to_vec::<f32>()?, [3.0, 2.0]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn abs(x: impl Into<Tensor>) -> Result<Tensor> {
    apply_owned(Abs, [x.into()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::check_gradients;

    #[test]
    fn gradients_are_those_of_finite_differences() {
        check_gradients(|x| abs(&x[0]), &[Tensor::from([1.5f64, -0.5, 3.0])]);
    }

    #[test]
    fn the_lowest_integer_is_its_own() {
        assert_eq!(abs([i8::MIN, -3]).unwrap().to_vec::<i8>().unwrap(), [i8::MIN, 3]);
        assert!(abs([1u8]).unwrap_err().is_dtype());
        assert!(abs(-0.0f32).unwrap().to_scalar::<f32>().unwrap().is_sign_positive());
    }
}
