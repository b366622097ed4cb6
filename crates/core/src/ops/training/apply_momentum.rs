//! A step of gradient descent with momentum.

use tapeflow_kernels::elementwise::{zip_in_place, zip2_in_place};

use crate::ops::prelude::*;

/// `velocity = momentum * velocity - learning_rate * gradient`, then `var += velocity`, or in
/// Nesterov's form `var += momentum * velocity - learning_rate * gradient`: the op of
/// [`SGD`](crate::optimizers::SGD) with momentum. Inputs: the variable, its velocity, the learning
/// rate (a scalar of `float32`) and the gradient. `tf.raw_ops.ResourceApplyKerasMomentum`.
///
/// ```
/// use tapeflow_core::{Tensor, Variable, optimizers::SGD};
///
/// let (w, optimizer) = (Variable::new(1.0f32), SGD::new(0.5).momentum(0.5));
/// optimizer.apply_gradients([(Tensor::from(1.0f32), &w)])?;
/// optimizer.apply_gradients([(Tensor::from(1.0f32), &w)])?;
/// assert_eq!(w.value().to_scalar::<f32>()?, -0.25);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct ApplyMomentum {
    /// What is kept of the velocity.
    pub momentum: f64,
    /// Look ahead by the momentum.
    pub nesterov: bool,
}

impl Op for ApplyMomentum {
    fn name(&self) -> &'static str {
        "training.apply_momentum"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        elementwise::infer_update(self.name(), inputs, self.updates(), &[DType::Float32])
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        let [w, velocity] = outputs else { unreachable!("infer gives two outputs") };
        let (learning_rate, gradient) = (inputs[0].data::<f32>()[0], inputs[1]);
        dispatch!(float, gradient.dtype(), T => {
            let learning_rate = T::from_f32(learning_rate);
            // TensorFlow takes the constant through float32, whatever the variable's dtype.
            let momentum = T::from_f32(self.momentum as f32);
            let moved = move |v: T, g: T| v.mul(momentum).sub(g.mul(learning_rate));
            let gradient = gradient.data::<T>();
            zip_in_place(velocity.data(), gradient, moved);
            let velocity = &*velocity.data::<T>();
            if self.nesterov {
                zip2_in_place(w.data(), velocity, gradient, move |w: T, v, g| w.add(moved(v, g)));
            } else {
                zip_in_place(w.data(), velocity, |w: T, v: T| w.add(v));
            }
            Ok(())
        })
    }

    fn gradient(&self) -> Gradient {
        // An assignment is no function of tensors that a tape could follow.
        Gradient::NotDifferentiable
    }

    fn updates(&self) -> usize {
        2
    }
}
