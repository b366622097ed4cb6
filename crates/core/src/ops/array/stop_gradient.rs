//! A value that gradients do not pass.

use crate::ops::prelude::*;

/// The op of [`stop_gradient`].
#[derive(Debug, Clone, Copy)]
pub struct StopGradient;

impl Op for StopGradient {
    fn name(&self) -> &'static str {
        "stop_gradient"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        Ok(vec![inputs[0]])
    }

    fn view(&self, _inputs: &[Spec]) -> Option<usize> {
        Some(0)
    }

    fn run(&self, _inputs: &[Array<'_>], _outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        Err(Error::unsupported("stop_gradient: a view is not run"))
    }

    fn gradient(&self) -> Gradient {
        Gradient::NotDifferentiable
    }
}

/// `x`, taken as a constant by every gradient. `tf.stop_gradient`.
///
/// # Errors
/// None; the type is that of all ops.
///
/// ```
/// use tapeflow_core::{GradientTape, Tensor, array};
///
/// let x = Tensor::from(3.0f32);
/// let tape = GradientTape::new();
/// tape.watch(&x);
/// let y = &x * array::stop_gradient(&x)?;
/// assert_eq!(tape.gradient(&y, &x)?.unwrap().to_scalar::<f32>()?, 3.0);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn stop_gradient(x: impl Into<Tensor>) -> Result<Tensor> {
    apply(StopGradient, &[&x.into()])
}
