//! Compiled functions, drawn: `tf.summary.graph`.

use std::collections::HashMap;

use tapeflow_core::graph::{NodeKind, NodeView};
use tapeflow_core::{Graph, Spec};

use crate::tensor::{dtype_number, encode_shape};
use crate::wire::Message;

/// The producer version that a `GraphDef` of TensorFlow 2.21 names.
const PRODUCER: i64 = 2474;

/// The graph as a `GraphDef` message: a node for each of the graph's, one for each update of a
/// variable and one for each result.
///
/// What only updates need is in the group `update`, which TensorBoard draws as one box until it is
/// opened: a training step looks like the network that it trains.
pub(crate) fn encode(graph: &Graph) -> Vec<u8> {
    let mut names = Names::default();
    let nodes: Vec<NodeView<'_>> = graph.nodes().collect();
    let returned = returned(graph, &nodes);
    let name = |(node, returned): (&NodeView<'_>, bool)| match returned {
        true => names.unique(&label(node)),
        false => names.unique(&format!("update/{}", label(node))),
    };
    let named: Vec<String> = nodes.iter().zip(returned).map(name).collect();
    let input = |&(node, output): &(usize, usize)| match output {
        0 => named[node].clone(),
        output => format!("{}:{output}", named[node]),
    };
    let spec = |(node, output): (usize, usize)| &nodes[node].outputs[output];
    let mut message = Message::new();
    for (node, name) in nodes.iter().zip(&named) {
        let encoded = Message::new()
            .bytes(1, name)
            .bytes(2, op(node))
            .each(&node.inputs, |message, value| message.bytes(3, input(value)));
        message = message.message(1, attributes(encoded, node));
    }
    for (variable, value) in graph.updates() {
        let held = nodes.iter().position(
            |node| matches!(node.kind, NodeKind::Variable(read) if read.is_same_as(variable)),
        );
        let encoded = Message::new()
            .bytes(1, names.unique(&format!("update/{}", variable.name())))
            .bytes(2, "AssignVariableOp")
            .each(held, |message, held| message.bytes(3, &named[held]))
            .bytes(3, input(&value));
        message = message.message(1, attribute(encoded, "dtype", dtype(spec(value))));
    }
    for (i, value) in graph.results().enumerate() {
        let encoded = Message::new()
            .bytes(1, names.unique(&format!("result_{i}")))
            .bytes(2, "Identity")
            .bytes(3, input(&value));
        message = message.message(1, attribute(encoded, "T", dtype(spec(value))));
    }
    message.message(4, Message::new().int(1, PRODUCER)).into_bytes()
}

/// Which nodes the results need; all of them where there are no results.
fn returned(graph: &Graph, nodes: &[NodeView<'_>]) -> Vec<bool> {
    let mut open: Vec<usize> = graph.results().map(|(node, _)| node).collect();
    let mut needed = vec![open.is_empty(); nodes.len()];
    while let Some(node) = open.pop() {
        if !std::mem::replace(&mut needed[node], true) {
            open.extend(nodes[node].inputs.iter().map(|&(node, _)| node));
        }
    }
    needed
}

/// What a node is called, as far as it need not be unique.
fn label(node: &NodeView<'_>) -> String {
    match &node.kind {
        NodeKind::Argument(index) => format!("argument_{index}"),
        NodeKind::Variable(variable) => variable.name().into(),
        NodeKind::Constant(_) => "constant".into(),
        NodeKind::RandomStart(_) => "global_generator".into(),
        NodeKind::Op { name, .. } => (*name).into(),
        _ => "node".into(),
    }
}

/// The kind of a node; TensorBoard draws constants and variables in their own way.
fn op(node: &NodeView<'_>) -> &'static str {
    match &node.kind {
        NodeKind::Variable(_) => "VarHandleOp",
        NodeKind::Constant(_) => "Const",
        NodeKind::Op { name, .. } => name,
        _ => "Placeholder",
    }
}

fn attributes(message: Message, node: &NodeView<'_>) -> Message {
    // `AttrValue.ListValue.shape`.
    let shapes = node.outputs.iter().map(|spec| encode_shape(&spec.shape));
    let shapes = Message::new().each(shapes, |list, shape| list.message(7, shape));
    let message = attribute(message, "_output_shapes", Message::new().message(1, shapes));
    let message = match node.outputs.first() {
        Some(spec) => attribute(message, "dtype", dtype(spec)),
        None => message,
    };
    match &node.kind {
        NodeKind::Op { attributes, .. } => {
            attribute(message, "attributes", Message::new().bytes(2, attributes))
        }
        NodeKind::Constant(tensor) if tensor.shape().num_elements() == 1 => {
            attribute(message, "value", Message::new().bytes(2, tensor.to_string()))
        }
        _ => message,
    }
}

/// An entry of the map from names to `AttrValue`.
fn attribute(message: Message, name: &str, value: Message) -> Message {
    message.message(5, Message::new().bytes(1, name).message(2, value))
}

/// `AttrValue.type`.
fn dtype(spec: &Spec) -> Message {
    Message::new().int(6, dtype_number(spec.dtype))
}

/// Gives each node a name of its own, counting as TensorFlow does: `conv2d`, `conv2d_1`, ...
#[derive(Default)]
struct Names(HashMap<String, usize>);

impl Names {
    fn unique(&mut self, label: &str) -> String {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._/-".contains(c);
        let label: String = label.chars().map(|c| if plain(c) { c } else { '_' }).collect();
        let label = if label.is_empty() { "node".into() } else { label };
        let mut name = label.clone();
        loop {
            let count = self.0.entry(label.clone()).or_default();
            if *count > 0 {
                name = format!("{label}_{count}");
            }
            *count += 1;
            // A label may look like another one's numbered name.
            if name == label || !self.0.contains_key(&name) {
                self.0.entry(name.clone()).or_insert(1);
                return name;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_plain() {
        let mut names = Names::default();
        let given = ["a", "a", "a_1", "a", "a b", "", "a_1", "é"].map(|label| names.unique(label));
        assert_eq!(given, ["a", "a_1", "a_1_1", "a_2", "a_b", "node", "a_1_2", "_"]);
    }
}
