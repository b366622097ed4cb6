//! Where the gradient of a normalised array comes from.

use std::ops::Range;

use super::{BLOCK_LEN, Blocks, MAX_BLOCK_ROWS, Statistics};
use crate::conv::fused::Pooled;
use crate::element::{Float, Number};
use crate::lanes::{for_each_lanes, load};
use crate::pool::Pool2dGeometry;
use crate::prefetch::ask_ahead;
use crate::simd::{Level, vectorize};
use crate::vecmath::relu_grad;

/// Elements of a part that is masked by itself: it stays in the first-level cache.
const PART_LEN: usize = 1 << 12;

/// What comes back to a normalised array. What followed it is undone part by part, so that the
/// gradient itself is not in memory.
#[derive(Clone, Copy, Debug)]
pub enum Upstream<'a, T: Number> {
    /// The gradient itself.
    Given(&'a [T]),
    /// That of [`normalize_relu`](super::normalize_relu).
    Relu {
        /// The gradient of the result.
        dy: &'a [T],
        /// By which the array was scaled.
        scale: &'a [T::Accumulator],
        /// By which it was shifted.
        offset: &'a [T::Accumulator],
    },
    /// That of [`normalize_max_pool`](super::normalize_max_pool).
    ReluMaxPool {
        /// The gradient of the maxima.
        dy: &'a [T],
        /// Their places.
        places: &'a [u8],
        /// The pooling.
        pool: &'a Pool2dGeometry,
    },
}

impl<T: Float> Upstream<'_, T> {
    /// The blocks of an array, whose parts are those that [`part`](Self::part) hands out.
    pub(super) fn blocks(&self, len: usize, channels: usize) -> Blocks {
        let blocks = Blocks::new(len, channels);
        match *self {
            Upstream::Given(dy) => {
                assert_eq!(dy.len(), len, "batch_norm: gradient");
                blocks
            }
            Upstream::Relu { dy, scale, offset } => {
                assert_eq!(dy.len(), len, "batch_norm: gradient");
                assert_eq!((scale.len(), offset.len()), (channels, channels), "batch_norm: relu");
                let part_len = (PART_LEN / channels).max(1) * channels;
                Blocks { part_len: part_len.min(blocks.block_len), ..blocks }
            }
            Upstream::ReluMaxPool { dy, places, pool } => {
                pool.check_places(len, dy.len(), places.len());
                assert_eq!(pool.channels, channels, "batch_norm: {pool:?}");
                let pairs = in_pairs_of_rows(pool);
                let rows = pool.in_w * if pairs { 2 } else { pool.in_h };
                let part_len = rows.max(1) * channels;
                let parts = (MAX_BLOCK_ROWS / rows.max(1)).min(BLOCK_LEN / part_len).max(1);
                Blocks { block_len: parts * part_len, part_len, ..blocks }
            }
        }
    }

    /// Elements of scratch that [`part`](Self::part) needs.
    pub(super) fn scratch_len(&self, blocks: &Blocks) -> usize {
        if let Upstream::Given(_) = self { 0 } else { blocks.part_len }
    }

    /// The gradient of one part of the blocks, of which `x` are the elements.
    pub(super) fn part<'s>(
        &'s self,
        level: Level,
        statistics: Statistics<'_, T::Accumulator>,
        x: &[T],
        part: Range<usize>,
        scratch: &'s mut [T],
    ) -> &'s [T] {
        match *self {
            Upstream::Given(dy) => &dy[part],
            Upstream::Relu { dy, scale, offset } => {
                let (dy, masked) = (&dy[part], &mut scratch[..x.len()]);
                vectorize!(for T, level, || mask(dy, x, statistics, [scale, offset], masked));
                masked
            }
            Upstream::ReluMaxPool { dy, places, pool } => {
                let spread = &mut scratch[..x.len()];
                let pooled = Pooled { level, pool, dy, places, pixel_stride: pool.channels };
                debug_assert!(part.start.is_multiple_of(part.len()));
                let index = part.start / part.len();
                if in_pairs_of_rows(pool) {
                    let (image, pair) = (index / pool.out_h, index % pool.out_h);
                    pooled.spread(image, 2 * pair..2 * pair + 2, spread);
                } else {
                    pooled.spread(index, 0..pool.in_h, spread);
                }
                spread
            }
        }
    }
}

/// Whether the gradient of two rows comes from one row of windows; else whole images are taken.
fn in_pairs_of_rows(pool: &Pool2dGeometry) -> bool {
    pool.is_whole_2x2() && pool.in_h == 2 * pool.out_h
}

/// `dy` where the normalised `x` is positive, else zero.
#[inline(always)]
fn mask<T: Float>(
    dy: &[T],
    x: &[T],
    statistics: Statistics<'_, T::Accumulator>,
    [scale, offset]: [&[T::Accumulator]; 2],
    masked: &mut [T],
) {
    let channels = scale.len();
    let numbers = [statistics.mean, statistics.inverse_deviation, scale, offset];
    for_each_lanes!(wide channels, channel, N => {
        let [mean, inverse, scale, offset] =
            numbers.map(|numbers| load::<T::Accumulator, N>(numbers, channel));
        let rows = dy.chunks_exact(channels).zip(x.chunks_exact(channels));
        for (masked, (dy, x)) in masked.chunks_exact_mut(channels).zip(rows) {
            ask_ahead::<T, N>(dy, channel);
            ask_ahead::<T, N>(x, channel);
            let (dy, x): ([T; N], [T; N]) = (load(dy, channel), load(x, channel));
            let masked: &mut [T] = &mut masked[channel..][..N];
            for i in 0..N {
                let value = x[i].to_accumulator().sub(mean[i]).mul(inverse[i].mul(scale[i]));
                masked[i] = relu_grad(dy[i], T::from_accumulator(value.add(offset[i])));
            }
        }
    });
}
