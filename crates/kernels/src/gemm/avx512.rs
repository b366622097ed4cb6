//! The `f32` tile for AVX-512: up to 14 rows of 32 columns.
//!
//! 28 of the 32 registers hold sums, two hold a row of B and one the current element of A: 28
//! multiply-adds for 16 loads, which keeps the multipliers and not the load ports busy.

use std::arch::asm;
use std::arch::x86_64::{
    __m512, __mmask16, _MM_HINT_T0, _mm_prefetch, _mm512_fmadd_ps, _mm512_loadu_ps,
    _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps,
};

use super::avx512_narrow;
use super::tile::Tile;
use crate::simd::Avx512;

pub(super) const ROWS: usize = 14;
pub(super) const COLS: usize = 32;
const LANES: usize = 16;

/// Computes one tile.
///
/// # Safety
/// As for [`Kernel::run`](super::tile::Kernel::run).
// Compiled in this crate alone, not again where the products of other crates are.
#[inline(never)]
pub(super) unsafe fn run(token: Avx512, tile: &Tile<'_, f32>) {
    // SAFETY: the token is the proof of AVX-512; the rest as promised by the caller.
    unsafe {
        if tile.cols <= avx512_narrow::COLS {
            return avx512_narrow::run(token, tile);
        }
        match (tile.a_rows.is_none(), tile.cols > LANES) {
            (true, true) => rows::<2, true>(tile),
            (true, false) => rows::<1, true>(tile),
            (false, true) => rows::<2, false>(tile),
            (false, false) => rows::<1, false>(tile),
        }
    }
}

#[target_feature(enable = "avx512f")]
unsafe fn rows<const VECTORS: usize, const PACKED: bool>(tile: &Tile<'_, f32>) {
    // SAFETY: as promised by the caller.
    unsafe {
        match tile.rows {
            1 => block::<1, VECTORS, PACKED>(tile),
            2 => block::<2, VECTORS, PACKED>(tile),
            3 => block::<3, VECTORS, PACKED>(tile),
            4 => block::<4, VECTORS, PACKED>(tile),
            5 => block::<5, VECTORS, PACKED>(tile),
            6 => block::<6, VECTORS, PACKED>(tile),
            7 => block::<7, VECTORS, PACKED>(tile),
            8 => block::<8, VECTORS, PACKED>(tile),
            9 => block::<9, VECTORS, PACKED>(tile),
            10 => block::<10, VECTORS, PACKED>(tile),
            11 => block::<11, VECTORS, PACKED>(tile),
            12 => block::<12, VECTORS, PACKED>(tile),
            13 => block::<13, VECTORS, PACKED>(tile),
            _ => block::<14, VECTORS, PACKED>(tile),
        }
    }
}

#[target_feature(enable = "avx512f")]
unsafe fn block<const ROWS: usize, const VECTORS: usize, const PACKED: bool>(tile: &Tile<'_, f32>) {
    let mut sums = [[_mm512_setzero_ps(); VECTORS]; ROWS];
    let mut row_starts = [tile.a; ROWS];
    for (i, start) in row_starts.iter_mut().enumerate() {
        let offset = if PACKED { i } else { tile.a_rows.map_or(i, |offsets| offsets[i]) };
        *start = tile.a.wrapping_add(offset);
    }
    for &c_row in &tile.c_rows[..ROWS] {
        // C is on its way while the sums are made.
        let c = tile.c.wrapping_add(c_row).cast();
        _mm_prefetch::<_MM_HINT_T0>(c);
        _mm_prefetch::<_MM_HINT_T0>(c.wrapping_add(64));
    }
    let step = if PACKED { ROWS } else { tile.step };
    let mut ahead = tile.ahead;
    let mut b = tile.b;
    for &segment in tile.segments {
        let mut offset = segment;
        for _ in 0..tile.segment_len {
            // SAFETY: as promised by the caller.
            unsafe { ahead.step::<COLS>() };
            if !PACKED {
                // SAFETY: no code. The compiler takes it for something that may change the offset, and
                // so does not keep a pointer for each row, most of which it would have to load, advance
                // and store at every step.
                unsafe {
                    asm!("/* {0} */", inout(reg) offset, options(pure, nomem, nostack, preserves_flags));
                }
            }
            let mut b_row = [_mm512_setzero_ps(); VECTORS];
            for (j, vector) in b_row.iter_mut().enumerate() {
                // SAFETY: the tile's rows of B are readable to the granule, one vector.
                *vector = unsafe { _mm512_loadu_ps(b.add(j * LANES)) };
            }
            for i in 0..ROWS {
                // SAFETY: the tile's elements of A are readable.
                let a = unsafe { _mm512_set1_ps(*row_starts[i].add(offset)) };
                for j in 0..VECTORS {
                    sums[i][j] = _mm512_fmadd_ps(a, b_row[j], sums[i][j]);
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

/// Writes `cols` sums to a row of C.
#[target_feature(enable = "avx512f")]
unsafe fn store<const VECTORS: usize>(
    c: *mut f32,
    cols: usize,
    sums: &[__m512; VECTORS],
    add_scaled: Option<f32>,
) {
    for (j, &sum) in sums.iter().enumerate() {
        let lanes = cols.saturating_sub(j * LANES).min(LANES);
        let mask = (u32::MAX >> (32 - lanes as u32)) as __mmask16;
        let c = c.wrapping_add(j * LANES);
        // SAFETY: the mask leaves out the lanes beyond the tile's columns.
        unsafe {
            let value = match add_scaled {
                None => sum,
                Some(alpha) => {
                    _mm512_fmadd_ps(_mm512_set1_ps(alpha), sum, _mm512_maskz_loadu_ps(mask, c))
                }
            };
            _mm512_mask_storeu_ps(c, mask, value);
        }
    }
}
