//! The exponential.

use crate::ops::math::multiply;
use crate::ops::prelude::*;

/// The op of [`exp`].
#[derive(Debug, Clone, Copy)]
pub struct Exp;

impl Op for Exp {
    fn name(&self) -> &'static str {
        "math.exp"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        elementwise::infer_unary(self.name(), inputs, DTypes::FLOATING)
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        elementwise::run_unary_float(inputs, outputs, Function::Exp, Float::exp, Float::exp)
    }

    fn gradient(&self) -> Gradient {
        Gradient::rule(Saves::OUTPUTS, |call, _| {
            multiply(call.upstream(), call.output(0)).map(Some)
        })
    }

    fn elementwise(&self) -> Option<Function> {
        Some(Function::Exp)
    }
}

/// `e^x`. `tf.math.exp`.
///
/// # Errors
/// `x` is not floating.
///
/// ```
/// use tapeflow_core::math;
///
/// assert_eq!(math::exp([0.0f32, f32::NEG_INFINITY])?.to_vec::<f32>()?, [1.0, 0.0]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn exp(x: impl Into<Tensor>) -> Result<Tensor> {
    apply_owned(Exp, [x.into()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::check_gradients;

    #[test]
    fn gradients_are_those_of_finite_differences() {
        check_gradients(|x| exp(&x[0]), &[Tensor::from([1.5f64, -0.5, 2.0])]);
    }

    #[test]
    fn special_values() {
        let y = exp([f32::INFINITY, 1000.0, f32::NAN, -0.0]).unwrap().to_vec::<f32>().unwrap();
        assert_eq!((y[0], y[1], y[3]), (f32::INFINITY, f32::INFINITY, 1.0));
        assert!(y[2].is_nan());
    }

    #[test]
    fn only_floats() {
        let error = exp([1]).unwrap_err();
        assert!(error.is_dtype() && error.to_string().starts_with("math.exp: x is int32"));
        for dtype in [DType::Float16, DType::BFloat16, DType::Float32, DType::Float64] {
            let empty = crate::ops::array::zeros([0, 2], dtype).unwrap();
            assert_eq!(exp(&empty).unwrap().spec(), empty.spec());
        }
    }
}
