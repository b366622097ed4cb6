//! The gradient of a convolution with respect to its input.

use super::offsets::{Offsets, for_each_piece};
use super::product::{Panels, Rows, product};
use super::window::{ImageSize, Reader, Window};
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
    reader: Reader,
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
        let reader = Reader::new(window, output)?;
        Some(Self { geometry: g, reader, rows, cols, window })
    }

    pub(super) fn run<T: Number>(
        &self,
        level: Level,
        dy: &[T],
        filters: &[T],
        dx: &mut [T],
    ) -> Result<(), AllocError> {
        let dx = SharedMut::new(dx);
        for start_y in 0..self.rows.phases() {
            for start_x in 0..self.cols.phases() {
                let phase = Phase::new(self, level, (start_y, start_x), filters)?;
                let bands = phase.bands();
                let (pieces, dy_len) = (self.geometry.batch * bands, self.geometry.out_image_len());
                for_each_piece(pieces, phase.scratch_len(), |piece, scratch| {
                    let (image, band) = (piece / bands, piece % bands);
                    let dy = &dy[image * dy_len..][..dy_len];
                    // SAFETY: the positions of a band belong to this piece alone.
                    unsafe { phase.band(dy, image, band, &dx, scratch) };
                })?;
            }
        }
        Ok(())
    }

    /// The only phase, where all strides are 1.
    pub(super) fn only_phase<T: Number>(
        &self,
        level: Level,
        filters: &[T],
    ) -> Result<Phase<'_>, AllocError> {
        assert_eq!((self.rows.stride, self.cols.stride), (1, 1));
        Phase::new(self, level, (0, 0), filters)
    }
}

/// What the gradient at the positions of one phase is computed from, in bands of their rows.
pub(super) struct Phase<'a> {
    plan: &'a Plan,
    level: Level,
    start_y: usize,
    rows: usize,
    cols: usize,
    band_rows: usize,
    /// The start of each tap, in the window.
    segments: Offsets,
    panels: Panels,
    /// The offset of each position of a band, in the window and in the input.
    pixels_out: Offsets,
    pixels_in: Offsets,
}

impl<'a> Phase<'a> {
    fn new<T: Number>(
        plan: &'a Plan,
        level: Level,
        (start_y, start_x): (usize, usize),
        filters: &[T],
    ) -> Result<Self, AllocError> {
        let (g, window) = (&plan.geometry, plan.window);
        let (rows, cols) = (plan.rows.count(start_y), plan.cols.count(start_x));
        let band_rows = forward::band_rows_of(g.batch, rows, window.cols * g.out_c);
        let stride = plan.reader.row_stride;

        let taps = plan.rows.taps(start_y).flat_map(|(ky, shift_y)| {
            plan.cols.taps(start_x).map(move |(kx, shift_x)| ((ky, shift_y), (kx, shift_x)))
        });
        let segments = taps.clone().map(|((_, shift_y), (_, shift_x))| {
            let (row, col) = (shift_y - window.top, shift_x - window.left);
            row as usize * stride + col as usize * g.out_c
        });
        let matrices = taps.map(|((ky, _), (kx, _))| {
            let filters = &filters[(ky * g.k_w + kx) * g.in_c * g.out_c..];
            Matrix::row_major(filters, g.out_c).transposed()
        });

        let positions = (0..band_rows).flat_map(|row| (0..cols).map(move |col| (row, col)));
        let pixels_out = positions.clone().map(|(row, col)| row * stride + col * g.out_c);
        let pixels_in = positions.map(|(row, col)| {
            let (in_y, in_x) = (start_y + row * g.stride_h, start_x + col * g.stride_w);
            (in_y * g.in_w + in_x) * g.in_c
        });
        Ok(Self {
            plan,
            level,
            start_y,
            rows,
            cols,
            band_rows,
            segments: Offsets::collect(g.k_h * g.k_w, segments)?,
            panels: Panels::pack(level, matrices, g.out_c, g.in_c)?,
            pixels_out: Offsets::collect(band_rows * cols, pixels_out)?,
            pixels_in: Offsets::collect(band_rows * cols, pixels_in)?,
        })
    }

    /// The bands of an image.
    pub(super) fn bands(&self) -> usize {
        self.rows.div_ceil(self.band_rows)
    }

    /// Elements of scratch that [`band`](Self::band) needs.
    pub(super) fn scratch_len(&self) -> usize {
        let (_, most_rows) = self.plan.rows.window(self.start_y, 0, self.band_rows);
        self.plan.reader.scratch_len(most_rows, true)
    }

    /// The gradient at the positions of one band of an image, into `dx`, where all images are; `dy` is
    /// this one's.
    ///
    /// # Safety
    /// No other thread may access these positions.
    pub(super) unsafe fn band<T: Number>(
        &self,
        dy: &[T],
        image: usize,
        band: usize,
        dx: &SharedMut<'_, T>,
        scratch: &mut [T],
    ) {
        let Plan { geometry: g, reader, rows, window, .. } = self.plan;
        let first = band * self.band_rows;
        let band_rows = self.band_rows.min(self.rows - first);
        let (top, window_rows) = rows.window(self.start_y, first, band_rows);
        let data = match self.segments.as_slice() {
            // Without taps nothing is read, and the window may lie anywhere.
            [] => &[],
            _ => reader.read(Window { top, rows: window_rows, ..*window }, &dy, 0, scratch),
        };
        let a = Rows {
            data,
            rows: &self.pixels_out.as_slice()[..band_rows * self.cols],
            segments: self.segments.as_slice(),
            segment_len: g.out_c,
            step: 1,
        };
        let start = image * g.in_image_len() + first * g.stride_h * g.in_w * g.in_c;
        let c_rows = &self.pixels_in.as_slice()[..band_rows * self.cols];
        let columns = self.panels.columns();
        // SAFETY: as promised by the caller.
        unsafe { product(self.level, a, columns, g.in_c, dx, start, c_rows, false) };
    }
}
