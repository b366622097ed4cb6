//! Matrix product, bias and relu in one sweep over the result.

use super::{Graph, bias_of};
use crate::error::Result;
use crate::graph::Value;
use crate::linalg::MatMul;
use crate::ops::fused::FusedMatMul;
use crate::ops::nn::Relu;

pub(super) fn run(graph: &mut Graph) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    for node in 0..graph.nodes.len() {
        let value = Value { node, output: 0 };
        // With relu first: a sum that relu follows is fused from there.
        let relu = graph.op::<Relu>(value).map(|(_, inputs)| inputs[0]);
        let sum = relu.filter(|&sum| graph.uses(sum) == 1).unwrap_or(value);
        let followed = || {
            let users = graph.users(value);
            users.len() == 1 && graph.op_at::<Relu>(users[0]).is_some() && graph.uses(value) == 1
        };
        if relu.is_none() && followed() {
            continue;
        }
        let Some((product, bias)) = bias_of(graph, sum) else { continue };
        let Some((&MatMul { transpose_a, transpose_b }, inputs)) = graph.op::<MatMul>(product)
        else {
            continue;
        };
        if graph.uses(product) != 1 {
            continue;
        }
        let inputs = [inputs[0], inputs[1], bias];
        let relu = sum != value;
        let op = FusedMatMul { transpose_a, transpose_b, relu, panels: false };
        // A batch of matrices stays as it is.
        let Ok(fused) = graph.apply(op, &inputs) else { continue };
        graph.replace(value, fused);
        let end = if relu { " + nn.relu" } else { "" };
        notes.push(format!("linalg.matmul + bias{end} of {}", graph.spec(fused).shape));
    }
    Ok(notes)
}
