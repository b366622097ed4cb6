//! A graph as other crates see it: to draw it, to convert it.

use super::{Graph, Source, Value};
use crate::shape::Spec;
use crate::tensor::Tensor;
use crate::variable::Variable;

/// A node of a [`Graph`], from [`Graph::nodes`].
///
/// ```
/// use tapeflow_core::graph::NodeKind;
/// use tapeflow_core::{Tensor, function, math};
///
/// let double = function(|x: Tensor| math::add(&x, &x));
/// let concrete = double.get_concrete_function(&Tensor::from([1.0f32, 2.0]))?;
/// let nodes: Vec<_> = concrete.traced_graph().nodes().collect();
/// assert!(matches!(nodes[0].kind, NodeKind::Argument(0)));
/// assert!(matches!(nodes[1].kind, NodeKind::Op { name: "math.add", .. }));
/// assert_eq!(nodes[1].inputs, [(0, 0), (0, 0)]);
/// assert_eq!(nodes[1].outputs[0].shape.dims(), [2]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct NodeView<'a> {
    /// Where its outputs come from.
    pub kind: NodeKind<'a>,
    /// Its inputs, each the index of a node and of that node's output.
    pub inputs: Vec<(usize, usize)>,
    /// Dtypes and shapes of its outputs.
    pub outputs: &'a [Spec],
}

/// What a node is.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum NodeKind<'a> {
    /// The function's argument of this index.
    Argument(usize),
    /// What a variable holds when the function is called.
    Variable(&'a Variable),
    /// A value fixed when the function was traced.
    Constant(&'a Tensor),
    /// Where the global generator stands at the draw of this index.
    RandomStart(usize),
    /// An op.
    Op {
        /// TensorFlow's Python name below `tf.`, such as `nn.conv2d`.
        name: &'static str,
        /// The op with its attributes, as text.
        attributes: String,
    },
}

impl Graph {
    /// The nodes, each behind its inputs. Their order gives the indices by which they are named.
    pub fn nodes(&self) -> impl Iterator<Item = NodeView<'_>> {
        self.nodes.iter().map(|node| NodeView {
            kind: match &node.source {
                Source::Argument(index) => NodeKind::Argument(*index),
                Source::Variable(variable) => NodeKind::Variable(variable),
                Source::Constant(tensor) => NodeKind::Constant(tensor),
                Source::RandomStart(index) => NodeKind::RandomStart(*index),
                Source::Op(op) => NodeKind::Op { name: op.name(), attributes: format!("{op:?}") },
            },
            inputs: node.inputs.iter().map(indices).collect(),
            outputs: &node.outputs,
        })
    }

    /// What the function returns: indices of nodes and of their outputs.
    pub fn results(&self) -> impl Iterator<Item = (usize, usize)> {
        self.results.iter().map(indices)
    }

    /// The variables that the function updates, each with what it holds in the end.
    pub fn updates(&self) -> impl Iterator<Item = (&Variable, (usize, usize))> {
        self.updates.iter().map(|(variable, value)| (variable, indices(value)))
    }
}

fn indices(value: &Value) -> (usize, usize) {
    (value.node, value.output)
}
