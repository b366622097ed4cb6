//! A matrix kept in the layout that products read, so that none of them packs it.
//!
//! A weight takes part in three products of a training step: `x w` forward, `dy w^T` backward, and
//! the update `w += alpha x^T dy`. For a small batch, packing a large weight costs as much as a
//! fifth of the product. A weight that stays in panels from step to step is read, and updated, in
//! place by all three.
//!
//! # The layout
//! The `k` x `n` matrix W is cut into panels of 32 columns, one after the other. A panel is row-major:
//! element (i, j) of W is row i, column `j % 32` of panel `j / 32`. The last panel is filled up
//! with zeros. Between panels lie a few rows of zeros, so that a panel is an odd number of half
//! kilobytes long: rows of different panels then do not compete for the same places of the caches.
//! The layout is the same for all SIMD levels.

mod transposed;
mod update;

use super::blocked::{self, Columns, Shape};
use super::{Epilogue, Matrix, check_bias, finish, row};
use crate::buffer::AllocError;
use crate::element::Element;
use crate::parallel::{SharedMut, for_each_chunk_mut, for_each_index};
use crate::simd::Level;

pub use transposed::{gemm_panels_transposed, gemm_panels_transposed_at};
pub use update::{panels_update, panels_update_at};

/// Columns of a panel.
pub(super) const PANEL_COLS: usize = 32;

/// Rows that are copied at a time between a panel and a row-major matrix.
const COPIED_ROWS: usize = 32;

/// The rows that a panel of `k` rows has with those that follow it: 8 more than a multiple of 16.
pub(super) const fn panel_rows(k: usize) -> usize {
    k.saturating_add(7) / 16 * 16 + 8
}

/// The number of elements that the panels of a `k` x `n` matrix take.
///
/// ```
/// use tapeflow_kernels::gemm::panels::panels_len;
/// assert_eq!(panels_len(6272, 1024), 32 * 6280 * 32);
/// ```
pub const fn panels_len(k: usize, n: usize) -> usize {
    n.div_ceil(PANEL_COLS).saturating_mul(panel_rows(k)).saturating_mul(PANEL_COLS)
}

/// Copies the row-major `w` (`k` x `n`) into panels, on several threads.
///
/// ```
/// use tapeflow_kernels::gemm::panels::{pack_panels, panels_len, unpack_panels};
/// let w = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0];
/// let mut panels = vec![0.0; panels_len(2, 3)];
/// pack_panels(&w, 2, 3, &mut panels);
/// let mut back = [0.0; 6];
/// unpack_panels(&panels, 2, 3, &mut back);
/// assert_eq!(back, w);
/// ```
///
/// # Panics
/// If `w` is not `k * n` long or `panels` not [`panels_len`].
pub fn pack_panels(w: &[f32], k: usize, n: usize, panels: &mut [f32]) {
    assert_eq!(w.len(), k * n, "pack_panels: the matrix is not [{k}, {n}]");
    check_panels("pack_panels", panels, k, n);
    let rows_with_gap = panel_rows(k);
    let panels = SharedMut::new(panels);
    for_each_index(rows_with_gap.div_ceil(COPIED_ROWS), |index| {
        let first = index * COPIED_ROWS;
        let end = rows_with_gap.min(first + COPIED_ROWS);
        for (panel, col) in (0..n).step_by(PANEL_COLS).enumerate() {
            let start = panel * rows_with_gap;
            // SAFETY: a range of rows of a panel, which belongs to this piece alone.
            let block =
                unsafe { panels.range((start + first) * PANEL_COLS, (start + end) * PANEL_COLS) };
            for (row, to) in (first..).zip(block.chunks_exact_mut(PANEL_COLS)) {
                if row < k {
                    copy_row(&w[row * n + col..(row + 1) * n], to);
                } else {
                    to.fill(0.0);
                }
            }
        }
    });
}

/// Copies the first elements of `row`, and zeros where there are not enough.
fn copy_row(row: &[f32], to: &mut [f32]) {
    if let (Some(row), Some(to)) = (row.first_chunk::<PANEL_COLS>(), to.first_chunk_mut()) {
        // A constant length: vector moves instead of a call.
        *to = *row;
    } else {
        to[..row.len()].copy_from_slice(row);
        to[row.len()..].fill(0.0);
    }
}

/// Copies panels back into the row-major `w` (`k` x `n`), on several threads.
///
/// # Panics
/// As [`pack_panels`].
pub fn unpack_panels(panels: &[f32], k: usize, n: usize, w: &mut [f32]) {
    assert_eq!(w.len(), k * n, "unpack_panels: the matrix is not [{k}, {n}]");
    check_panels("unpack_panels", panels, k, n);
    let panel_len = panel_rows(k) * PANEL_COLS;
    for_each_chunk_mut(w, COPIED_ROWS * n.max(1), |index, rows| {
        for (panel, col) in (0..n).step_by(PANEL_COLS).enumerate() {
            let from = &panels[panel * panel_len + index * COPIED_ROWS * PANEL_COLS..];
            for (row, from) in rows.chunks_exact_mut(n).zip(from.chunks_exact(PANEL_COLS)) {
                let cols = PANEL_COLS.min(n - col);
                if cols == PANEL_COLS {
                    row[col..col + PANEL_COLS].copy_from_slice(from);
                } else {
                    row[col..].copy_from_slice(&from[..cols]);
                }
            }
        }
    });
}

/// The product of A (`m` x `k`) and W (`k` x `n`), in panels, into the row-major C (`m` x `n`), followed
/// by the epilogue: `C = activation(A W + bias)`.
///
/// The result is the same, to the last bit, as that of
/// [`gemm_with_epilogue`](super::gemm_with_epilogue).
///
/// ```
/// use tapeflow_kernels::gemm::panels::{gemm_panels, pack_panels, panels_len};
/// use tapeflow_kernels::gemm::{Epilogue, Matrix};
/// let mut panels = vec![0.0; panels_len(2, 1)];
/// pack_panels(&[1.0, -1.0], 2, 1, &mut panels);
/// let a = Matrix::row_major(&[5.0, 3.0, 2.0, 2.0], 2);
/// let mut c = [0.0; 2];
/// gemm_panels(2, 1, 2, a, &panels, Epilogue::NONE, &mut c)?;
/// assert_eq!(c, [2.0, 0.0]);
/// # Ok::<(), tapeflow_kernels::buffer::AllocError>(())
/// ```
///
/// # Errors
/// [`AllocError`] when there is no memory for the packed A.
///
/// # Panics
/// If an operand, the bias or C does not have the length that its shape says.
pub fn gemm_panels(
    m: usize,
    n: usize,
    k: usize,
    a: Matrix<'_, f32>,
    panels: &[f32],
    epilogue: Epilogue<'_, f32>,
    c: &mut [f32],
) -> Result<(), AllocError> {
    gemm_panels_at(Level::best(), m, n, k, a, panels, epilogue, c)
}

/// As [`gemm_panels`], with the instructions of the given level; for tests and measurements.
///
/// # Errors
/// As [`gemm_panels`].
///
/// # Panics
/// As [`gemm_panels`].
#[expect(clippy::too_many_arguments, reason = "the customary arguments of a matrix product")]
pub fn gemm_panels_at(
    level: Level,
    m: usize,
    n: usize,
    k: usize,
    a: Matrix<'_, f32>,
    panels: &[f32],
    epilogue: Epilogue<'_, f32>,
    c: &mut [f32],
) -> Result<(), AllocError> {
    assert_eq!(c.len(), m * n, "gemm_panels: C is not [{m}, {n}]");
    check_panels("gemm_panels", panels, k, n);
    check_bias(epilogue, n);
    if m == 0 || n == 0 {
        return Ok(());
    }
    if k == 0 {
        c.fill(0.0);
        finish(epilogue, n, c);
        return Ok(());
    }
    a.check("A", m, k);
    if m == 1 && a.col_stride == 1 {
        let panel = |index: usize| &panels[place(k, 0, index * PANEL_COLS)..][..k * PANEL_COLS];
        row::panel_product(level, &a.data[..k], panel, epilogue, c);
        return Ok(());
    }
    blocked::product(level, Shape { m, n, k }, a, Columns::Panels(panels), None, epilogue, c)
}

fn check_panels<T: Element>(name: &str, panels: &[T], k: usize, n: usize) {
    assert_eq!(panels.len(), panels_len(k, n), "{name}: not the panels of a [{k}, {n}] matrix");
}

/// The place of element (`row`, `col`) of a matrix of `k` rows.
pub(super) fn place(k: usize, row: usize, col: usize) -> usize {
    (col / PANEL_COLS * panel_rows(k) + row) * PANEL_COLS + col % PANEL_COLS
}
