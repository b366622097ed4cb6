//! The walk over the records, from the targets back to the sources.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use crate::error::Result;
use crate::ops::math;
use crate::shape::Spec;
use crate::tape::record::{Call, Record};
use crate::tape::sources::Node;
use crate::tensor::{Tensor, TensorId};

/// Walks the records backwards from the seeds and returns the gradient that reaches each source.
pub(super) fn backward(
    records: Vec<Rc<Record>>,
    seeds: Vec<(TensorId, Tensor)>,
    sources: &[Node],
) -> Result<Vec<Option<Tensor>>> {
    let sources: Vec<TensorId> = sources.iter().map(|Node(id, _)| *id).collect();
    let reached = reached_from(&sources, &records);
    let mut gradients: HashMap<TensorId, Tensor> = HashMap::new();
    for (id, seed) in seeds {
        accumulate(&mut gradients, id, seed)?;
    }
    // By value, so that what a record saved is free once its gradients are known.
    for record in records.into_iter().rev() {
        let outputs = &record.outputs;
        if !outputs.iter().any(|(id, _)| reached.contains(id) && gradients.contains_key(id)) {
            continue;
        }
        let take = |(id, _): &(TensorId, Spec)| match sources.contains(id) {
            true => gradients.get(id).cloned(),
            false => gradients.remove(id),
        };
        let upstreams = outputs.iter().map(take).collect();
        let call = Call::new(&record, upstreams);
        for (i, (id, spec)) in record.inputs.iter().enumerate() {
            // No gradient exists with respect to integers, such as labels and indices.
            if !reached.contains(id) || !spec.dtype.is_floating() {
                continue;
            }
            if let Some(gradient) = (record.rule)(&call, i)? {
                accumulate(&mut gradients, *id, math::sum_to_shape(gradient, &spec.shape)?)?;
            }
        }
    }
    Ok(sources.iter().map(|id| gradients.get(id).cloned()).collect())
}

/// The nodes whose value depends on a source: a gradient with respect to any other is not needed.
fn reached_from(sources: &[TensorId], records: &[Rc<Record>]) -> HashSet<TensorId> {
    let mut reached: HashSet<TensorId> = sources.iter().copied().collect();
    for record in records {
        if record.inputs.iter().any(|(id, _)| reached.contains(id)) {
            reached.extend(record.outputs.iter().map(|(id, _)| *id));
        }
    }
    reached
}

fn accumulate(
    gradients: &mut HashMap<TensorId, Tensor>,
    id: TensorId,
    gradient: Tensor,
) -> Result<()> {
    let sum = match gradients.remove(&id) {
        Some(earlier) => math::add(earlier, gradient)?,
        None => gradient,
    };
    gradients.insert(id, sum);
    Ok(())
}
