//! The forward convolution.

use std::ops::Range;

use super::Conv2dGeometry;
use super::images::Images;
use super::offsets::{Offsets, for_each_piece};
use super::product::{Columns, Panels, Rows, product};
use super::window::{ImageSize, Reader, Window};
use crate::buffer::AllocError;
use crate::element::Number;
use crate::gemm::Matrix;
use crate::parallel::SharedMut;
use crate::simd::Level;

/// The number of pieces aimed at where the batch has fewer images.
const PIECES: usize = 8;
/// The most input elements of a piece, so that they stay in the second-level cache.
const MAX_PIECE_LEN: usize = 1 << 16;

/// The offsets of a convolution. A piece of work is a band of output rows of one image.
pub(super) struct Plan {
    geometry: Conv2dGeometry,
    reader: Reader,
    max_band_rows: usize,
    /// The start of each segment of taps that are read one after the other.
    segments: Offsets,
    segment_len: usize,
    /// The offset of each output pixel of a band, in the window of its input and in the output.
    pixels_in: Offsets,
    pixels_out: Offsets,
}

/// Output rows of one image, with the input that they are computed from.
pub(super) struct Band<'a, T> {
    plan: &'a Plan,
    level: Level,
    columns: Columns<'a, T>,
    input: &'a [T],
    pub image: usize,
    /// Which of the image's bands it is, and its output rows.
    pub index: usize,
    pub rows: Range<usize>,
}

impl Plan {
    /// A plan for bands of at most `max_band_rows` output rows; none where [`reader`] returns none.
    pub(super) fn new(
        geometry: &Conv2dGeometry,
        max_band_rows: usize,
    ) -> Result<Option<Self>, AllocError> {
        let g = *geometry;
        let Some(reader) = reader(&g) else { return Ok(None) };
        let stride = reader.row_stride;
        let tap = |ky: usize, kx: usize| ky * g.dilation_h * stride + kx * g.dilation_w * g.in_c;
        let (segments, segment_len) = if g.dilation_w == 1 {
            (Offsets::collect(g.k_h, (0..g.k_h).map(|ky| tap(ky, 0)))?, g.k_w * g.in_c)
        } else {
            let taps = (0..g.k_h).flat_map(|ky| (0..g.k_w).map(move |kx| (ky, kx)));
            (Offsets::collect(g.k_h * g.k_w, taps.map(|(ky, kx)| tap(ky, kx)))?, g.in_c)
        };
        let pixels = (0..max_band_rows).flat_map(|y| (0..g.out_w).map(move |x| (y, x)));
        let pixels_in = pixels.map(|(y, x)| y * g.stride_h * stride + x * g.stride_w * g.in_c);
        let len = max_band_rows * g.out_w;
        Ok(Some(Self {
            geometry: g,
            reader,
            max_band_rows,
            segments,
            segment_len,
            pixels_in: Offsets::collect(len, pixels_in)?,
            pixels_out: Offsets::collect(len, (0..len).map(|pixel| pixel * g.out_c))?,
        }))
    }

    /// The convolution into `y`.
    pub(super) fn run<T: Number>(
        &self,
        level: Level,
        x: &dyn Images<T>,
        filters: &[T],
        y: &mut [T],
    ) -> Result<(), AllocError> {
        let g = &self.geometry;
        let row_len = g.out_w * g.out_c;
        let bands = g.out_h.div_ceil(self.max_band_rows);
        let rows = |band| {
            let first = band * self.max_band_rows;
            first..g.out_h.min(first + self.max_band_rows)
        };
        let y = SharedMut::new(y);
        self.for_each_band(level, x, filters, bands, rows, 0, |band, _| {
            let start = (band.image * g.out_h + band.rows.start) * row_len;
            // SAFETY: the rows of a band belong to this piece alone.
            unsafe { band.compute(band.rows.clone(), &y, start) };
        })
    }

    /// Calls `band` with `bands` bands of each image, on several threads, and with `scratch_len`
    /// elements of arbitrary content; `rows` gives the output rows of each band.
    #[expect(clippy::too_many_arguments, reason = "the convolution, its cut and what to do")]
    pub(super) fn for_each_band<T: Number>(
        &self,
        level: Level,
        x: &dyn Images<T>,
        filters: &[T],
        bands: usize,
        rows: impl Fn(usize) -> Range<usize> + Sync,
        scratch_len: usize,
        band: impl Fn(Band<'_, T>, &mut [T]) + Sync,
    ) -> Result<(), AllocError> {
        let g = &self.geometry;
        let depth = self.segments.as_slice().len() * self.segment_len;
        let filters = Matrix::row_major(filters, g.out_c);
        let panels = Panels::pack(level, std::iter::once(filters), depth, g.out_c)?;
        let most = window(g, 0..self.max_band_rows);
        let copy_len = self.reader.scratch_len(most.rows, x.in_memory().is_some());
        for_each_piece(g.batch * bands, copy_len + scratch_len, |piece, scratch| {
            let (image, index) = (piece / bands, piece % bands);
            let rows = rows(index);
            let (copy, scratch) = scratch.split_at_mut(copy_len);
            let input = self.reader.read(window(g, rows.clone()), x, image, copy);
            let columns = panels.columns();
            band(Band { plan: self, level, columns, input, image, index, rows }, scratch);
        })
    }
}

impl<T: Number> Band<'_, T> {
    /// Computes some of the band's output rows into `y`, one after the other from `start` on.
    ///
    /// # Safety
    /// No other thread may access these elements of `y`.
    pub(super) unsafe fn compute(&self, rows: Range<usize>, y: &SharedMut<'_, T>, start: usize) {
        let plan = self.plan;
        let out_w = plan.geometry.out_w;
        let first = rows.start - self.rows.start;
        let a = Rows {
            data: self.input,
            rows: &plan.pixels_in.as_slice()[first * out_w..][..rows.len() * out_w],
            segments: plan.segments.as_slice(),
            segment_len: plan.segment_len,
            step: 1,
        };
        let pixels_out = &plan.pixels_out.as_slice()[..rows.len() * out_w];
        let cols = plan.geometry.out_c;
        // SAFETY: as promised by the caller.
        unsafe { product(self.level, a, self.columns, cols, y, start, pixels_out, false) };
    }
}

/// The output rows of a band where nothing else asks for another number.
pub(super) fn band_rows(g: &Conv2dGeometry) -> usize {
    band_rows_of(g.batch, g.out_h, g.stride_h * window(g, 0..1).cols * g.in_c)
}

/// The rows of a band where an image has `rows`, each of which reads `row_len` elements.
pub(super) fn band_rows_of(batch: usize, rows: usize, row_len: usize) -> usize {
    rows.div_ceil(PIECES.div_ceil(batch)).min(MAX_PIECE_LEN / row_len.max(1)).max(1)
}

/// How the input is read; none where it would be mostly zeros, and for groups.
pub(super) fn reader(g: &Conv2dGeometry) -> Option<Reader> {
    let input = ImageSize { h: g.in_h, w: g.in_w, c: g.in_c };
    Reader::new(window(g, 0..g.out_h), input).filter(|_| g.groups == 1)
}

/// The input that output rows read.
pub(super) fn window(g: &Conv2dGeometry, rows: Range<usize>) -> Window {
    let span = |count: usize, stride: usize, k: usize, dilation: usize| {
        if count == 0 {
            return 0;
        }
        (count - 1)
            .saturating_mul(stride)
            .saturating_add((k - 1).saturating_mul(dilation))
            .saturating_add(1)
    };
    Window {
        top: (rows.start * g.stride_h) as isize - g.pad_top as isize,
        left: -(g.pad_left as isize),
        rows: span(rows.len(), g.stride_h, g.k_h, g.dilation_h),
        cols: span(g.out_w, g.stride_w, g.k_w, g.dilation_w),
    }
}
