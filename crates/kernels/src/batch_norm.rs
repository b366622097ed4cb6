//! Batch normalisation: each channel of an array, its last axis, brought to mean 0 and variance 1,
//! then scaled and shifted; and the gradients.
//!
//! # How it is done
//! Each kernel goes over memory once. Mean and variance come from blocks of rows that stay in the
//! cache: a block is summed, then the squares of the distances from its own mean are, so no digits
//! are lost to a mean far from zero. The blocks are put together in `f64`, in their order.
//! Statistics are in the accumulator type, `f32` for the 16-bit floats.
//!
//! Relu and max pooling may follow in the same sweep, and are undone in that of the gradients
//! ([`Upstream`]). Either sweep can be part of a convolution's
//! ([`conv::normalized`](crate::conv::normalized)).

mod gradient;
mod relu;
mod upstream;

use std::ops::Range;

use crate::buffer::{AllocError, Buffer};
use crate::conv::for_each_piece;
use crate::element::{Float, Number};
use crate::lanes::{for_each_lanes, load};
use crate::parallel::{SharedMut, for_each_chunk_mut};
use crate::prefetch::ask_ahead;
use crate::simd::{Level, vectorize};

pub(crate) use gradient::InputGradient;
pub use gradient::{normalize_grad, normalize_grad_sums};
pub(crate) use relu::NormalizedRelu;
pub use relu::{normalize_max_pool, normalize_relu};
pub use upstream::Upstream;

/// Elements of a block, which the second-level cache holds.
const BLOCK_LEN: usize = 1 << 15;
/// The most rows that are summed one after the other: more would cost digits.
const MAX_BLOCK_ROWS: usize = 512;

/// The statistics of each channel.
#[derive(Clone, Copy, Debug)]
pub struct Statistics<'a, A> {
    /// The mean.
    pub mean: &'a [A],
    /// One over the standard deviation.
    pub inverse_deviation: &'a [A],
}

/// How an array falls into blocks of whole rows, each of which is summed by itself, and blocks into
/// parts; it depends on the shape alone.
#[derive(Clone, Copy)]
struct Blocks {
    channels: usize,
    len: usize,
    block_len: usize,
    part_len: usize,
}

impl Blocks {
    /// Blocks of one part.
    fn new(len: usize, channels: usize) -> Self {
        assert!(
            channels > 0 && len.is_multiple_of(channels),
            "batch_norm: {len} elements of {channels} channels"
        );
        let rows = (BLOCK_LEN / channels).clamp(1, MAX_BLOCK_ROWS);
        Self { channels, len, block_len: rows * channels, part_len: rows * channels }
    }

    fn count(&self) -> usize {
        self.len.div_ceil(self.block_len)
    }

    fn range(&self, block: usize) -> Range<usize> {
        block * self.block_len..self.len.min((block + 1) * self.block_len)
    }

    /// The parts of a range of elements. It may begin at any row; where a pooling follows, at a part, since
    /// which one that is follows from its place.
    fn parts(self, Range { start, end }: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        (start..end).step_by(self.part_len).map(move |at| at..end.min(at + self.part_len))
    }

    fn rows(&self, block: usize) -> f64 {
        (self.range(block).len() / self.channels) as f64
    }

    /// Calls `sum` with every block, `N` rows of sums for it and `scratch_len` elements of arbitrary
    /// content, in parallel. The result has the rows of the blocks one after the other.
    fn sums<T: Float, const N: usize>(
        &self,
        scratch_len: usize,
        sum: impl Fn(usize, [&mut [T::Accumulator]; N], &mut [T]) + Sync,
    ) -> Result<Buffer, AllocError> {
        let block_sums = N * self.channels;
        let len = self.count().saturating_mul(block_sums);
        let mut buffer = Buffer::uninit_reused(len.saturating_mul(size_of::<T::Accumulator>()))?;
        let shared = SharedMut::new(buffer.as_mut_slice::<T::Accumulator>());
        for_each_piece(self.count(), scratch_len, |block, scratch| {
            // SAFETY: each block has its own sums.
            let sums = unsafe { shared.range(block * block_sums, (block + 1) * block_sums) };
            let mut rows = sums.chunks_exact_mut(self.channels);
            let row = |_| rows.next().expect("a block has N rows of sums");
            sum(block, std::array::from_fn(row), scratch);
        })?;
        Ok(buffer)
    }
}

/// The mean and the variance of each channel of `x`: NaN where `x` is empty. The variance is the
/// mean of the squared distances from the mean, not the unbiased one.
///
/// ```
/// use tapeflow_kernels::{batch_norm::moments, simd::Level};
/// let (mut mean, mut variance) = ([0.0; 2], [0.0; 2]);
/// moments(Level::best(), &[1.0f32, 5.0, 3.0, 5.0], &mut mean, &mut variance)?;
/// assert_eq!((mean, variance), ([2.0, 5.0], [1.0, 0.0]));
/// # Ok::<(), tapeflow_kernels::buffer::AllocError>(())
/// ```
///
/// # Errors
/// [`AllocError`] when there is no memory for the sums of the blocks.
///
/// # Panics
/// If the lengths do not fit each other, or there is no channel.
pub fn moments<T: Float>(
    level: Level,
    x: &[T],
    mean: &mut [T::Accumulator],
    variance: &mut [T::Accumulator],
) -> Result<(), AllocError> {
    let channels = mean.len();
    assert_eq!(variance.len(), channels, "batch_norm: variance of {channels} channels");
    let blocks = Blocks::new(x.len(), channels);
    let sums = blocks.sums(0, |block, sums, _: &mut [T]| {
        vectorize!(for T, level, || block_moments(&x[blocks.range(block)], sums));
    })?;
    let parts = || sums.as_slice::<T::Accumulator>().chunks_exact(3 * channels).enumerate();
    let rows = (x.len() / channels) as f64;
    for (channel, (mean, variance)) in mean.iter_mut().zip(variance).enumerate() {
        let sum_of = |part: &[T::Accumulator], row: usize| part[row * channels + channel].to_f64();
        let sum = parts().map(|(i, part)| {
            // Of an infinite mean there is no distance.
            let distance = Some(sum_of(part, 1)).filter(|sum| sum.is_finite());
            sum_of(part, 0) * blocks.rows(i) + distance.unwrap_or(0.0)
        });
        let center = sum.sum::<f64>() / rows;
        let squares = parts().map(|(i, part)| {
            // The squares are around a rounded mean of the block; to be around `center`.
            let distance = sum_of(part, 0) - center;
            let shift = distance * (distance * blocks.rows(i) + 2.0 * sum_of(part, 1));
            sum_of(part, 2) + shift
        });
        *mean = T::Accumulator::from_f64(center);
        *variance = T::Accumulator::from_f64(squares.sum::<f64>() / rows);
    }
    Ok(())
}

/// The mean of a block, about; the sum of the distances from it, which is not quite zero; and the
/// sum of their squares.
#[inline(always)]
fn block_moments<T: Float>(x: &[T], [mean, distances, squares]: [&mut [T::Accumulator]; 3]) {
    let channels = mean.len();
    for_each_lanes!(wide channels, channel, N => {
        let sums = moments_lanes::<T, N>(x, channels, channel);
        for (to, from) in [&mut *mean, &mut *distances, &mut *squares].into_iter().zip(sums) {
            to[channel..][..N].copy_from_slice(&from);
        }
    });
}

#[inline(always)]
fn moments_lanes<T: Float, const N: usize>(
    x: &[T],
    channels: usize,
    channel: usize,
) -> [[T::Accumulator; N]; 3] {
    let [mut mean, mut distances, mut squares] = [[T::Accumulator::ZERO; N]; 3];
    for row in x.chunks_exact(channels) {
        ask_ahead::<T, N>(row, channel);
        let row: [T; N] = load(row, channel);
        for i in 0..N {
            mean[i] = mean[i].add(row[i].to_accumulator());
        }
    }
    let scale = T::Accumulator::from_f64(1.0 / (x.len() / channels) as f64);
    mean.iter_mut().for_each(|sum| *sum = sum.mul(scale));
    for row in x.chunks_exact(channels) {
        let row: [T; N] = load(row, channel);
        for i in 0..N {
            let distance = row[i].to_accumulator().sub(mean[i]);
            distances[i] = distances[i].add(distance);
            squares[i] = squares[i].add(distance.mul(distance));
        }
    }
    [mean, distances, squares]
}

/// `(x - mean) * inverse_deviation * scale + offset` into `y`, channel by channel.
///
/// ```
/// use tapeflow_kernels::{batch_norm::{Statistics, normalize}, simd::Level};
/// let statistics = Statistics { mean: &[2.0, 5.0], inverse_deviation: &[1.0, 0.5] };
/// let mut y = [0.0f32; 4];
/// let x = [1.0, 5.0, 3.0, 7.0];
/// normalize(Level::best(), &x, statistics, &[10.0, 10.0], &[0.5, 0.5], &mut y)?;
/// assert_eq!(y, [-9.5, 0.5, 10.5, 10.5]);
/// # Ok::<(), tapeflow_kernels::buffer::AllocError>(())
/// ```
///
/// # Errors
/// [`AllocError`] when there is no memory for a number per channel.
///
/// # Panics
/// If the lengths do not fit each other, or there is no channel.
pub fn normalize<T: Float>(
    level: Level,
    x: &[T],
    statistics: Statistics<'_, T::Accumulator>,
    scale: &[T::Accumulator],
    offset: &[T::Accumulator],
    y: &mut [T],
) -> Result<(), AllocError> {
    let channels = offset.len();
    let blocks = Blocks::new(x.len(), channels);
    assert_eq!(y.len(), x.len(), "batch_norm: output");
    assert_eq!(statistics.mean.len(), channels, "batch_norm: mean");
    let factors = products(statistics.inverse_deviation, scale)?;
    let numbers = [statistics.mean, factors.as_slice(), offset];
    for_each_chunk_mut(y, blocks.block_len, |block, y| {
        let x = &x[blocks.range(block)];
        vectorize!(for T, level, || normalize_rows(x, numbers, |value| value, y));
    });
    Ok(())
}

/// Normalises whole rows by mean, factor and offset of each channel.
#[inline(always)]
fn normalize_rows<T: Float>(
    x: &[T],
    numbers: [&[T::Accumulator]; 3],
    then: impl Fn(T) -> T,
    y: &mut [T],
) {
    let channels = numbers[0].len();
    for_each_lanes!(wide channels, channel, N => {
        let [mean, factors, offset] =
            numbers.map(|numbers| load::<T::Accumulator, N>(numbers, channel));
        for (x, y) in x.chunks_exact(channels).zip(y.chunks_exact_mut(channels)) {
            ask_ahead::<T, N>(x, channel);
            let x: [T; N] = load(x, channel);
            let y: &mut [T] = &mut y[channel..][..N];
            for i in 0..N {
                let value = x[i].to_accumulator().sub(mean[i]).mul(factors[i]).add(offset[i]);
                y[i] = then(T::from_accumulator(value));
            }
        }
    });
}

/// The products of the elements of two slices of one length.
fn products<A: Number>(a: &[A], b: &[A]) -> Result<Buffer, AllocError> {
    assert_eq!(a.len(), b.len(), "batch_norm: numbers of channels");
    let mut out = Buffer::uninit_reused(size_of_val(a))?;
    for (out, (&a, &b)) in out.as_mut_slice::<A>().iter_mut().zip(a.iter().zip(b)) {
        *out = a.mul(b);
    }
    Ok(out)
}
