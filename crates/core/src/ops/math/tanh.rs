//! The hyperbolic tangent.

use tapeflow_kernels::vecmath;

use crate::ops::math::multiply;
use crate::ops::prelude::*;

/// The op of [`tanh`].
#[derive(Debug, Clone, Copy)]
pub struct Tanh;

impl Op for Tanh {
    fn name(&self) -> &'static str {
        "math.tanh"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        elementwise::infer_unary(self.name(), inputs, DTypes::FLOATING)
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        elementwise::run_unary_float(inputs, outputs, Function::Tanh, Float::tanh, Float::tanh)
    }

    fn gradient(&self) -> Gradient {
        Gradient::rule(Saves::OUTPUTS, |call, _| {
            apply(TanhGrad, &[call.upstream(), call.output(0)]).map(Some)
        })
    }

    fn elementwise(&self) -> Option<Function> {
        Some(Function::Tanh)
    }
}

/// The gradient of [`tanh`] from its output: `upstream * (1 - y^2)`.
#[derive(Debug, Clone, Copy)]
pub struct TanhGrad;

impl Op for TanhGrad {
    fn name(&self) -> &'static str {
        "math.tanh_grad"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        elementwise::infer_binary(self.name(), inputs, DTypes::FLOATING)
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        elementwise::run_binary_float(inputs, outputs, vecmath::tanh_grad, vecmath::tanh_grad)
    }

    fn gradient(&self) -> Gradient {
        Gradient::rule(Saves::INPUTS, |call, input| {
            let (upstream, y) = (call.input(0), call.input(1));
            if input == 0 {
                return apply(TanhGrad, &[call.upstream(), y]).map(Some);
            }
            let slope = multiply(Tensor::scalar(-2.0, y.dtype())?, y)?;
            multiply(multiply(call.upstream(), upstream)?, slope).map(Some)
        })
    }

    fn elementwise(&self) -> Option<Function> {
        Some(Function::TanhGrad)
    }
}

/// The hyperbolic tangent of `x`. `tf.math.tanh`, `tf.nn.tanh`.
///
/// # Errors
/// `x` is not floating.
///
/// ```
/// use tapeflow_core::math;
///
/// assert_eq!(math::tanh([0.0f32, 100.0, -100.0])?.to_vec::<f32>()?, [0.0, 1.0, -1.0]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn tanh(x: impl Into<Tensor>) -> Result<Tensor> {
    apply_owned(Tanh, [x.into()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::check_gradients;

    #[test]
    fn gradients_are_those_of_finite_differences() {
        check_gradients(|x| tanh(&x[0]), &[Tensor::from([1.5f64, -0.5, 0.1, 0.0])]);
    }

    #[test]
    fn special_values() {
        let y = tanh([f32::INFINITY, -0.0, f32::NAN]).unwrap().to_vec::<f32>().unwrap();
        assert!(y[0] == 1.0 && y[1].is_sign_negative() && y[2].is_nan());
    }

    #[test]
    fn only_floats() {
        let error = tanh([1]).unwrap_err();
        assert!(error.is_dtype() && error.to_string().starts_with("math.tanh: x is int32"));
        for dtype in [DType::Float16, DType::BFloat16, DType::Float32, DType::Float64] {
            let empty = crate::ops::array::zeros([0, 2], dtype).unwrap();
            assert_eq!(tanh(&empty).unwrap().spec(), empty.spec());
        }
    }
}
