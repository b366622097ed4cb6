//! Reverse-mode differentiation of what was executed.
//!
//! A tape is a list of the calls made on this thread whose inputs it tracks. It knows no op: each
//! record holds the rule that the op gave. Rules are made of public ops, so a gradient computed
//! while another tape records is itself recorded there, which is all that higher orders need.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use crate::error::{Error, Result};
use crate::op::{Gradient, Rule, Saves};
use crate::ops::{array, math};
use crate::shape::Spec;
use crate::tensor::{Tensor, TensorId};
use crate::variable::Variable;

thread_local! {
    static ACTIVE: RefCell<Vec<Rc<Recording>>> = const { RefCell::new(Vec::new()) };
}

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
}

struct Recording {
    watches_variables: bool,
    // How many `stop_recording` calls are under way.
    paused: Cell<usize>,
    spent: Cell<bool>,
    tracked: RefCell<HashSet<TensorId>>,
    records: RefCell<Vec<Rc<Record>>>,
}

struct Record {
    rule: Rule,
    inputs: Vec<(TensorId, Spec)>,
    outputs: Vec<(TensorId, Spec)>,
    saved_inputs: Vec<Option<Tensor>>,
    saved_outputs: Vec<Option<Tensor>>,
}

/// A recorded call, as its gradient rule sees it.
pub struct Call<'a> {
    record: &'a Record,
    upstreams: Vec<Option<Tensor>>,
}

impl Call<'_> {
    /// The gradient with respect to the only output.
    pub fn upstream(&self) -> &Tensor {
        self.upstreams[0].as_ref().expect("a rule runs only where a gradient reaches an output")
    }

    /// The gradient with respect to output `index`, where one reaches it.
    pub fn upstream_of(&self, index: usize) -> Option<&Tensor> {
        self.upstreams[index].as_ref()
    }

    /// An input that the rule declared in its [`Saves`].
    ///
    /// # Panics
    /// If it was not declared.
    pub fn input(&self, index: usize) -> &Tensor {
        self.record.saved_inputs[index].as_ref().expect("the rule reads an input it did not save")
    }

    /// An output that the rule declared in its [`Saves`].
    ///
    /// # Panics
    /// If it was not declared.
    pub fn output(&self, index: usize) -> &Tensor {
        self.record.saved_outputs[index].as_ref().expect("the rule reads an output it did not save")
    }

    /// Dtype and shape of an input; always known.
    pub fn input_spec(&self, index: usize) -> &Spec {
        &self.record.inputs[index].1
    }

    /// How many inputs the call had.
    pub fn num_inputs(&self) -> usize {
        self.record.inputs.len()
    }
}

/// What the gradient is with respect to a source that the target does not depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnconnectedGradients {
    /// No gradient.
    #[default]
    None,
    /// Zeros of the source's shape.
    Zero,
}

/// Something a tape can watch and differentiate with respect to: a tensor or a variable.
pub trait Watchable {
    #[doc(hidden)]
    fn node(&self) -> Node;
}

#[doc(hidden)]
pub struct Node(TensorId, Spec);

impl Watchable for Tensor {
    fn node(&self) -> Node {
        Node(self.id(), *self.spec())
    }
}

impl Watchable for Variable {
    fn node(&self) -> Node {
        Node(self.id(), *self.spec())
    }
}

impl<W: Watchable> Watchable for &W {
    fn node(&self) -> Node {
        (*self).node()
    }
}

/// What [`GradientTape::gradient`] differentiates with respect to: one tensor or variable, which
/// gives `Option<Tensor>`, or a sequence of them, which gives `Vec<Option<Tensor>>`.
pub trait Sources {
    /// The gradients, in the structure of the sources.
    type Gradients;

    #[doc(hidden)]
    fn nodes(&self) -> Vec<Node>;

    #[doc(hidden)]
    fn pack(gradients: Vec<Option<Tensor>>) -> Self::Gradients;
}

macro_rules! single_source {
    ($($Type:ty),*) => {$(
        impl Sources for &$Type {
            type Gradients = Option<Tensor>;

            fn nodes(&self) -> Vec<Node> {
                vec![self.node()]
            }

            fn pack(mut gradients: Vec<Option<Tensor>>) -> Option<Tensor> {
                gradients.swap_remove(0)
            }
        }
    )*};
}

single_source!(Tensor, Variable);

impl<W: Watchable> Sources for &[W] {
    type Gradients = Vec<Option<Tensor>>;

    fn nodes(&self) -> Vec<Node> {
        self.iter().map(Watchable::node).collect()
    }

    fn pack(gradients: Vec<Option<Tensor>>) -> Vec<Option<Tensor>> {
        gradients
    }
}

impl<W: Watchable, const N: usize> Sources for &[W; N] {
    type Gradients = Vec<Option<Tensor>>;

    fn nodes(&self) -> Vec<Node> {
        self.iter().map(Watchable::node).collect()
    }

    fn pack(gradients: Vec<Option<Tensor>>) -> Vec<Option<Tensor>> {
        gradients
    }
}

impl<W: Watchable> Sources for &Vec<W> {
    type Gradients = Vec<Option<Tensor>>;

    fn nodes(&self) -> Vec<Node> {
        self.iter().map(Watchable::node).collect()
    }

    fn pack(gradients: Vec<Option<Tensor>>) -> Vec<Option<Tensor>> {
        gradients
    }
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
        let recording = Rc::new(Recording {
            watches_variables,
            paused: Cell::new(0),
            spent: Cell::new(false),
            tracked: RefCell::default(),
            records: RefCell::default(),
        });
        ACTIVE.with_borrow_mut(|active| active.push(recording.clone()));
        GradientTape { recording, persistent }
    }

    /// Tracks a tensor, or a variable that is not trainable. A source that is not floating is
    /// ignored: no gradient exists with respect to it.
    pub fn watch(&self, source: impl Watchable) {
        let Node(id, spec) = source.node();
        if spec.dtype.is_floating() {
            self.recording.tracked.borrow_mut().insert(id);
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
        self.recording.records.borrow_mut().clear();
        self.recording.tracked.borrow_mut().clear();
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
        let gradients = backward(records, seeds, &nodes)?;
        pack::<S>(gradients, &nodes, unconnected)
    }

    /// The records to walk; a tape that is not persistent gives them up and stops recording.
    fn take_records(&self) -> Result<Vec<Rc<Record>>> {
        if self.persistent {
            return Ok(self.recording.records.borrow().clone());
        }
        if self.recording.spent.replace(true) {
            return Err(Error::invalid_argument(
                "GradientTape.gradient: a tape that is not persistent gives one gradient; \
                 make it with GradientTape::persistent() for more",
            ));
        }
        self.deactivate();
        Ok(self.recording.records.take())
    }

    fn deactivate(&self) {
        // The thread's list is gone where a tape is dropped while the thread ends.
        let _ = ACTIVE.try_with(|active| {
            active.borrow_mut().retain(|other| !Rc::ptr_eq(other, &self.recording));
        });
    }
}

impl Drop for GradientTape {
    fn drop(&mut self) {
        self.deactivate();
    }
}

/// Stops recordings for as long as it lives.
struct Pause(Vec<Rc<Recording>>);

impl Pause {
    fn new(recordings: Vec<Rc<Recording>>) -> Pause {
        for recording in &recordings {
            recording.paused.set(recording.paused.get() + 1);
        }
        Pause(recordings)
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        for recording in &self.0 {
            recording.paused.set(recording.paused.get() - 1);
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
        let _pause = Pause::new(ACTIVE.with_borrow(Vec::clone));
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

/// Tells the tapes of this thread what was executed; the gradient is asked for only where one of
/// them tracks an input.
pub(crate) fn record(gradient: impl FnOnce() -> Gradient, inputs: &[&Tensor], outputs: &[Tensor]) {
    ACTIVE.with_borrow(|active| {
        let tracks = |recording: &&Rc<Recording>| {
            let tracked = recording.tracked.borrow();
            recording.paused.get() == 0 && inputs.iter().any(|x| tracked.contains(&x.id()))
        };
        let recordings: Vec<_> = active.iter().filter(tracks).collect();
        if recordings.is_empty() {
            return;
        }
        let Gradient::Rule(saves, rule) = gradient() else { return };
        let node = |tensor: &Tensor| (tensor.id(), *tensor.spec());
        let save = |tensor: &Tensor, saved: bool| saved.then(|| tensor.clone());
        let inputs_and_index = inputs.iter().enumerate();
        let outputs_and_index = outputs.iter().enumerate();
        let record = Rc::new(Record {
            rule,
            inputs: inputs.iter().map(|x| node(x)).collect(),
            outputs: outputs.iter().map(node).collect(),
            saved_inputs: inputs_and_index.map(|(i, x)| save(x, saves.has_input(i))).collect(),
            saved_outputs: outputs_and_index.map(|(i, y)| save(y, saves.has_output(i))).collect(),
        });
        for recording in recordings {
            recording.push(record.clone());
        }
    });
}

/// The value of a variable as the tapes are to see it: another node each time it is read, tied to
/// the variable, so that assignments between reads do not confuse them.
pub(crate) fn read_variable(variable: &Variable, value: &Tensor) -> Tensor {
    ACTIVE.with_borrow(|active| {
        let mut read = None;
        for recording in active.iter().filter(|recording| recording.paused.get() == 0) {
            if !recording.tracks_variable(variable) {
                continue;
            }
            let (_, record) = read.get_or_insert_with(|| {
                let tensor = value.alias();
                let spec = *variable.spec();
                let record = Rc::new(Record {
                    rule: Box::new(|call, _| Ok(Some(call.upstream().clone()))),
                    inputs: vec![(variable.id(), spec)],
                    outputs: vec![(tensor.id(), spec)],
                    saved_inputs: vec![None],
                    saved_outputs: vec![None],
                });
                (tensor, record)
            });
            recording.push(record.clone());
        }
        read.map_or_else(|| value.clone(), |(tensor, _)| tensor)
    })
}

impl Recording {
    fn push(&self, record: Rc<Record>) {
        self.tracked.borrow_mut().extend(record.outputs.iter().map(|(id, _)| *id));
        self.records.borrow_mut().push(record);
    }

    /// Whether reads of `variable` are recorded, which the first read decides.
    fn tracks_variable(&self, variable: &Variable) -> bool {
        let mut tracked = self.tracked.borrow_mut();
        if self.watches_variables && variable.trainable() && variable.dtype().is_floating() {
            tracked.insert(variable.id());
        }
        tracked.contains(&variable.id())
    }
}

/// Walks the records backwards from the seeds and returns the gradient that reaches each source.
fn backward(
    records: Vec<Rc<Record>>,
    seeds: Vec<(TensorId, Tensor)>,
    sources: &[Node],
) -> Result<Vec<Option<Tensor>>> {
    let sources: Vec<TensorId> = sources.iter().map(|Node(id, _)| *id).collect();
    let reached = reached_from(&sources, &records);
    let mut gradients: HashMap<TensorId, Tensor> = HashMap::new();
    for (id, seed) in seeds {
        accumulate(&mut gradients, id, seed)?;
    }
    // By value, so that what a record saved is free once its gradients are known.
    for record in records.into_iter().rev() {
        let outputs = &record.outputs;
        if !outputs.iter().any(|(id, _)| reached.contains(id) && gradients.contains_key(id)) {
            continue;
        }
        let take = |(id, _): &(TensorId, Spec)| match sources.contains(id) {
            true => gradients.get(id).cloned(),
            false => gradients.remove(id),
        };
        let upstreams = outputs.iter().map(take).collect();
        let call = Call { record: &record, upstreams };
        for (i, (id, spec)) in record.inputs.iter().enumerate() {
            if !reached.contains(id) {
                continue;
            }
            if let Some(gradient) = (record.rule)(&call, i)? {
                accumulate(&mut gradients, *id, math::sum_to_shape(gradient, &spec.shape)?)?;
            }
        }
    }
    Ok(sources.iter().map(|id| gradients.get(id).cloned()).collect())
}

/// The nodes whose value depends on a source: a gradient with respect to any other is not needed.
fn reached_from(sources: &[TensorId], records: &[Rc<Record>]) -> HashSet<TensorId> {
    let mut reached: HashSet<TensorId> = sources.iter().copied().collect();
    for record in records {
        if record.inputs.iter().any(|(id, _)| reached.contains(id)) {
            reached.extend(record.outputs.iter().map(|(id, _)| *id));
        }
    }
    reached
}

fn accumulate(
    gradients: &mut HashMap<TensorId, Tensor>,
    id: TensorId,
    gradient: Tensor,
) -> Result<()> {
    let sum = match gradients.remove(&id) {
        Some(earlier) => math::add(earlier, gradient)?,
        None => gradient,
    };
    gradients.insert(id, sum);
    Ok(())
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
