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
mod stateless_normal;
mod stateless_truncated_normal;
mod stateless_uniform;

pub use generator::{
    Generator, global_state, normal, set_global_state, set_seed, truncated_normal, uniform,
};
pub use limit::Limit;
pub use philox::Philox;
pub use stateless_normal::{StatelessNormal, stateless_normal};
pub use stateless_truncated_normal::{StatelessTruncatedNormal, stateless_truncated_normal};
pub use stateless_uniform::{StatelessUniform, stateless_uniform};

use tapeflow_kernels::philox as kernel;

/// Where the stream of a stateless op's seed begins: the seed's two numbers scrambled by one
/// block under a fixed key, as TensorFlow does, so that no seed is weaker than another.
fn start_of(seed: [i64; 2]) -> kernel::Philox {
    let words = |value: i64| [value as u32, (value >> 32) as u32];
    let ([a, b], [c, d]) = (words(seed[0]), words(seed[1]));
    let mut scramble = kernel::Philox::new([0x3ec8_f720, 0x0246_1e29], [a, b, c, d]);
    let [k0, k1, c2, c3] = scramble.next_block();
    kernel::Philox::new([k0, k1], [0, 0, c2, c3])
}
