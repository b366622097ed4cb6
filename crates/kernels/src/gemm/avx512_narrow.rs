//! The `f32` tile for AVX-512 where C has few columns: up to 14 rows of 8, in half registers.
//!
//! The CPU multiplies two vectors of 8 at a time, or one of 16, of which the columns that are not
//! there would waste a half. That leaves the loads as what takes longest: an element of A for each
//! multiply-add, and the addresses of rows of A for which there is no register.

use std::arch::x86_64::{
    __m256, __mmask8, _MM_HINT_T0, _mm_prefetch, _mm256_fmadd_ps, _mm256_loadu_ps,
    _mm256_mask_storeu_ps, _mm256_maskz_loadu_ps, _mm256_set1_ps, _mm256_setzero_ps,
};

use super::avx512::{self, hidden};
use super::tile::Tile;
use crate::simd::Avx512;

pub(super) const COLS: usize = 8;

/// The most rows whose addresses are all but in registers, where A is read in place.
pub(super) const ROWS_IN_PLACE: usize = 10;

/// Computes one tile of at most [`COLS`] columns.
///
/// # Safety
/// As for [`Kernel::run`](super::tile::Kernel::run).
#[inline]
pub(super) unsafe fn run(_: Avx512, tile: &Tile<'_, f32>) {
    debug_assert!(tile.cols <= COLS);
    // SAFETY: the token is the proof of AVX-512; the rest as promised by the caller.
    unsafe {
        match tile.a_rows.is_none() {
            true => rows::<true>(tile),
            false => rows::<false>(tile),
        }
    }
}

#[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
unsafe fn rows<const PACKED: bool>(tile: &Tile<'_, f32>) {
    // SAFETY: as promised by the caller.
    unsafe {
        match tile.rows {
            1 => block::<1, PACKED>(tile),
            2 => block::<2, PACKED>(tile),
            3 => block::<3, PACKED>(tile),
            4 => block::<4, PACKED>(tile),
            5 => block::<5, PACKED>(tile),
            6 => block::<6, PACKED>(tile),
            7 => block::<7, PACKED>(tile),
            8 => block::<8, PACKED>(tile),
            9 => block::<9, PACKED>(tile),
            10 => block::<10, PACKED>(tile),
            11 => block::<11, PACKED>(tile),
            12 => block::<12, PACKED>(tile),
            13 => block::<13, PACKED>(tile),
            _ => block::<14, PACKED>(tile),
        }
    }
}

#[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
unsafe fn block<const ROWS: usize, const PACKED: bool>(tile: &Tile<'_, f32>) {
    let mut sums = [_mm256_setzero_ps(); ROWS];
    let mut row_starts = [tile.a; ROWS];
    for (i, start) in row_starts.iter_mut().enumerate() {
        let offset = if PACKED { i } else { tile.a_rows.map_or(i, |offsets| offsets[i]) };
        *start = tile.a.wrapping_add(offset);
    }
    for &c_row in &tile.c_rows[..ROWS] {
        // C is on its way while the sums are made.
        _mm_prefetch::<_MM_HINT_T0>(tile.c.wrapping_add(c_row).cast());
    }
    let step = if PACKED { ROWS } else { tile.step };
    let mut ahead = tile.ahead;
    let mut b = tile.b;
    for &segment in tile.segments {
        let mut offset = segment;
        for _ in 0..tile.segment_len {
            // SAFETY: as promised by the caller. Rows are as long as those of the widest tile.
            unsafe { ahead.step::<{ avx512::COLS }>() };
            // So the compiler does not keep pointers that it would have to load, advance and store at every
            // step.
            offset = hidden!(offset);
            // SAFETY: the tile's rows of B are readable to the granule, two vectors.
            let b_row = unsafe { _mm256_loadu_ps(b) };
            for i in 0..ROWS {
                // SAFETY: the tile's elements of A are readable.
                let a = unsafe { _mm256_set1_ps(*row_starts[i].add(offset)) };
                sums[i] = _mm256_fmadd_ps(a, b_row, sums[i]);
            }
            b = b.wrapping_add(tile.b_stride);
            offset += step;
        }
    }
    for (i, &sum) in sums.iter().enumerate() {
        let c = tile.c.wrapping_add(tile.c_rows[i]);
        // SAFETY: the tile's part of C is writable.
        unsafe { store(c, tile.cols, sum, tile.add_scaled) };
    }
}

/// Writes `cols` sums to a row of C.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
unsafe fn store(c: *mut f32, cols: usize, sum: __m256, add_scaled: Option<f32>) {
    let mask = (u32::MAX >> (32 - cols.min(COLS) as u32)) as __mmask8;
    // SAFETY: the mask leaves out the lanes beyond the tile's columns.
    unsafe {
        let value = match add_scaled {
            None => sum,
            Some(alpha) => {
                _mm256_fmadd_ps(_mm256_set1_ps(alpha), sum, _mm256_maskz_loadu_ps(mask, c))
            }
        };
        _mm256_mask_storeu_ps(c, mask, value);
    }
}
