//! Relu, and max pooling, in the same sweep as normalisation.

use super::{Blocks, Statistics, normalize_rows, products};
use crate::buffer::{AllocError, Buffer};
use crate::conv::for_each_piece;
use crate::conv::fused::{BiasRelu, ConvRows, pool_row};
use crate::element::{Float, Number};
use crate::parallel::{SharedMut, for_each_chunk_mut};
use crate::pool::Pool2dGeometry;
use crate::simd::{Level, vectorize};
use crate::vecmath;

/// Elements of the input that are worth a piece of work.
const PIECE_LEN: usize = 1 << 14;

/// [`normalize`](super::normalize) followed by relu, into `y`.
///
/// ```
/// use tapeflow_kernels::{batch_norm::{Statistics, normalize_relu}, simd::Level};
/// let statistics = Statistics { mean: &[2.0, 5.0], inverse_deviation: &[1.0, 0.5] };
/// let mut y = [0.0f32; 4];
/// let x = [1.0, 5.0, 3.0, 7.0];
/// normalize_relu(Level::best(), &x, statistics, &[10.0, 10.0], &[0.5, 0.5], &mut y)?;
/// assert_eq!(y, [0.0, 0.5, 10.5, 10.5]);
/// # Ok::<(), tapeflow_kernels::buffer::AllocError>(())
/// ```
///
/// # Errors
/// [`AllocError`] when there is no memory for a number per channel.
///
/// # Panics
/// If the lengths do not fit each other, or there is no channel.
pub fn normalize_relu<T: Float>(
    level: Level,
    x: &[T],
    statistics: Statistics<'_, T::Accumulator>,
    scale: &[T::Accumulator],
    offset: &[T::Accumulator],
    y: &mut [T],
) -> Result<(), AllocError> {
    let block_len = Blocks::new(x.len(), offset.len()).block_len;
    assert_eq!(y.len(), x.len(), "batch_norm: output");
    let normalized = NormalizedRelu::new(level, x, statistics, scale, offset)?;
    for_each_chunk_mut(y, block_len, |block, y| normalized.write(block * block_len, y));
    Ok(())
}

/// What [`normalize_relu`] computes, ready to be written part by part.
pub(crate) struct NormalizedRelu<'a, T: Number> {
    level: Level,
    x: &'a [T],
    mean: &'a [T::Accumulator],
    factors: Buffer,
    offset: &'a [T::Accumulator],
}

impl<'a, T: Float> NormalizedRelu<'a, T> {
    /// The arguments are those of [`normalize_relu`].
    pub(crate) fn new(
        level: Level,
        x: &'a [T],
        statistics: Statistics<'a, T::Accumulator>,
        scale: &[T::Accumulator],
        offset: &'a [T::Accumulator],
    ) -> Result<Self, AllocError> {
        let mean = statistics.mean;
        assert_eq!([mean.len(), scale.len()], [offset.len(); 2], "batch_norm: numbers of channels");
        let factors = products(statistics.inverse_deviation, scale)?;
        Ok(Self { level, x, mean, factors, offset })
    }

    /// Writes whole rows of channels, from the element `start` on.
    pub(crate) fn write(&self, start: usize, y: &mut [T]) {
        let x = &self.x[start..][..y.len()];
        let numbers = [self.mean, self.factors.as_slice(), self.offset];
        vectorize!(for T, self.level, || normalize_rows(x, numbers, vecmath::relu, y));
    }
}

/// [`normalize_relu`] followed by max pooling: the maxima into `y` and their places into `places`,
/// as [`conv2d_bias_max_pool`](crate::conv::fused::conv2d_bias_max_pool) has them. What is pooled is
/// never in memory but for a few rows.
///
/// # Errors
/// [`AllocError`] when there is no memory for scratch space.
///
/// # Panics
/// If the lengths do not fit each other or the geometry, there is no channel, or a window has more
/// than 255 pixels.
#[expect(clippy::too_many_arguments, reason = "a normalisation and a pooling")]
pub fn normalize_max_pool<T: Float>(
    level: Level,
    pool: &Pool2dGeometry,
    x: &[T],
    statistics: Statistics<'_, T::Accumulator>,
    scale: &[T::Accumulator],
    offset: &[T::Accumulator],
    y: &mut [T],
    places: &mut [u8],
) -> Result<(), AllocError> {
    pool.check_places(x.len(), y.len(), places.len());
    let channels = statistics.mean.len();
    assert_eq!((offset.len(), pool.channels), (channels, channels), "batch_norm: {pool:?}");
    if y.is_empty() {
        return Ok(());
    }
    let factors = products(statistics.inverse_deviation, scale)?;
    let numbers = [statistics.mean, factors.as_slice(), offset];
    // Adding it changes nothing, not even the sign of a zero.
    let mut nothing = Buffer::uninit_reused(channels * size_of::<T>())?;
    nothing.as_mut_slice().fill(T::ZERO.neg());
    let epilogue = BiasRelu { bias: nothing.as_slice(), relu: true };

    let (row_len, out_row_len) = (pool.in_w * channels, pool.out_w * channels);
    let most_rows = pool.k_h.min(pool.in_h);
    let window_rows = pool.batch * pool.out_h;
    let piece_rows = PIECE_LEN.div_ceil((most_rows * row_len).max(1));
    let (y, places) = (SharedMut::new(y), SharedMut::new(places));
    for_each_piece(window_rows.div_ceil(piece_rows), most_rows * row_len, |piece, scratch| {
        for index in piece * piece_rows..window_rows.min((piece + 1) * piece_rows) {
            let (image, out_y) = (index / pool.out_h, index % pool.out_h);
            let rows = pool.rows(out_y);
            let first = (image * pool.in_h + rows.start) * row_len;
            let x = &x[first..][..rows.len() * row_len];
            let normalized = &mut scratch[..x.len()];
            vectorize!(for T, level, || normalize_rows(x, numbers, |value| value, normalized));
            let (start, end) = (index * out_row_len, (index + 1) * out_row_len);
            // SAFETY: each row of windows is pooled once.
            let (y, places) = unsafe { (y.range(start, end), places.range(start, end)) };
            let rows = ConvRows { data: normalized, first: rows.start };
            pool_row(level, pool, rows, &epilogue, out_y, y, places);
        }
    })
}
