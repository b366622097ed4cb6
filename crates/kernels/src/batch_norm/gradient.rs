//! The gradients of normalisation.

use std::ops::Range;

use super::{Blocks, Statistics, Upstream, products};
use crate::buffer::{AllocError, Buffer};
use crate::conv::for_each_piece;
use crate::element::{Float, Number};
use crate::lanes::{for_each_lanes, load};
use crate::parallel::SharedMut;
use crate::simd::{Level, vectorize};

/// The gradients of [`normalize`](super::normalize) with respect to scale and offset: the sums of
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
        for part in blocks.parts(blocks.range(block)) {
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
    for_each_lanes!(wide channels, channel, N => {
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

/// The gradient of [`normalize`](super::normalize) with respect to `x`, into `dx`.
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
    assert_eq!(dx.len(), x.len(), "batch_norm: gradient");
    let gradient = InputGradient::new(level, dy, x, statistics, scale, sums)?;
    let (blocks, dx) = (gradient.blocks, SharedMut::new(dx));
    for_each_piece(blocks.count(), gradient.scratch_len(), |block, scratch| {
        let range = blocks.range(block);
        // SAFETY: blocks do not overlap.
        let dx = unsafe { dx.range(range.start, range.end) };
        gradient.write(range, dx, scratch);
    })
}

/// What [`normalize_grad`] computes, ready to be written part by part.
pub(crate) struct InputGradient<'a, T: Number> {
    level: Level,
    dy: Upstream<'a, T>,
    x: &'a [T],
    statistics: Statistics<'a, T::Accumulator>,
    blocks: Blocks,
    /// By which each channel is multiplied in the end.
    factors: Buffer,
    /// Where the statistics depend on `x`: the mean of `dy * x_hat` over the deviation, and that of `dy`.
    means: Option<[Buffer; 2]>,
}

impl<'a, T: Float> InputGradient<'a, T> {
    /// The arguments are those of [`normalize_grad`].
    pub(crate) fn new(
        level: Level,
        dy: Upstream<'a, T>,
        x: &'a [T],
        statistics: Statistics<'a, T::Accumulator>,
        scale: &[T::Accumulator],
        sums: Option<[&[T::Accumulator]; 2]>,
    ) -> Result<Self, AllocError> {
        let channels = statistics.mean.len();
        let blocks = dy.blocks(x.len(), channels);
        let all = [scale.len(), sums.map_or(channels, |[_, doffset]| doffset.len())];
        assert_eq!(all, [channels; 2], "batch_norm: numbers of channels");
        let factors = products(statistics.inverse_deviation, scale)?;
        let per_row = T::Accumulator::from_f64(1.0 / (x.len() / channels) as f64);
        let mean = |mut sums: Buffer| {
            let values = sums.as_mut_slice::<T::Accumulator>().iter_mut();
            values.for_each(|sum| *sum = sum.mul(per_row));
            sums
        };
        let means = match sums {
            None => None,
            Some([dscale, doffset]) => {
                let slopes = products(dscale, statistics.inverse_deviation)?;
                Some([slopes, Buffer::from_slice(doffset)?].map(mean))
            }
        };
        Ok(Self { level, dy, x, statistics, blocks, factors, means })
    }

    /// Elements of scratch that [`write`](Self::write) needs.
    pub(crate) fn scratch_len(&self) -> usize {
        self.dy.scratch_len(&self.blocks)
    }

    /// Writes the gradient of whole rows of channels; where a pooling follows, of whole images or blocks.
    pub(crate) fn write(&self, range: Range<usize>, dx: &mut [T], scratch: &mut [T]) {
        let (level, statistics, first) = (self.level, self.statistics, range.start);
        let factors = self.factors.as_slice::<T::Accumulator>();
        let means = self.means.as_ref().map(|means| means.each_ref().map(Buffer::as_slice));
        for part in self.blocks.parts(range) {
            let x = &self.x[part.clone()];
            let dx = &mut dx[part.start - first..][..x.len()];
            let dy = self.dy.part(level, statistics, x, part, scratch);
            match means {
                Some([slopes, dy_means]) => {
                    let numbers = [statistics.mean, slopes, dy_means, factors];
                    vectorize!(for T, level, || centre_rows(dy, x, numbers, dx));
                }
                None => vectorize!(for T, level, || scale_rows(dy, factors, dx)),
            }
        }
    }
}

/// `dy * factor` into `dx`, channel by channel.
#[inline(always)]
fn scale_rows<T: Float>(dy: &[T], factors: &[T::Accumulator], dx: &mut [T]) {
    let channels = factors.len();
    for_each_lanes!(wide channels, channel, N => {
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

/// `(dy - mean of dy - (x - mean) * slope) * factor` into `dx`, channel by channel.
#[inline(always)]
fn centre_rows<T: Float>(dy: &[T], x: &[T], numbers: [&[T::Accumulator]; 4], dx: &mut [T]) {
    let channels = numbers[0].len();
    for_each_lanes!(wide channels, channel, N => {
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
