//! Reverse-mode differentiation of what was executed.
//!
//! A tape is a list of the calls made on this thread whose inputs it tracks. It knows no op: each
//! record holds the rule that the op gave. Rules are made of public ops, so a gradient computed
//! while another tape records is itself recorded there, which is all that higher orders need.
//!
//! - [`record`]: what a tape holds and how executing an op adds to it.
//! - [`sources`]: what a gradient can be taken with respect to.
//! - [`backward`]: the walk over the records.
//! - [`custom`]: gradients of one's own, and pauses.

mod backward;
mod custom;
mod record;
mod sources;

use std::cell::Cell;
use std::rc::Rc;

use crate::error::{Error, Result};
use crate::ops::array::{self, OneHot};
use crate::shape::Shape;
use crate::tensor::{Tensor, TensorId};
use backward::backward;
use custom::Pause;
use record::{Record, Recording};
use sources::Node;

pub use custom::custom_gradient;
pub(crate) use custom::pause;
pub use record::Call;
pub(crate) use record::{is_recording, read_variable, record};
pub use sources::{Sources, UnconnectedGradients, Watchable};

/// Records operations and differentiates them, like `tf.GradientTape`.
///
/// The tape records what its thread executes from [`new`](GradientTape::new) on: until the first
/// gradient is asked of it, or, where it is [`persistent`](GradientTape::persistent), until it is
/// dropped. It tracks tensors it was told to [`watch`](GradientTape::watch) and every trainable
/// variable that is read.
///
/// ```
/// use tapeflow_core::{GradientTape, Tensor};
///
/// let x = Tensor::from(3.0f32);
/// let tape = GradientTape::new();
/// tape.watch(&x);
/// let y = &x * &x;
/// let dy_dx = tape.gradient(&y, &x)?.unwrap();
/// assert_eq!(dy_dx.to_scalar::<f32>()?, 6.0);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
///
/// Tapes nest, which gives the second derivative:
///
/// ```
/// use tapeflow_core::{GradientTape, Tensor};
///
/// let x = Tensor::from(2.0f32);
/// let outer = GradientTape::new();
/// outer.watch(&x);
/// let inner = GradientTape::new();
/// inner.watch(&x);
/// let y = &x * &x * &x;
/// let dy_dx = inner.gradient(&y, &x)?.unwrap();
/// let d2y_dx2 = outer.gradient(&dy_dx, &x)?.unwrap();
/// assert_eq!(d2y_dx2.to_scalar::<f32>()?, 12.0);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub struct GradientTape {
    recording: Rc<Recording>,
    persistent: bool,
    // Whether a tape that is not persistent has given its gradient.
    spent: Cell<bool>,
}

impl Default for GradientTape {
    fn default() -> GradientTape {
        GradientTape::new()
    }
}

impl GradientTape {
    /// A tape that records from now on, for one gradient.
    pub fn new() -> GradientTape {
        GradientTape::start(false, true)
    }

    /// A tape for any number of gradients. While it is alive it also records the computation of
    /// the gradients themselves, as TensorFlow's does inside its `with` block.
    pub fn persistent() -> GradientTape {
        GradientTape::start(true, true)
    }

    /// A tape that tracks only what it is told to watch, `watch_accessed_variables=False`.
    pub fn watching_nothing(persistent: bool) -> GradientTape {
        GradientTape::start(persistent, false)
    }

    fn start(persistent: bool, watches_variables: bool) -> GradientTape {
        let recording = Recording::start(watches_variables);
        GradientTape { recording, persistent, spent: Cell::new(false) }
    }

    /// Tracks a tensor, or a variable that is not trainable. A source that is not floating is
    /// ignored: no gradient exists with respect to it.
    pub fn watch(&self, source: impl Watchable) {
        let Node(id, spec) = source.node();
        if spec.dtype.is_floating() {
            self.recording.watch(id);
        }
    }

    /// Runs `work` unrecorded by this tape.
    ///
    /// ```
    /// use tapeflow_core::{GradientTape, Tensor};
    ///
    /// let x = Tensor::from(3.0f32);
    /// let tape = GradientTape::new();
    /// tape.watch(&x);
    /// let y = &x * &x;
    /// let seen = tape.stop_recording(|| &y * 2.0);
    /// assert!(tape.gradient(&seen, &x)?.is_none());
    /// # Ok::<(), tapeflow_core::Error>(())
    /// ```
    pub fn stop_recording<T>(&self, work: impl FnOnce() -> T) -> T {
        let _pause = Pause::new(vec![self.recording.clone()]);
        work()
    }

    /// Forgets everything recorded and watched.
    pub fn reset(&self) {
        self.recording.clear();
    }

    /// The gradient of the sum of `target`'s elements with respect to each source: a tensor of the
    /// source's shape, or `None` where `target` does not depend on it.
    ///
    /// # Errors
    /// A second call on a tape that is not persistent, or one that a gradient rule meets.
    pub fn gradient<S: Sources>(&self, target: &Tensor, sources: S) -> Result<S::Gradients> {
        self.gradient_with(&[target], &[], sources, UnconnectedGradients::None)
    }

    /// The gradient of the sum of several targets, each weighted by the tensor of its shape in
    /// `output_gradients` (all ones where that is empty).
    ///
    /// # Errors
    /// As for [`gradient`](Self::gradient); weights whose number, dtypes or shapes are not the
    /// targets'.
    ///
    /// ```
    /// use tapeflow_core::{GradientTape, Tensor, UnconnectedGradients};
    ///
    /// let x = Tensor::from([1.0f32, 2.0]);
    /// let tape = GradientTape::new();
    /// tape.watch(&x);
    /// let y = &x * &x;
    /// let weights = Tensor::from([1.0f32, 10.0]);
    /// let dx = tape.gradient_with(&[&y], &[&weights], &x, UnconnectedGradients::Zero)?.unwrap();
    /// assert_eq!(dx.to_vec::<f32>()?, [2.0, 40.0]);
    /// # Ok::<(), tapeflow_core::Error>(())
    /// ```
    pub fn gradient_with<S: Sources>(
        &self,
        targets: &[&Tensor],
        output_gradients: &[&Tensor],
        sources: S,
        unconnected: UnconnectedGradients,
    ) -> Result<S::Gradients> {
        check_output_gradients(targets, output_gradients)?;
        let records = self.take_records()?;
        let nodes = sources.nodes();
        let mut seeds = Vec::with_capacity(targets.len());
        for (i, target) in targets.iter().enumerate() {
            if target.dtype().is_floating() {
                let seed = match output_gradients.get(i) {
                    Some(weights) => (*weights).clone(),
                    None => array::ones(*target.shape(), target.dtype())?,
                };
                seeds.push((target.id(), seed));
            }
        }
        let gradients = self.backward(records, seeds, &nodes)?;
        pack::<S>(gradients, &nodes, unconnected)
    }

    /// The derivative of every element of `target` with respect to every element of each source: a
    /// tensor of `target`'s shape followed by the source's, or `None` where `target` does not depend
    /// on it or has no elements.
    ///
    /// # Errors
    /// As for [`gradient`](Self::gradient); more axes than a shape can have.
    ///
    /// ```
    /// use tapeflow_core::{GradientTape, Tensor};
    ///
    /// let x = Tensor::from([1.0f32, 2.0]);
    /// let tape = GradientTape::new();
    /// tape.watch(&x);
    /// let y = &x * &x;
    /// let jacobian = tape.jacobian(&y, &x)?.unwrap();
    /// assert_eq!(jacobian.shape().dims(), [2, 2]);
    /// assert_eq!(jacobian.to_vec::<f32>()?, [2.0, 0.0, 0.0, 4.0]);
    /// # Ok::<(), tapeflow_core::Error>(())
    /// ```
    pub fn jacobian<S: Sources>(&self, target: &Tensor, sources: S) -> Result<S::Gradients> {
        let records = self.take_records()?;
        let nodes = sources.nodes();
        let mut rows = vec![Vec::new(); nodes.len()];
        let size = if target.dtype().is_floating() { target.shape().num_elements() } else { 0 };
        for element in 0..size {
            let op = OneHot { dtype: Some(target.dtype()), ..OneHot::new(size as i64) };
            let seed = array::reshape(op.call(element as i64)?, *target.shape())?;
            let gradients = self.backward(records.clone(), vec![(target.id(), seed)], &nodes)?;
            for (rows, gradient) in rows.iter_mut().zip(gradients) {
                rows.extend(gradient);
            }
        }
        let jacobians = rows.iter().zip(&nodes).map(|(rows, Node(_, spec))| {
            if rows.is_empty() {
                return Ok(None);
            }
            let dims = [target.shape().dims(), spec.shape.dims()].concat();
            let shape =
                Shape::new(&dims).map_err(|error| error.context("GradientTape.jacobian"))?;
            array::reshape(array::stack(rows, 0)?, shape).map(Some)
        });
        Ok(S::pack(jacobians.collect::<Result<_>>()?))
    }

    /// The gradients that reach the sources: none reaches one that the tape does not track, though
    /// it is an input of what was recorded.
    fn backward(
        &self,
        records: Vec<Rc<Record>>,
        seeds: Vec<(TensorId, Tensor)>,
        sources: &[Node],
    ) -> Result<Vec<Option<Tensor>>> {
        let gradients = backward(records, seeds, sources)?.into_iter().zip(sources);
        let tracked = |Node(id, _): &Node| self.recording.tracks(*id);
        Ok(gradients.map(|(gradient, source)| gradient.filter(|_| tracked(source))).collect())
    }

    /// The records to walk; a tape that is not persistent gives them up and stops recording.
    fn take_records(&self) -> Result<Vec<Rc<Record>>> {
        if self.persistent {
            return Ok(self.recording.records());
        }
        if self.spent.replace(true) {
            return Err(Error::invalid_argument(
                "GradientTape.gradient: a tape that is not persistent gives one gradient; \
                 make it with GradientTape::persistent() for more",
            ));
        }
        self.recording.stop();
        Ok(self.recording.take_records())
    }
}

impl Drop for GradientTape {
    fn drop(&mut self) {
        self.recording.stop();
    }
}

fn check_output_gradients(targets: &[&Tensor], output_gradients: &[&Tensor]) -> Result<()> {
    if output_gradients.is_empty() {
        return Ok(());
    }
    if output_gradients.len() != targets.len() {
        return Err(Error::invalid_argument(format!(
            "GradientTape.gradient: {} output gradients for {} targets",
            output_gradients.len(),
            targets.len()
        )));
    }
    for (target, weights) in targets.iter().zip(output_gradients) {
        if target.spec() != weights.spec() {
            return Err(Error::shape(format!(
                "GradientTape.gradient: an output gradient is {}, its target {}",
                weights.spec(),
                target.spec()
            )));
        }
    }
    Ok(())
}

fn pack<S: Sources>(
    mut gradients: Vec<Option<Tensor>>,
    nodes: &[Node],
    unconnected: UnconnectedGradients,
) -> Result<S::Gradients> {
    if unconnected == UnconnectedGradients::Zero {
        for (gradient, Node(_, spec)) in gradients.iter_mut().zip(nodes) {
            if gradient.is_none() {
                *gradient = Some(array::zeros(spec.shape, spec.dtype)?);
            }
        }
    }
    Ok(S::pack(gradients))
}
