//! Weights in panels: a variable that is used by matrix products alone is kept in the order in
//! which they read it, so that no step packs it. Reading it anywhere else restores the plain order.

use super::Graph;
use crate::dtype::DType;
use crate::error::Result;
use crate::graph::{Source, Value};
use crate::linalg::MatMul;
use crate::ops::fused::{FusedMatMul, MatMulUpdate, PanelMatMulTransposed};

/// Smaller weights, in elements, are packed as fast as they are looked up.
const SMALLEST: usize = 1 << 16;

pub(super) fn run(graph: &mut Graph) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    for node in 0..graph.nodes.len() {
        let Source::Variable(variable) = &graph.nodes[node].source else { continue };
        let spec = *variable.spec();
        let large = spec.dtype == DType::Float32
            && spec.shape.rank() == 2
            && spec.shape.num_elements() >= SMALLEST;
        let weight = Value { node, output: 0 };
        let users = graph.users(weight);
        // Each use is one input of one node.
        if !large || users.is_empty() || graph.uses(weight) != users.len() {
            continue;
        }
        let id = variable.id();
        let name = variable.name().to_string();
        let written = graph.updates.iter().find(|(other, _)| other.id() == id).map(|(_, v)| *v);
        let replacements: Option<Vec<Replacement>> =
            users.iter().map(|&user| Replacement::of(graph, weight, user)).collect();
        let Some(replacements) = replacements else { continue };
        // What the variable becomes must be written in panels too.
        let updates = |replacement: &&Replacement| matches!(replacement.op, PanelOp::Update(_));
        let updated = replacements.iter().find(updates).map(|replacement| replacement.old);
        if written != updated {
            continue;
        }
        for replacement in replacements {
            replacement.apply(graph)?;
        }
        graph.panels.push(id);
        notes.push(format!("{name:?} {} is kept as its products read it", spec.shape));
    }
    Ok(notes)
}

/// What takes the place of a product with a weight in panels.
struct Replacement {
    old: Value,
    op: PanelOp,
    inputs: Vec<Value>,
}

enum PanelOp {
    Product(FusedMatMul),
    Transposed(PanelMatMulTransposed),
    Update(MatMulUpdate),
}

impl Replacement {
    fn of(graph: &Graph, weight: Value, user: usize) -> Option<Replacement> {
        let old = Value { node: user, output: 0 };
        if let Some((op, inputs)) = graph.op_at::<MatMul>(user) {
            let is_matrix = graph.spec(inputs[0]).shape.rank() == 2;
            if inputs[1] != weight || inputs[0] == weight || !is_matrix {
                return None;
            }
            let op = match (op.transpose_a, op.transpose_b) {
                (false, true) => PanelOp::Transposed(PanelMatMulTransposed),
                (transpose_a, false) => PanelOp::Product(FusedMatMul {
                    transpose_a,
                    panels: true,
                    ..Default::default()
                }),
                (true, true) => return None,
            };
            return Some(Replacement { old, op, inputs: inputs.to_vec() });
        }
        if let Some((op, inputs)) = graph.op_at::<FusedMatMul>(user) {
            let fits = inputs[1] == weight && !op.transpose_b;
            let op = PanelOp::Product(FusedMatMul { panels: true, ..*op });
            return fits.then(|| Replacement { old, op, inputs: inputs.to_vec() });
        }
        let (op, inputs) = graph.op_at::<MatMulUpdate>(user)?;
        let op = PanelOp::Update(MatMulUpdate { panels: true, ..*op });
        (inputs[0] == weight).then(|| Replacement { old, op, inputs: inputs.to_vec() })
    }

    fn apply(self, graph: &mut Graph) -> Result<()> {
        let new = match self.op {
            PanelOp::Product(op) => graph.apply(op, &self.inputs),
            PanelOp::Transposed(op) => graph.apply(op, &self.inputs),
            PanelOp::Update(op) => graph.apply(op, &self.inputs),
        }?;
        graph.replace(self.old, new);
        Ok(())
    }
}
