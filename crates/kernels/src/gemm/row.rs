//! Products with a single row, `c = a B`: a sum of rows of B, each of which is read once. A large B is
//! read as fast as its memory gives it; nothing is asked for ahead, since the processor sees by
//! itself what comes next.
//!
//! The sums are those of [`blocked`](super::blocked), to the last bit: k is cut into the same blocks.

use std::any::TypeId;

use super::blocked::{MAX_DEPTH, Shape};
use super::panels::PANEL_COLS;
use super::tile::even_part;
use super::{Epilogue, Matrix, finish};
use crate::element::Number;
use crate::parallel::for_each_chunk_mut;
use crate::simd::Level;

/// Columns of a narrow B, which are summed in one go.
const NARROW_COLS: usize = 16;
/// The multiply-adds that make a piece worth handing to another thread.
const MIN_PIECE_WORK: usize = 1 << 16;

/// The product with a narrow row-major B, `f32`. Whether it was one, and C is done.
pub(super) fn narrow_product<T: Number>(
    level: Level,
    Shape { m, n, k }: Shape,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    epilogue: Epilogue<'_, T>,
    c: &mut [T],
) -> bool {
    let lies_in_rows = (a.col_stride, b.col_stride) == (1, 1);
    if TypeId::of::<T>() != TypeId::of::<f32>() || m != 1 || n > NARROW_COLS || !lies_in_rows {
        return false;
    }
    // Casts of a type to itself.
    let (a, data): (&[f32], &[f32]) = (bytemuck::cast_slice(a.data), bytemuck::cast_slice(b.data));
    let c: &mut [f32] = bytemuck::cast_slice_mut(c);
    let depth = even_part(k, MAX_DEPTH);
    for start in (0..k).step_by(depth) {
        let (a, data) = (&a[start..k.min(start + depth)], &data[start * b.row_stride..]);
        // What is beyond the columns goes into sums that nobody reads.
        let whole = data.windows(NARROW_COLS).step_by(b.row_stride);
        let whole = whole.map(|row| row.first_chunk().expect("a window of this length"));
        let count = whole.len().min(a.len());
        let mut sums = add_rows(level, &a[..count], whole, [0.0; NARROW_COLS]);
        // The last rows end with B.
        for row in count..a.len() {
            let mut filled = [0.0; NARROW_COLS];
            filled[..n].copy_from_slice(&data[row * b.row_stride..][..n]);
            sums = add_rows(level, &a[row..=row], [&filled].into_iter(), sums);
        }
        add_block(start == 0, &sums[..n], c);
    }
    let bias = epilogue.bias.map(bytemuck::cast_slice);
    finish(Epilogue { bias, activation: epilogue.activation }, n, c);
    true
}

/// The product with B in [`panels`](super::panels), `panel(j)` the rows of the j-th.
pub(super) fn panel_product<'b>(
    level: Level,
    a: &[f32],
    panel: impl Fn(usize) -> &'b [f32] + Sync,
    epilogue: Epilogue<'_, f32>,
    c: &mut [f32],
) {
    let depth = even_part(a.len(), MAX_DEPTH);
    let panels = c.len().div_ceil(PANEL_COLS);
    let pieces = (a.len().saturating_mul(c.len()) / MIN_PIECE_WORK).clamp(1, panels);
    let piece_panels = panels.div_ceil(pieces);
    for_each_chunk_mut(c, piece_panels * PANEL_COLS, |piece, c| {
        let first = piece * piece_panels;
        for (index, c) in (first..).zip(c.chunks_mut(PANEL_COLS)) {
            let rows = panel(index).as_chunks().0;
            for (block, (a, rows)) in a.chunks(depth).zip(rows.chunks(depth)).enumerate() {
                let sums = add_rows(level, a, rows.iter(), [0.0; PANEL_COLS]);
                add_block(block == 0, &sums[..c.len()], c);
            }
            let bias = epilogue.bias.map(|bias| &bias[index * PANEL_COLS..][..c.len()]);
            finish(Epilogue { bias, ..epilogue }, c.len(), c);
        }
    });
}

/// Writes the sums of the first block of k, and adds those of the others.
fn add_block(is_first: bool, sums: &[f32], c: &mut [f32]) {
    for (c, &sum) in c.iter_mut().zip(sums) {
        *c = if is_first { sum } else { *c + sum };
    }
}

/// Adds to `sums` the rows, each times its element of `a`.
fn add_rows<'b, const COLS: usize>(
    level: Level,
    a: &[f32],
    rows: impl Iterator<Item = &'b [f32; COLS]>,
    sums: [f32; COLS],
) -> [f32; COLS] {
    match level {
        Level::Portable => fold_rows(a, rows, sums, |a, b, sum| sum + a * b),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2(token) => token.vectorize(|| fold_rows(a, rows, sums, f32::mul_add)),
        #[cfg(target_arch = "x86_64")]
        Level::Avx512(token) => token.vectorize(|| fold_rows(a, rows, sums, f32::mul_add)),
    }
}

#[inline(always)]
fn fold_rows<'b, const COLS: usize>(
    a: &[f32],
    rows: impl Iterator<Item = &'b [f32; COLS]>,
    mut sums: [f32; COLS],
    mul_add: impl Fn(f32, f32, f32) -> f32,
) -> [f32; COLS] {
    for (&a, row) in a.iter().zip(rows) {
        for (sum, &b) in sums.iter_mut().zip(row) {
            *sum = mul_add(a, b, *sum);
        }
    }
    sums
}
