//! The gradient of a convolution with respect to its input.

use super::Conv2dGeometry;
use super::product::{Panels, Rows, product};
use super::window::{ImageSize, Window};
use crate::buffer::{AllocError, Buffer};
use crate::element::Number;
use crate::gemm::Matrix;
use crate::parallel::{SharedMut, try_for_each_index};
use crate::simd::Level;

/// One axis: how the positions of the input fall into phases, one per value modulo the stride.
struct Axis {
    phases: Vec<AxisPhase>,
    /// The positions of the output gradient that are read: from `first` on, `len` of them. Some may
    /// lie outside of it, where it is zero.
    first: isize,
    len: usize,
}

/// The input positions `start`, `start + stride`, ...; the t-th gets its gradient from the output
/// positions `t + shift`, one for each of its taps.
struct AxisPhase {
    start: usize,
    count: usize,
    /// The filter position and the shift of each tap.
    taps: Vec<(usize, isize)>,
}

impl Axis {
    fn new(input: usize, stride: usize, k: usize, dilation: usize, pad: usize) -> Option<Self> {
        let stride_signed = isize::try_from(stride).ok()?;
        let mut phases = Vec::new();
        let (mut first, mut end) = (isize::MAX, isize::MIN);
        for start in 0..stride.min(input) {
            let count = (input - start).div_ceil(stride);
            let mut taps = Vec::new();
            for tap in 0..k {
                let reach = isize::try_from(tap.checked_mul(dilation)?).ok()?;
                let position = (start as isize).checked_add_unsigned(pad)?.checked_sub(reach)?;
                if position.rem_euclid(stride_signed) == 0 {
                    let shift = position.div_euclid(stride_signed);
                    first = first.min(shift);
                    end = end.max(shift.checked_add_unsigned(count)?);
                    taps.push((tap, shift));
                }
            }
            phases.push(AxisPhase { start, count, taps });
        }
        if first > end {
            (first, end) = (0, 0);
        }
        Some(Self { phases, first, len: end.abs_diff(first) })
    }
}

/// The offsets of an input gradient. A piece of work is one image.
pub(super) struct Plan {
    geometry: Conv2dGeometry,
    output: ImageSize,
    window: Window,
    phases: Vec<Phase>,
}

/// The input pixels that see the same taps.
struct Phase {
    /// Filter row and column of each tap.
    taps: Vec<(usize, usize)>,
    /// The offset of each tap in the window of the output gradient.
    segments: Vec<usize>,
    /// The offset of each pixel, in the window of the output gradient and in the input.
    pixels_out: Vec<usize>,
    pixels_in: Vec<usize>,
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
        let stride = window.row_stride(output);
        let mut phases = Vec::new();
        for y in &rows.phases {
            for x in &cols.phases {
                let mut phase = Phase {
                    taps: Vec::new(),
                    segments: Vec::new(),
                    pixels_out: Vec::new(),
                    pixels_in: Vec::new(),
                };
                for &(ky, shift_y) in &y.taps {
                    for &(kx, shift_x) in &x.taps {
                        let (row, col) = (shift_y - rows.first, shift_x - cols.first);
                        phase.taps.push((ky, kx));
                        phase.segments.push(row as usize * stride + col as usize * g.out_c);
                    }
                }
                for row in 0..y.count {
                    for col in 0..x.count {
                        let in_y = y.start + row * g.stride_h;
                        let in_x = x.start + col * g.stride_w;
                        phase.pixels_out.push(row * stride + col * g.out_c);
                        phase.pixels_in.push((in_y * g.in_w + in_x) * g.in_c);
                    }
                }
                phases.push(phase);
            }
        }
        Some(Self { geometry: g, output, window, phases })
    }

    pub(super) fn run<T: Number>(
        &self,
        level: Level,
        dy: &[T],
        filters: &[T],
        dx: &mut [T],
    ) -> Result<(), AllocError> {
        let g = &self.geometry;
        let pack = |phase: &Phase| {
            let tap = |&(ky, kx): &(usize, usize)| {
                let filters = &filters[(ky * g.k_w + kx) * g.in_c * g.out_c..];
                Matrix::row_major(filters, g.out_c).transposed()
            };
            let taps: Vec<_> = phase.taps.iter().map(tap).collect();
            Panels::pack(level, &taps, g.out_c, g.in_c)
        };
        let panels = self.phases.iter().map(pack).collect::<Result<Vec<_>, _>>()?;
        let in_place = self.window.is_inside(self.output);
        let scratch_len = if in_place { 0 } else { self.window.rows * self.window.cols * g.out_c };
        let dx = SharedMut::new(dx);
        try_for_each_index(g.batch, |image| {
            let mut scratch = Buffer::uninit_reused(scratch_len * size_of::<T>())?;
            let image_dy = &dy[image * g.out_image_len()..][..g.out_image_len()];
            let data = self.window.view(self.output, image_dy, scratch.as_mut_slice());
            for (phase, panels) in self.phases.iter().zip(&panels) {
                let a = Rows {
                    data,
                    rows: &phase.pixels_out,
                    segments: &phase.segments,
                    segment_len: g.out_c,
                    step: 1,
                };
                let start = image * g.in_image_len();
                let columns = panels.columns();
                // SAFETY: the image belongs to this piece alone.
                unsafe { product(level, a, columns, g.in_c, &dx, start, &phase.pixels_in, false) };
            }
            Ok(())
        })
    }
}
