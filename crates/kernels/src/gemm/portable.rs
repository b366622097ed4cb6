//! The tile of any element type, left to the compiler to vectorise.

use super::tile::Tile;
use crate::element::Number;
use crate::simd::{Level, vectorize};

pub(super) const ROWS: usize = 4;
pub(super) const COLS: usize = 16;

/// Computes one tile.
///
/// # Safety
/// As for [`Kernel::run`](super::tile::Kernel::run).
pub(super) unsafe fn run<T: Number>(level: Level, tile: &Tile<'_, T>) {
    if T::VECTORIZED {
        // A type that is compiled for each level has tiles of its own at the wide ones.
        // SAFETY: as promised by the caller.
        unsafe { any_rows(tile) }
    } else {
        // SAFETY: as promised by the caller.
        vectorize!(level, || unsafe { any_rows(tile) });
    }
}

#[inline(always)]
unsafe fn any_rows<T: Number>(tile: &Tile<'_, T>) {
    // SAFETY: as promised by the caller.
    unsafe {
        match tile.rows {
            1 => rows::<T, 1>(tile),
            2 => rows::<T, 2>(tile),
            3 => rows::<T, 3>(tile),
            _ => rows::<T, 4>(tile),
        }
    }
}

#[inline(always)]
unsafe fn rows<T: Number, const ROWS: usize>(tile: &Tile<'_, T>) {
    let mut sums = [[T::ZERO; COLS]; ROWS];
    let mut row_starts = [tile.a; ROWS];
    for (i, start) in row_starts.iter_mut().enumerate() {
        // SAFETY: the tile's rows of A lie within one allocation.
        *start = unsafe { tile.a.add(tile.a_rows.map_or(i, |offsets| offsets[i])) };
    }
    let mut b = tile.b;
    for &segment in tile.segments {
        for position in 0..tile.segment_len {
            let offset = segment + position * tile.step;
            // SAFETY: `COLS` is the granule, to which every row of B is readable.
            let b_row = unsafe { &*b.cast::<[T; COLS]>() };
            for (sums, start) in sums.iter_mut().zip(row_starts) {
                // SAFETY: the tile's elements of A are readable.
                let a = unsafe { *start.add(offset) };
                for (sum, &b) in sums.iter_mut().zip(b_row) {
                    *sum = sum.add(a.mul(b));
                }
            }
            b = b.wrapping_add(tile.b_stride);
        }
    }
    for (sums, &c_row) in sums.iter().zip(tile.c_rows) {
        // SAFETY: the tile's part of C is writable, from this thread alone.
        let c = unsafe { std::slice::from_raw_parts_mut(tile.c.add(c_row), tile.cols) };
        for (c, &sum) in c.iter_mut().zip(sums) {
            *c = tile.add_scaled.map_or(sum, |alpha| c.add(alpha.mul(sum)));
        }
    }
    let mut ahead = tile.ahead;
    while ahead.rows > 0 {
        // SAFETY: as promised by the caller.
        unsafe { ahead.step::<COLS>() };
    }
}
