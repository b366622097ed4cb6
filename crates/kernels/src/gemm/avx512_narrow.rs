//! The `f32` tile for AVX-512 where C has few columns: up to 14 rows of 8, in half registers.
//!
//! The CPU multiplies two vectors of 8 at a time, or one of 16, of which the columns that are not
//! there would waste a half. That leaves the loads as what takes longest: an element of A for each
//! multiply-add, and the address of its row, which the registers cannot hold for all rows. So steps
//! of k are taken four at a time, for which an address is loaded once.

use std::arch::asm;
use std::arch::x86_64::{
    __m256, __mmask8, _MM_HINT_T0, _mm_prefetch, _mm256_fmadd_ps, _mm256_loadu_ps,
    _mm256_mask_storeu_ps, _mm256_maskz_loadu_ps, _mm256_set1_ps, _mm256_setzero_ps,
};

use super::tile::Tile;
use crate::simd::Avx512;

pub(super) const COLS: usize = 8;

/// Steps of k taken at a time.
const STEPS: usize = 4;

/// A loop over at most 14 rows, each written out: as a loop it would be left one where it is long, and
/// the sums in memory.
macro_rules! unrolled {
    ($i:ident < $rows:ident => $work:block) => {
        unrolled!(@ $i $rows $work 0 1 2 3 4 5 6 7 8 9 10 11 12 13)
    };
    (@ $i:ident $rows:ident $work:block $($row:literal)*) => {
        $(
            if $row < $rows {
                const $i: usize = $row;
                $work
            }
        )*
    };
}

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
        let mut left = tile.segment_len;
        while left >= STEPS {
            // SAFETY: the tile's elements of A are readable, and its rows of B to the granule.
            unsafe { steps::<ROWS, STEPS>(&row_starts, offset, step, b, tile.b_stride, &mut sums) };
            (0..STEPS).for_each(|_| ahead.step());
            b = b.wrapping_add(STEPS * tile.b_stride);
            offset += STEPS * step;
            left -= STEPS;
        }
        for _ in 0..left {
            // SAFETY: as above.
            unsafe { steps::<ROWS, 1>(&row_starts, offset, step, b, tile.b_stride, &mut sums) };
            ahead.step();
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

/// Adds `N` steps of k, the first of which is at `offset` in each row of A.
///
/// # Safety
/// These elements of A must be readable, and a vector of each of these rows of B.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
unsafe fn steps<const ROWS: usize, const N: usize>(
    row_starts: &[*const f32; ROWS],
    offset: usize,
    step: usize,
    b: *const f32,
    b_stride: usize,
    sums: &mut [__m256; ROWS],
) {
    let mut offset = offset;
    // SAFETY: no code. The compiler takes it for something that may change the offset, and so does
    // not keep a pointer for each row that it would have to load, advance and store at every step.
    unsafe { asm!("/* {0} */", inout(reg) offset, options(pure, nomem, nostack, preserves_flags)) };
    let mut b_rows = [_mm256_setzero_ps(); N];
    let mut offsets = [offset; N];
    for (n, (b_row, offset)) in b_rows.iter_mut().zip(&mut offsets).enumerate() {
        // SAFETY: as promised by the caller.
        *b_row = unsafe { _mm256_loadu_ps(b.add(n * b_stride)) };
        *offset += n * step;
    }
    unrolled!(I < ROWS => {
        let row = row_starts[I];
        for n in 0..N {
            // SAFETY: as promised by the caller.
            let a = unsafe { _mm256_set1_ps(*row.add(offsets[n])) };
            sums[I] = _mm256_fmadd_ps(a, b_rows[n], sums[I]);
        }
    });
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
