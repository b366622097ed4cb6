//! Repetition along axes of extent one.

use crate::ops::prelude::*;

/// The op of [`broadcast_to`].
#[derive(Debug, Clone, Copy)]
pub struct BroadcastTo {
    /// The wanted shape.
    pub shape: Shape,
}

impl Op for BroadcastTo {
    fn name(&self) -> &'static str {
        "broadcast_to"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let shape = &inputs[0].shape;
        if shape.broadcast(&self.shape) != Some(self.shape) {
            return Err(Error::shape(format!(
                "{}: {shape} does not broadcast to {}",
                self.name(),
                self.shape
            )));
        }
        Ok(vec![Spec { shape: self.shape, ..inputs[0] }])
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        dispatch!(moved, inputs[0].dtype(), T => {
            elementwise::run_broadcast::<T>(inputs[0], &mut outputs[0])
        })
    }

    fn gradient(&self) -> Gradient {
        Gradient::rule(Saves::NOTHING, |call, _| Ok(Some(call.upstream().clone())))
    }
}

/// `x` repeated along its axes of extent 1, and along new ones in front. `tf.broadcast_to`.
///
/// # Errors
/// A shape that `x` does not broadcast to.
///
/// ```
/// use tapeflow_core::{Tensor, array};
///
/// let x = array::broadcast_to([1, 2], [2, 2])?;
/// assert_eq!(x.to_vec::<i32>()?, [1, 2, 1, 2]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn broadcast_to(x: impl Into<Tensor>, shape: impl Into<Shape>) -> Result<Tensor> {
    let (x, shape) = (x.into(), shape.into());
    apply(BroadcastTo { shape }, &[&x])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::math::square;
    use crate::test::check_gradients;

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let x = Tensor::from([[1.0f64], [2.0]]);
        check_gradients(|x| square(broadcast_to(&x[0], [3, 2, 2])?), &[x]);
    }

    #[test]
    fn only_a_shape_that_it_broadcasts_to() {
        assert!(broadcast_to([1, 2], [1]).unwrap_err().is_shape());
        assert!(broadcast_to([1, 2], [2, 3]).unwrap_err().is_shape());
    }
}
