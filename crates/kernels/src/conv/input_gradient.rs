//! The gradient of a convolution with respect to its input.

use super::offsets::{Offsets, for_each_piece};
use super::product::{Panels, Rows, product};
use super::window::{ImageSize, Window};
use super::{Conv2dGeometry, forward};
use crate::buffer::AllocError;
use crate::element::Number;
use crate::gemm::Matrix;
use crate::parallel::SharedMut;
use crate::simd::Level;

/// One axis: how the positions of the input fall into phases, one per value modulo the stride.
///
/// The phase of `start` has the positions `start`, `start + stride`, ...; the t-th gets its gradient
/// from the output positions `t + shift`, one for each of the phase's taps.
#[derive(Clone, Copy)]
struct Axis {
    input: usize,
    stride: usize,
    k: usize,
    dilation: usize,
    pad: usize,
    /// The positions of the output gradient that are read: from `first` on, `len` of them. Some may
    /// lie outside of it, where it is zero.
    first: isize,
    len: usize,
}

impl Axis {
    /// None where a number is beyond what can be addressed.
    fn new(input: usize, stride: usize, k: usize, dilation: usize, pad: usize) -> Option<Self> {
        let reach = isize::try_from(k.checked_mul(dilation)?).ok()?;
        let end = isize::try_from(input.checked_add(pad)?.checked_add(stride)?).ok()?;
        end.checked_add(reach)?;
        let mut axis = Self { input, stride, k, dilation, pad, first: 0, len: 0 };
        let (mut first, mut end) = (isize::MAX, isize::MIN);
        for start in 0..axis.phases() {
            for (_, shift) in axis.taps(start) {
                first = first.min(shift);
                end = end.max(shift + axis.count(start) as isize);
            }
        }
        if first < end {
            (axis.first, axis.len) = (first, end.abs_diff(first));
        }
        Some(axis)
    }

    fn phases(&self) -> usize {
        self.stride.min(self.input)
    }

    /// The positions of a phase.
    fn count(&self, start: usize) -> usize {
        (self.input - start).div_ceil(self.stride)
    }

    /// The filter position and the shift of each tap of a phase.
    fn taps(&self, start: usize) -> impl Iterator<Item = (usize, isize)> + Clone {
        let Self { stride, k, dilation, pad, .. } = *self;
        (0..k).filter_map(move |tap| {
            let position = (start + pad) as isize - (tap * dilation) as isize;
            let shift = position.div_euclid(stride as isize);
            (position.rem_euclid(stride as isize) == 0).then_some((tap, shift))
        })
    }

    /// The window that `rows` positions of a phase read, from the `first`-th on.
    fn window(&self, start: usize, first: usize, rows: usize) -> (isize, usize) {
        (self.first + first as isize, (self.len + rows).saturating_sub(self.count(start)))
    }
}

/// A piece of work is a band of one image's positions of one phase.
pub(super) struct Plan {
    geometry: Conv2dGeometry,
    output: ImageSize,
    rows: Axis,
    cols: Axis,
    window: Window,
}

impl Plan {
    /// None where the padded output gradient would be mostly zeros, and for groups.
    pub(super) fn new(geometry: &Conv2dGeometry) -> Option<Self> {
        let g = *geometry;
        if g.groups != 1 {
            return None;
        }
        let output = ImageSize { h: g.out_h, w: g.out_w, c: g.out_c };
        let rows = Axis::new(g.in_h, g.stride_h, g.k_h, g.dilation_h, g.pad_top)?;
        let cols = Axis::new(g.in_w, g.stride_w, g.k_w, g.dilation_w, g.pad_left)?;
        let window = Window { top: rows.first, left: cols.first, rows: rows.len, cols: cols.len };
        window.len(output)?;
        Some(Self { geometry: g, output, rows, cols, window })
    }

    pub(super) fn run<T: Number>(
        &self,
        level: Level,
        dy: &[T],
        filters: &[T],
        dx: &mut [T],
    ) -> Result<(), AllocError> {
        let dx = SharedMut::new(dx);
        for y in 0..self.rows.phases() {
            for x in 0..self.cols.phases() {
                self.run_phase(level, dy, filters, &dx, (y, x))?;
            }
        }
        Ok(())
    }

    /// The gradient of the input positions of one phase.
    fn run_phase<T: Number>(
        &self,
        level: Level,
        dy: &[T],
        filters: &[T],
        dx: &SharedMut<'_, T>,
        (start_y, start_x): (usize, usize),
    ) -> Result<(), AllocError> {
        let (g, window) = (&self.geometry, self.window);
        let (rows, cols) = (self.rows.count(start_y), self.cols.count(start_x));
        let band_rows = forward::band_rows_of(g.batch, rows, window.cols * g.out_c);
        let bands = rows.div_ceil(band_rows);
        let stride = window.row_stride(self.output);

        let taps = self.rows.taps(start_y).flat_map(|(ky, shift_y)| {
            self.cols.taps(start_x).map(move |(kx, shift_x)| ((ky, shift_y), (kx, shift_x)))
        });
        let segments = taps.clone().map(|((_, shift_y), (_, shift_x))| {
            let (row, col) = (shift_y - window.top, shift_x - window.left);
            row as usize * stride + col as usize * g.out_c
        });
        let segments = Offsets::collect(g.k_h * g.k_w, segments)?;
        let matrices = taps.map(|((ky, _), (kx, _))| {
            let filters = &filters[(ky * g.k_w + kx) * g.in_c * g.out_c..];
            Matrix::row_major(filters, g.out_c).transposed()
        });
        let panels = Panels::pack(level, matrices, g.out_c, g.in_c)?;

        // The offset of each position of a band, in the window and in the input.
        let positions = (0..band_rows).flat_map(|row| (0..cols).map(move |col| (row, col)));
        let pixels_out = positions.clone().map(|(row, col)| row * stride + col * g.out_c);
        let pixels_in = positions.map(|(row, col)| {
            let (in_y, in_x) = (start_y + row * g.stride_h, start_x + col * g.stride_w);
            (in_y * g.in_w + in_x) * g.in_c
        });
        let pixels_out = Offsets::collect(band_rows * cols, pixels_out)?;
        let pixels_in = Offsets::collect(band_rows * cols, pixels_in)?;

        let in_place = window.is_inside(self.output);
        let (_, most_rows) = self.rows.window(start_y, 0, band_rows);
        let scratch_len = if in_place { 0 } else { most_rows * window.cols * g.out_c };
        for_each_piece(g.batch * bands, scratch_len, |piece, scratch| {
            let (image, first) = (piece / bands, piece % bands * band_rows);
            let band_len = band_rows.min(rows - first);
            let (top, window_rows) = self.rows.window(start_y, first, band_len);
            let window = Window { top, rows: window_rows, ..window };
            let image_dy = &dy[image * g.out_image_len()..][..g.out_image_len()];
            let data = match in_place {
                true => window.view(self.output, image_dy, &mut []),
                false => window.copy(self.output, image_dy, scratch),
            };
            let a = Rows {
                data,
                rows: &pixels_out.as_slice()[..band_len * cols],
                segments: segments.as_slice(),
                segment_len: g.out_c,
                step: 1,
            };
            let start = image * g.in_image_len() + first * g.stride_h * g.in_w * g.in_c;
            let c_rows = &pixels_in.as_slice()[..band_len * cols];
            // SAFETY: the positions of a band belong to this piece alone.
            unsafe { product(level, a, panels.columns(), g.in_c, dx, start, c_rows, false) };
        })
    }
}
