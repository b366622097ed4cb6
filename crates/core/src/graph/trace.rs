//! Recording what a closure calls.
//!
//! While a thread traces, [`apply`](crate::execute::apply) adds nodes to a graph instead of
//! computing, and variables are read and assigned in the trace alone.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Graph, Node, Source, Symbol, Value};
use crate::error::{Error, Result};
use crate::execute::Few;
use crate::op::Op;
use crate::random::start;
use crate::shape::Spec;
use crate::tape;
use crate::tensor::{Tensor, TensorId};
use crate::variable::Variable;

thread_local! {
    static ACTIVE: RefCell<Option<Trace>> = const { RefCell::new(None) };
}

struct Trace {
    id: u64,
    graph: Graph,
    /// What each variable that was read or assigned holds by now, and whether it was assigned.
    variables: Vec<(Variable, Value, bool)>,
    constants: HashMap<TensorId, Value>,
}

/// Does this thread trace a function?
pub(crate) fn is_active() -> bool {
    ACTIVE.with_borrow(Option::is_some)
}

/// Runs `work` on symbolic arguments of these specs; `results` lists the tensors of what it
/// returns, which the graph computes.
pub(super) fn trace<R>(
    arguments: &[Spec],
    work: impl FnOnce(&[Tensor]) -> Result<R>,
    results: impl FnOnce(&R) -> Vec<Tensor>,
) -> Result<(Graph, R)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut trace = Trace {
        id: NEXT.fetch_add(1, Ordering::Relaxed),
        graph: Graph::default(),
        variables: Vec::new(),
        constants: HashMap::new(),
    };
    let arguments = arguments.iter().enumerate();
    let arguments: Vec<Tensor> =
        arguments.map(|(i, spec)| trace.source(Source::Argument(i), *spec)).collect();
    // Tapes from outside are not to hold symbols.
    let _pause = tape::pause();
    let guard = Resume(ACTIVE.replace(Some(trace)));
    let returned = work(&arguments)?;
    let mut trace = ACTIVE.take().expect("only the guard takes it earlier");
    drop(guard);
    for tensor in results(&returned) {
        let value = trace.value_of(&tensor, "tf::function: a result")?;
        trace.graph.results.push(value);
    }
    let assigned = trace.variables.into_iter().filter(|(_, _, assigned)| *assigned);
    trace.graph.updates = assigned.map(|(variable, value, _)| (variable, value)).collect();
    Ok((trace.graph, returned))
}

/// Goes back to what was traced before, also where a closure fails or panics.
struct Resume(Option<Trace>);

impl Drop for Resume {
    fn drop(&mut self) {
        ACTIVE.set(self.0.take());
    }
}

impl Trace {
    /// A node without inputs, as a tensor.
    fn source(&mut self, source: Source, spec: Spec) -> Tensor {
        let value = self.source_value(source, spec);
        self.tensor(value)
    }

    fn source_value(&mut self, source: Source, spec: Spec) -> Value {
        let node = Node { source, inputs: Vec::new(), outputs: vec![spec] };
        Value { node: self.graph.push(node), output: 0 }
    }

    fn tensor(&self, value: Value) -> Tensor {
        Tensor::traced(*self.graph.spec(value), Symbol { trace: self.id, value })
    }

    /// The value that a tensor stands for; one with values of its own becomes a constant.
    fn value_of(&mut self, tensor: &Tensor, user: &str) -> Result<Value> {
        match tensor.symbol() {
            Some(symbol) if symbol.trace == self.id => Ok(symbol.value),
            Some(_) => Err(left_behind(user, tensor.spec())),
            None => {
                if let Some(&value) = self.constants.get(&tensor.id()) {
                    return Ok(value);
                }
                let value = self.source_value(Source::Constant(tensor.clone()), *tensor.spec());
                self.constants.insert(tensor.id(), value);
                Ok(value)
            }
        }
    }

    /// What a variable holds by now.
    fn variable(&mut self, variable: &Variable) -> Value {
        let held = self.variables.iter().find(|(other, ..)| other.id() == variable.id());
        if let Some((_, value, _)) = held {
            return *value;
        }
        let value = self.source_value(Source::Variable(variable.clone()), *variable.spec());
        self.variables.push((variable.clone(), value, false));
        value
    }

    fn assign(&mut self, variable: &Variable, value: Value) {
        self.variable(variable);
        let held = self.variables.iter_mut().find(|(other, ..)| other.id() == variable.id());
        let held = held.expect("the variable was just looked up");
        (held.1, held.2) = (value, true);
    }

    fn node(
        &mut self,
        op: Arc<dyn Op>,
        inputs: impl IntoIterator<Item = Result<Value>>,
        outputs: &[Spec],
    ) -> Result<usize> {
        let inputs = inputs.into_iter().collect::<Result<Vec<_>>>()?;
        Ok(self.graph.push(Node { source: Source::Op(op), inputs, outputs: outputs.to_vec() }))
    }
}

/// The error of using a tensor of a trace that is over, or of another thread's.
pub(crate) fn left_behind(user: &str, spec: &Spec) -> Error {
    Error::traced(format!(
        "{user} is a tensor of {spec} that tf::function traced and that has no values outside of \
         it; return it from the function and use what the call returns"
    ))
}

fn with<R>(work: impl FnOnce(&mut Trace) -> R) -> Option<R> {
    ACTIVE.with_borrow_mut(|active| active.as_mut().map(work))
}

/// Runs `work` eagerly, also while this thread traces a function.
pub(crate) fn suspended<R>(work: impl FnOnce() -> R) -> R {
    let _resume = Resume(ACTIVE.take());
    work()
}

/// Adds an op to the graph being traced.
pub(crate) fn record(op: Arc<dyn Op>, inputs: &[&Tensor], outputs: &[Spec]) -> Result<Few<Tensor>> {
    let recorded = with(|trace| {
        let name = op.name();
        let values: Vec<_> = inputs.iter().map(|input| trace.value_of(input, name)).collect();
        let node = trace.node(op, values, outputs)?;
        let outputs = 0..outputs.len();
        Ok(outputs.map(|output| trace.tensor(Value { node, output })).collect())
    });
    recorded.expect("the caller has seen that a trace is active")
}

/// Adds an op that [updates](Op::updates) variables, which then hold its outputs.
pub(crate) fn record_update(
    op: Arc<dyn Op>,
    variables: &[&Variable],
    inputs: &[&Tensor],
) -> Result<()> {
    let recorded = with(|trace| {
        let name = op.name();
        let mut values: Vec<_> =
            variables.iter().map(|variable| Ok(trace.variable(variable))).collect();
        values.extend(inputs.iter().map(|input| trace.value_of(input, name)).collect::<Vec<_>>());
        let outputs: Vec<Spec> = variables.iter().map(|variable| *variable.spec()).collect();
        let node = trace.node(op, values, &outputs)?;
        for (output, variable) in variables.iter().enumerate() {
            trace.assign(variable, Value { node, output });
        }
        Ok(())
    });
    recorded.expect("the caller has seen that a trace is active")
}

/// What a variable holds by now in the graph being traced, if one is.
pub(crate) fn read_variable(variable: &Variable) -> Option<Tensor> {
    with(|trace| {
        let value = trace.variable(variable);
        trace.tensor(value)
    })
}

/// Lets a variable hold another value from now on in the graph being traced.
pub(crate) fn assign_variable(variable: &Variable, value: &Tensor) -> Result<()> {
    let assigned = with(|trace| {
        let value = trace.value_of(value, "Variable.assign: the value")?;
        trace.assign(variable, value);
        Ok(())
    });
    assigned.expect("the caller has seen that a trace is active")
}

/// Where the global generator will stand, which then passes over `blocks`; none outside a trace.
pub(crate) fn random_start(blocks: u128) -> Option<Tensor> {
    with(|trace| {
        trace.graph.draws.push(blocks);
        let index = trace.graph.draws.len() - 1;
        trace.source(Source::RandomStart(index), start::spec())
    })
}
