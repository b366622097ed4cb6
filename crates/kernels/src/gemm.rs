//! Matrix products.
//!
//! [`gemm`] computes `C = A B` or `C += alpha A B`. A and B are given with their strides, so a
//! transposed matrix costs no copy by the caller; C is row-major.
//!
//! # How it is done
//! Both operands are copied ("packed") into the order in which the innermost loop reads them:
//!
//! - A tile of C, up to 14 x 32 (AVX-512), 6 x 16 (AVX2) or 4 x 16 elements, is held in registers
//!   while the loop runs over k. Row counts are cut evenly: 128 rows are nine tiles of 13 rows and
//!   one of 11, each with code of its own, not nine of 14 and one of 2.
//! - A is packed once, in parallel, into tiles of `[k][rows]`, block of k after block of k.
//! - C is cut by shape into chunks of tiles, which are the pieces of parallel work. For each block
//!   of k, a piece packs its columns of B into panels of `[k][32]` that stay in the second-level
//!   cache, then runs over its tiles of A (one stays in the first-level cache) and the panels.
//! - The first block of k writes C and the others add to it, so each element of C is summed in an
//!   order that depends on the shape alone.
//!
//! Types other than `f32` use the same loops with a tile that the compiler vectorises; the 16-bit
//! floats are widened to `f32` and rounded once at the end.

pub(crate) mod pack;
mod portable;
pub(crate) mod tile;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod transpose;

use std::any::TypeId;

use crate::buffer::{AllocError, Buffer};
use crate::element::Number;
use crate::parallel::{SharedMut, for_each_chunk_mut, try_for_each_index};
use crate::simd::Level;
use tile::{Kernel, Tile, even_part};

/// The most values of k in a block: a tile of A (14 rows of `f32`) then fits the first-level cache.
const MAX_DEPTH: usize = 512;
/// The most bytes of B that a piece packs at a time: half of the second-level cache.
const MAX_PACKED_B_BYTES: usize = 512 << 10;
/// The most bytes of A that are packed at a time; more rows are taken in passes.
const MAX_PACKED_A_BYTES: usize = 16 << 20;
/// The most tiles of A in a piece.
const MAX_PIECE_TILES: usize = 32;
/// The number of pieces aimed at, so that threads of unequal speed share the work well.
const PIECES: usize = 8;
/// The multiply-adds that make a piece worth handing to another thread.
const MIN_PIECE_WORK: usize = 1 << 21;
/// No tile has more rows.
const MAX_TILE_ROWS: usize = 16;

/// An operand: element (i, j) is `data[i * row_stride + j * col_stride]`.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a, T> {
    /// The elements.
    pub data: &'a [T],
    /// The distance from a row to the next.
    pub row_stride: usize,
    /// The distance from a column to the next.
    pub col_stride: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// A row-major matrix of `cols` columns.
    pub fn row_major(data: &'a [T], cols: usize) -> Self {
        Self { data, row_stride: cols, col_stride: 1 }
    }

    /// The transpose of this matrix; nothing is copied.
    pub fn transposed(self) -> Self {
        Self { data: self.data, row_stride: self.col_stride, col_stride: self.row_stride }
    }

    /// A matrix laid out like this one.
    fn with_data<'b, U>(&self, data: &'b [U]) -> Matrix<'b, U> {
        Matrix { data, row_stride: self.row_stride, col_stride: self.col_stride }
    }

    /// The elements from (row, col) on.
    fn window(&self, row: usize, col: usize) -> &'a [T] {
        &self.data[row * self.row_stride + col * self.col_stride..]
    }

    /// Panics unless a `rows` x `cols` matrix lies within the data.
    fn check(&self, name: &str, rows: usize, cols: usize) {
        let last = (rows - 1) * self.row_stride + (cols - 1) * self.col_stride;
        let len = self.data.len();
        assert!(last < len, "gemm: {name} [{rows}, {cols}] ends beyond its {len} elements");
    }
}

/// What happens to C.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Update<T> {
    /// `C = A B`.
    Assign,
    /// `C += alpha A B`.
    AddScaled(T),
}

/// The product of A (`m` x `k`) and B (`k` x `n`) into the row-major C (`m` x `n`).
///
/// With `k` = 0 the product is zero. The result is the same with any number of threads.
///
/// ```
/// use tapeflow_kernels::gemm::{Matrix, Update, gemm};
/// let a = Matrix::row_major(&[1.0, 2.0, 3.0, 4.0], 2);
/// let b = Matrix::row_major(&[1.0, 1.0, 0.0, 1.0], 2);
/// let mut c = [0.0f32; 4];
/// gemm(2, 2, 2, a, b.transposed(), Update::Assign, &mut c)?;
/// assert_eq!(c, [3.0, 2.0, 7.0, 4.0]);
/// # Ok::<(), tapeflow_kernels::buffer::AllocError>(())
/// ```
///
/// # Errors
/// [`AllocError`] when there is no memory for the packed operands.
///
/// # Panics
/// If an operand is shorter than its shape and strides say, or C is not `m * n` long.
pub fn gemm<T: Number>(
    m: usize,
    n: usize,
    k: usize,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    update: Update<T>,
    c: &mut [T],
) -> Result<(), AllocError> {
    gemm_at(Level::best(), m, n, k, a, b, update, c)
}

/// As [`gemm`], with the instructions of the given level; for tests and measurements.
///
/// # Errors
/// As [`gemm`].
///
/// # Panics
/// As [`gemm`].
#[expect(clippy::too_many_arguments, reason = "the customary arguments of a matrix product")]
pub fn gemm_at<T: Number>(
    level: Level,
    m: usize,
    n: usize,
    k: usize,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    update: Update<T>,
    c: &mut [T],
) -> Result<(), AllocError> {
    assert_eq!(c.len(), m * n, "gemm: C is not [{m}, {n}]");
    if m == 0 || n == 0 {
        return Ok(());
    }
    if k == 0 {
        if update == Update::Assign {
            c.fill(T::ZERO);
        }
        return Ok(());
    }
    a.check("A", m, k);
    b.check("B", k, n);
    let shape = Shape { m, n, k };
    if TypeId::of::<T>() == TypeId::of::<T::Accumulator>() {
        let add_scaled = match update {
            Update::Assign => None,
            Update::AddScaled(alpha) => Some(alpha),
        };
        return product(level, shape, a, b, add_scaled, c);
    }
    widened_product(level, shape, a, b, update, c)
}

#[derive(Clone, Copy)]
struct Shape {
    m: usize,
    n: usize,
    k: usize,
}

/// The product of a type that is summed in a wider one: operands are copied to the wider type.
fn widened_product<T: Number>(
    level: Level,
    shape: Shape,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    update: Update<T>,
    c: &mut [T],
) -> Result<(), AllocError> {
    let wide_a = widen(a.data)?;
    let wide_b = widen(b.data)?;
    let mut wide_c = Buffer::uninit_reused(size_of::<T::Accumulator>() * c.len())?;
    let a = a.with_data(wide_a.as_slice::<T::Accumulator>());
    let b = b.with_data(wide_b.as_slice());
    product(level, shape, a, b, None, wide_c.as_mut_slice())?;
    for (c, &wide) in c.iter_mut().zip(wide_c.as_slice::<T::Accumulator>()) {
        *c = T::from_accumulator(match update {
            Update::Assign => wide,
            Update::AddScaled(alpha) => c.to_accumulator().add(alpha.to_accumulator().mul(wide)),
        });
    }
    Ok(())
}

/// A copy in the accumulator type.
pub(crate) fn widen<T: Number>(values: &[T]) -> Result<Buffer, AllocError> {
    let mut wide = Buffer::uninit_reused(size_of::<T::Accumulator>() * values.len())?;
    const CHUNK: usize = 1 << 16;
    for_each_chunk_mut(wide.as_mut_slice::<T::Accumulator>(), CHUNK, |index, chunk| {
        for (wide, value) in chunk.iter_mut().zip(&values[index * CHUNK..]) {
            *wide = value.to_accumulator();
        }
    });
    Ok(wide)
}

/// How a product is cut; it depends on the shape alone.
struct Cut {
    /// Values of k in a block.
    depth: usize,
    /// Rows of a tile.
    tile_rows: usize,
    /// Columns of a panel of B.
    panel_cols: usize,
    /// Rows and columns of a piece, whole tiles and panels.
    piece_rows: usize,
    piece_cols: usize,
}

impl Cut {
    fn new<T: Number>(kernel: Kernel<T>, Shape { m, n, k }: Shape) -> Self {
        let depth = even_part(k, MAX_DEPTH);
        let tile_rows = even_part(m, kernel.max_rows());
        let panel_cols = kernel.max_cols();
        let (tiles, panels) = (m.div_ceil(tile_rows), n.div_ceil(panel_cols));
        let work = m.saturating_mul(panels * panel_cols).saturating_mul(k);
        let pieces = (work / MIN_PIECE_WORK).clamp(1, PIECES);

        let row_pieces = tiles.div_ceil(MAX_PIECE_TILES);
        let col_pieces = pieces.div_ceil(row_pieces).min(panels);
        let row_pieces = row_pieces.max(pieces / col_pieces).min(tiles);
        let max_panels = MAX_PACKED_B_BYTES / (depth * panel_cols * size_of::<T>());
        let piece_panels = even_part(panels.div_ceil(col_pieces), max_panels.max(1));
        Self {
            depth,
            tile_rows,
            panel_cols,
            piece_rows: tiles.div_ceil(row_pieces) * tile_rows,
            piece_cols: piece_panels * panel_cols,
        }
    }
}

/// The product of a type that is summed in itself.
fn product<T: Number>(
    level: Level,
    shape: Shape,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    add_scaled: Option<T>,
    c: &mut [T],
) -> Result<(), AllocError> {
    let row_bytes = shape.k.saturating_mul(size_of::<T>());
    let max_rows = (MAX_PACKED_A_BYTES / row_bytes).max(MAX_TILE_ROWS * MAX_PIECE_TILES);
    let pass_rows = even_part(shape.m, max_rows);
    let mut packed_a = Buffer::uninit_reused(pass_rows.saturating_mul(row_bytes))?;
    for (pass, c) in c.chunks_mut(pass_rows * shape.n).enumerate() {
        let a = a.with_data(a.window(pass * pass_rows, 0));
        let shape = Shape { m: c.len() / shape.n, ..shape };
        product_pass(level, shape, a, b, add_scaled, c, packed_a.as_mut_slice())?;
    }
    Ok(())
}

/// The product of as many rows of A as are packed at a time.
fn product_pass<T: Number>(
    level: Level,
    shape: Shape,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    add_scaled: Option<T>,
    c: &mut [T],
    packed_a: &mut [T],
) -> Result<(), AllocError> {
    let Shape { m, n, k } = shape;
    let kernel = Kernel::<T>::new(level);
    let cut = Cut::new(kernel, shape);
    pack_all_a(level, shape, &cut, a, packed_a);
    let packed_a = &*packed_a;

    let mut c_rows = [0; MAX_TILE_ROWS];
    (0..).zip(&mut c_rows).for_each(|(i, c_row)| *c_row = i * n);
    let c = SharedMut::new(c);
    let col_pieces = n.div_ceil(cut.piece_cols);
    try_for_each_index(m.div_ceil(cut.piece_rows) * col_pieces, |piece| {
        let first_row = piece / col_pieces * cut.piece_rows;
        let first_col = piece % col_pieces * cut.piece_cols;
        let end_row = m.min(first_row + cut.piece_rows);
        let end_col = n.min(first_col + cut.piece_cols);
        let panels = |part: &Cut| (first_col..end_col).step_by(part.panel_cols);
        let mut packed_b = Buffer::uninit_reused(cut.depth * cut.piece_cols * size_of::<T>())?;
        let packed_b = packed_b.as_mut_slice::<T>();

        for k_start in (0..k).step_by(cut.depth) {
            let depth = cut.depth.min(k - k_start);
            for col in panels(&cut) {
                let cols = cut.panel_cols.min(end_col - col);
                let panel = &mut packed_b[(col - first_col) * depth..];
                pack::pack_b(level, &b, (k_start, depth), (col, cols), panel);
            }
            let next_k = k_start + depth;
            let next_block = (next_k, cut.depth.min(k - next_k));
            let tiles = (end_row - first_row).div_ceil(cut.tile_rows) * panels(&cut).len();
            let mut tile_index = 0;
            for row in (first_row..end_row).step_by(cut.tile_rows) {
                for col in panels(&cut) {
                    if next_k < k {
                        let cols = (first_col, end_col - first_col);
                        pack::prefetch_b(&b, next_block, cols, (tile_index, tiles));
                        tile_index += 1;
                    }
                    let cols = cut.panel_cols.min(end_col - col);
                    let rows = cut.tile_rows.min(m - row);
                    let tile = Tile {
                        rows,
                        cols,
                        a: packed_a[k_start * m + row * depth..].as_ptr(),
                        a_rows: None,
                        segments: &[0],
                        segment_len: depth,
                        step: rows,
                        b: packed_b[(col - first_col) * depth..].as_ptr(),
                        b_stride: pack::panel_width(cols),
                        c: c.as_mut_ptr().wrapping_add(row * n + col),
                        c_rows: &c_rows,
                        add_scaled: if k_start == 0 {
                            add_scaled
                        } else {
                            add_scaled.or(Some(T::ONE))
                        },
                    };
                    // SAFETY: the tile's block of A and panel of B are packed in full above, and
                    // its part of C lies within C and belongs to this piece alone.
                    unsafe { kernel.run(&tile) };
                }
            }
        }
        Ok(())
    })
}

/// Packs all of A: for each block of k, its tiles one after the other. The tile at `row` of the
/// block at `k_start` is at `k_start * m + row * depth`.
fn pack_all_a<T: Number>(
    level: Level,
    Shape { m, k, .. }: Shape,
    cut: &Cut,
    a: Matrix<'_, T>,
    packed: &mut [T],
) {
    let tiles_at_once = even_part(m.div_ceil(cut.tile_rows), MAX_PIECE_TILES);
    let rows_at_once = tiles_at_once * cut.tile_rows;
    for (block, packed) in packed[..m * k].chunks_mut(m * cut.depth).enumerate() {
        let depth = packed.len() / m;
        for_each_chunk_mut(packed, rows_at_once * depth, |index, chunk| {
            for (tile, packed) in chunk.chunks_mut(cut.tile_rows * depth).enumerate() {
                let row = index * rows_at_once + tile * cut.tile_rows;
                let rows = packed.len() / depth;
                pack::pack_a(level, &a, (row, rows), (block * cut.depth, depth), packed);
            }
        });
    }
}
