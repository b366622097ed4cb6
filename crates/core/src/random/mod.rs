//! Random numbers, `tf.random`: TensorFlow's own Philox streams.
//!
//! - `stateless_*`: a function of shape and seed alone; the bits of TensorFlow on a CPU for
//!   uniform values and integers, its values to the last digits for normal ones.
//! - [`Generator`]: a stream with a state that can be saved and restored, `tf.random.Generator`.
//! - [`uniform`], [`normal`]: from the process's global generator, seeded by [`set_seed`].
//! - [`Philox`]: a stream of words and bounded integers, for shuffling.

mod generator;
mod limit;
mod philox;
pub(crate) mod start;
mod stateless_normal;
mod stateless_truncated_normal;
mod stateless_uniform;

pub(crate) use generator::take_global_state;
pub use generator::{
    Generator, global_state, normal, set_global_state, set_seed, truncated_normal, uniform,
};
pub use limit::Limit;
pub use philox::Philox;
pub use stateless_normal::{StatelessNormal, stateless_normal};
pub use stateless_truncated_normal::{StatelessTruncatedNormal, stateless_truncated_normal};
pub use stateless_uniform::{StatelessUniform, stateless_uniform};
