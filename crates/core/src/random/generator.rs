//! Random numbers from a state that advances.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Limit, StatelessNormal, StatelessTruncatedNormal, StatelessUniform, start};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::execute::apply;
use crate::graph::trace;
use crate::op::Op;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Blocks of the stream that each drawn value uses up, whatever it needs: TensorFlow's number.
const BLOCKS_PER_VALUE: u128 = 256;

/// A stream of random tensors, `tf.random.Generator` with the algorithm Philox: the same seed gives
/// TensorFlow's values, as the `stateless_*` functions do.
///
/// ```
/// use tapeflow_core::{DType, random::Generator};
///
/// let mut generator = Generator::from_seed(1234);
/// let saved = generator.state();
/// let x = generator.uniform([3], 0.0, 1.0, DType::Float32)?;
/// assert_eq!(x.to_vec::<f32>()?, [0.358_147_5, 0.113_227_606, 0.566_709_04]);
///
/// generator.set_state(saved);
/// let again = generator.uniform([3], 0.0, 1.0, DType::Float32)?;
/// assert_eq!(again.to_vec::<f32>()?, x.to_vec::<f32>()?);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generator {
    // Where the stream is, 128 bits, and which one it is.
    counter: u128,
    key: u64,
}

impl Generator {
    /// The generator of a seed, `tf.random.Generator.from_seed`.
    ///
    /// As in TensorFlow the seed is the place in one stream where the generator begins, so nearby
    /// seeds give parts of it that overlap; [`set_seed`] scrambles its seed instead.
    pub fn from_seed(seed: u64) -> Generator {
        Generator { counter: seed.into(), key: 0 }
    }

    /// A generator that goes on from a [`state`](Self::state).
    pub fn from_state([low, high, key]: [u64; 3]) -> Generator {
        Generator { counter: u128::from(high) << 64 | u128::from(low), key }
    }

    /// The generator of a scrambled seed: streams of different seeds do not overlap.
    fn from_scrambled(seed: [i64; 2]) -> Generator {
        Generator::from_state(start::of_seed(seed))
    }

    /// The state: the low and high half of the counter, and the key, as in TensorFlow.
    pub fn state(&self) -> [u64; 3] {
        [self.counter as u64, (self.counter >> 64) as u64, self.key]
    }

    /// Goes on from a state read before.
    pub fn set_state(&mut self, state: [u64; 3]) {
        *self = Generator::from_state(state);
    }

    /// Uniform values, with the dtypes and bounds of [`stateless_uniform`](super::stateless_uniform).
    ///
    /// # Errors
    /// Those of [`stateless_uniform`](super::stateless_uniform); the state is then unchanged.
    pub fn uniform(
        &mut self,
        shape: impl Into<Shape>,
        minval: impl Into<Limit>,
        maxval: impl Into<Limit>,
        dtype: DType,
    ) -> Result<Tensor> {
        let (minval, maxval) = (minval.into(), maxval.into());
        self.draw(shape.into(), |shape| StatelessUniform { shape, minval, maxval, dtype })
    }

    /// Values of a normal distribution in a floating dtype.
    ///
    /// # Errors
    /// A dtype that is not floating; the state is then unchanged.
    pub fn normal(
        &mut self,
        shape: impl Into<Shape>,
        mean: f64,
        stddev: f64,
        dtype: DType,
    ) -> Result<Tensor> {
        self.draw(shape.into(), |shape| StatelessNormal { shape, mean, stddev, dtype })
    }

    /// Values of a normal distribution less than two standard deviations from the mean.
    ///
    /// # Errors
    /// A dtype that is not floating; the state is then unchanged.
    pub fn truncated_normal(
        &mut self,
        shape: impl Into<Shape>,
        mean: f64,
        stddev: f64,
        dtype: DType,
    ) -> Result<Tensor> {
        self.draw(shape.into(), |shape| StatelessTruncatedNormal { shape, mean, stddev, dtype })
    }

    fn draw<O: Op>(&mut self, shape: Shape, op: impl FnOnce(Shape) -> O) -> Result<Tensor> {
        if trace::is_active() {
            return Err(Error::unsupported(
                "random.Generator: inside tf::function its state cannot advance with each call; \
                 draw from the global generator (tf::random::uniform, normal) or pass the values in",
            ));
        }
        let drawn = apply(op(shape), &[&start::tensor(self.state())])?;
        self.skip(blocks_for(&shape));
        Ok(drawn)
    }

    fn skip(&mut self, blocks: u128) {
        self.counter = self.counter.wrapping_add(blocks);
    }
}

fn blocks_for(shape: &Shape) -> u128 {
    shape.num_elements() as u128 * BLOCKS_PER_VALUE
}

/// A draw from the global generator; of a function being traced, each call will draw anew.
fn draw_global<O: Op>(shape: Shape, op: impl FnOnce(Shape) -> O) -> Result<Tensor> {
    match trace::random_start(blocks_for(&shape)) {
        Some(start) => apply(op(shape), &[&start]),
        None => with_global(|generator| generator.draw(shape, op)),
    }
}

/// The state of the global generator, which then passes over `blocks`: a draw's, without the draw.
pub(crate) fn take_global_state(blocks: u128) -> start::State {
    with_global(|generator| {
        let state = generator.state();
        generator.skip(blocks);
        state
    })
}

static GLOBAL: Mutex<Option<Generator>> = Mutex::new(None);

/// Lets `use_it` draw from the global generator, which begins at a place that differs from process
/// to process unless a seed was set.
fn with_global<R>(use_it: impl FnOnce(&mut Generator) -> R) -> R {
    use_it(lock_global().get_or_insert_with(|| {
        let entropy = || RandomState::new().hash_one(std::process::id()) as i64;
        Generator::from_scrambled([entropy(), entropy()])
    }))
}

fn lock_global() -> MutexGuard<'static, Option<Generator>> {
    GLOBAL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Seeds the global generator, from which [`uniform`], [`normal`] and initializers without a seed
/// draw, like `tf.random.set_seed`. (The values are not those that TensorFlow's `tf.random.normal`
/// gives after it, whose streams depend on how many ops there are.)
///
/// ```
/// use tapeflow_core::{DType, random};
///
/// random::set_seed(7);
/// let x = random::normal([3], 0.0, 1.0, DType::Float32)?;
/// random::set_seed(7);
/// assert_eq!(random::normal([3], 0.0, 1.0, DType::Float32)?.as_bytes(), x.as_bytes());
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn set_seed(seed: u64) {
    *lock_global() = Some(Generator::from_scrambled([seed as i64, 0]));
}

/// The state of the global generator, for a checkpoint.
///
/// ```
/// use tapeflow_core::{DType, random};
///
/// let saved = random::global_state();
/// let x = random::uniform([3], 0.0, 1.0, DType::Float32)?;
/// random::set_global_state(saved);
/// assert_eq!(random::uniform([3], 0.0, 1.0, DType::Float32)?.as_bytes(), x.as_bytes());
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn global_state() -> [u64; 3] {
    with_global(|generator| generator.state())
}

/// Lets the global generator go on from a state read with [`global_state`].
pub fn set_global_state(state: [u64; 3]) {
    *lock_global() = Some(Generator::from_state(state));
}

/// Uniform values from the global generator, `tf.random.uniform`; dtypes and bounds are those of
/// [`stateless_uniform`](super::stateless_uniform).
///
/// # Errors
/// Those of [`stateless_uniform`](super::stateless_uniform).
///
/// ```
/// use tapeflow_core::{DType, random};
///
/// let dice = random::uniform([5], 1, 7, DType::Int32)?;
/// assert!(dice.to_vec::<i32>()?.iter().all(|eyes| (1..=6).contains(eyes)));
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn uniform(
    shape: impl Into<Shape>,
    minval: impl Into<Limit>,
    maxval: impl Into<Limit>,
    dtype: DType,
) -> Result<Tensor> {
    let (minval, maxval) = (minval.into(), maxval.into());
    draw_global(shape.into(), |shape| StatelessUniform { shape, minval, maxval, dtype })
}

/// Values of a normal distribution from the global generator, `tf.random.normal`.
///
/// # Errors
/// A dtype that is not floating.
///
/// ```
/// use tapeflow_core::{DType, random};
///
/// let x = random::normal([2, 3], 0.0, 0.05, DType::Float32)?;
/// assert_eq!(x.shape().dims(), [2, 3]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn normal(shape: impl Into<Shape>, mean: f64, stddev: f64, dtype: DType) -> Result<Tensor> {
    draw_global(shape.into(), |shape| StatelessNormal { shape, mean, stddev, dtype })
}

/// Values of a normal distribution less than two standard deviations from the mean, from the global
/// generator, `tf.random.truncated_normal`.
///
/// # Errors
/// A dtype that is not floating.
///
/// ```
/// use tapeflow_core::{DType, random};
///
/// let x = random::truncated_normal([100], 0.0, 0.5, DType::Float32)?;
/// assert!(x.to_vec::<f32>()?.iter().all(|value| value.abs() <= 1.0));
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn truncated_normal(
    shape: impl Into<Shape>,
    mean: f64,
    stddev: f64,
    dtype: DType,
) -> Result<Tensor> {
    draw_global(shape.into(), |shape| StatelessTruncatedNormal { shape, mean, stddev, dtype })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::stateless_uniform;

    // TensorFlow 2.21:
    //     g = tf.random.Generator.from_seed(1234)
    //     g.uniform([3]); g.normal([3]); g.uniform([3], 0, 10, dtype='int32'); g.uniform([2, 2])
    //     g.state
    #[test]
    fn a_seed_gives_tensorflows_stream() {
        let mut generator = Generator::from_seed(1234);
        let bits = |x: Tensor| -> Vec<u32> {
            x.to_vec::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
        };
        let x = generator.uniform([3], 0.0, 1.0, DType::Float32).unwrap();
        assert_eq!(bits(x), [0x3eb75f1c, 0x3de7e3e0, 0x3f1113d8]);
        let x = bits(generator.normal([3], 0.0, 1.0, DType::Float32).unwrap());
        for (got, expected) in x.iter().zip([0x3f902eae, 0xbf845484u32, 0x3e83a388]) {
            assert!(got.abs_diff(expected) <= 2);
        }
        let x = generator.uniform([3], 0, 10, DType::Int32).unwrap();
        assert_eq!(x.to_vec::<i32>().unwrap(), [4, 9, 1]);
        let x = generator.uniform([2, 2], 0.0, 1.0, DType::Float32).unwrap();
        assert_eq!(bits(x), [0x3f492f18, 0x3f002b0c, 0x3f075742, 0x3f11d96e]);
        assert_eq!(generator.state(), [4562, 0, 0]);
    }

    #[test]
    fn a_refused_draw_leaves_the_state() {
        let mut generator = Generator::from_seed(1);
        assert!(generator.normal([3], 0.0, 1.0, DType::Int32).is_err());
        assert_eq!(generator.state(), [1, 0, 0]);
    }

    #[test]
    fn a_scrambled_seed_begins_where_the_stateless_functions_do() {
        let x = Generator::from_scrambled([1, 2]).uniform([3], 0.0, 1.0, DType::Float32).unwrap();
        let y = stateless_uniform([3], [1, 2], 0.0, 1.0, DType::Float32).unwrap();
        assert_eq!(x.as_bytes(), y.as_bytes());
    }
}
