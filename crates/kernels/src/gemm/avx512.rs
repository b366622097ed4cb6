//! The `f32` tile for AVX-512: up to 14 rows of 32 columns.
//!
//! 28 of the 32 registers hold sums, two hold a row of B and one the current element of A: 28
//! multiply-adds for 16 loads, or 23 where some read their element themselves, which keeps the multipliers
//! and not the load ports busy.

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

/// Where the rows of A are.
///
/// What limits a tile on a core that it shares with a hyperthread is the number of instructions, so
/// each way has as few beside its multiply-adds as the registers allow.
type Way = u8;
/// Side by side, step after step. Half of the second vector's multiply-adds read their element themselves.
const PACKED: Way = 0;
/// The second half lies as the first one, further on: half as many addresses.
const SHIFTED: Way = 1;
/// Anywhere. Not all addresses have a register.
const SCATTERED: Way = 2;

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
        match (way(tile), tile.cols > LANES) {
            (PACKED, true) => rows::<2, PACKED>(tile),
            (PACKED, false) => rows::<1, PACKED>(tile),
            (SHIFTED, true) => rows::<2, SHIFTED>(tile),
            (_, true) => rows::<2, SCATTERED>(tile),
            (_, false) => rows::<1, SCATTERED>(tile),
        }
    }
}

fn way(tile: &Tile<'_, f32>) -> Way {
    let Some(rows) = tile.a_rows else { return PACKED };
    let (first, second) = rows[..tile.rows].split_at(first_half(tile.rows));
    let shift = |(first, second): (&usize, &usize)| second.wrapping_sub(*first);
    let mut shifts = first.iter().zip(second).map(shift);
    match shifts.next() {
        Some(shift) if shifts.all(|other| other == shift) => SHIFTED,
        _ => SCATTERED,
    }
}

/// How many of the rows are the first half.
const fn first_half(rows: usize) -> usize {
    rows.div_ceil(2)
}

#[target_feature(enable = "avx512f")]
unsafe fn rows<const VECTORS: usize, const WAY: Way>(tile: &Tile<'_, f32>) {
    // SAFETY: as promised by the caller.
    unsafe {
        match tile.rows {
            1 => block::<1, VECTORS, WAY>(tile),
            2 => block::<2, VECTORS, WAY>(tile),
            3 => block::<3, VECTORS, WAY>(tile),
            4 => block::<4, VECTORS, WAY>(tile),
            5 => block::<5, VECTORS, WAY>(tile),
            6 => block::<6, VECTORS, WAY>(tile),
            7 => block::<7, VECTORS, WAY>(tile),
            8 => block::<8, VECTORS, WAY>(tile),
            9 => block::<9, VECTORS, WAY>(tile),
            10 => block::<10, VECTORS, WAY>(tile),
            11 => block::<11, VECTORS, WAY>(tile),
            12 => block::<12, VECTORS, WAY>(tile),
            13 => block::<13, VECTORS, WAY>(tile),
            _ => block::<14, VECTORS, WAY>(tile),
        }
    }
}

/// The same number or pointer, which the compiler takes for any other.
macro_rules! hidden {
    ($value:expr) => {{
        let mut value = $value;
        // SAFETY: no code.
        unsafe {
            std::arch::asm!(
                "/* {0} */",
                inout(reg) value,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        value
    }};
}
pub(super) use hidden;

#[target_feature(enable = "avx512f")]
#[expect(clippy::pointers_in_nomem_asm_block, reason = "there is no code that could follow them")]
unsafe fn block<const ROWS: usize, const VECTORS: usize, const WAY: Way>(tile: &Tile<'_, f32>) {
    let half = const { first_half(ROWS) };
    let mut sums = [[_mm512_setzero_ps(); VECTORS]; ROWS];
    let a_row = |i: usize| tile.a_rows.map_or(i, |offsets| offsets[i]);
    let mut row_starts = [tile.a; ROWS];
    for (i, start) in row_starts.iter_mut().enumerate() {
        *start = tile.a.wrapping_add(a_row(i));
    }
    let shift = if WAY == SHIFTED { a_row(half).wrapping_sub(a_row(0)) } else { 0 };
    for &c_row in &tile.c_rows[..ROWS] {
        // C is on its way while the sums are made.
        let c = tile.c.wrapping_add(c_row).cast();
        _mm_prefetch::<_MM_HINT_T0>(c);
        _mm_prefetch::<_MM_HINT_T0>(c.wrapping_add(64));
    }
    let step = if WAY == PACKED { ROWS } else { tile.step };
    let mut ahead = tile.ahead;
    let pause = ahead.pause(tile.steps());
    let mut until_next = 0;
    let mut b = tile.b;
    for &segment in tile.segments {
        let mut packed = tile.a.wrapping_add(segment);
        let mut offset = segment;
        let mut shifted = segment.wrapping_add(shift);
        let mut left = tile.segment_len;
        while left > 0 {
            if until_next == 0 {
                // SAFETY: as promised by the caller.
                unsafe { ahead.step::<COLS>() };
                until_next = pause;
            }
            let steps = left.min(until_next);
            for _ in 0..steps {
                let mut b_row = [_mm512_setzero_ps(); VECTORS];
                for (j, vector) in b_row.iter_mut().enumerate() {
                    // SAFETY: the tile's rows of B are readable to the granule, one vector.
                    *vector = unsafe { _mm512_loadu_ps(b.add(j * LANES)) };
                }
                // So the compiler does not keep a pointer for each row, most of which it would have to
                // load, advance and store at every step.
                match WAY {
                    PACKED => packed = hidden!(packed),
                    SHIFTED => (offset, shifted) = (hidden!(offset), hidden!(shifted)),
                    _ => offset = hidden!(offset),
                }
                let same_packed = hidden!(packed);
                for i in 0..ROWS {
                    let a = match WAY {
                        PACKED => packed.wrapping_add(i),
                        SHIFTED if i >= half => row_starts[i - half].wrapping_add(shifted),
                        _ => row_starts[i].wrapping_add(offset),
                    };
                    // SAFETY: the tile's elements of A are readable.
                    let value = unsafe { _mm512_set1_ps(*a) };
                    sums[i][0] = _mm512_fmadd_ps(value, b_row[0], sums[i][0]);
                    for j in 1..VECTORS {
                        let value = if WAY == PACKED && i >= half {
                            // SAFETY: the same element, which the compiler cannot know.
                            unsafe { _mm512_set1_ps(*same_packed.wrapping_add(i)) }
                        } else {
                            value
                        };
                        sums[i][j] = _mm512_fmadd_ps(value, b_row[j], sums[i][j]);
                    }
                }
                b = b.wrapping_add(tile.b_stride);
                packed = packed.wrapping_add(ROWS);
                offset = offset.wrapping_add(step);
                shifted = shifted.wrapping_add(step);
            }
            (left, until_next) = (left - steps, until_next - steps);
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
