//! The gradient of a convolution with respect to its filters.

use super::Conv2dGeometry;
use super::product::{Columns, Rows, product};
use super::window::{ImageSize, Window};
use crate::buffer::{AllocError, Buffer};
use crate::element::Number;
use crate::gemm::tile::{COL_GRANULE, even_part};
use crate::parallel::{SharedMut, for_each_chunk_mut, try_for_each_index};
use crate::simd::Level;

/// The number of pieces aimed at.
const PIECES: usize = 8;
/// The most bytes that the sums of the blocks of images may take together.
const MAX_PARTIAL_BYTES: usize = 16 << 20;
/// Rows that are a whole number of tiles at every level: of 14, 6 or 4 rows.
const WHOLE_TILES: usize = 84;
/// Elements that are worth adding up in a piece of work.
const SUM_CHUNK: usize = 1 << 15;

/// The offsets of a filter gradient. A piece of work is a part of the filter's rows (taps and input
/// channels) for a block of images.
pub(super) struct Plan {
    geometry: Conv2dGeometry,
    input: ImageSize,
    window: Window,
    /// Images of a block, all but the last.
    block_images: usize,
    /// Rows of the gradient that a piece computes.
    piece_rows: usize,
    /// The offset of each tap and input channel.
    taps: Vec<usize>,
    /// The offset of each output row, in the window of the input.
    segments: Vec<usize>,
}

impl Plan {
    /// None where the padded input would be mostly zeros, and for groups.
    pub(super) fn new(geometry: &Conv2dGeometry) -> Option<Self> {
        let g = *geometry;
        if g.groups != 1 {
            return None;
        }
        let input = ImageSize { h: g.in_h, w: g.in_w, c: g.in_c };
        let window = super::forward::window(&g, 0, g.out_h);
        window.len(input)?;
        let stride = window.row_stride(input);

        let filter_bytes = g.filters_len() * size_of::<f32>();
        let blocks = (MAX_PARTIAL_BYTES / filter_bytes).clamp(1, PIECES).min(g.batch);
        let rows = g.k_h * g.k_w * g.in_c;
        let piece_rows = rows.div_ceil(PIECES.div_ceil(blocks)).next_multiple_of(WHOLE_TILES);
        let mut taps = Vec::with_capacity(rows);
        for ky in 0..g.k_h {
            for kx in 0..g.k_w {
                let tap = ky * g.dilation_h * stride + kx * g.dilation_w * g.in_c;
                taps.extend((0..g.in_c).map(|c| tap + c));
            }
        }
        let segments = (0..g.out_h).map(|y| y * g.stride_h * stride).collect();
        let block_images = even_part(g.batch, g.batch.div_ceil(blocks));
        Some(Self { geometry: g, input, window, block_images, piece_rows, taps, segments })
    }

    pub(super) fn run<T: Number>(
        &self,
        level: Level,
        x: &[T],
        dy: &[T],
        dfilters: &mut [T],
    ) -> Result<(), AllocError> {
        let blocks = self.geometry.batch.div_ceil(self.block_images);
        if blocks == 1 {
            return self.sum_blocks(level, x, dy, dfilters);
        }
        let len = dfilters.len();
        let mut partial = Buffer::uninit_reused((blocks * len).saturating_mul(size_of::<T>()))?;
        let partial = partial.as_mut_slice::<T>();
        self.sum_blocks(level, x, dy, partial)?;
        for_each_chunk_mut(dfilters, SUM_CHUNK, |index, sums| {
            let start = index * SUM_CHUNK;
            sums.copy_from_slice(&partial[start..][..sums.len()]);
            for block in 1..blocks {
                for (sum, &part) in sums.iter_mut().zip(&partial[block * len + start..]) {
                    *sum = sum.add(part);
                }
            }
        });
        Ok(())
    }

    /// The gradient of each block of images, one after the other.
    fn sum_blocks<T: Number>(
        &self,
        level: Level,
        x: &[T],
        dy: &[T],
        partial: &mut [T],
    ) -> Result<(), AllocError> {
        let g = &self.geometry;
        let scratch_len = |copied: bool, len: usize| if copied { len * size_of::<T>() } else { 0 };
        let window_len = self.window.rows * self.window.cols * g.in_c;
        let x_bytes = scratch_len(!self.window.is_inside(self.input), window_len);
        let row_stride = g.out_c.next_multiple_of(COL_GRANULE);
        let pixels = g.out_h * g.out_w;
        let dy_bytes = scratch_len(row_stride != g.out_c, pixels.saturating_mul(row_stride));

        let blocks = g.batch.div_ceil(self.block_images);
        let parts = self.taps.len().div_ceil(self.piece_rows);
        let partial = SharedMut::new(partial);
        try_for_each_index(blocks * parts, |piece| {
            let (block, part) = (piece / parts, piece % parts);
            let first_row = part * self.piece_rows;
            let taps = &self.taps[first_row..self.taps.len().min(first_row + self.piece_rows)];
            let start = block * self.taps.len() * g.out_c;
            let c_rows: Vec<_> = (first_row..).take(taps.len()).map(|row| row * g.out_c).collect();
            let mut x_scratch = Buffer::uninit_reused(x_bytes)?;
            let mut dy_scratch = Buffer::zeroed(dy_bytes)?;
            let first_image = block * self.block_images;
            for image in first_image..g.batch.min(first_image + self.block_images) {
                let image_x = &x[image * g.in_image_len()..][..g.in_image_len()];
                let image_dy = &dy[image * g.out_image_len()..][..g.out_image_len()];
                let data = if row_stride == g.out_c {
                    image_dy
                } else {
                    widen_rows(image_dy, g.out_c, row_stride, dy_scratch.as_mut_slice())
                };
                let a = Rows {
                    data: self.window.view(self.input, image_x, x_scratch.as_mut_slice()),
                    rows: taps,
                    segments: &self.segments,
                    segment_len: g.out_w,
                    step: g.stride_w * g.in_c,
                };
                let b = Columns::InPlace { data, row_stride };
                let add = image > first_image;
                // SAFETY: the part of this block's gradient belongs to this piece alone.
                unsafe { product(level, a, b, g.out_c, &partial, start, &c_rows, add) };
            }
            Ok(())
        })
    }
}

/// Copies rows of `len` elements to a greater distance; what lies between is left as it is.
fn widen_rows<'a, T: Number>(
    rows: &[T],
    len: usize,
    row_stride: usize,
    wide: &'a mut [T],
) -> &'a [T] {
    for (wide, row) in wide.chunks_exact_mut(row_stride).zip(rows.chunks_exact(len)) {
        wide[..len].copy_from_slice(row);
    }
    wide
}
