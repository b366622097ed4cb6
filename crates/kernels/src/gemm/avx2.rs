//! The `f32` tile for AVX2 with FMA: up to 6 rows of 16 columns.
//!
//! 12 of the 16 registers hold sums, two a row of B and one the current element of A.

use std::arch::x86_64::{
    __m256, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_setzero_ps, _mm256_storeu_ps,
};

use super::tile::Tile;
use crate::simd::Avx2Fma;

pub(super) const ROWS: usize = 6;
pub(super) const COLS: usize = 16;
const LANES: usize = 8;
const VECTORS: usize = COLS / LANES;

/// Computes one tile.
///
/// # Safety
/// As for [`Kernel::run`](super::tile::Kernel::run).
// Compiled in this crate alone, not again where the products of other crates are.
#[inline(never)]
pub(super) unsafe fn run(_: Avx2Fma, tile: &Tile<'_, f32>) {
    // SAFETY: the token is the proof of AVX2 and FMA; the rest as promised by the caller.
    unsafe {
        if tile.a_rows.is_none() {
            rows::<true>(tile);
        } else {
            rows::<false>(tile);
        }
    }
}

#[target_feature(enable = "avx2,fma")]
unsafe fn rows<const PACKED: bool>(tile: &Tile<'_, f32>) {
    // SAFETY: as promised by the caller.
    unsafe {
        match tile.rows {
            1 => block::<1, PACKED>(tile),
            2 => block::<2, PACKED>(tile),
            3 => block::<3, PACKED>(tile),
            4 => block::<4, PACKED>(tile),
            5 => block::<5, PACKED>(tile),
            _ => block::<6, PACKED>(tile),
        }
    }
}

#[target_feature(enable = "avx2,fma")]
unsafe fn block<const ROWS: usize, const PACKED: bool>(tile: &Tile<'_, f32>) {
    let mut sums = [[_mm256_setzero_ps(); VECTORS]; ROWS];
    let mut row_starts = [tile.a; ROWS];
    for (i, start) in row_starts.iter_mut().enumerate() {
        let offset = if PACKED { i } else { tile.a_rows.map_or(i, |offsets| offsets[i]) };
        *start = tile.a.wrapping_add(offset);
    }
    let step = if PACKED { ROWS } else { tile.step };
    let mut ahead = tile.ahead;
    let mut b = tile.b;
    for &segment in tile.segments {
        let mut offset = segment;
        for _ in 0..tile.segment_len {
            // SAFETY: as promised by the caller.
            unsafe { ahead.step::<COLS>() };
            // SAFETY: the tile's rows of B are readable to the granule, two vectors.
            let b_row = unsafe { [_mm256_loadu_ps(b), _mm256_loadu_ps(b.add(LANES))] };
            for i in 0..ROWS {
                // SAFETY: the tile's elements of A are readable.
                let a = unsafe { _mm256_set1_ps(*row_starts[i].add(offset)) };
                for j in 0..VECTORS {
                    sums[i][j] = _mm256_fmadd_ps(a, b_row[j], sums[i][j]);
                }
            }
            b = b.wrapping_add(tile.b_stride);
            offset += step;
        }
    }
    for (i, sums) in sums.iter().enumerate() {
        let c = tile.c.wrapping_add(tile.c_rows[i]);
        // SAFETY: the tile's part of C is writable.
        unsafe { store(c, tile.cols, sums, tile.add_scaled) };
    }
}

/// Writes `cols` sums to a row of C; a row of fewer than [`COLS`] goes through a copy.
#[target_feature(enable = "avx2,fma")]
unsafe fn store(c: *mut f32, cols: usize, sums: &[__m256; VECTORS], add_scaled: Option<f32>) {
    // SAFETY: `cols` elements of C are accessible, and whole vectors of the copy.
    unsafe {
        if cols == COLS {
            write(c, sums, add_scaled);
            return;
        }
        let mut row = [0.0; COLS];
        std::ptr::copy_nonoverlapping(c, row.as_mut_ptr(), cols);
        write(row.as_mut_ptr(), sums, add_scaled);
        std::ptr::copy_nonoverlapping(row.as_ptr(), c, cols);
    }
}

#[target_feature(enable = "avx2,fma")]
unsafe fn write(c: *mut f32, sums: &[__m256; VECTORS], add_scaled: Option<f32>) {
    for (j, &sum) in sums.iter().enumerate() {
        // SAFETY: the caller gives a whole row.
        unsafe {
            let c = c.add(j * LANES);
            let value = match add_scaled {
                None => sum,
                Some(alpha) => _mm256_fmadd_ps(_mm256_set1_ps(alpha), sum, _mm256_loadu_ps(c)),
            };
            _mm256_storeu_ps(c, value);
        }
    }
}
