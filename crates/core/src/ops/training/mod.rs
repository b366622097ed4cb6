//! The ops of the optimizers' steps, TensorFlow's training ops: they write over a variable and what
//! the optimizer keeps for it.

mod apply_adam;
mod apply_gradient_descent;
mod apply_momentum;

pub use apply_adam::ApplyAdam;
pub use apply_gradient_descent::ApplyGradientDescent;
pub use apply_momentum::ApplyMomentum;
