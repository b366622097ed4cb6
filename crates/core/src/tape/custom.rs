//! Computations that tapes do not see, or see with a gradient of one's own.

use std::rc::Rc;

use crate::error::{Error, Result};
use crate::op::{Gradient, Saves};
use crate::tape::record::{Call, Recording, record};
use crate::tensor::Tensor;

/// Stops recordings for as long as it lives.
pub(crate) struct Pause(Vec<Rc<Recording>>);

/// Pauses every tape of this thread.
pub(crate) fn pause() -> Pause {
    Pause::new(Recording::active())
}

impl Pause {
    pub(super) fn new(recordings: Vec<Rc<Recording>>) -> Pause {
        for recording in &recordings {
            recording.pause();
        }
        Pause(recordings)
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        for recording in &self.0 {
            recording.resume();
        }
    }
}

/// Replaces the gradient of a computation by one's own, like `tf.custom_gradient`.
///
/// `forward` maps `inputs` to one output; `gradient` maps the output's gradient to that of each
/// input. What `forward` executes is not recorded.
///
/// ```
/// use tapeflow_core::{GradientTape, Tensor, custom_gradient, math};
///
/// // log(1 + e^x), whose gradient as composed overflows for large x.
/// let log1pexp = |x: &Tensor| {
///     custom_gradient(
///         &[x],
///         |inputs| math::log(math::exp(&inputs[0])? + 1.0),
///         |inputs, upstream| Ok(vec![Some(upstream * math::sigmoid(&inputs[0])?)]),
///     )
/// };
/// let x = Tensor::from(100.0f32);
/// let tape = GradientTape::new();
/// tape.watch(&x);
/// let y = log1pexp(&x)?;
/// assert_eq!(tape.gradient(&y, &x)?.unwrap().to_scalar::<f32>()?, 1.0);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
///
/// # Errors
/// Those of `forward`; later, those of `gradient`, and a number of gradients that is not the
/// number of inputs.
pub fn custom_gradient(
    inputs: &[&Tensor],
    forward: impl FnOnce(&[Tensor]) -> Result<Tensor>,
    gradient: impl Fn(&[Tensor], &Tensor) -> Result<Vec<Option<Tensor>>> + 'static,
) -> Result<Tensor> {
    let values: Vec<Tensor> = inputs.iter().map(|&input| input.clone()).collect();
    let output = {
        let _pause = pause();
        forward(&values)?.alias()
    };
    let rule = move |call: &Call<'_>, input: usize| {
        let mut gradients = gradient(&values, call.upstream())?;
        if gradients.len() != values.len() {
            return Err(Error::invalid_argument(format!(
                "custom_gradient: {} gradients for {} inputs",
                gradients.len(),
                values.len()
            )));
        }
        Ok(gradients.swap_remove(input))
    };
    record(|| Gradient::rule(Saves::NOTHING, rule), inputs, std::slice::from_ref(&output));
    Ok(output)
}
