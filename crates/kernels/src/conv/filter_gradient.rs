//! The gradient of a convolution with respect to its filters.

use std::ops::Range;

use super::images::Images;
use super::offsets::{Offsets, for_each_piece};
use super::product::{Columns, Rows, product};
use super::window::{Reader, Window};
use super::{Conv2dGeometry, forward};
use crate::buffer::{AllocError, Buffer};
use crate::element::Number;
use crate::gemm::tile::{COL_GRANULE, even_part};
use crate::parallel::{SharedMut, for_each_chunk_mut};
use crate::simd::Level;

/// The number of pieces aimed at.
const PIECES: usize = 8;
/// The most bytes that the sums of the blocks of images may take together.
const MAX_PARTIAL_BYTES: usize = 16 << 20;
/// Rows that are a whole number of tiles at every level, of 14, 6 or 4 rows, unless a line of rows ends
/// within.
const WHOLE_TILES: usize = 84;
/// Elements that are worth adding up in a piece of work.
const SUM_CHUNK: usize = 1 << 15;

/// The gradient with respect to the output, handed out image by image.
pub(super) trait OutputGradient<T>: Sync {
    /// Output rows handed out at a time.
    fn group_rows(&self) -> usize;

    /// Elements of scratch that [`rows`](Self::rows) and [`image_done`](Self::image_done) need.
    fn scratch_len(&self) -> usize;

    /// Output rows of an image, each pixel [`pixel_stride`] elements from the one before. What was
    /// in `scratch` is what the last call of either for the same piece left there.
    fn rows<'a>(&'a self, image: usize, rows: Range<usize>, scratch: &'a mut [T]) -> &'a [T];

    /// Called when an image has been handed out, with what [`rows`](Self::rows) left in `scratch`: once
    /// where the work is [`cut_by_images`], else by several pieces, perhaps at the same time.
    fn image_done(&self, _image: usize, _scratch: &mut [T]) {}

    /// Channels whose gradient is summed over all pixels besides: all or none.
    fn bias_len(&self) -> usize {
        0
    }

    /// Adds the sum over the pixels of an image.
    fn add_bias(&self, _image: usize, _sums: &mut [T]) {}
}

/// The distance of pixels that tiles read in place.
pub(super) fn pixel_stride(g: &Conv2dGeometry) -> usize {
    g.out_c.next_multiple_of(COL_GRANULE)
}

/// The offsets of a filter gradient. A piece of work is a part of the filter's rows (taps and input
/// channels) for a block of images.
pub(super) struct Plan {
    geometry: Conv2dGeometry,
    reader: Reader,
    window: Window,
    /// Images of a block, all but the last.
    block_images: usize,
    /// Rows of the gradient that a piece computes.
    piece_rows: usize,
    /// The offset of each tap and input channel, in the window of the input and in the gradient.
    taps_in: Offsets,
    taps_out: Offsets,
    /// The offset of each output row, in the window of the input.
    segments: Offsets,
}

impl Plan {
    /// None where [`forward::reader`] returns none.
    pub(super) fn new(geometry: &Conv2dGeometry) -> Result<Option<Self>, AllocError> {
        let g = *geometry;
        let Some(reader) = forward::reader(&g) else { return Ok(None) };
        let stride = reader.row_stride;
        let rows = g.k_h * g.k_w * g.in_c;
        let taps = (0..g.k_h).flat_map(|ky| (0..g.k_w).map(move |kx| (ky, kx)));
        let taps_in = taps.flat_map(|(ky, kx)| {
            let tap = ky * g.dilation_h * stride + kx * g.dilation_w * g.in_c;
            (0..g.in_c).map(move |c| tap + c)
        });
        Ok(Some(Self {
            geometry: g,
            reader,
            window: forward::window(&g, 0..g.out_h),
            block_images: even_part(g.batch, g.batch.div_ceil(blocks(&g))),
            piece_rows: piece_rows(&g),
            taps_in: Offsets::collect(rows, taps_in)?,
            taps_out: Offsets::collect(rows, (0..rows).map(|row| row * g.out_c))?,
            segments: Offsets::collect(g.out_h, (0..g.out_h).map(|y| y * g.stride_h * stride))?,
        }))
    }

    /// The gradient into `dfilters`, and the sums of the output's gradient over all pixels into
    /// `dbias`, if `dy` has them.
    pub(super) fn run<T: Number>(
        &self,
        level: Level,
        x: &dyn Images<T>,
        dy: &impl OutputGradient<T>,
        dfilters: &mut [T],
        dbias: &mut [T],
    ) -> Result<(), AllocError> {
        assert_eq!(dbias.len(), dy.bias_len());
        let blocks = self.geometry.batch.div_ceil(self.block_images);
        if blocks == 1 && dbias.is_empty() {
            return self.sum_blocks(level, x, dy, dfilters);
        }
        let (len, block_len) = (dfilters.len(), dfilters.len() + dbias.len());
        let mut partial =
            Buffer::uninit_reused((blocks * block_len).saturating_mul(size_of::<T>()))?;
        let partial = partial.as_mut_slice::<T>();
        self.sum_blocks(level, x, dy, partial)?;
        add_blocks(partial, block_len, 0, dfilters);
        add_blocks(partial, block_len, len, dbias);
        Ok(())
    }

    /// The gradient of each block of images, one after the other, each with its sums for the bias
    /// behind it.
    fn sum_blocks<T: Number>(
        &self,
        level: Level,
        x: &dyn Images<T>,
        dy: &impl OutputGradient<T>,
        partial: &mut [T],
    ) -> Result<(), AllocError> {
        let g = &self.geometry;
        // What tiles read in the other part then begins at a line of the cache.
        let copy_len = self.reader.scratch_len(self.window.rows, x.in_memory().is_some());
        let copy_len = copy_len.next_multiple_of(COL_GRANULE);
        let (taps_in, taps_out) = (self.taps_in.as_slice(), self.taps_out.as_slice());

        let blocks = g.batch.div_ceil(self.block_images);
        let parts = taps_in.len().div_ceil(self.piece_rows);
        let (len, bias_len) = (g.filters_len(), dy.bias_len());
        let partial = SharedMut::new(partial);
        for_each_piece(blocks * parts, copy_len + dy.scratch_len(), |piece, scratch| {
            let (block, part) = (piece / parts, piece % parts);
            let first_row = part * self.piece_rows;
            let end_row = taps_in.len().min(first_row + self.piece_rows);
            let start = block * (len + bias_len);
            let (copy, scratch) = scratch.split_at_mut(copy_len);
            let first_image = block * self.block_images;
            for image in first_image..g.batch.min(first_image + self.block_images) {
                if part == 0 && bias_len > 0 {
                    let start = start + len;
                    // SAFETY: the first part of a block alone writes its sums for the bias.
                    let sums = unsafe { partial.range(start, start + bias_len) };
                    if image == first_image {
                        sums.fill(T::ZERO);
                    }
                    dy.add_bias(image, sums);
                }
                let data = self.reader.read(self.window, x, image, copy);
                for first in (0..g.out_h).step_by(dy.group_rows()) {
                    let group = first..g.out_h.min(first + dy.group_rows());
                    let a = Rows {
                        data,
                        rows: &taps_in[first_row..end_row],
                        segments: &self.segments.as_slice()[group.clone()],
                        segment_len: g.out_w,
                        step: g.stride_w * g.in_c,
                    };
                    let b = Columns::InPlace {
                        data: dy.rows(image, group, scratch),
                        row_stride: pixel_stride(g),
                    };
                    let c_rows = &taps_out[first_row..end_row];
                    let add = image > first_image || first > 0;
                    // SAFETY: the part of this block's gradient belongs to this piece alone.
                    unsafe { product(level, a, b, g.out_c, &partial, start, c_rows, add) };
                }
                dy.image_done(image, scratch);
            }
        })
    }
}

/// The blocks of images aimed at.
fn blocks(g: &Conv2dGeometry) -> usize {
    let filter_bytes = g.filters_len() * size_of::<f32>();
    (MAX_PARTIAL_BYTES / filter_bytes).clamp(1, PIECES).min(g.batch)
}

/// The filter's rows of a piece.
fn piece_rows(g: &Conv2dGeometry) -> usize {
    let rows = g.k_h * g.k_w * g.in_c;
    rows.div_ceil(PIECES.div_ceil(blocks(g))).next_multiple_of(WHOLE_TILES)
}

/// Whether the pieces of work are blocks of images alone, each of which has all of the filter's rows: with
/// fewer images, or filters so large that there is no room for as many sums, rows are shared out too.
pub(super) fn cut_by_images(g: &Conv2dGeometry) -> bool {
    blocks(g) == PIECES
}

/// Adds up what the blocks of `block_len` elements have from `offset` on, in their order.
pub(super) fn add_blocks<T: Number>(blocks: &[T], block_len: usize, offset: usize, sums: &mut [T]) {
    for_each_chunk_mut(sums, SUM_CHUNK, |index, sums| {
        let start = offset + index * SUM_CHUNK;
        sums.copy_from_slice(&blocks[start..][..sums.len()]);
        for block in blocks.chunks_exact(block_len).skip(1) {
            for (sum, &part) in sums.iter_mut().zip(&block[start..]) {
                *sum = sum.add(part);
            }
        }
    });
}

/// A gradient that is in memory.
pub(super) struct InMemory<'a, T> {
    pub geometry: &'a Conv2dGeometry,
    pub dy: &'a [T],
}

impl<T: Number> OutputGradient<T> for InMemory<'_, T> {
    fn group_rows(&self) -> usize {
        self.geometry.out_h
    }

    fn scratch_len(&self) -> usize {
        let (g, stride) = (self.geometry, pixel_stride(self.geometry));
        if stride == g.out_c { 0 } else { (g.out_h * g.out_w).saturating_mul(stride) }
    }

    fn rows<'a>(&'a self, image: usize, rows: Range<usize>, scratch: &'a mut [T]) -> &'a [T] {
        let g = self.geometry;
        let start = (image * g.out_h + rows.start) * g.out_w * g.out_c;
        let dy = &self.dy[start..][..rows.len() * g.out_w * g.out_c];
        let stride = pixel_stride(g);
        if stride == g.out_c {
            return dy;
        }
        // What lies between the pixels is left as it is: it reaches no element of the gradient.
        for (wide, pixel) in scratch.chunks_exact_mut(stride).zip(dy.chunks_exact(g.out_c)) {
            wide[..g.out_c].copy_from_slice(pixel);
        }
        scratch
    }
}
