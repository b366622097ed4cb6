//! What a tape holds: the calls that this thread made, as far as a tape tracks their inputs.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;

use crate::error::Result;
use crate::op::{Gradient, Rule, Saves};
use crate::shape::Spec;
use crate::tensor::{Tensor, TensorId};
use crate::variable::Variable;

thread_local! {
    static ACTIVE: RefCell<Vec<Rc<Recording>>> = const { RefCell::new(Vec::new()) };
}

/// The calls recorded by one tape, and the nodes whose use it records.
pub(super) struct Recording {
    watches_variables: bool,
    // How many pauses are under way.
    pauses: Cell<usize>,
    tracked: RefCell<HashSet<TensorId>>,
    records: RefCell<Vec<Rc<Record>>>,
}

/// One call: its gradient rule, its nodes and the values that the rule reads.
pub(super) struct Record {
    pub(super) rule: Rule,
    pub(super) inputs: Vec<(TensorId, Spec)>,
    pub(super) outputs: Vec<(TensorId, Spec)>,
    saved_inputs: Vec<Option<Tensor>>,
    saved_outputs: Vec<Option<Tensor>>,
}

impl Recording {
    /// A recording of what this thread executes from now on.
    pub(super) fn start(watches_variables: bool) -> Rc<Recording> {
        let recording = Rc::new(Recording {
            watches_variables,
            pauses: Cell::new(0),
            tracked: RefCell::default(),
            records: RefCell::default(),
        });
        ACTIVE.with_borrow_mut(|active| active.push(recording.clone()));
        recording
    }

    /// Ends a recording; what it holds stays.
    pub(super) fn stop(self: &Rc<Recording>) {
        // The thread's list is gone where a tape is dropped while the thread ends.
        let _ = ACTIVE.try_with(|active| {
            active.borrow_mut().retain(|other| !Rc::ptr_eq(other, self));
        });
    }

    /// The recordings of this thread.
    pub(super) fn active() -> Vec<Rc<Recording>> {
        ACTIVE.with_borrow(Vec::clone)
    }

    /// Those of this thread that are to know what is computed from `inputs`.
    fn tracking(inputs: &[&Tensor]) -> Vec<Rc<Recording>> {
        let tracks = |recording: &&Rc<Recording>| {
            let tracked = recording.tracked.borrow();
            !recording.is_paused() && inputs.iter().any(|x| tracked.contains(&x.id()))
        };
        ACTIVE.with_borrow(|active| active.iter().filter(tracks).cloned().collect())
    }

    pub(super) fn pause(&self) {
        self.pauses.set(self.pauses.get() + 1);
    }

    pub(super) fn resume(&self) {
        self.pauses.set(self.pauses.get() - 1);
    }

    fn is_paused(&self) -> bool {
        self.pauses.get() > 0
    }

    pub(super) fn watch(&self, id: TensorId) {
        self.tracked.borrow_mut().insert(id);
    }

    /// Is `id` watched, or computed from what is?
    pub(super) fn tracks(&self, id: TensorId) -> bool {
        self.tracked.borrow().contains(&id)
    }

    /// Forgets everything recorded and watched.
    pub(super) fn clear(&self) {
        self.records.borrow_mut().clear();
        self.tracked.borrow_mut().clear();
    }

    /// What was recorded, oldest first.
    pub(super) fn records(&self) -> Vec<Rc<Record>> {
        self.records.borrow().clone()
    }

    /// What was recorded, oldest first, and is then forgotten.
    pub(super) fn take_records(&self) -> Vec<Rc<Record>> {
        self.records.take()
    }

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

/// A recorded call, as its gradient rule sees it.
pub struct Call<'a> {
    record: &'a Record,
    upstreams: Vec<Option<Tensor>>,
    shared: OnceCell<Vec<Tensor>>,
}

impl Record {
    fn new(rule: Rule, saves: Saves, inputs: &[&Tensor], outputs: &[Tensor]) -> Record {
        let node = |tensor: &Tensor| (tensor.id(), *tensor.spec());
        let save = |tensor: &Tensor, saved: bool| saved.then(|| tensor.clone());
        let inputs_and_index = inputs.iter().enumerate();
        let outputs_and_index = outputs.iter().enumerate();
        Record {
            rule,
            inputs: inputs.iter().map(|x| node(x)).collect(),
            outputs: outputs.iter().map(node).collect(),
            saved_inputs: inputs_and_index.map(|(i, x)| save(x, saves.has_input(i))).collect(),
            saved_outputs: outputs_and_index.map(|(i, y)| save(y, saves.has_output(i))).collect(),
        }
    }
}

impl<'a> Call<'a> {
    pub(super) fn new(record: &'a Record, upstreams: Vec<Option<Tensor>>) -> Call<'a> {
        Call { record, upstreams, shared: OnceCell::new() }
    }

    /// The gradient with respect to the only output.
    pub fn upstream(&self) -> &Tensor {
        self.upstreams[0].as_ref().expect("a rule runs only where a gradient reaches an output")
    }

    /// The gradient with respect to output `index`, where one reaches it.
    pub fn upstream_of(&self, index: usize) -> Option<&Tensor> {
        self.upstreams[index].as_ref()
    }

    /// An input that the rule declared in its [`Saves`](crate::op::Saves).
    ///
    /// # Panics
    /// If it was not declared.
    pub fn input(&self, index: usize) -> &Tensor {
        self.record.saved_inputs[index].as_ref().expect("the rule reads an input it did not save")
    }

    /// An output that the rule declared in its [`Saves`](crate::op::Saves).
    ///
    /// # Panics
    /// If it was not declared.
    pub fn output(&self, index: usize) -> &Tensor {
        self.record.saved_outputs[index].as_ref().expect("the rule reads an output it did not save")
    }

    /// What a rule computes for several inputs at once: by `compute` the first time.
    ///
    /// # Errors
    /// Those of `compute`.
    pub fn shared(&self, compute: impl FnOnce() -> Result<Vec<Tensor>>) -> Result<&[Tensor]> {
        if self.shared.get().is_none() {
            // Nobody else sets it meanwhile: `compute` is not given the call.
            let _ = self.shared.set(compute()?);
        }
        Ok(self.shared.get().expect("it was set above"))
    }

    /// Dtype and shape of an input; always known.
    pub fn input_spec(&self, index: usize) -> &Spec {
        &self.record.inputs[index].1
    }
}

/// Does a tape of this thread record what is executed?
pub(crate) fn is_recording() -> bool {
    ACTIVE.with_borrow(|active| active.iter().any(|recording| !recording.is_paused()))
}

/// Tells the tapes of this thread what was executed; the gradient is asked for only where one of
/// them tracks an input.
pub(crate) fn record(gradient: impl FnOnce() -> Gradient, inputs: &[&Tensor], outputs: &[Tensor]) {
    let recordings = Recording::tracking(inputs);
    if recordings.is_empty() {
        return;
    }
    let Gradient::Rule(saves, rule) = gradient() else { return };
    let record = Rc::new(Record::new(rule, saves, inputs, outputs));
    for recording in recordings {
        recording.push(record.clone());
    }
}

/// The value of a variable as the tapes are to see it: another node each time it is read, tied to
/// the variable, so that assignments between reads do not confuse them.
pub(crate) fn read_variable(variable: &Variable, value: &Tensor) -> Tensor {
    ACTIVE.with_borrow(|active| {
        let mut read = None;
        for recording in active.iter().filter(|recording| !recording.is_paused()) {
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
