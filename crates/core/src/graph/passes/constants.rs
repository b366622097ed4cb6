//! Constants: computes once what depends on constants alone.

use super::Graph;
use crate::error::Result;
use crate::execute::evaluate;
use crate::graph::{Source, Value};
use crate::shape::Spec;
use crate::tensor::Tensor;

/// A result larger than this, in bytes, is computed anew in each call rather than kept.
const LARGEST: usize = 1 << 20;

pub(super) fn run(graph: &mut Graph) -> Result<Vec<String>> {
    let mut computed = 0;
    for index in 0..graph.nodes.len() {
        let node = &graph.nodes[index];
        let Source::Op(op) = &node.source else { continue };
        if node.outputs.iter().any(|spec| spec.num_bytes() > LARGEST) {
            continue;
        }
        let inputs: Option<Vec<Tensor>> =
            node.inputs.iter().map(|&input| constant(graph, input)).collect();
        let Some(inputs) = inputs.filter(|_| op.updates() == 0) else { continue };
        let inputs: Vec<&Tensor> = inputs.iter().collect();
        // What an op refuses is refused when the function runs, and only if it is needed.
        let specs: Vec<Spec> = inputs.iter().map(|input| *input.spec()).collect();
        let Ok(outputs) = evaluate(&**op, &inputs, &specs, &node.outputs) else { continue };
        let specs = node.outputs.clone();
        for (output, (tensor, spec)) in outputs.into_iter().zip(specs).enumerate() {
            let source = Source::Constant(tensor);
            let node =
                graph.push(crate::graph::Node { source, inputs: vec![], outputs: vec![spec] });
            graph.replace(Value { node: index, output }, Value { node, output: 0 });
        }
        computed += 1;
    }
    Ok(if computed > 0 { vec![format!("computed {computed} ops once")] } else { vec![] })
}

fn constant(graph: &Graph, value: Value) -> Option<Tensor> {
    match &graph.nodes[value.node].source {
        Source::Constant(tensor) => Some(tensor.clone()),
        _ => None,
    }
}
