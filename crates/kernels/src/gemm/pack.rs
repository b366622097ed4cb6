//! Copies of parts of A and B in the order in which a tile reads them.

#[cfg(target_arch = "x86_64")]
use std::any::TypeId;

use super::Matrix;
use super::tile::COL_GRANULE;
#[cfg(target_arch = "x86_64")]
use super::transpose;
use crate::element::Number;
use crate::simd::{Level, vectorize};

/// Elements of a line of the source that are copied at a time when rows become columns: a cache
/// line of `f32`, so that each line of the source is read once.
const RUN: usize = 16;

/// The number of elements a row of a B panel of `cols` columns takes.
pub(crate) fn panel_width(cols: usize) -> usize {
    cols.next_multiple_of(COL_GRANULE)
}

/// Packs a tile of A: `rows` rows from `row`, `depth` columns from `k`, as `depth` groups of `rows`.
pub(crate) fn pack_a<T: Number>(
    level: Level,
    a: &Matrix<'_, T>,
    (row, rows): (usize, usize),
    (k, depth): (usize, usize),
    packed: &mut [T],
) {
    let source = a.window(row, k);
    interleave(level, source, (depth, a.col_stride), (rows, a.row_stride), packed, rows);
}

/// Packs a panel of B: `depth` rows from `k`, `cols` columns from `col`, as `depth` rows of
/// [`panel_width`] elements, the last ones zero.
pub(crate) fn pack_b<T: Number>(
    level: Level,
    b: &Matrix<'_, T>,
    (k, depth): (usize, usize),
    (col, cols): (usize, usize),
    packed: &mut [T],
) {
    let source = b.window(k, col);
    let width = panel_width(cols);
    if cols < width {
        packed[..depth * width].fill(T::ZERO);
    }
    interleave(level, source, (depth, b.row_stride), (cols, b.col_stride), packed, width);
}

/// Writes `packed[i * width + j] = source[i * along + j * across]` for i < depth, j < lines.
fn interleave<T: Number>(
    level: Level,
    source: &[T],
    (depth, along): (usize, usize),
    (lines, across): (usize, usize),
    packed: &mut [T],
    width: usize,
) {
    if across == 1 {
        vectorize!(level, || copy_rows(source, (depth, along), lines, packed, width));
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if let Some(token) = level.avx2()
        && TypeId::of::<T>() == TypeId::of::<f32>()
        && along == 1
        && lines >= transpose::BLOCK
    {
        assert!((depth - 1) * width + lines <= packed.len());
        // SAFETY: the last element written lies within the slice, as asserted; the casts are of
        // f32 to itself.
        unsafe {
            let (source, packed) = (bytemuck::cast_slice(source), packed.as_mut_ptr().cast());
            transpose::transpose(token, source, across, (depth, lines), packed, width);
        }
        return;
    }
    for start in (0..depth).step_by(RUN) {
        let run = RUN.min(depth - start);
        let block = &mut packed[start * width..(start + run) * width];
        for j in 0..lines {
            let line = &source[start * along + j * across..];
            for i in 0..run {
                block[i * width + j] = line[i * along];
            }
        }
    }
}

/// Copies the row-major `source` (`rows` x `cols`) so that element (i, j) comes to `j * stride + i`.
///
/// # Safety
/// These places from `target` on must be writable, from this thread alone.
pub(super) unsafe fn transpose_to(
    level: Level,
    source: &[f32],
    (rows, cols): (usize, usize),
    target: *mut f32,
    stride: usize,
) {
    #[cfg(target_arch = "x86_64")]
    if let Some(token) = level.avx2()
        && rows >= transpose::BLOCK
    {
        // SAFETY: as promised by the caller.
        unsafe { transpose::transpose(token, source, cols, (cols, rows), target, stride) };
        return;
    }
    let _ = level;
    for (i, row) in source.chunks_exact(cols).take(rows).enumerate() {
        for (j, &value) in row.iter().enumerate() {
            // SAFETY: as promised by the caller.
            unsafe { *target.add(j * stride + i) = value };
        }
    }
}

#[inline(always)]
fn copy_rows<T: Number>(
    source: &[T],
    (depth, along): (usize, usize),
    lines: usize,
    packed: &mut [T],
    width: usize,
) {
    // Rows are copied as arrays where they can be: a few vector moves instead of a call for each. What
    // that writes beyond a short row is written again with the next.
    const PANEL: usize = 2 * COL_GRANULE;
    if lines == width && lines < COL_GRANULE {
        let packed = &mut packed[..depth * width];
        for i in 0..depth {
            let (group, row) = (&mut packed[i * width..], &source[i * along..]);
            match (group.first_chunk_mut::<COL_GRANULE>(), row.first_chunk::<COL_GRANULE>()) {
                (Some(group), Some(row)) => *group = *row,
                _ => group[..lines].copy_from_slice(&row[..lines]),
            }
        }
        return;
    }
    for (i, group) in packed.chunks_exact_mut(width).take(depth).enumerate() {
        let row = &source[i * along..][..lines];
        match (group.first_chunk_mut::<PANEL>(), row.first_chunk::<PANEL>()) {
            (Some(group), Some(row)) if lines == PANEL => *group = *row,
            _ => group[..lines].copy_from_slice(row),
        }
    }
}
