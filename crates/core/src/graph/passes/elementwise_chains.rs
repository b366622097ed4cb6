//! Chains of element-wise ops: ops of one shape that feed each other become one
//! [`ElementwiseChain`], so that what lies between them never exists in memory.

use super::Graph;
use crate::dtype::DType;
use crate::error::Result;
use crate::graph::{Node, Source, Value};
use crate::ops::fused::{ElementwiseChain, Function, Operand, Step};
use crate::shape::Shape;

/// The most arrays that a chain reads, and that it writes.
const MOST_INPUTS: usize = 12;
const MOST_OUTPUTS: usize = 6;

pub(super) fn run(graph: &mut Graph) -> Result<Vec<String>> {
    graph.drop_dead();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut group_of: Vec<Option<usize>> = vec![None; graph.nodes.len()];
    for node in 0..graph.nodes.len() {
        if function(graph, node).is_none() {
            continue;
        }
        let mut own = groups.len();
        groups.push(vec![node]);
        group_of[node] = Some(own);
        // Joins the groups of its inputs, the nearest first, as far as one chain can do them all.
        let inputs: Vec<usize> = graph.nodes[node].inputs.iter().map(|input| input.node).collect();
        for input in inputs.into_iter().rev() {
            let Some(other) = group_of[input].filter(|&other| other != own) else { continue };
            let mut joined = [&groups[other][..], &groups[own][..]].concat();
            joined.sort_unstable();
            if is_convex(graph, &joined) && Chain::of(graph, &joined).is_some() {
                joined.iter().for_each(|&member| group_of[member] = Some(other));
                groups[own].clear();
                groups[other] = joined;
                own = other;
            }
        }
    }
    let mut notes = Vec::new();
    for members in groups.into_iter().filter(|members| members.len() > 1) {
        let Some(chain) = Chain::of(graph, &members) else { continue };
        let note = chain.describe(graph, &members);
        let before = graph.clone();
        chain.replace(graph, &members);
        // Two chains may need each other though neither is in its own way: then one stays as it is.
        if graph.order(&|_| Vec::new()).is_none() {
            *graph = before;
            continue;
        }
        notes.push(note);
    }
    Ok(notes)
}

/// What a node computes element by element, if it can be a step of a chain.
fn function(graph: &Graph, node: usize) -> Option<Function> {
    let Node { source: Source::Op(op), inputs, outputs } = &graph.nodes[node] else { return None };
    let function = op.elementwise()?;
    let dtypes: Vec<DType> = inputs.iter().map(|&input| graph.spec(input).dtype).collect();
    let result = ElementwiseChain::result_dtype(function, &dtypes)?;
    let readable =
        |input: &Value| ElementwiseChain::reads(&graph.spec(*input).shape, &outputs[0].shape);
    (result == outputs[0].dtype && inputs.iter().all(readable)).then_some(function)
}

/// Whether nothing outside of `members`, which are in order, lies between two of them.
fn is_convex(graph: &Graph, members: &[usize]) -> bool {
    let first = members[0];
    let mut seen = vec![false; graph.nodes.len()];
    let outside = |node: &usize| members.binary_search(node).is_err();
    let mut open: Vec<usize> = members
        .iter()
        .flat_map(|&member| graph.nodes[member].inputs.iter().map(|input| input.node))
        .filter(outside)
        .collect();
    while let Some(node) = open.pop() {
        // Nodes are in order: what comes before the first member cannot depend on any.
        if node < first || std::mem::replace(&mut seen[node], true) {
            continue;
        }
        for input in &graph.nodes[node].inputs {
            if members.binary_search(&input.node).is_ok() {
                return false;
            }
            open.push(input.node);
        }
    }
    true
}

/// A chain that could take the place of nodes.
struct Chain {
    op: ElementwiseChain,
    inputs: Vec<Value>,
    /// The nodes whose results are needed outside.
    outputs: Vec<usize>,
}

impl Chain {
    /// The chain of `members`, which are in order; none where they differ in shape or are too many
    /// for one.
    fn of(graph: &Graph, members: &[usize]) -> Option<Chain> {
        let shape = |member: usize| graph.nodes[member].outputs[0].shape;
        let whole: Shape = shape(members[0]);
        if members.iter().any(|&member| shape(member) != whole) {
            return None;
        }
        let mut inputs: Vec<Value> = Vec::new();
        let mut steps = Vec::with_capacity(members.len());
        for &member in members {
            let operand = |value: &Value| match members.binary_search(&value.node) {
                Ok(step) => Operand::Step(step),
                Err(_) => {
                    let known = inputs.iter().position(|input| input == value);
                    Operand::Input(known.unwrap_or_else(|| {
                        inputs.push(*value);
                        inputs.len() - 1
                    }))
                }
            };
            let operands: Vec<Operand> = graph.nodes[member].inputs.iter().map(operand).collect();
            steps.push(Step::new(function(graph, member)?, &operands));
        }
        let needed = |member: &usize| {
            let value = Value { node: *member, output: 0 };
            let inside =
                members.iter().flat_map(|&m| &graph.nodes[m].inputs).filter(|&&v| v == value);
            graph.uses(value) > inside.count()
        };
        let outputs: Vec<usize> = members.iter().copied().filter(needed).collect();
        if inputs.len() > MOST_INPUTS || outputs.len() > MOST_OUTPUTS {
            return None;
        }
        let dtypes: Vec<DType> = inputs.iter().map(|&input| graph.spec(input).dtype).collect();
        let places: Vec<usize> =
            outputs.iter().filter_map(|output| members.binary_search(output).ok()).collect();
        let op = ElementwiseChain::new(&dtypes, &steps, &places).ok()?;
        Some(Chain { op, inputs, outputs })
    }

    fn describe(&self, graph: &Graph, members: &[usize]) -> String {
        let names: Vec<_> =
            members.iter().map(|&member| graph.label(&graph.nodes[member])).collect();
        let shape = graph.nodes[members[0]].outputs[0].shape;
        format!("{} of {shape} in one sweep", names.join(" + "))
    }

    fn replace(self, graph: &mut Graph, members: &[usize]) {
        let outputs = self.outputs.iter().map(|&output| graph.nodes[output].outputs[0]).collect();
        debug_assert!(self.outputs.iter().all(|output| members.contains(output)));
        let source = Source::Op(std::sync::Arc::new(self.op));
        let node = graph.push(Node { source, inputs: self.inputs, outputs });
        for (output, &old) in self.outputs.iter().enumerate() {
            graph.replace(Value { node: old, output: 0 }, Value { node, output });
        }
    }
}
