//! Copies of parts of A and B in the order in which a tile reads them.

use super::Matrix;
use super::tile::COL_GRANULE;
use crate::element::Number;
use crate::simd::Level;

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
    let (along, across) = (a.col_stride, a.row_stride);
    level.vectorize(|| interleave(source, depth, along, rows, across, rows, packed));
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
    let (along, across) = (b.row_stride, b.col_stride);
    level.vectorize(|| {
        if cols < width {
            packed[..depth * width].fill(T::ZERO);
        }
        interleave(source, depth, along, cols, across, width, packed);
    });
}

/// Writes `packed[i * width + j] = source[i * along + j * across]` for i < depth, j < lines.
#[inline(always)]
fn interleave<T: Number>(
    source: &[T],
    depth: usize,
    along: usize,
    lines: usize,
    across: usize,
    width: usize,
    packed: &mut [T],
) {
    if across == 1 {
        for (i, group) in packed.chunks_exact_mut(width).take(depth).enumerate() {
            group[..lines].copy_from_slice(&source[i * along..][..lines]);
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
