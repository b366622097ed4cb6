//! The logistic function.

use tapeflow_kernels::vecmath;

use crate::ops::math::{multiply, subtract};
use crate::ops::prelude::*;

/// The op of [`sigmoid`].
#[derive(Debug, Clone, Copy)]
pub struct Sigmoid;

impl Op for Sigmoid {
    fn name(&self) -> &'static str {
        "math.sigmoid"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        elementwise::infer_unary(self.name(), inputs, DTypes::FLOATING)
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        elementwise::run_unary_float(
            inputs,
            outputs,
            Function::Sigmoid,
            vecmath::sigmoid,
            vecmath::sigmoid,
        )
    }

    fn gradient(&self) -> Gradient {
        Gradient::rule(Saves::OUTPUTS, |call, _| {
            apply(SigmoidGrad, &[call.upstream(), call.output(0)]).map(Some)
        })
    }

    fn elementwise(&self) -> Option<Function> {
        Some(Function::Sigmoid)
    }
}

/// The gradient of [`sigmoid`] from its output: `upstream * y * (1 - y)`.
#[derive(Debug, Clone, Copy)]
pub struct SigmoidGrad;

impl Op for SigmoidGrad {
    fn name(&self) -> &'static str {
        "math.sigmoid_grad"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        elementwise::infer_binary(self.name(), inputs, DTypes::FLOATING)
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        elementwise::run_binary_float(inputs, outputs, vecmath::sigmoid_grad, vecmath::sigmoid_grad)
    }

    fn gradient(&self) -> Gradient {
        Gradient::rule(Saves::INPUTS, |call, input| {
            let (upstream, y) = (call.input(0), call.input(1));
            if input == 0 {
                return apply(SigmoidGrad, &[call.upstream(), y]).map(Some);
            }
            let dtype = y.dtype();
            let slope = multiply(Tensor::scalar(2.0, dtype)?, y)?;
            let slope = subtract(Tensor::scalar(1.0, dtype)?, slope)?;
            multiply(multiply(call.upstream(), upstream)?, slope).map(Some)
        })
    }

    fn elementwise(&self) -> Option<Function> {
        Some(Function::SigmoidGrad)
    }
}

/// `1 / (1 + e^-x)`. `tf.math.sigmoid`, `tf.nn.sigmoid`.
///
/// # Errors
/// `x` is not floating.
///
/// ```
/// use tapeflow_core::math;
///
/// assert_eq!(math::sigmoid([0.0f32, 1000.0, -1000.0])?.to_vec::<f32>()?, [0.5, 1.0, 0.0]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn sigmoid(x: impl Into<Tensor>) -> Result<Tensor> {
    apply_owned(Sigmoid, [x.into()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::check_gradients;

    #[test]
    fn gradients_are_those_of_finite_differences() {
        check_gradients(|x| sigmoid(&x[0]), &[Tensor::from([1.5f64, -0.5, 3.0, 0.0])]);
    }

    #[test]
    fn sixteen_bit_floats_are_computed_in_f32() {
        let y = sigmoid([half::f16::from_f32(1.0), half::f16::from_f32(-3.0)]).unwrap();
        let y: Vec<f32> = y.to_vec::<half::f16>().unwrap().iter().map(|y| y.to_f32()).collect();
        assert_eq!(y, [0.730_957_03, 0.047_424_316]);
        assert!(sigmoid(f32::NAN).unwrap().to_scalar::<f32>().unwrap().is_nan());
    }

    #[test]
    fn only_floats() {
        let error = sigmoid([1]).unwrap_err();
        assert!(error.is_dtype() && error.to_string().starts_with("math.sigmoid: x is int32"));
        for dtype in [DType::Float16, DType::BFloat16, DType::Float32, DType::Float64] {
            let empty = crate::ops::array::zeros([0, 2], dtype).unwrap();
            assert_eq!(sigmoid(&empty).unwrap().spec(), empty.spec());
        }
    }
}
