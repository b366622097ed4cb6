//! The rectified linear unit.

use tapeflow_kernels::vecmath;

use crate::ops::prelude::*;

/// The op of [`relu`].
#[derive(Debug, Clone, Copy)]
pub struct Relu;

impl Op for Relu {
    fn name(&self) -> &'static str {
        "nn.relu"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        elementwise::infer_unary(self.name(), inputs, DTypes::NUMERIC)
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        dispatch_wide!(number, self, inputs, outputs, inputs[0].dtype(), T => {
            elementwise::run_unary(inputs, outputs, vecmath::relu::<T>)
        })
    }

    fn gradient(&self) -> Gradient {
        // From the output, which the next op keeps anyway.
        Gradient::rule(Saves::OUTPUTS, |call, _| {
            apply(ReluGrad, &[call.upstream(), call.output(0)]).map(Some)
        })
    }

    fn elementwise(&self) -> Option<Function> {
        Some(Function::Relu)
    }
}

/// The gradient of [`relu`]: its first input where the second is positive, elsewhere zero.
#[derive(Debug, Clone, Copy)]
pub struct ReluGrad;

impl Op for ReluGrad {
    fn name(&self) -> &'static str {
        "nn.relu_grad"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        elementwise::infer_binary(self.name(), inputs, DTypes::NUMERIC)
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        dispatch_wide!(number, self, inputs, outputs, inputs[0].dtype(), T => {
            elementwise::run_binary(inputs, outputs, vecmath::relu_grad::<T>)
        })
    }

    fn gradient(&self) -> Gradient {
        // Constant in the second input almost everywhere.
        Gradient::rule(Saves::input(1), |call, input| match input {
            0 => apply(ReluGrad, &[call.upstream(), call.input(1)]).map(Some),
            _ => Ok(None),
        })
    }

    fn elementwise(&self) -> Option<Function> {
        Some(Function::ReluGrad)
    }
}

/// `max(x, 0)`, whose gradient at 0 is 0. `tf.nn.relu`.
///
/// # Errors
/// `x` is `bool`.
///
/// ```
/// use tapeflow_core::nn;
///
/// assert_eq!(nn::relu([-1.0f32, 0.0, 2.0])?.to_vec::<f32>()?, [0.0, 0.0, 2.0]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn relu(x: impl Into<Tensor>) -> Result<Tensor> {
    apply_owned(Relu, [x.into()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::check_gradients;

    #[test]
    fn gradients_are_those_of_finite_differences() {
        check_gradients(|x| relu(&x[0]), &[Tensor::from([1.5f64, -0.5, 3.0, -2.0])]);
    }

    #[test]
    fn nan_passes() {
        assert!(relu(f32::NAN).unwrap().to_scalar::<f32>().unwrap().is_nan());
    }
}
