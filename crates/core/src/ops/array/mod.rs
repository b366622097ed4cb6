//! The ops that TensorFlow keeps at the root of `tf.`: making, moving and converting elements.

mod broadcast_to;
mod cast;
mod concat;
mod expand_dims;
mod fill;
mod one_hot;
mod pad;
mod range;
mod reshape;
mod select;
mod slice;
mod squeeze;
mod stack;
mod stop_gradient;
mod transpose;

pub use broadcast_to::{BroadcastTo, broadcast_to};
pub use cast::{Cast, cast};
pub use concat::{Concat, concat};
pub use expand_dims::expand_dims;
pub use fill::{fill, ones, ones_like, zeros, zeros_like};
pub use one_hot::{OneHot, one_hot};
pub use pad::{MirrorPadGrad, Pad, PadMode, pad};
pub use range::range;
pub use reshape::{Dims, Reshape, reshape};
pub use select::{Select, select};
pub use slice::{Slice, slice};
pub use squeeze::squeeze;
pub use stack::stack;
pub use stop_gradient::{StopGradient, stop_gradient};
pub use transpose::{Permutation, Transpose, transpose};
