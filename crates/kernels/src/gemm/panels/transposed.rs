//! `C = A W^T`, W in panels.
//!
//! Computed as `C^T = W A^T`: the tiles read W in place as their left operand, which has no packing
//! to do, and A, the smaller matrix, is packed as the right one. Blocks of C^T are made in scratch
//! memory and copied, transposed, to their place.

use super::{PANEL_COLS, check_panels, panel_rows, place};
use crate::buffer::{AllocError, Buffer};
use crate::gemm::Matrix;
use crate::gemm::blocked::{MAX_DEPTH, MAX_TILE_ROWS};
use crate::gemm::pack;
use crate::gemm::tile::{Ahead, Finish, Kernel, Tile, even_part};
use crate::parallel::{SharedMut, for_each_chunk_mut, try_for_each_index};
use crate::simd::Level;

/// The most panels of W in a block of the sum.
const MAX_SEGMENTS: usize = MAX_DEPTH / PANEL_COLS;
/// Tiles whose rows of W stay in the second-level cache, with those of the next block on their way.
const BLOCK_TILES: usize = 4;
/// Blocks of a piece, each of which asks for the next one's rows.
const PIECE_BLOCKS: usize = 4;
/// The most rows of A that are taken at a time.
const MAX_ROWS_OF_A: usize = 256;
/// The most bytes of packed A that the tiles of a block go over: half of the second-level cache.
const MAX_PACKED_BYTES: usize = 512 << 10;

/// The product of A (`m` x `n`) and the transpose of W (`k` x `n`), in panels, into the row-major C
/// (`m` x `k`).
///
/// ```
/// use tapeflow_kernels::gemm::Matrix;
/// use tapeflow_kernels::gemm::panels::{gemm_panels_transposed, pack_panels, panels_len};
/// let mut panels = vec![0.0; panels_len(2, 1)];
/// pack_panels(&[1.0, -1.0], 2, 1, &mut panels);
/// let mut c = [0.0; 4];
/// gemm_panels_transposed(2, 1, 2, Matrix::row_major(&[5.0, 3.0], 1), &panels, &mut c)?;
/// assert_eq!(c, [5.0, -5.0, 3.0, -3.0]);
/// # Ok::<(), tapeflow_kernels::buffer::AllocError>(())
/// ```
///
/// # Errors
/// [`AllocError`] when there is no memory for the packed A and for scratch.
///
/// # Panics
/// If an operand or C does not have the length that its shape says.
pub fn gemm_panels_transposed(
    m: usize,
    n: usize,
    k: usize,
    a: Matrix<'_, f32>,
    panels: &[f32],
    c: &mut [f32],
) -> Result<(), AllocError> {
    gemm_panels_transposed_at(Level::best(), m, n, k, a, panels, c)
}

/// As [`gemm_panels_transposed`], with the instructions of the given level; for tests and
/// measurements.
///
/// # Errors
/// As [`gemm_panels_transposed`].
///
/// # Panics
/// As [`gemm_panels_transposed`].
pub fn gemm_panels_transposed_at(
    level: Level,
    m: usize,
    n: usize,
    k: usize,
    a: Matrix<'_, f32>,
    panels: &[f32],
    c: &mut [f32],
) -> Result<(), AllocError> {
    assert_eq!(c.len(), m * k, "gemm_panels_transposed: C is not [{m}, {k}]");
    check_panels("gemm_panels_transposed", panels, k, n);
    if m == 0 || k == 0 {
        return Ok(());
    }
    if n == 0 {
        c.fill(0.0);
        return Ok(());
    }
    a.check("A", m, n);
    let kernel = Kernel::<f32>::new(level);
    let mut packed = Buffer::uninit_reused(n * pack::panel_width(m) * size_of::<f32>())?;
    pack_transposed(level, a, (m, n), kernel.max_cols(), packed.as_mut_slice());
    let product = Product {
        level,
        kernel,
        m,
        n,
        k,
        panels,
        packed_a: packed.as_slice(),
        c: SharedMut::new(c),
    };
    product.run()
}

/// Packs A^T, `width` columns (rows of A) at a time.
fn pack_transposed(
    level: Level,
    a: Matrix<'_, f32>,
    (m, n): (usize, usize),
    width: usize,
    packed: &mut [f32],
) {
    for_each_chunk_mut(packed, width * n, |index, packed| {
        let row = index * width;
        pack::pack_b(level, &a.transposed(), (0, n), (row, width.min(m - row)), packed);
    });
}

struct Product<'a> {
    level: Level,
    kernel: Kernel<f32>,
    m: usize,
    n: usize,
    k: usize,
    panels: &'a [f32],
    /// Panels of A^T, each of `n` rows.
    packed_a: &'a [f32],
    c: SharedMut<'a, f32>,
}

/// Some columns of W, whole panels or a part of one.
#[derive(Clone, Copy)]
struct Sum {
    first_col: usize,
    segments: usize,
    segment_len: usize,
}

impl Product<'_> {
    fn run(&self) -> Result<(), AllocError> {
        let tile_rows = even_part(self.k, self.kernel.max_rows());
        let block_rows = BLOCK_TILES * tile_rows;
        let piece_rows = even_part(self.k.div_ceil(block_rows), PIECE_BLOCKS) * block_rows;
        let cols =
            (MAX_PACKED_BYTES / (self.n * size_of::<f32>())).clamp(PANEL_COLS, MAX_ROWS_OF_A);
        let piece_cols = even_part(self.m.div_ceil(PANEL_COLS), cols / PANEL_COLS) * PANEL_COLS;
        let col_pieces = self.m.div_ceil(piece_cols);
        try_for_each_index(self.k.div_ceil(piece_rows) * col_pieces, |index| {
            let first_row = index / col_pieces * piece_rows;
            let end_row = self.k.min(first_row + piece_rows);
            let first_col = index % col_pieces * piece_cols;
            let cols = piece_cols.min(self.m - first_col);
            let mut scratch = Buffer::uninit_reused(block_rows * piece_cols * size_of::<f32>())?;
            let scratch = &mut scratch.as_mut_slice()[..block_rows * cols];
            for row in (first_row..end_row).step_by(block_rows) {
                let rows = block_rows.min(end_row - row);
                for sum in self.sums() {
                    let next = if sum.first_col + sum.segments * sum.segment_len < self.n {
                        (row, rows, sum.first_col + sum.segments * sum.segment_len)
                    } else {
                        (row + rows, block_rows.min(end_row - row - rows), 0)
                    };
                    self.add_block((row, rows), (first_col, cols), tile_rows, sum, next, scratch);
                }
                let to = self.c.as_mut_ptr().wrapping_add(first_col * self.k + row);
                // SAFETY: these columns of these rows of C belong to this block alone, and lie
                // within it.
                unsafe { pack::transpose_to(self.level, scratch, (rows, cols), to, self.k) };
            }
            Ok(())
        })
    }

    /// The columns of W, cut into blocks of the sum.
    fn sums(&self) -> impl Iterator<Item = Sum> {
        let n = self.n;
        let mut first_col = 0;
        std::iter::from_fn(move || {
            let left = n - first_col;
            let sum = match left / PANEL_COLS {
                0 if left == 0 => return None,
                0 => Sum { first_col, segments: 1, segment_len: left },
                whole => {
                    let segments = whole.min(MAX_SEGMENTS);
                    Sum { first_col, segments, segment_len: PANEL_COLS }
                }
            };
            first_col += sum.segments * sum.segment_len;
            Some(sum)
        })
    }

    /// Computes, or adds to, a block of C^T in scratch memory.
    fn add_block(
        &self,
        (first_row, rows): (usize, usize),
        (first_col, cols): (usize, usize),
        tile_rows: usize,
        sum: Sum,
        next: (usize, usize, usize),
        scratch: &mut [f32],
    ) {
        let panel_len = panel_rows(self.k) * PANEL_COLS;
        let mut segments = [0; MAX_SEGMENTS];
        (0..).zip(&mut segments).for_each(|(panel, start)| *start = panel * panel_len);
        let (mut a_rows, mut c_rows) = ([0; MAX_TILE_ROWS], [0; MAX_TILE_ROWS]);
        for i in 0..MAX_TILE_ROWS {
            (a_rows[i], c_rows[i]) = (i * PANEL_COLS, i * cols);
        }
        let width = self.kernel.max_cols();
        let tiles = rows.div_ceil(tile_rows) * cols.div_ceil(width);
        let mut index = 0;
        for row in (0..rows).step_by(tile_rows) {
            for col in (0..cols).step_by(width) {
                let tile_cols = width.min(cols - col);
                let b_stride = pack::panel_width(tile_cols);
                let panel = (first_col + col) * self.n + sum.first_col * b_stride;
                let tile = Tile {
                    rows: tile_rows.min(rows - row),
                    cols: tile_cols,
                    a: self.panels[place(self.k, first_row + row, sum.first_col)..].as_ptr(),
                    a_rows: Some(&a_rows),
                    segments: &segments[..sum.segments],
                    segment_len: sum.segment_len,
                    step: 1,
                    b: self.packed_a[panel..].as_ptr(),
                    b_stride,
                    c: scratch[row * cols + col..].as_mut_ptr(),
                    c_rows: &c_rows,
                    add_scaled: (sum.first_col > 0).then_some(1.0),
                    finish: Finish::NOTHING,
                    ahead: self.ahead(next, (index, tiles)),
                };
                // SAFETY: the rows and segments lie within the panels, the packed A has all columns
                // of the sum, and scratch holds `rows` rows of `cols` elements.
                unsafe { self.kernel.run(&tile) };
                index += 1;
            }
        }
    }

    /// What tile `index` of `tiles` asks for: its share of the rows of W that are read next.
    fn ahead(
        &self,
        (row, rows, col): (usize, usize, usize),
        (index, tiles): (usize, usize),
    ) -> Ahead<f32> {
        if rows == 0 {
            return Ahead::NOTHING;
        }
        let segments = (self.n - col).div_ceil(PANEL_COLS).min(MAX_SEGMENTS);
        let parts = (tiles / segments).max(1);
        let (segment, part) = (index % segments, index / segments);
        if part >= parts {
            return Ahead::NOTHING;
        }
        let unit = self.kernel.max_cols();
        let units = rows * PANEL_COLS / unit;
        let from = units * part / parts;
        let start = place(self.k, row, col + segment * PANEL_COLS) + from * unit;
        let asked = self.panels.as_ptr().wrapping_add(start);
        Ahead::ask(asked, units * (part + 1) / parts - from, unit)
    }
}
