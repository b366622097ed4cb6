//! Updates of variables: assignments become updates in place, and a step of gradient descent whose
//! gradient is a matrix product goes straight into the variable.

use super::Graph;
use crate::dtype::DType;
use crate::error::Result;
use crate::graph::{Source, Value};
use crate::linalg::MatMul;
use crate::op::Op;
use crate::ops::fused::MatMulUpdate;
use crate::ops::math::{Add, Multiply, Subtract};
use crate::ops::state::{AssignAdd, AssignSub};
use crate::ops::training::ApplyGradientDescent;
use crate::shape::{Shape, Spec};

pub(super) fn run(graph: &mut Graph) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    for index in 0..graph.updates.len() {
        if let Some(value) = assignment_in_place(graph, index)? {
            graph.updates[index].1 = value;
            let name = graph.updates[index].0.name();
            notes.push(format!("the assignment to {name:?} is an update in place"));
        }
        let Some((op, inputs)) = product_into_variable(graph, graph.updates[index].1) else {
            continue;
        };
        let Ok(value) = graph.apply(op, &inputs) else { continue };
        let name = graph.updates[index].0.name();
        notes.push(format!(
            "the gradient of {name:?} {} goes straight into it",
            graph.spec(value).shape
        ));
        graph.updates[index].1 = value;
    }
    Ok(notes)
}

/// `v := v + d` and `v := v - d`, as updates.
fn assignment_in_place(graph: &mut Graph, index: usize) -> Result<Option<Value>> {
    let (variable, value) = &graph.updates[index];
    let is_old = |value: Value| match &graph.nodes[value.node].source {
        Source::Variable(other) => other.id() == variable.id(),
        _ => false,
    };
    let whole = |value: Value| graph.spec(value) == variable.spec();
    if graph.uses(*value) != 1 {
        return Ok(None);
    }
    if let Some((_, &[x, y])) = graph.op::<Subtract>(*value) {
        let fits = is_old(x) && whole(y) && !is_old(y);
        return if fits { graph.apply(AssignSub, &[x, y]).map(Some) } else { Ok(None) };
    }
    if let Some((_, &[x, y])) = graph.op::<Add>(*value) {
        let (old, difference) = if is_old(x) { (x, y) } else { (y, x) };
        let fits = is_old(old) && whole(difference) && !is_old(difference);
        return if fits { graph.apply(AssignAdd, &[old, difference]).map(Some) } else { Ok(None) };
    }
    Ok(None)
}

/// The update that adds a product to a variable as it is made, where `value` is the variable's
/// value after a step along it.
fn product_into_variable(graph: &Graph, value: Value) -> Option<(MatMulUpdate, [Value; 4])> {
    if graph.uses(value) != 1 {
        return None;
    }
    let (old, scale, gradient, subtract) =
        if let Some((_, inputs)) = graph.op::<ApplyGradientDescent>(value) {
            (inputs[0], inputs[1], inputs[2], true)
        } else if let Some((_, inputs)) = graph.op::<AssignSub>(value) {
            let (scale, gradient) = scaled(graph, inputs[1])?;
            (inputs[0], scale, gradient, true)
        } else {
            let (_, inputs) = graph.op::<AssignAdd>(value)?;
            let (scale, gradient) = scaled(graph, inputs[1])?;
            (inputs[0], scale, gradient, false)
        };
    let (&MatMul { transpose_a, transpose_b }, inputs) = graph.op::<MatMul>(gradient)?;
    if graph.uses(gradient) != 1 {
        return None;
    }
    let op = MatMulUpdate { transpose_a, transpose_b, subtract, panels: false };
    let inputs = [old, scale, inputs[0], inputs[1]];
    let specs = inputs.map(|input| *graph.spec(input));
    op.infer(&specs).is_ok().then_some((op, inputs))
}

/// A scalar and what it multiplies.
fn scaled(graph: &Graph, value: Value) -> Option<(Value, Value)> {
    let (_, &[x, y]) = graph.op::<Multiply>(value)? else { return None };
    let is_scalar = |value| *graph.spec(value) == Spec::new(DType::Float32, Shape::SCALAR);
    if graph.uses(value) != 1 {
        return None;
    }
    if is_scalar(x) {
        return Some((x, y));
    }
    is_scalar(y).then_some((y, x))
}
