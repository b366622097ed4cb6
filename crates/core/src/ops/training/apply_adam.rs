//! A step of Adam.

use tapeflow_kernels::elementwise::zip_three_in_place;

use crate::ops::prelude::*;

/// The op of [`Adam`](crate::optimizers::Adam), which has the formula. Inputs: the variable, its
/// running means `m` and `v`, the steps before this one (a scalar of `int64`), the learning rate (a
/// scalar of `float32`) and the gradient. `tf.raw_ops.ResourceApplyAdam`.
///
/// ```
/// use tapeflow_core::{Tensor, Variable, optimizers::Adam};
///
/// let w = Variable::new(1.0f32);
/// Adam::new(0.25).apply_gradients([(Tensor::from(3.0f32), &w)])?;
/// assert!((w.value().to_scalar::<f32>()? - 0.75).abs() < 1e-4);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct ApplyAdam {
    /// The decay rate of the mean of the gradient.
    pub beta_1: f64,
    /// The decay rate of the mean of its square.
    pub beta_2: f64,
    /// What keeps the divisor from zero.
    pub epsilon: f64,
}

impl Op for ApplyAdam {
    fn name(&self) -> &'static str {
        "training.apply_adam"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let scalars = [DType::Int64, DType::Float32];
        elementwise::infer_update(self.name(), inputs, self.updates(), &scalars)
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        let [w, m, v] = outputs else { unreachable!("infer gives three outputs") };
        let [iterations, learning_rate, gradient] = inputs else {
            unreachable!("three inputs are not written over")
        };
        let step = iterations.data::<i64>()[0].wrapping_add(1);
        let learning_rate = learning_rate.data::<f32>()[0];
        dispatch!(float, gradient.dtype(), T => {
            // TensorFlow takes the bases of the powers through float32, whatever the dtype.
            let remaining =
                |beta: f64| T::ONE.sub(T::from_f32(beta as f32).powf(T::from_f64(step as f64)));
            let learning_rate = T::from_f32(learning_rate);
            let alpha =
                learning_rate.mul(remaining(self.beta_2).sqrt()).div(remaining(self.beta_1));
            let epsilon = T::from_f64(self.epsilon);
            let weights = [self.beta_1, self.beta_2].map(|beta| T::from_f64(1.0 - beta));
            let mix = |old: T, new: T, weight: T| old.add(new.sub(old).mul(weight));
            let update = move |[w, m, v]: [T; 3], g: T| {
                let (m, v) = (mix(m, g, weights[0]), mix(v, g.mul(g), weights[1]));
                [w.sub(m.mul(alpha).div(v.sqrt().add(epsilon))), m, v]
            };
            zip_three_in_place([w.data(), m.data(), v.data()], gradient.data::<T>(), update);
            Ok(())
        })
    }

    fn gradient(&self) -> Gradient {
        // An assignment is no function of tensors that a tape could follow.
        Gradient::NotDifferentiable
    }

    fn updates(&self) -> usize {
        3
    }
}
