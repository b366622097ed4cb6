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
//! ([`Upstream`]).

mod relu;
mod upstream;

use std::ops::Range;

use crate::buffer::{AllocError, Buffer};
use crate::conv::for_each_piece;
use crate::element::{Float, Number};
use crate::lanes::{for_each_lanes, load};
use crate::parallel::{SharedMut, for_each_chunk_mut};
use crate::simd::{Level, vectorize};

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

    /// The parts of a block.
    fn parts(self, block: usize) -> impl Iterator<Item = Range<usize>> {
        let Range { start, end } = self.range(block);
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
    for_each_lanes!(channels, channel, N => {
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
    normalize_then(level, x, statistics, (scale, offset), |value| value, y)
}

/// [`normalize`], and `then` on every element.
fn normalize_then<T: Float>(
    level: Level,
    x: &[T],
    statistics: Statistics<'_, T::Accumulator>,
    (scale, offset): (&[T::Accumulator], &[T::Accumulator]),
    then: impl Fn(T) -> T + Copy + Sync,
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
        vectorize!(for T, level, || normalize_rows(x, numbers, then, y));
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
    for_each_lanes!(channels, channel, N => {
        let [mean, factors, offset] =
            numbers.map(|numbers| load::<T::Accumulator, N>(numbers, channel));
        for (x, y) in x.chunks_exact(channels).zip(y.chunks_exact_mut(channels)) {
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

/// The gradients of [`normalize`] with respect to scale and offset: the sums of
/// `dy * (x - mean) * inverse_deviation` and of `dy` into `dscale` and `doffset`.
///
/// # Errors
/// [`AllocError`] when there is no memory for the sums of the blocks.
///
/// # Panics
/// If the lengths do not fit each other, or there is no channel.
pub fn normalize_grad_sums<T: Float>(
    level: Level,
    dy: Upstream<'_, T>,
    x: &[T],
    statistics: Statistics<'_, T::Accumulator>,
    dscale: &mut [T::Accumulator],
    doffset: &mut [T::Accumulator],
) -> Result<(), AllocError> {
    let channels = statistics.mean.len();
    let blocks = dy.blocks(x.len(), channels);
    assert_eq!((dscale.len(), doffset.len()), (channels, channels), "batch_norm: gradients");
    let sums = blocks.sums(dy.scratch_len(&blocks), |block, [dscale, doffset], scratch| {
        dscale.fill(T::Accumulator::ZERO);
        doffset.fill(T::Accumulator::ZERO);
        for part in blocks.parts(block) {
            let x = &x[part.clone()];
            let dy = dy.part(level, statistics, x, part, scratch);
            vectorize!(for T, level, || add_grad_sums(dy, x, statistics.mean, dscale, doffset));
        }
    })?;
    let parts = || sums.as_slice::<T::Accumulator>().chunks_exact(2 * channels);
    let total = |index: usize| parts().map(|part| part[index].to_f64()).sum::<f64>();
    for channel in 0..channels {
        let inverse = statistics.inverse_deviation[channel].to_f64();
        dscale[channel] = T::Accumulator::from_f64(total(channel) * inverse);
        doffset[channel] = T::Accumulator::from_f64(total(channels + channel));
    }
    Ok(())
}

/// Adds the sums of `dy * (x - mean)` and of `dy` over rows.
#[inline(always)]
fn add_grad_sums<T: Float>(
    dy: &[T],
    x: &[T],
    mean: &[T::Accumulator],
    products: &mut [T::Accumulator],
    sums: &mut [T::Accumulator],
) {
    let channels = mean.len();
    for_each_lanes!(channels, channel, N => {
        let [mean, mut product, mut sum] = [mean, &*products, &*sums]
            .map(|numbers| load::<T::Accumulator, N>(numbers, channel));
        for (dy, x) in dy.chunks_exact(channels).zip(x.chunks_exact(channels)) {
            let (dy, x): ([T; N], [T; N]) = (load(dy, channel), load(x, channel));
            for i in 0..N {
                let dy = dy[i].to_accumulator();
                product[i] = product[i].add(dy.mul(x[i].to_accumulator().sub(mean[i])));
                sum[i] = sum[i].add(dy);
            }
        }
        products[channel..][..N].copy_from_slice(&product);
        sums[channel..][..N].copy_from_slice(&sum);
    });
}

/// The gradient of [`normalize`] with respect to `x`, into `dx`.
///
/// With `sums`, the `dscale` and `doffset` of [`normalize_grad_sums`], the statistics are those of
/// `x` itself and depend on it:
/// `scale * inverse_deviation * (dy - mean(dy) - x_hat * mean(dy * x_hat))`, where `x_hat` is the
/// normalised `x`. Without, they are given: `scale * inverse_deviation * dy`.
///
/// # Errors
/// [`AllocError`] when there is no memory for a few numbers per channel.
///
/// # Panics
/// If the lengths do not fit each other, or there is no channel.
pub fn normalize_grad<T: Float>(
    level: Level,
    dy: Upstream<'_, T>,
    x: &[T],
    statistics: Statistics<'_, T::Accumulator>,
    scale: &[T::Accumulator],
    sums: Option<[&[T::Accumulator]; 2]>,
    dx: &mut [T],
) -> Result<(), AllocError> {
    let channels = statistics.mean.len();
    let blocks = dy.blocks(x.len(), channels);
    assert_eq!(dx.len(), x.len(), "batch_norm: gradient");
    let factors = products(statistics.inverse_deviation, scale)?;
    let factors = factors.as_slice::<T::Accumulator>();
    // dx = (dy - mean_dy - (x - mean) * slope) * factor
    let numbers = match sums {
        None => None,
        Some([dscale, doffset]) => {
            let mut slopes = products(dscale, statistics.inverse_deviation)?;
            let mut means = Buffer::from_slice(doffset)?;
            let per_row = T::Accumulator::from_f64(1.0 / (x.len() / channels) as f64);
            for sums in [&mut slopes, &mut means] {
                let sums = sums.as_mut_slice::<T::Accumulator>();
                sums.iter_mut().for_each(|sum| *sum = sum.mul(per_row));
            }
            Some((slopes, means))
        }
    };
    let numbers = numbers
        .as_ref()
        .map(|(slopes, means)| [statistics.mean, slopes.as_slice(), means.as_slice(), factors]);
    let dx = SharedMut::new(dx);
    for_each_piece(blocks.count(), dy.scratch_len(&blocks), |block, scratch| {
        for part in blocks.parts(block) {
            // SAFETY: parts do not overlap.
            let dx = unsafe { dx.range(part.start, part.end) };
            let x = &x[part.clone()];
            let dy = dy.part(level, statistics, x, part, scratch);
            match numbers {
                Some(numbers) => vectorize!(for T, level, || block_grad(dy, x, numbers, dx)),
                None => vectorize!(for T, level, || scale_rows(dy, factors, dx)),
            }
        }
    })
}

/// `dy * factor` into `dx`, channel by channel.
#[inline(always)]
fn scale_rows<T: Float>(dy: &[T], factors: &[T::Accumulator], dx: &mut [T]) {
    let channels = factors.len();
    for_each_lanes!(channels, channel, N => {
        let factors: [T::Accumulator; N] = load(factors, channel);
        for (dx, dy) in dx.chunks_exact_mut(channels).zip(dy.chunks_exact(channels)) {
            let dy: [T; N] = load(dy, channel);
            let dx: &mut [T] = &mut dx[channel..][..N];
            for i in 0..N {
                dx[i] = T::from_accumulator(dy[i].to_accumulator().mul(factors[i]));
            }
        }
    });
}

#[inline(always)]
fn block_grad<T: Float>(dy: &[T], x: &[T], numbers: [&[T::Accumulator]; 4], dx: &mut [T]) {
    let channels = numbers[0].len();
    for_each_lanes!(channels, channel, N => {
        let [mean, slopes, dy_means, factors] =
            numbers.map(|numbers| load::<T::Accumulator, N>(numbers, channel));
        let rows = dy.chunks_exact(channels).zip(x.chunks_exact(channels));
        for (dx, (dy, x)) in dx.chunks_exact_mut(channels).zip(rows) {
            let (dy, x): ([T; N], [T; N]) = (load(dy, channel), load(x, channel));
            let dx: &mut [T] = &mut dx[channel..][..N];
            for i in 0..N {
                let share = x[i].to_accumulator().sub(mean[i]).mul(slopes[i]);
                let centred = dy[i].to_accumulator().sub(dy_means[i]);
                dx[i] = T::from_accumulator(centred.sub(share).mul(factors[i]));
            }
        }
    });
}
