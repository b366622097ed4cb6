//! Compiled functions: a graph of ops, what rewrites it, and what runs it.
//!
//! - `trace`: runs a closure on symbolic tensors and records what it calls.
//! - [`Graph`]: what was recorded, without side effects: assignments to variables are values that
//!   the variables take when the function ends.
//! - `passes`: rewrite it, one file each.
//! - `plan`: order, places in one arena, updates in place.
//! - `run`: the executor of a plan.
//! - [`function`](function()): the user's side.

mod display;
mod function;
pub(crate) mod passes;
mod plan;
mod run;
pub(crate) mod trace;
mod view;

use std::any::Any;
use std::sync::Arc;

use crate::error::Result;
use crate::op::Op;
use crate::shape::Spec;
use crate::tensor::{Tensor, TensorId};
use crate::variable::Variable;

pub use function::{ConcreteFunction, Function, function};
pub use passes::Passes;
pub use view::{NodeKind, NodeView};

/// One output of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Value {
    pub(crate) node: usize,
    pub(crate) output: usize,
}

/// What a symbolic tensor stands for: a value of one trace's graph.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Symbol {
    trace: u64,
    value: Value,
}

/// Where a node's outputs come from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// The argument of this index.
    Argument(usize),
    /// What a variable holds when the function is called.
    Variable(Variable),
    /// A tensor that the closure captured or made of nothing.
    Constant(Tensor),
    /// Where the global generator stands at the draw of this index.
    RandomStart(usize),
    /// An op applied to the node's inputs.
    Op(Arc<dyn Op>),
}

#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) source: Source,
    pub(crate) inputs: Vec<Value>,
    pub(crate) outputs: Vec<Spec>,
}

/// A traced computation. `Display` prints it as text, [`to_dot`](Graph::to_dot) in Graphviz's
/// language.
///
/// ```
/// use tapeflow_core::{Tensor, function, math};
///
/// let double_exp = function(|x: Tensor| math::exp(&x + &x));
/// let concrete = double_exp.get_concrete_function(&Tensor::from([1.0f32, 2.0]))?;
/// let text = concrete.traced_graph().to_string();
/// assert!(text.contains("math.add"), "{text}");
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Graph {
    pub(crate) nodes: Vec<Node>,
    /// What the function returns.
    pub(crate) results: Vec<Value>,
    /// What variables hold once the function has run.
    pub(crate) updates: Vec<(Variable, Value)>,
    /// Blocks of the global stream that each draw uses up, in order; those of draws without a use
    /// too, as eagerly.
    pub(crate) draws: Vec<u128>,
    /// The variables whose values ops read and write in panels.
    pub(crate) panels: Vec<TensorId>,
    /// What ops compute that nothing needs but that run all the same: those of a graph that no pass
    /// clears of them.
    pub(crate) unneeded: Vec<Value>,
}

impl Graph {
    pub(crate) fn push(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Adds an op; its specs are inferred.
    pub(crate) fn apply(&mut self, op: impl Op, inputs: &[Value]) -> Result<Value> {
        self.apply_shared(Arc::new(op), inputs)
    }

    /// [`Graph::apply`], compiled once and not for each op.
    fn apply_shared(&mut self, op: Arc<dyn Op>, inputs: &[Value]) -> Result<Value> {
        let specs: Vec<Spec> = inputs.iter().map(|&input| *self.spec(input)).collect();
        let outputs = op.infer(&specs)?;
        let node = Node { source: Source::Op(op), inputs: inputs.to_vec(), outputs };
        Ok(Value { node: self.push(node), output: 0 })
    }

    pub(crate) fn spec(&self, value: Value) -> &Spec {
        &self.nodes[value.node].outputs[value.output]
    }

    /// The op that computes a value, if it is a `T`, and its inputs.
    pub(crate) fn op<T: Op>(&self, value: Value) -> Option<(&T, &[Value])> {
        self.op_at(value.node)
    }

    /// The op of a node, if it is a `T`, and its inputs.
    pub(crate) fn op_at<T: Op>(&self, node: usize) -> Option<(&T, &[Value])> {
        let node = &self.nodes[node];
        let Source::Op(op) = &node.source else { return None };
        let op: &dyn Any = &**op;
        Some((op.downcast_ref()?, &node.inputs))
    }

    /// Where a value is used: once for each input that it is, each result and each update.
    pub(crate) fn uses(&self, value: Value) -> usize {
        let inputs = self.nodes.iter().flat_map(|node| &node.inputs);
        inputs.chain(self.ends()).filter(|&&used| used == value).count()
    }

    /// What has to be there in the end: each result and each update.
    pub(crate) fn ends(&self) -> impl Iterator<Item = &Value> {
        let updates = self.updates.iter().map(|(_, value)| value);
        self.results.iter().chain(updates).chain(&self.unneeded)
    }

    /// Lets every op run that there is now, also where nothing needs it.
    pub(crate) fn keep_unneeded(&mut self) {
        let op = |node: &usize| matches!(self.nodes[*node].source, Source::Op(_));
        let values = (0..self.nodes.len()).filter(op).map(|node| Value { node, output: 0 });
        let is_used = |value: &Value| {
            let mut inputs = self.nodes.iter().flat_map(|node| &node.inputs);
            inputs.any(|input| input.node == value.node)
                || self.ends().any(|end| end.node == value.node)
        };
        self.unneeded = values.filter(|value| !is_used(value)).collect();
    }

    /// Each place where a value is used.
    fn uses_mut(&mut self) -> impl Iterator<Item = &mut Value> {
        let inputs = self.nodes.iter_mut().flat_map(|node| &mut node.inputs);
        let updates = self.updates.iter_mut().map(|(_, value)| value);
        inputs.chain(self.results.iter_mut()).chain(updates).chain(&mut self.unneeded)
    }

    /// The nodes that have a value among their inputs.
    pub(crate) fn users(&self, value: Value) -> Vec<usize> {
        let uses = |&node: &usize| self.nodes[node].inputs.contains(&value);
        (0..self.nodes.len()).filter(uses).collect()
    }

    /// Lets everything that uses `old` use `new`.
    pub(crate) fn replace(&mut self, old: Value, new: Value) {
        debug_assert_eq!(self.spec(old), self.spec(new));
        self.uses_mut().filter(|used| **used == old).for_each(|used| *used = new);
    }

    /// Drops the nodes that nothing needs and puts the others in order.
    pub(crate) fn drop_dead(&mut self) {
        let order = self.order(&|_| Vec::new()).expect("a trace has no circles");
        self.keep(&order);
    }

    /// The nodes that results and updates need, each behind its inputs and behind those that
    /// `before` names for it; otherwise as early as they were traced. None where `before` makes a
    /// circle.
    pub(crate) fn order(&self, before: &dyn Fn(usize) -> Vec<usize>) -> Option<Vec<usize>> {
        #[derive(Clone, Copy, PartialEq)]
        enum Mark {
            Unseen,
            Open,
            Done,
        }
        let mut marks = vec![Mark::Unseen; self.nodes.len()];
        let mut order = Vec::with_capacity(self.nodes.len());
        let mut needed = vec![false; self.nodes.len()];
        let mut open: Vec<usize> = self.ends().map(|value| value.node).collect();
        while let Some(node) = open.pop() {
            if !std::mem::replace(&mut needed[node], true) {
                open.extend(self.nodes[node].inputs.iter().map(|value| value.node));
            }
        }
        // Depth first without recursion: a graph may be long.
        for root in (0..self.nodes.len()).filter(|&node| needed[node]) {
            let mut stack = vec![root];
            while let Some(&node) = stack.last() {
                if marks[node] == Mark::Done {
                    stack.pop();
                    continue;
                }
                let inputs = self.nodes[node].inputs.iter().map(|value| value.node);
                let first: Vec<usize> = inputs
                    .chain(before(node).into_iter().filter(|&other| needed[other]))
                    .filter(|&other| marks[other] != Mark::Done)
                    .collect();
                if first.is_empty() {
                    marks[node] = Mark::Done;
                    order.push(node);
                    stack.pop();
                    continue;
                }
                if marks[node] == Mark::Open {
                    return None;
                }
                marks[node] = Mark::Open;
                stack.extend(first);
            }
        }
        Some(order)
    }

    /// Keeps the nodes of `order` alone, in that order.
    pub(crate) fn keep(&mut self, order: &[usize]) {
        let mut places = vec![usize::MAX; self.nodes.len()];
        for (place, &node) in order.iter().enumerate() {
            places[node] = place;
        }
        self.nodes = order.iter().map(|&node| self.nodes[node].clone()).collect();
        self.uses_mut().for_each(|value| value.node = places[value.node]);
    }
}
