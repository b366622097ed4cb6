//! The square root.

use crate::ops::math::{divide, multiply};
use crate::ops::prelude::*;

/// The op of [`sqrt`].
#[derive(Debug, Clone, Copy)]
pub struct Sqrt;

impl Op for Sqrt {
    fn name(&self) -> &'static str {
        "math.sqrt"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        elementwise::infer_unary(self.name(), inputs, DTypes::FLOATING)
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        elementwise::run_unary_float(inputs, outputs, Function::Sqrt, f32::sqrt, f64::sqrt)
    }

    fn gradient(&self) -> Gradient {
        Gradient::rule(Saves::OUTPUTS, |call, _| {
            let half = Tensor::scalar(0.5, call.upstream().dtype())?;
            divide(multiply(call.upstream(), half)?, call.output(0)).map(Some)
        })
    }

    fn elementwise(&self) -> Option<Function> {
        Some(Function::Sqrt)
    }
}

/// The square root of `x`; NaN below 0. `tf.math.sqrt`.
///
/// # Errors
/// `x` is not floating.
///
/// ```
/// use tapeflow_core::math;
///
/// assert_eq!(math::sqrt([4.0f32, 0.0])?.to_vec::<f32>()?, [2.0, 0.0]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn sqrt(x: impl Into<Tensor>) -> Result<Tensor> {
    apply_owned(Sqrt, [x.into()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::check_gradients;

    #[test]
    fn gradients_are_those_of_finite_differences() {
        check_gradients(|x| sqrt(&x[0]), &[Tensor::from([1.5f64, 0.5, 3.0])]);
    }

    #[test]
    fn special_values() {
        let y = sqrt([f32::INFINITY, -0.0, f32::NAN, -1.0]).unwrap().to_vec::<f32>().unwrap();
        assert_eq!((y[0], y[1]), (f32::INFINITY, 0.0));
        assert!(y[1].is_sign_negative() && y[2].is_nan() && y[3].is_nan());
    }

    #[test]
    fn only_floats() {
        let error = sqrt([1]).unwrap_err();
        assert!(error.is_dtype() && error.to_string().starts_with("math.sqrt: x is int32"));
        for dtype in [DType::Float16, DType::BFloat16, DType::Float32, DType::Float64] {
            let empty = crate::ops::array::zeros([0, 2], dtype).unwrap();
            assert_eq!(sqrt(&empty).unwrap().spec(), empty.spec());
        }
    }
}
