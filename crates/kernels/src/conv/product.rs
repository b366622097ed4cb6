//! The product that all convolutions are: tiles over A in place, B in panels.

use std::ops::Range;

use crate::buffer::{AllocError, Buffer};
use crate::element::Number;
use crate::gemm::Matrix;
use crate::gemm::pack::{pack_b, panel_width};
use crate::gemm::tile::{Ahead, COL_GRANULE, Finish, Kernel, Tile};
use crate::parallel::SharedMut;
use crate::simd::Level;

/// The most bytes of B that tiles go over again and again: half of the second-level cache.
const MAX_B_BYTES: usize = 512 << 10;

/// A: element (i, k) is at `rows[i]` plus the k-th position of the segments.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a, T> {
    pub data: &'a [T],
    pub rows: &'a [usize],
    pub segments: &'a [usize],
    pub segment_len: usize,
    pub step: usize,
}

/// B.
#[derive(Clone, Copy)]
pub(super) enum Columns<'a, T> {
    /// As [`Panels`] has it.
    Packed(&'a [T]),
    /// Rows at a distance, padded to a multiple of [`COL_GRANULE`].
    InPlace { data: &'a [T], row_stride: usize },
}

/// Packed panels of B.
pub(super) struct Panels {
    buffer: Buffer,
}

impl Panels {
    /// Packs the matrices (`depth` x `cols` each) one below the other.
    pub(super) fn pack<'a, T: Number>(
        level: Level,
        matrices: impl Iterator<Item = Matrix<'a, T>> + Clone,
        depth: usize,
        cols: usize,
    ) -> Result<Self, AllocError> {
        let panel_cols = Kernel::<T>::new(level).max_cols();
        let total_depth = matrices.clone().count() * depth;
        let len = total_depth.saturating_mul(panel_width(cols)).saturating_mul(size_of::<T>());
        let mut buffer = Buffer::uninit_reused(len)?;
        let packed = buffer.as_mut_slice::<T>();
        for col in (0..cols).step_by(panel_cols) {
            let panel_cols = panel_cols.min(cols - col);
            for (index, matrix) in matrices.clone().enumerate() {
                let start = col * total_depth + index * depth * panel_width(panel_cols);
                pack_b(level, &matrix, (0, depth), (col, panel_cols), &mut packed[start..]);
            }
        }
        Ok(Self { buffer })
    }

    pub(super) fn columns<T: Number>(&self) -> Columns<'_, T> {
        Columns::Packed(self.buffer.as_slice())
    }
}

/// Computes C(i, j) = sum of A(i, k) B(k, j), or adds it, for j < `cols`; row i of C starts at
/// `c_start + c_rows[i]`.
///
/// # Safety
/// No other thread may access these elements of C.
#[expect(clippy::too_many_arguments, reason = "three operands and what to do with them")]
pub(super) unsafe fn product<T: Number>(
    level: Level,
    a: Rows<'_, T>,
    b: Columns<'_, T>,
    cols: usize,
    c: &SharedMut<'_, T>,
    c_start: usize,
    c_rows: &[usize],
    add: bool,
) {
    let kernel = Kernel::<T>::new(level);
    let depth = a.segments.len() * a.segment_len;
    check(a, b, depth, cols);
    let c_end = c_start + c_rows.iter().max().map_or(0, |last| last + cols);
    assert!(a.rows.len() == c_rows.len() && c_end <= c.len());

    let block_depth = MAX_B_BYTES / (panel_width(cols) * size_of::<T>());
    let block_segments = (block_depth / a.segment_len.max(1)).max(1);
    // Without any segment the sums are zero and must still be written.
    let blocks = a.segments.len().div_ceil(block_segments).max(1);
    for block in 0..blocks {
        let first = block * block_segments;
        let segments = &a.segments[first..a.segments.len().min(first + block_segments)];
        let first_k = first * a.segment_len;
        for tile in tiles(kernel, a.rows, cols) {
            let (rows, c_rows) = (&a.rows[tile.clone()], &c_rows[tile]);
            for col in (0..cols).step_by(kernel.max_cols()) {
                let tile_cols = kernel.max_cols().min(cols - col);
                let (b, b_stride) = match b {
                    Columns::Packed(data) => {
                        let stride = panel_width(tile_cols);
                        (data[col * depth + first_k * stride..].as_ptr(), stride)
                    }
                    Columns::InPlace { data, row_stride } => {
                        (data[first_k * row_stride + col..].as_ptr(), row_stride)
                    }
                };
                let tile = Tile {
                    rows: rows.len(),
                    cols: tile_cols,
                    a: a.data.as_ptr(),
                    a_rows: Some(rows),
                    segments,
                    segment_len: a.segment_len,
                    step: a.step,
                    b,
                    b_stride,
                    c: c.as_mut_ptr().wrapping_add(c_start + col),
                    c_rows,
                    add_scaled: (add || block > 0).then_some(T::ONE),
                    finish: Finish::NOTHING,
                    ahead: Ahead::NOTHING,
                };
                // SAFETY: `check` and the assertion on C's end cover every offset, and the kernel has
                // cut the rows; that C is not accessed elsewhere is promised by the caller.
                unsafe { kernel.run(&tile) };
            }
        }
    }
}

/// The rows of each tile.
fn tiles<T: Number>(
    kernel: Kernel<T>,
    rows: &[usize],
    cols: usize,
) -> impl Iterator<Item = Range<usize>> {
    let (mut tile_rows, mut next, mut cut_end) = (0, 0, 0);
    std::iter::from_fn(move || {
        if next == rows.len() {
            return None;
        }
        if next == cut_end {
            let cut_rows;
            (tile_rows, cut_rows) = kernel.cut_in_place(&rows[next..], cols);
            cut_end += cut_rows;
        }
        let start = next;
        next = cut_end.min(start + tile_rows);
        Some(start..next)
    })
}

/// Panics if an element that tiles read lies outside of A or B.
fn check<T>(a: Rows<'_, T>, b: Columns<'_, T>, depth: usize, cols: usize) {
    if depth == 0 || a.rows.is_empty() {
        return;
    }
    let last = |offsets: &[usize]| offsets.iter().copied().max().unwrap_or(0);
    let last_a = last(a.rows) + last(a.segments) + (a.segment_len - 1) * a.step;
    assert!(last_a < a.data.len(), "convolution reads {last_a} of {}", a.data.len());
    match b {
        Columns::Packed(data) => assert!(depth * panel_width(cols) <= data.len()),
        Columns::InPlace { data, row_stride } => assert!(
            cols <= row_stride
                && row_stride.is_multiple_of(COL_GRANULE)
                && depth * row_stride <= data.len()
        ),
    }
}
