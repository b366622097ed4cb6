//! Where a stream begins: the input of every random op.
//!
//! It is an input and not an attribute so that a compiled function can begin elsewhere each time.

use tapeflow_kernels::philox::Philox;

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::op::Array;
use crate::shape::{Shape, Spec};
use crate::tensor::Tensor;

/// The state of a generator, `uint64 [3]`: the low and high half of the counter, and the key.
pub(crate) type State = [u64; 3];

/// The spec of a [`State`] as a tensor.
pub(crate) fn spec() -> Spec {
    Spec::new(DType::UInt64, Shape::from([3]))
}

/// The tensor of a state.
pub(super) fn tensor(state: State) -> Tensor {
    Tensor::from(state)
}

/// Refuses an input that is not a state.
pub(super) fn check(op: &str, start: &Spec) -> Result<()> {
    if *start == spec() {
        return Ok(());
    }
    Err(Error::shape(format!("{op}: start is {start}, must be {}", spec())))
}

/// The stream that begins at a state.
pub(super) fn stream(start: &Array<'_>) -> Philox {
    let state = start.data::<u64>();
    philox([state[0], state[1], state[2]])
}

/// The stream that begins at a state.
pub(super) fn philox([low, high, key]: State) -> Philox {
    let words = |value: u64| [value as u32, (value >> 32) as u32];
    let ([a, b], [c, d]) = (words(low), words(high));
    Philox::new(words(key), [a, b, c, d])
}

/// Where the stream of a stateless op's seed begins: the seed's two numbers scrambled by one
/// block under a fixed key, as TensorFlow does, so that no seed is weaker than another.
pub(super) fn of_seed([low, high]: [i64; 2]) -> State {
    let mut scramble = philox([low as u64, high as u64, 0x0246_1e29_3ec8_f720]);
    let [k0, k1, c2, c3] = scramble.next_block().map(u64::from);
    [0, c3 << 32 | c2, k1 << 32 | k0]
}
