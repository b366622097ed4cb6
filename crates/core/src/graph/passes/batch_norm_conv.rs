//! Batch normalisation on its way into a convolution, and on the way back out of one.
//!
//! What `batch_norm_relu_pool` has fused goes on into the convolutions before and behind: neither
//! normalised images nor the gradient that belongs to a convolution's result take a way through memory
//! of their own. Shapes that kernels would not compute that way stay as they are.

use super::Graph;
use crate::error::Result;
use crate::graph::Value;
use crate::op::Op;
use crate::ops::nn::{
    Conv2D, Conv2DBackpropFilter, Conv2DBackpropInput, FusedBatchNorm, FusedBatchNormConv2D,
    FusedBatchNormRelu, FusedBatchNormReluGrad, FusedBatchNormStatistics, FusedConv2DBatchNormGrad,
};

pub(super) fn run(graph: &mut Graph) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    for node in 0..graph.nodes.len() {
        if let Some(way) = WayBack::at(graph, node) {
            notes.extend(way.fuse(graph)?);
        }
    }
    // What is no longer needed uses nothing.
    graph.drop_dead();
    for node in 0..graph.nodes.len() {
        if let Some(way) = WayIn::at(graph, node) {
            notes.push(way.fuse(graph)?);
        }
    }
    Ok(notes)
}

/// The gradient of a normalisation that goes on to nothing but the gradients of one convolution.
struct WayBack {
    /// The nodes of the gradients that become one.
    norm: usize,
    to_filters: usize,
    to_images: Option<usize>,
    op: FusedConv2DBatchNormGrad,
    inputs: Vec<Value>,
}

impl WayBack {
    fn at(graph: &Graph, node: usize) -> Option<WayBack> {
        let (norm, norm_inputs) = graph.op_at::<FusedBatchNormReluGrad>(node)?;
        let (conv, conv_inputs) = graph.op::<Conv2D>(norm_inputs[1])?;
        let (images, filters) = (conv_inputs[0], conv_inputs[1]);
        let [images_shape, filters_shape] = [images, filters].map(|value| graph.spec(value).shape);

        let dx = Value { node, output: 0 };
        let users = graph.users(dx);
        let to_filters = users.iter().copied().find(|&user| {
            graph.op_at::<Conv2DBackpropFilter>(user).is_some_and(|(op, inputs)| {
                op.conv == *conv && op.filters_shape == filters_shape && *inputs == [images, dx]
            })
        })?;
        let to_images = users.iter().copied().find(|&user| {
            graph.op_at::<Conv2DBackpropInput>(user).is_some_and(|(op, inputs)| {
                op.conv == *conv && op.input_shape == images_shape && *inputs == [filters, dx]
            })
        });
        if graph.uses(dx) != 1 + usize::from(to_images.is_some()) {
            return None;
        }

        let op = FusedConv2DBatchNormGrad {
            conv: conv.clone(),
            norm: norm.clone(),
            filters_shape,
            normalized_images: false,
            to_images: to_images.is_some(),
        };
        let mut inputs = [norm_inputs, &[images]].concat();
        inputs.extend(to_images.is_some().then_some(filters));
        Some(WayBack { norm: node, to_filters, to_images, op, inputs })
    }

    fn fuse(self, graph: &mut Graph) -> Result<Option<String>> {
        let WayBack { norm, to_filters, to_images, op, inputs } = self;
        // What the op refuses stays as it is.
        let Ok(fused) = graph.apply(op, &inputs) else { return Ok(None) };
        graph.replace(Value { node: to_filters, output: 0 }, fused);
        for output in 1..3 {
            graph.replace(Value { node: norm, output }, Value { output, ..fused });
        }
        if let Some(node) = to_images {
            graph.replace(Value { node, output: 0 }, Value { output: 3, ..fused });
        }
        let end = if to_images.is_some() { " and images" } else { "" };
        Ok(Some(format!("nn.fused_batch_norm_relu_grad, and on to the filters{end}")))
    }
}

/// A normalisation and relu whose result goes to nothing but one convolution and, if it has gradients,
/// those that [`WayBack`] has made one.
struct WayIn {
    norm: FusedBatchNorm,
    /// `x`, scale, offset and the running statistics.
    inputs: Vec<Value>,
    /// The node of the normalisation.
    node: usize,
    op: FusedBatchNormConv2D,
    /// The convolution's result, and its filters.
    convolved: Value,
    filters: Value,
    gradients: Option<WayBackIn>,
}

/// The gradients of a convolution of normalised images.
struct WayBackIn {
    node: usize,
    op: FusedConv2DBatchNormGrad,
    inputs: Vec<Value>,
}

impl WayIn {
    fn at(graph: &Graph, node: usize) -> Option<WayIn> {
        let (FusedBatchNormRelu { norm, pool: None }, inputs) = graph.op_at(node)? else {
            return None;
        };
        let value = |output| Value { node, output };
        let users = graph.users(value(0));
        let conv = users.iter().copied().find(|&user| graph.op_at::<Conv2D>(user).is_some())?;
        let (op, conv_inputs) = graph.op_at::<Conv2D>(conv)?;
        let gradients = users.iter().find_map(|&user| WayBackIn::at(graph, user, value(0)));
        let alone = graph.uses(value(0)) == 1 + usize::from(gradients.is_some());

        let filters = conv_inputs[1];
        let op = FusedBatchNormConv2D { conv: op.clone() };
        let images = [inputs[0], inputs[1], inputs[2], value(3), value(4), filters];
        let takes = op.infer(&images.map(|value| *graph.spec(value))).is_ok();
        (alone && conv_inputs[0] == value(0) && takes).then(|| WayIn {
            norm: *norm,
            inputs: inputs.to_vec(),
            node,
            op,
            convolved: Value { node: conv, output: 0 },
            filters,
            gradients,
        })
    }

    fn fuse(self, graph: &mut Graph) -> Result<String> {
        let WayIn { norm, inputs, node, op, convolved, filters, gradients } = self;
        let statistics = graph.apply(FusedBatchNormStatistics { norm }, &inputs)?;
        let statistic = |output| Value { output, ..statistics };
        let images = [inputs[0], inputs[1], inputs[2], statistic(2), statistic(3)];
        let fused = graph.apply(op, &[&images[..], &[filters]].concat())?;
        let end = if gradients.is_some() { ", and the gradients of that" } else { "" };
        if let Some(gradients) = gradients {
            gradients.fuse(graph, images)?;
        }
        graph.replace(convolved, fused);
        for output in 0..4 {
            graph.replace(Value { node, output: output + 1 }, statistic(output));
        }
        Ok(format!("nn.fused_batch_norm_relu + nn.conv2d{end}"))
    }
}

impl WayBackIn {
    fn at(graph: &Graph, node: usize, images: Value) -> Option<WayBackIn> {
        let (op, inputs) = graph.op_at::<FusedConv2DBatchNormGrad>(node)?;
        let fits = inputs[op.norm.num_inputs()] == images && !op.normalized_images;
        fits.then(|| WayBackIn { node, op: op.clone(), inputs: inputs.to_vec() })
    }

    /// `images` are the images before they are normalised, and their numbers.
    fn fuse(self, graph: &mut Graph, images: [Value; 5]) -> Result<()> {
        let WayBackIn { node, op, mut inputs } = self;
        let place = op.norm.num_inputs();
        inputs.splice(place..=place, images);
        let op = FusedConv2DBatchNormGrad { normalized_images: true, ..op };
        let fused = graph.apply(op, &inputs)?;
        for output in 0..graph.nodes[node].outputs.len() {
            graph.replace(Value { node, output }, Value { output, ..fused });
        }
        Ok(())
    }
}
