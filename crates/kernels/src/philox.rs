//! Philox-4x32-10, the counter-based generator of TensorFlow, and fills of slices from it.
//!
//! A block of four 32-bit words is a function of a key and a 128-bit counter, so any part of a
//! stream can be computed by itself: fills are cut into fixed chunks and the values do not depend
//! on the number of threads.
//!
//! The generator is that of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as
//! 1, 2, 3" (2011). How words become values is TensorFlow's `random_distributions.h`: integers and
//! uniform floats are the same bits, normals agree to the last digits.

use std::f64::consts::PI;

use half::{bf16, f16};

use crate::element::{Element, Float, Number};
use crate::parallel::for_each_chunk_mut;
use crate::simd::vectorize_for;

/// Elements per piece of work; a multiple of the elements of [`LANES`] blocks of every type.
const CHUNK: usize = 16 * 1024;

/// Blocks that are computed side by side.
const LANES: usize = 16;

/// The random words that TensorFlow sets aside for each value of a truncated normal, which rejects
/// some.
const TRUNCATED_WORDS_PER_VALUE: u64 = 256;

/// The smallest number that goes into the logarithm of the Box-Muller transform.
const BOX_MULLER_EPSILON: f64 = 1e-7;

const MULTIPLIERS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
const KEY_STEPS: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];
const ROUNDS: usize = 10;

/// A place in a Philox-4x32-10 stream.
///
/// ```
/// use tapeflow_kernels::philox::Philox;
/// let mut philox = Philox::new([1, 2], [0; 4]);
/// let mut later = philox;
/// philox.next_block();
/// later.skip(1);
/// assert_eq!(philox.next_block(), later.next_block());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Philox {
    key: [u32; 2],
    counter: [u32; 4],
}

impl Philox {
    /// The stream of `key`, from `counter` (least significant word first) on.
    pub fn new(key: [u32; 2], counter: [u32; 4]) -> Self {
        Self { key, counter }
    }

    /// Which stream it is.
    pub fn key(&self) -> [u32; 2] {
        self.key
    }

    /// The number of the next block, least significant word first.
    pub fn counter(&self) -> [u32; 4] {
        self.counter
    }

    /// Passes over `blocks` blocks.
    #[inline(always)]
    pub fn skip(&mut self, blocks: u64) {
        let [a, b, c, d] = self.counter.map(u128::from);
        let sum = (a | b << 32 | c << 64 | d << 96).wrapping_add(u128::from(blocks));
        self.counter = [sum as u32, (sum >> 32) as u32, (sum >> 64) as u32, (sum >> 96) as u32];
    }

    /// The next four words.
    pub fn next_block(&mut self) -> [u32; 4] {
        let words = rounds(self.key, self.counter.map(|word| [word]));
        self.skip(1);
        words.map(|[word]| word)
    }

    /// The next [`LANES`] blocks: word `i` of each block in row `i`.
    #[inline(always)]
    fn next_lanes(&mut self) -> [[u32; LANES]; 4] {
        let mut counters = [[0; LANES]; 4];
        for lane in 0..LANES {
            for (row, word) in counters.iter_mut().zip(self.counter) {
                row[lane] = word;
            }
            self.skip(1);
        }
        rounds(self.key, counters)
    }
}

/// The ten rounds, for `N` counters side by side.
#[inline(always)]
fn rounds<const N: usize>(mut key: [u32; 2], mut words: [[u32; N]; 4]) -> [[u32; N]; 4] {
    for _ in 0..ROUNDS {
        let [w0, w1, w2, w3] = &mut words;
        for (((w0, w1), w2), w3) in w0.iter_mut().zip(w1).zip(w2).zip(w3) {
            let first = u64::from(MULTIPLIERS[0]) * u64::from(*w0);
            let second = u64::from(MULTIPLIERS[1]) * u64::from(*w2);
            *w0 = (second >> 32) as u32 ^ *w1 ^ key[0];
            *w1 = second as u32;
            *w2 = (first >> 32) as u32 ^ *w3 ^ key[1];
            *w3 = first as u32;
        }
        key = [key[0].wrapping_add(KEY_STEPS[0]), key[1].wrapping_add(KEY_STEPS[1])];
    }
    words
}

/// A float that can be drawn.
pub trait RandomFloat: Float {
    /// The values that one block gives: four, or two of `f64`.
    type Block: AsRef<[Self]>;
    /// The same number of normal values, before they are rounded to 16 bits.
    type NormalBlock: AsRef<[Self::Accumulator]>;

    /// Values in `[0, 1)`, as many bits as the mantissa has.
    fn uniform(words: [u32; 4]) -> Self::Block;
    /// Values of the normal distribution with mean 0 and standard deviation 1.
    fn normal(words: [u32; 4]) -> Self::NormalBlock;
}

/// An integer that can be drawn.
pub trait RandomInteger: Number {
    /// The values that one block gives: four of 32 bits or two of 64.
    type Block: AsRef<[Self]>;

    /// Values of which every bit is random.
    fn bits(words: [u32; 4]) -> Self::Block;
    /// Values in `[minval, maxval)`, by the remainder of the division by the range.
    fn in_range(words: [u32; 4], minval: Self, maxval: Self) -> Self::Block;
}

#[inline(always)]
fn uniform_f32(word: u32) -> f32 {
    f32::from_bits(1.0f32.to_bits() | word & 0x7f_ffff) - 1.0
}

#[inline(always)]
fn uniform_f64(high: u32, low: u32) -> f64 {
    let mantissa = u64::from(high & 0xf_ffff) << 32 | u64::from(low);
    f64::from_bits(1.0f64.to_bits() | mantissa) - 1.0
}

/// The Box-Muller transform of two uniform words.
fn box_muller_f32(x0: u32, x1: u32) -> [f32; 2] {
    let radius = uniform_f32(x0).max(BOX_MULLER_EPSILON as f32);
    let radius = (-2.0 * radius.ln()).sqrt();
    // The angle is rounded once, from the product in double precision.
    let angle = (2.0 * PI * f64::from(uniform_f32(x1))) as f32;
    let (sin, cos) = angle.sin_cos();
    [sin * radius, cos * radius]
}

/// The Box-Muller transform of two uniform pairs of words.
fn box_muller_f64([x0, x1, x2, x3]: [u32; 4]) -> [f64; 2] {
    let radius = (-2.0 * uniform_f64(x0, x1).max(BOX_MULLER_EPSILON).ln()).sqrt();
    let (sin, cos) = (2.0 * PI * uniform_f64(x2, x3)).sin_cos();
    [sin * radius, cos * radius]
}

fn normal_f32([x0, x1, x2, x3]: [u32; 4]) -> [f32; 4] {
    let ([a, b], [c, d]) = (box_muller_f32(x0, x1), box_muller_f32(x2, x3));
    [a, b, c, d]
}

impl RandomFloat for f32 {
    type Block = [f32; 4];
    type NormalBlock = [f32; 4];

    #[inline(always)]
    fn uniform(words: [u32; 4]) -> [f32; 4] {
        words.map(uniform_f32)
    }

    fn normal(words: [u32; 4]) -> [f32; 4] {
        normal_f32(words)
    }
}

impl RandomFloat for f64 {
    type Block = [f64; 2];
    type NormalBlock = [f64; 2];

    #[inline(always)]
    fn uniform([x0, x1, x2, x3]: [u32; 4]) -> [f64; 2] {
        [uniform_f64(x0, x1), uniform_f64(x2, x3)]
    }

    fn normal(words: [u32; 4]) -> [f64; 2] {
        box_muller_f64(words)
    }
}

macro_rules! random_half {
    ($type:ident, $mantissa:literal) => {
        impl RandomFloat for $type {
            type Block = [$type; 4];
            type NormalBlock = [f32; 4];

            #[inline(always)]
            fn uniform(words: [u32; 4]) -> [$type; 4] {
                words.map(|word| {
                    let bits = $type::ONE.to_bits() | word as u16 & $mantissa;
                    Number::sub($type::from_bits(bits), $type::ONE)
                })
            }

            fn normal(words: [u32; 4]) -> [f32; 4] {
                normal_f32(words)
            }
        }
    };
}

random_half!(f16, 0x3ff);
random_half!(bf16, 0x7f);

macro_rules! random_integer {
    ($type:ident, $unsigned:ident, $per_block:literal, $join:expr) => {
        impl RandomInteger for $type {
            type Block = [$type; $per_block];

            #[inline(always)]
            fn bits(words: [u32; 4]) -> Self::Block {
                $join(words).map(|bits| bits as $type)
            }

            #[inline(always)]
            fn in_range(words: [u32; 4], minval: Self, maxval: Self) -> Self::Block {
                let range = (maxval as $unsigned).wrapping_sub(minval as $unsigned);
                $join(words).map(|bits: $unsigned| minval.wrapping_add((bits % range) as $type))
            }
        }
    };
}

random_integer!(i32, u32, 4, |words: [u32; 4]| words);
random_integer!(u32, u32, 4, |words: [u32; 4]| words);
random_integer!(i64, u64, 2, join_pairs);
random_integer!(u64, u64, 2, join_pairs);

#[inline(always)]
fn join_pairs([x0, x1, x2, x3]: [u32; 4]) -> [u64; 2] {
    [u64::from(x1) << 32 | u64::from(x0), u64::from(x3) << 32 | u64::from(x2)]
}

/// Fills with values in `[minval, maxval)`: `u * (maxval - minval) + minval`, each operation
/// rounded to `T`.
///
/// ```
/// use tapeflow_kernels::philox::{self, Philox};
/// let mut out = [0.0f32; 10];
/// philox::uniform(Philox::new([1, 2], [0; 4]), &mut out, -1.0, 1.0);
/// assert!(out.iter().all(|x| (-1.0..1.0).contains(x)));
/// ```
pub fn uniform<T: RandomFloat>(philox: Philox, out: &mut [T], minval: T, maxval: T) {
    let range = maxval.sub(minval);
    fill(philox, out, T::uniform, |value| value.mul(range).add(minval));
}

/// Fills with values of a normal distribution: `x * stddev + mean`, each operation rounded to `T`.
pub fn normal<T: RandomFloat>(philox: Philox, out: &mut [T], mean: T, stddev: T) {
    fill(philox, out, T::normal, |value| T::from_accumulator(value).mul(stddev).add(mean));
}

/// Fills with integers of which every bit is random.
pub fn integers<T: RandomInteger>(philox: Philox, out: &mut [T]) {
    fill(philox, out, T::bits, |value| value);
}

/// Fills with integers in `[minval, maxval)`.
///
/// # Panics
/// If the range is empty.
pub fn integers_in<T: RandomInteger>(philox: Philox, out: &mut [T], minval: T, maxval: T) {
    assert!(minval < maxval);
    fill(philox, out, |words| T::in_range(words, minval, maxval), |value| value);
}

/// Fills with values of a normal distribution of which those two or more standard deviations from
/// the mean are drawn again.
pub fn truncated_normal<T: RandomFloat>(philox: Philox, out: &mut [T], mean: T, stddev: T) {
    let per_group = per_block::<T>();
    let blocks_per_group = per_group as u64 * TRUNCATED_WORDS_PER_VALUE / 4;
    for_each_chunk_mut(out, CHUNK, |chunk_index, out| {
        let mut group_start = philox;
        group_start.skip((chunk_index * CHUNK / per_group) as u64 * blocks_per_group);
        for group in out.chunks_mut(per_group) {
            let mut blocks = group_start;
            let mut filled = 0;
            while filled < group.len() {
                for &value in T::normal(blocks.next_block()).as_ref() {
                    if filled < group.len() && value.to_f64().abs() < 2.0 {
                        group[filled] = T::from_accumulator(value).mul(stddev).add(mean);
                        filled += 1;
                    }
                }
            }
            group_start.skip(blocks_per_group);
        }
    });
}

/// How many values of `T` a block gives.
const fn per_block<T>() -> usize {
    if size_of::<T>() == 8 { 2 } else { 4 }
}

/// Fills `out` with `finish` of the values that `sample` makes of the blocks of `philox`, in order.
fn fill<T: Element, V: Copy, B: AsRef<[V]>>(
    philox: Philox,
    out: &mut [T],
    sample: impl Fn([u32; 4]) -> B + Copy + Sync,
    finish: impl Fn(V) -> T + Copy + Sync,
) {
    let per_block = per_block::<T>();
    for_each_chunk_mut(out, CHUNK, |chunk_index, out| {
        let mut philox = philox;
        philox.skip((chunk_index * CHUNK / per_block) as u64);
        vectorize_for::<T, _>(|| {
            for group in out.chunks_mut(per_block * LANES) {
                let [x0, x1, x2, x3] = philox.next_lanes();
                for (lane, values) in group.chunks_mut(per_block).enumerate() {
                    let block = sample([x0[lane], x1[lane], x2[lane], x3[lane]]);
                    for (out, &value) in values.iter_mut().zip(block.as_ref()) {
                        *out = finish(value);
                    }
                }
            }
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers that the authors publish with the algorithm (Random123, `kat_vectors`).
    #[test]
    fn blocks_are_the_published_ones() {
        let block = |key, counter| Philox::new(key, counter).next_block();
        assert_eq!(block([0; 2], [0; 4]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(
            block([u32::MAX; 2], [u32::MAX; 4]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
    }

    #[test]
    fn skipping_carries_through_the_whole_counter() {
        let mut philox = Philox::new([0; 2], [u32::MAX, u32::MAX, u32::MAX, 7]);
        philox.skip(2);
        assert_eq!(philox.counter(), [1, 0, 0, 8]);
    }

    #[test]
    fn fills_are_the_stream_in_order_whatever_their_length() {
        let start = Philox::new([3, 4], [u32::MAX - 5, 0, 1, 2]);
        let mut long = vec![0u32; 2 * CHUNK + 77];
        integers(start, &mut long);
        let mut philox = start;
        let one_by_one: Vec<u32> =
            (0..long.len().div_ceil(4)).flat_map(|_| philox.next_block()).collect();
        assert_eq!(long, one_by_one[..long.len()]);
        let mut short = [0u32; 3];
        integers(start, &mut short);
        assert_eq!(short, long[..3]);
    }

    #[test]
    fn normals_have_their_mean_and_deviation_and_truncated_ones_their_limit() {
        let mut out = vec![0.0f64; 100_000];
        let moments = |out: &[f64]| {
            let mean = out.iter().sum::<f64>() / out.len() as f64;
            (mean, out.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / out.len() as f64)
        };
        normal(Philox::new([5, 6], [0; 4]), &mut out, 1.0, 2.0);
        let (mean, variance) = moments(&out);
        assert!((mean - 1.0).abs() < 0.02 && (variance - 4.0).abs() < 0.06, "{mean} {variance}");
        truncated_normal(Philox::new([5, 6], [0; 4]), &mut out, 0.0, 1.0);
        let (mean, variance) = moments(&out);
        // The variance of a normal distribution cut off at two standard deviations.
        assert!(mean.abs() < 0.02 && (variance - 0.7737).abs() < 0.02, "{mean} {variance}");
        assert!(out.iter().all(|x| x.abs() < 2.0));
    }
}
