//! Batch normalisation, relu and max pooling in one sweep, forward and backward.

use super::Graph;
use crate::error::Result;
use crate::graph::Value;
use crate::ops::nn::{
    DataFormat, FusedBatchNorm, FusedBatchNormGrad, FusedBatchNormRelu, FusedBatchNormReluGrad,
    MaxPool, MaxPoolGrad, Pool2D, Relu, ReluGrad,
};

pub(super) fn run(graph: &mut Graph) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    for node in 0..graph.nodes.len() {
        let relu = Value { node, output: 0 };
        if let Some(layer) = Layer::at(graph, relu) {
            notes.extend(layer.fuse(graph)?);
        }
    }
    Ok(notes)
}

/// A normalisation with all that follows, and the way of its gradient.
struct Layer {
    norm: FusedBatchNorm,
    /// `x`, scale, offset and the running statistics.
    inputs: Vec<Value>,
    /// The normalisation's first output.
    normalized: Value,
    relu: Value,
    pool: Option<(Pool2D, Value)>,
    gradient: Option<LayerGradient>,
}

#[derive(Clone, Copy)]
struct LayerGradient {
    /// That of what the layer results in.
    upstream: Value,
    /// The node that goes back through the normalisation, which nothing else feeds.
    norm: usize,
    is_training: bool,
}

impl Layer {
    fn at(graph: &Graph, relu: Value) -> Option<Layer> {
        let (_, inputs) = graph.op::<Relu>(relu)?;
        let normalized = inputs[0];
        let (norm, inputs) = graph.op::<FusedBatchNorm>(normalized)?;
        let alone = normalized.output == 0 && graph.uses(normalized) == 1;
        if !alone || norm.data_format != DataFormat::Nhwc {
            return None;
        }
        let (norm, inputs) = (*norm, inputs.to_vec());
        let layer = |pool, gradient| Layer {
            norm,
            inputs: inputs.clone(),
            normalized,
            relu,
            pool,
            gradient,
        };
        if let Some(Pooled { pool, pooled, relu_grad }) = Pooled::of(graph, relu) {
            let gradient = relu_grad.map(|(upstream, relu_grad)| {
                LayerGradient::of(graph, normalized.node, relu_grad, upstream)
            });
            // Where its gradient cannot go along, the pooling stays: that reads what it pooled.
            if gradient.is_none_or(|gradient| gradient.is_some()) {
                return Some(layer(Some((pool, pooled)), gradient.flatten()));
            }
        }
        let relu_grad = graph.users(relu).into_iter().find_map(|user| {
            let (_, inputs) = graph.op_at::<ReluGrad>(user)?;
            (inputs[1] == relu && inputs[0] != relu).then_some((inputs[0], user))
        });
        let gradient = relu_grad.and_then(|(upstream, relu_grad)| {
            LayerGradient::of(graph, normalized.node, relu_grad, upstream)
        });
        Some(layer(None, gradient))
    }

    fn fuse(self, graph: &mut Graph) -> Result<Option<String>> {
        let Layer { norm, inputs, normalized, relu, pool, gradient } = self;
        let (pool, result) = match pool {
            Some((pool, pooled)) => (Some(pool), pooled),
            None => (None, relu),
        };
        let op = FusedBatchNormRelu { norm, pool: pool.clone() };
        // A window with more pixels than a byte can number stays as it is.
        let Ok(fused) = graph.apply(op, &inputs) else { return Ok(None) };
        graph.replace(result, fused);
        let output = |output| Value { output, ..fused };
        for index in 1..5 {
            graph.replace(Value { output: index, ..normalized }, output(index));
        }
        let end = if pool.is_some() { " + nn.max_pool" } else { "" };
        let note = format!("nn.fused_batch_norm + nn.relu{end}");
        let Some(LayerGradient { upstream, norm, is_training }) = gradient else {
            return Ok(Some(note));
        };
        let mut inputs = vec![upstream, inputs[0], inputs[1], inputs[2], output(3), output(4)];
        inputs.extend(pool.is_some().then_some(output(5)));
        let fused = graph.apply(FusedBatchNormReluGrad { is_training, pool }, &inputs)?;
        for output in 0..3 {
            graph.replace(Value { node: norm, output }, Value { output, ..fused });
        }
        Ok(Some(format!("{note}, and back")))
    }
}

/// A pooling that nothing but its own gradient shares a relu with.
struct Pooled {
    pool: Pool2D,
    pooled: Value,
    /// What comes to the pooling's result, and the node that goes back through relu.
    relu_grad: Option<(Value, usize)>,
}

impl Pooled {
    fn of(graph: &Graph, relu: Value) -> Option<Pooled> {
        let users = graph.users(relu);
        if graph.uses(relu) != users.len() {
            return None;
        }
        let find = |is: &dyn Fn(usize) -> bool| users.iter().copied().find(|&user| is(user));
        let node = find(&|user| graph.op_at::<MaxPool>(user).is_some())?;
        let (MaxPool(pool), _) = graph.op_at::<MaxPool>(node)?;
        if pool.data_format != DataFormat::Nhwc {
            return None;
        }
        let pooled = Value { node, output: 0 };
        if users.len() == 1 {
            return Some(Pooled { pool: pool.clone(), pooled, relu_grad: None });
        }
        let pool_grad = find(&|user| {
            graph
                .op_at::<MaxPoolGrad>(user)
                .is_some_and(|(MaxPoolGrad(other), inputs)| inputs[0] == relu && other == pool)
        })?;
        let (_, inputs) = graph.op_at::<MaxPoolGrad>(pool_grad)?;
        let pool_grad = Value { node: pool_grad, output: 0 };
        let relu_grad = find(&|user| {
            let inputs = graph.op_at::<ReluGrad>(user).map(|(_, inputs)| inputs);
            inputs.is_some_and(|inputs| *inputs == [pool_grad, relu])
        })?;
        let alone = users.len() == 3 && graph.uses(pool_grad) == 1;
        alone.then(|| Pooled {
            pool: pool.clone(),
            pooled,
            relu_grad: Some((inputs[1], relu_grad)),
        })
    }
}

impl LayerGradient {
    /// The way back of the normalisation at node `norm`, where the gradient of relu goes there alone.
    fn of(graph: &Graph, norm: usize, relu_grad: usize, upstream: Value) -> Option<LayerGradient> {
        let gradient = Value { node: relu_grad, output: 0 };
        let users = graph.users(gradient);
        let &[user] = &users[..] else { return None };
        let (op, inputs) = graph.op_at::<FusedBatchNormGrad>(user)?;
        let norm_inputs = &graph.nodes[norm].inputs;
        let [mean, inverse] = [3, 4].map(|output| Value { node: norm, output });
        let same = *inputs == [gradient, norm_inputs[0], norm_inputs[1], mean, inverse];
        let alone = graph.uses(gradient) == 1;
        (same && alone).then_some(LayerGradient {
            upstream,
            norm: user,
            is_training: op.is_training,
        })
    }
}
