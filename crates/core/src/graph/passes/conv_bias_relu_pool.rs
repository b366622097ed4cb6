//! Convolution, bias, relu and max pooling in one sweep, forward and backward.

use super::{Graph, bias_of};
use crate::error::Result;
use crate::graph::Value;
use crate::ops::math::ReduceSum;
use crate::ops::nn::{
    Conv2D, Conv2DBackpropFilter, DataFormat, FusedConv2D, FusedConv2DBackpropFilter,
    FusedPoolReluGrad, MaxPool, MaxPoolGrad, Pool2D, Relu, ReluGrad,
};

pub(super) fn run(graph: &mut Graph) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    for node in 0..graph.nodes.len() {
        let value = Value { node, output: 0 };
        if let Some(layer) = Pooled::at(graph, value) {
            notes.extend(layer.fuse(graph)?);
        }
    }
    // What no pooling follows.
    graph.drop_dead();
    for node in 0..graph.nodes.len() {
        let relu = Value { node, output: 0 };
        let Some((_, inputs)) = graph.op::<Relu>(relu) else { continue };
        let Some((conv, inputs)) = convolution(graph, inputs[0]) else { continue };
        let op = FusedConv2D { conv, relu: true, pool: None };
        let Ok(fused) = graph.apply(op, &inputs) else { continue };
        graph.replace(relu, fused);
        notes.push("nn.conv2d + nn.bias_add + nn.relu".into());
    }
    Ok(notes)
}

/// Images, filters and bias of a convolution with a bias that nothing else uses.
fn convolution(graph: &Graph, biased: Value) -> Option<(Conv2D, [Value; 3])> {
    let (product, bias) = bias_of(graph, biased)?;
    let (conv, inputs) = graph.op::<Conv2D>(product)?;
    let alone = graph.uses(biased) == 1 && graph.uses(product) == 1;
    (alone && conv.data_format == DataFormat::Nhwc)
        .then(|| (conv.clone(), [inputs[0], inputs[1], bias]))
}

/// A convolution with all that follows, up to the pooling, and the way of its gradient.
struct Pooled {
    conv: Conv2D,
    /// Images, filters and bias.
    inputs: [Value; 3],
    relu: Value,
    pool: Pool2D,
    pooled: Value,
    gradient: Option<PooledGradient>,
}

struct PooledGradient {
    /// That of the pooling's result.
    upstream: Value,
    /// That of the convolution's result.
    conv: Value,
}

impl Pooled {
    fn at(graph: &Graph, pooled: Value) -> Option<Pooled> {
        let (MaxPool(pool), inputs) = graph.op::<MaxPool>(pooled)?;
        let relu = inputs[0];
        let (_, biased) = graph.op::<Relu>(relu)?;
        let (conv, inputs) = convolution(graph, biased[0])?;
        if pool.data_format != DataFormat::Nhwc {
            return None;
        }
        let users = graph.users(relu);
        let gradient = match users.len() {
            _ if graph.uses(relu) != users.len() => return None,
            1 => None,
            3 => Some(PooledGradient::of(graph, relu, pool, &users)?),
            _ => return None,
        };
        Some(Pooled { conv, inputs, relu, pool: pool.clone(), pooled, gradient })
    }

    fn fuse(self, graph: &mut Graph) -> Result<Option<String>> {
        let Pooled { conv, inputs, pool, .. } = self;
        let op = FusedConv2D { conv: conv.clone(), relu: true, pool: Some(pool.clone()) };
        // A window with more pixels than a byte can number stays as it is.
        let Ok(fused) = graph.apply(op, &inputs) else { return Ok(None) };
        let argmax = Value { output: 1, ..fused };
        graph.replace(self.pooled, fused);
        let note = "nn.conv2d + nn.bias_add + nn.relu + nn.max_pool";
        let Some(PooledGradient { upstream, conv: conv_gradient }) = self.gradient else {
            return Ok(Some(note.into()));
        };
        let [images, filters, _] = inputs;
        let users = graph.users(conv_gradient);
        let bias_gradient = users.iter().copied().find(|&user| sums_to_bias(graph, user));
        let filters_shape = graph.spec(filters).shape;
        let filter_gradient = users.iter().copied().find(|&user| {
            graph.op_at::<Conv2DBackpropFilter>(user).is_some_and(|(op, used)| {
                let same = op.conv == conv && op.filters_shape == filters_shape;
                same && *used == [images, conv_gradient]
            })
        });
        let known = [bias_gradient, filter_gradient];
        let alone = graph.uses(conv_gradient) == users.len()
            && users.iter().all(|user| known.contains(&Some(*user)));
        if let (Some(filter_gradient), true) = (filter_gradient, alone) {
            let op = FusedConv2DBackpropFilter { filters_shape, conv, pool };
            let Ok(fused) = graph.apply(op, &[images, upstream, argmax]) else {
                return Ok(Some(note.into()));
            };
            graph.replace(Value { node: filter_gradient, output: 0 }, fused);
            if let Some(bias_gradient) = bias_gradient {
                let bias = Value { output: 1, ..fused };
                graph.replace(Value { node: bias_gradient, output: 0 }, bias);
            }
            return Ok(Some(format!("{note}, and straight back to filters and bias")));
        }
        let input_shape = graph.spec(self.relu).shape;
        let op = FusedPoolReluGrad { input_shape, pool };
        let Ok(fused) = graph.apply(op, &[upstream, argmax]) else {
            return Ok(Some(note.into()));
        };
        graph.replace(conv_gradient, fused);
        if let Some(bias_gradient) = bias_gradient {
            let bias = Value { output: 1, ..fused };
            graph.replace(Value { node: bias_gradient, output: 0 }, bias);
        }
        Ok(Some(format!("{note}, and back through pooling, relu and bias")))
    }
}

impl PooledGradient {
    /// The gradient's way where `users`, besides the pooling, are its two steps.
    fn of(graph: &Graph, relu: Value, pool: &Pool2D, users: &[usize]) -> Option<PooledGradient> {
        let pool_gradient = *users.iter().find(|&&user| {
            graph
                .op_at::<MaxPoolGrad>(user)
                .is_some_and(|(MaxPoolGrad(other), inputs)| inputs[0] == relu && other == pool)
        })?;
        let pool_value = Value { node: pool_gradient, output: 0 };
        let relu_gradient = *users.iter().find(|&&user| {
            let inputs = graph.op_at::<ReluGrad>(user).map(|(_, inputs)| inputs);
            inputs.is_some_and(|inputs| *inputs == [pool_value, relu])
        })?;
        let (_, inputs) = graph.op_at::<MaxPoolGrad>(pool_gradient)?;
        (graph.uses(pool_value) == 1).then_some(PooledGradient {
            upstream: inputs[1],
            conv: Value { node: relu_gradient, output: 0 },
        })
    }
}

/// Whether a node sums over all axes but the channels.
fn sums_to_bias(graph: &Graph, node: usize) -> bool {
    let Some((sum, inputs)) = graph.op_at::<ReduceSum>(node) else { return false };
    let shape = &graph.spec(inputs[0]).shape;
    let reduced = sum.axes.reduced("bias", shape);
    graph.nodes[node].outputs[0].shape.rank() == 1
        && reduced.is_ok_and(|reduced| reduced[..] == [true, true, true, false])
}
