//! The ops that TensorFlow keeps at the root of `tf.`: making, moving and converting elements.

mod broadcast_to;
mod cast;
mod fill;
mod reshape;
mod stop_gradient;

pub use broadcast_to::{BroadcastTo, broadcast_to};
pub use cast::{Cast, cast};
pub use fill::{fill, ones, ones_like, zeros, zeros_like};
pub use reshape::{Dims, Reshape, reshape};
pub use stop_gradient::{StopGradient, stop_gradient};
