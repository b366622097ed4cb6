//! The stable form of a loss written as `log(softmax(x))`, and of its gradient.
//!
//! As written, a probability that rounds to zero makes the loss infinite and its gradient NaN.
//!
//! - `log(softmax(x))` is `log_softmax(x)`.
//! - The gradient of `a` through `log` and `softmax` is traced as
//!   `(d - sum(d * s)) * s` with `d = a / s`; where no `s` is zero that is `a - sum(a) * s`.

use super::Graph;
use crate::error::Result;
use crate::graph::Value;
use crate::ops::Axes;
use crate::ops::math::{Divide, Log, Multiply, ReduceSum, Subtract};
use crate::ops::nn::{LogSoftmax, Softmax};

pub(super) fn run(graph: &mut Graph) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    for node in 0..graph.nodes.len() {
        let value = Value { node, output: 0 };
        if let Some((axis, logits)) = log_of_softmax(graph, value) {
            let stable = graph.apply(LogSoftmax { axis }, &[logits])?;
            graph.replace(value, stable);
            notes.push("math.log of nn.softmax is nn.log_softmax".into());
        } else if let Some((upstream, softmax)) = gradient(graph, value) {
            let axes = Axes::from(-1).keepdims(true);
            let sum = graph.apply(ReduceSum { axes }, &[upstream])?;
            let share = graph.apply(Multiply, &[sum, softmax])?;
            let stable = graph.apply(Subtract, &[upstream, share])?;
            graph.replace(value, stable);
            notes.push("its gradient divides by no probability".into());
        }
    }
    Ok(notes)
}

/// The axis and the logits, where a value is the logarithm of a softmax.
fn log_of_softmax(graph: &Graph, value: Value) -> Option<(i64, Value)> {
    let (_, log) = graph.op::<Log>(value)?;
    let (softmax, logits) = graph.op::<Softmax>(log[0])?;
    Some((softmax.axis, logits[0]))
}

/// `a` and `s`, where a value is the gradient of `a` through the logarithm and the softmax.
fn gradient(graph: &Graph, value: Value) -> Option<(Value, Value)> {
    let (_, factors) = graph.op::<Multiply>(value)?;
    let (softmax, centred) = one_is::<Softmax>(graph, factors)?;
    let (_, centred) = graph.op::<Subtract>(centred)?;
    let (_, quotient) = graph.op::<Divide>(centred[0])?;
    let (sum, summed) = graph.op::<ReduceSum>(centred[1])?;
    let (_, weighted) = graph.op::<Multiply>(summed[0])?;
    let (same_softmax, same_quotient) = one_is::<Softmax>(graph, weighted)?;
    let shape = graph.spec(value).shape;
    let reduced = sum.axes.reduced("softmax", &shape).ok()?;
    let (last, others) = reduced.split_last()?;
    let along_last = *last && !others.contains(&true);
    let spec = graph.spec(quotient[0]);
    // Without an extent of 1 in its place the sum would broadcast along another axis.
    let kept = graph.spec(centred[1]).shape.dims().split_last()
        == shape.dims().split_last().map(|(_, rest)| (&1, rest));
    (along_last
        && kept
        && spec == graph.spec(value)
        && quotient[1] == softmax
        && same_softmax == softmax
        && same_quotient == centred[0])
        .then_some((quotient[0], softmax))
}

/// Of two values the one that a `T` computes, and the other.
fn one_is<T: crate::op::Op>(graph: &Graph, values: &[Value]) -> Option<(Value, Value)> {
    let &[a, b] = values else { return None };
    if graph.op::<T>(a).is_some() {
        return Some((a, b));
    }
    graph.op::<T>(b).is_some().then_some((b, a))
}
