//! The forward convolution.

use super::Conv2dGeometry;
use super::product::{Panels, Rows, product};
use super::window::{ImageSize, Window};
use crate::buffer::{AllocError, Buffer};
use crate::element::Number;
use crate::gemm::Matrix;
use crate::parallel::{SharedMut, try_for_each_index};
use crate::simd::Level;

/// The number of pieces aimed at where the batch has fewer images.
const PIECES: usize = 8;
/// The most input elements of a piece, so that they stay in the second-level cache.
const MAX_PIECE_LEN: usize = 1 << 16;

/// The offsets of a convolution. A piece of work is a band of output rows of one image.
pub(super) struct Plan {
    geometry: Conv2dGeometry,
    input: ImageSize,
    /// Output rows of a band.
    band_rows: usize,
    /// The start of each segment of taps that are read one after the other.
    segments: Vec<usize>,
    segment_len: usize,
    /// The offset of each output pixel of a band, in the window of its input and in the output.
    pixels_in: Vec<usize>,
    pixels_out: Vec<usize>,
}

impl Plan {
    /// None where the padded input would be mostly zeros, and for groups.
    pub(super) fn new(geometry: &Conv2dGeometry) -> Option<Self> {
        let g = *geometry;
        if g.groups != 1 {
            return None;
        }
        let input = ImageSize { h: g.in_h, w: g.in_w, c: g.in_c };
        window(&g, 0, g.out_h).len(input)?;

        let band_rows = g.out_h.div_ceil(PIECES.div_ceil(g.batch));
        let row_len = g.stride_h * window(&g, 0, 1).cols * g.in_c;
        let band_rows = band_rows.min(MAX_PIECE_LEN / row_len).max(1);
        // The first band reaches beyond the image if any does, so all are copied or none.
        let stride = window(&g, 0, g.out_h).row_stride(input);

        let tap = |ky: usize, kx: usize| ky * g.dilation_h * stride + kx * g.dilation_w * g.in_c;
        let (segments, segment_len) = if g.dilation_w == 1 {
            ((0..g.k_h).map(|ky| tap(ky, 0)).collect(), g.k_w * g.in_c)
        } else {
            let taps = (0..g.k_h).flat_map(|ky| (0..g.k_w).map(move |kx| (ky, kx)));
            (taps.map(|(ky, kx)| tap(ky, kx)).collect(), g.in_c)
        };
        let pixels = (0..band_rows).flat_map(|y| (0..g.out_w).map(move |x| (y, x)));
        let pixels_in =
            pixels.map(|(y, x)| y * g.stride_h * stride + x * g.stride_w * g.in_c).collect();
        let pixels_out = (0..band_rows * g.out_w).map(|pixel| pixel * g.out_c).collect();
        Some(Self { geometry: g, input, band_rows, segments, segment_len, pixels_in, pixels_out })
    }

    pub(super) fn run<T: Number>(
        &self,
        level: Level,
        x: &[T],
        filters: &[T],
        y: &mut [T],
    ) -> Result<(), AllocError> {
        let g = &self.geometry;
        let depth = self.segments.len() * self.segment_len;
        let filters = Matrix::row_major(filters, g.out_c);
        let panels = Panels::pack(level, &[filters], depth, g.out_c)?;
        let in_place = window(g, 0, g.out_h).is_inside(self.input);
        let bands = g.out_h.div_ceil(self.band_rows);
        let y = SharedMut::new(y);
        try_for_each_index(g.batch * bands, |piece| {
            let (image, first) = (piece / bands, piece % bands * self.band_rows);
            let rows = self.band_rows.min(g.out_h - first);
            let window = window(g, first, rows);
            let scratch_len = if in_place { 0 } else { window.rows * window.cols * g.in_c };
            let mut scratch = Buffer::uninit_reused(scratch_len * size_of::<T>())?;
            let image_x = &x[image * g.in_image_len()..][..g.in_image_len()];
            let data = if in_place {
                window.view(self.input, image_x, &mut [])
            } else {
                window.copy(self.input, image_x, scratch.as_mut_slice())
            };
            let a = Rows {
                data,
                rows: &self.pixels_in[..rows * g.out_w],
                segments: &self.segments,
                segment_len: self.segment_len,
                step: 1,
            };
            let start = (image * g.out_h + first) * g.out_w * g.out_c;
            let pixels_out = &self.pixels_out[..rows * g.out_w];
            // SAFETY: the rows of a band belong to this piece alone.
            unsafe { product(level, a, panels.columns(), g.out_c, &y, start, pixels_out, false) };
            Ok(())
        })
    }
}

/// The input that output rows `first..first + rows` read.
pub(super) fn window(g: &Conv2dGeometry, first: usize, rows: usize) -> Window {
    let span = |count: usize, stride: usize, k: usize, dilation: usize| {
        (count - 1)
            .saturating_mul(stride)
            .saturating_add((k - 1).saturating_mul(dilation))
            .saturating_add(1)
    };
    Window {
        top: (first * g.stride_h) as isize - g.pad_top as isize,
        left: -(g.pad_left as isize),
        rows: span(rows, g.stride_h, g.k_h, g.dilation_h),
        cols: span(g.out_w, g.stride_w, g.k_w, g.dilation_w),
    }
}
