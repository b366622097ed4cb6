//! A step of gradient descent.

use tapeflow_kernels::elementwise::zip_in_place;

use crate::ops::prelude::*;

/// `var -= learning_rate * gradient`, the op of [`SGD`](crate::optimizers::SGD) without momentum.
/// Inputs: the variable, the learning rate (a scalar of `float32`) and the gradient.
/// `tf.raw_ops.ResourceApplyGradientDescent`.
///
/// ```
/// use tapeflow_core::{Tensor, Variable, optimizers::SGD};
///
/// let w = Variable::new([1.0f32, 2.0]);
/// SGD::new(0.5).apply_gradients([(Tensor::from([1.0f32, 2.0]), &w)])?;
/// assert_eq!(w.value().to_vec::<f32>()?, [0.5, 1.0]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct ApplyGradientDescent;

impl Op for ApplyGradientDescent {
    fn name(&self) -> &'static str {
        "training.apply_gradient_descent"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        elementwise::infer_update(self.name(), inputs, self.updates(), &[DType::Float32])
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        let (learning_rate, gradient) = (inputs[0].data::<f32>()[0], inputs[1]);
        dispatch!(float, gradient.dtype(), T => {
            let learning_rate = T::from_f32(learning_rate);
            let step = move |w: T, g: T| w.sub(g.mul(learning_rate));
            zip_in_place(outputs[0].data(), gradient.data(), step);
            Ok(())
        })
    }

    fn gradient(&self) -> Gradient {
        // An assignment is no function of tensors that a tape could follow.
        Gradient::NotDifferentiable
    }

    fn updates(&self) -> usize {
        1
    }
}
