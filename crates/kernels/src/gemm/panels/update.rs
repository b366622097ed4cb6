//! `W += alpha A B`, W in panels.

use super::{PANEL_COLS, check_panels, place};
use crate::buffer::{AllocError, Buffer};
use crate::gemm::blocked::{MAX_DEPTH, MAX_PACKED_A_BYTES, MAX_TILE_ROWS, pack_all_a};
use crate::gemm::tile::{Ahead, Finish, Kernel, Tile, even_part};
use crate::gemm::{Matrix, pack};
use crate::parallel::{SharedMut, for_each_chunk_mut, for_each_index};
use crate::simd::Level;

/// The most tiles of A in a piece: their rows stay in the second-level cache.
const MAX_PIECE_TILES: usize = 16;
/// The number of pieces aimed at, where there are not enough rows.
const PIECES: usize = 16;

/// Adds `alpha` times the product of A (`k` x `m`) and B (`m` x `n`) to W (`k` x `n`), in panels.
///
/// For the gradient of a weight A is the transposed input, and `m` the batch.
///
/// ```
/// use tapeflow_kernels::gemm::Matrix;
/// use tapeflow_kernels::gemm::panels::{pack_panels, panels_len, panels_update, unpack_panels};
/// let mut panels = vec![0.0; panels_len(2, 1)];
/// pack_panels(&[1.0, 2.0], 2, 1, &mut panels);
/// let x = Matrix::row_major(&[3.0, 5.0], 2);
/// let dy = Matrix::row_major(&[10.0], 1);
/// panels_update(1, 1, 2, x.transposed(), dy, -0.5, &mut panels)?;
/// let mut w = [0.0; 2];
/// unpack_panels(&panels, 2, 1, &mut w);
/// assert_eq!(w, [-14.0, -23.0]);
/// # Ok::<(), tapeflow_kernels::buffer::AllocError>(())
/// ```
///
/// # Errors
/// [`AllocError`] when there is no memory for the packed operands.
///
/// # Panics
/// If an operand does not have the length that its shape says.
pub fn panels_update(
    m: usize,
    n: usize,
    k: usize,
    a: Matrix<'_, f32>,
    b: Matrix<'_, f32>,
    alpha: f32,
    panels: &mut [f32],
) -> Result<(), AllocError> {
    panels_update_at(Level::best(), m, n, k, a, b, alpha, panels)
}

/// As [`panels_update`], with the instructions of the given level; for tests and measurements.
///
/// # Errors
/// As [`panels_update`].
///
/// # Panics
/// As [`panels_update`].
#[expect(clippy::too_many_arguments, reason = "the customary arguments of a matrix product")]
pub fn panels_update_at(
    level: Level,
    m: usize,
    n: usize,
    k: usize,
    a: Matrix<'_, f32>,
    b: Matrix<'_, f32>,
    alpha: f32,
    panels: &mut [f32],
) -> Result<(), AllocError> {
    check_panels("panels_update", panels, k, n);
    if m == 0 || n == 0 || k == 0 {
        return Ok(());
    }
    a.check("A", k, m);
    b.check("B", m, n);
    let kernel = Kernel::<f32>::new(level);
    let width = kernel.max_cols();
    let mut packed_b = Buffer::uninit_reused(m * pack::panel_width(n) * size_of::<f32>())?;
    for_each_chunk_mut(packed_b.as_mut_slice(), width * m, |index, packed| {
        let col = index * width;
        pack::pack_b(level, &b, (0, m), (col, width.min(n - col)), packed);
    });

    let tile_rows = even_part(k, kernel.max_rows());
    let depth = even_part(m, MAX_DEPTH);
    let row_bytes = m.saturating_mul(size_of::<f32>());
    let pass_tiles = (MAX_PACKED_A_BYTES / (row_bytes * tile_rows)).max(MAX_PIECE_TILES);
    let pass_rows = even_part(k.div_ceil(tile_rows), pass_tiles) * tile_rows;
    let mut packed_a = Buffer::uninit_reused(pass_rows.min(k) * row_bytes)?;
    for first_row in (0..k).step_by(pass_rows) {
        let rows = pass_rows.min(k - first_row);
        let a = Matrix { data: a.window(first_row, 0), ..a };
        pack_all_a(level, (rows, m), (tile_rows, depth), a, packed_a.as_mut_slice());
        let pass = Pass {
            kernel,
            m,
            n,
            k,
            depth,
            tile_rows,
            rows: (first_row, rows),
            packed_a: packed_a.as_slice(),
            packed_b: packed_b.as_slice(),
            alpha,
            panels: SharedMut::new(panels),
        };
        pass.run();
    }
    Ok(())
}

/// The update of as many rows as are packed at a time.
struct Pass<'a> {
    kernel: Kernel<f32>,
    m: usize,
    n: usize,
    k: usize,
    /// Values of m in a block of the sum.
    depth: usize,
    tile_rows: usize,
    /// The first row of the pass, and how many.
    rows: (usize, usize),
    packed_a: &'a [f32],
    packed_b: &'a [f32],
    alpha: f32,
    panels: SharedMut<'a, f32>,
}

impl Pass<'_> {
    fn run(&self) {
        let width = self.kernel.max_cols();
        let (tiles, panels) = (self.rows.1.div_ceil(self.tile_rows), self.n.div_ceil(width));
        let piece_rows = even_part(tiles, MAX_PIECE_TILES) * self.tile_rows;
        let row_pieces = self.rows.1.div_ceil(piece_rows);
        let col_pieces = PIECES.div_ceil(row_pieces).min(panels);
        let piece_cols = panels.div_ceil(col_pieces) * width;
        let col_pieces = self.n.div_ceil(piece_cols);
        for_each_index(row_pieces * col_pieces, |index| {
            let first_row = index / col_pieces * piece_rows;
            let first_col = index % col_pieces * piece_cols;
            let rows = (first_row, self.rows.1.min(first_row + piece_rows));
            for col in (first_col..self.n.min(first_col + piece_cols)).step_by(width) {
                for start in (0..self.m).step_by(self.depth) {
                    self.update_column(rows, col, start);
                }
            }
        });
    }

    /// One block of the sum for a column of tiles, which lie in memory one after the other.
    fn update_column(&self, (first_row, end_row): (usize, usize), col: usize, start: usize) {
        let depth = self.depth.min(self.m - start);
        let cols = self.kernel.max_cols().min(self.n - col);
        let b_stride = pack::panel_width(cols);
        let mut c_rows = [0; MAX_TILE_ROWS];
        (0..).zip(&mut c_rows).for_each(|(i, c_row)| *c_row = i * PANEL_COLS);
        for row in (first_row..end_row).step_by(self.tile_rows) {
            let rows = self.tile_rows.min(self.rows.1 - row);
            let c = self.panels.as_mut_ptr().wrapping_add(place(self.k, self.rows.0 + row, col));
            let tile = Tile {
                rows,
                cols,
                a: self.packed_a[start * self.rows.1 + row * depth..].as_ptr(),
                a_rows: None,
                segments: &[0],
                segment_len: depth,
                step: rows,
                b: self.packed_b[col * self.m + start * b_stride..].as_ptr(),
                b_stride,
                c,
                c_rows: &c_rows,
                add_scaled: Some(self.alpha),
                finish: Finish::NOTHING,
                // The rows of the next tile but one.
                ahead: Ahead::ask(c.wrapping_add(2 * rows * PANEL_COLS), rows, PANEL_COLS),
            };
            // SAFETY: the tile's block of A and panel of B are packed in full above, and its rows lie
            // within the panels and belong to this piece alone.
            unsafe { self.kernel.run(&tile) };
        }
    }
}
