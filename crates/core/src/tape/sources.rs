//! What a gradient can be taken with respect to, and in which structure it is returned.

use crate::shape::Spec;
use crate::tensor::{Tensor, TensorId};
use crate::variable::Variable;

/// What the gradient is with respect to a source that the target does not depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnconnectedGradients {
    /// No gradient.
    #[default]
    None,
    /// Zeros of the source's shape.
    Zero,
}

/// Something a tape can watch and differentiate with respect to: a tensor or a variable.
pub trait Watchable {
    #[doc(hidden)]
    fn node(&self) -> Node;
}

#[doc(hidden)]
pub struct Node(pub(super) TensorId, pub(super) Spec);

impl Watchable for Tensor {
    fn node(&self) -> Node {
        Node(self.id(), *self.spec())
    }
}

impl Watchable for Variable {
    fn node(&self) -> Node {
        Node(self.id(), *self.spec())
    }
}

impl<W: Watchable> Watchable for &W {
    fn node(&self) -> Node {
        (*self).node()
    }
}

/// What [`GradientTape::gradient`](crate::GradientTape::gradient) differentiates with respect to: one tensor or variable, which
/// gives `Option<Tensor>`, or a sequence of them, which gives `Vec<Option<Tensor>>`.
pub trait Sources {
    /// The gradients, in the structure of the sources.
    type Gradients;

    #[doc(hidden)]
    fn nodes(&self) -> Vec<Node>;

    #[doc(hidden)]
    fn pack(gradients: Vec<Option<Tensor>>) -> Self::Gradients;
}

macro_rules! single_source {
    ($($Type:ty),*) => {$(
        impl Sources for &$Type {
            type Gradients = Option<Tensor>;

            fn nodes(&self) -> Vec<Node> {
                vec![self.node()]
            }

            fn pack(mut gradients: Vec<Option<Tensor>>) -> Option<Tensor> {
                gradients.swap_remove(0)
            }
        }
    )*};
}

single_source!(Tensor, Variable);

impl<W: Watchable> Sources for &[W] {
    type Gradients = Vec<Option<Tensor>>;

    fn nodes(&self) -> Vec<Node> {
        self.iter().map(Watchable::node).collect()
    }

    fn pack(gradients: Vec<Option<Tensor>>) -> Vec<Option<Tensor>> {
        gradients
    }
}

impl<W: Watchable, const N: usize> Sources for &[W; N] {
    type Gradients = Vec<Option<Tensor>>;

    fn nodes(&self) -> Vec<Node> {
        self.iter().map(Watchable::node).collect()
    }

    fn pack(gradients: Vec<Option<Tensor>>) -> Vec<Option<Tensor>> {
        gradients
    }
}

impl<W: Watchable> Sources for &Vec<W> {
    type Gradients = Vec<Option<Tensor>>;

    fn nodes(&self) -> Vec<Node> {
        self.iter().map(Watchable::node).collect()
    }

    fn pack(gradients: Vec<Option<Tensor>>) -> Vec<Option<Tensor>> {
        gradients
    }
}
