//! The `f32` tile for AVX-512: up to 14 rows of 32 columns.
//!
//! 28 of the 32 registers hold sums, two hold a row of B and one the current element of A. Most
//! multiply-adds read their element themselves ([`Walk`]) where the layout of A allows, nearly as
//! many as the CPU can read while it multiplies, which saves the instructions that would.

mod walk;

use std::arch::x86_64::{
    __m512, __mmask16, _MM_HINT_T0, _mm_prefetch, _mm512_fmadd_ps, _mm512_loadu_ps,
    _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps,
};

use super::avx512_narrow;
use super::panels::PANEL_COLS;
use super::tile::{Tile, even_part};
use crate::simd::Avx512;
pub(super) use walk::hidden;
use walk::{Apart, Beside, Layout, Packed, Scattered, Walk, first_half, line};

pub(super) const ROWS: usize = 14;
pub(super) const COLS: usize = 32;
const LANES: usize = 16;
const HALF_ROWS: usize = first_half(ROWS);

/// How to cut the next rows of A, which is not packed, into tiles that are fast where C has `cols`
/// columns: the rows of a tile, and the rows that it is for. A line of rows at equal distances is cut
/// evenly, and two short lines are one tile.
pub(super) fn cut_in_place(rows: &[usize], cols: usize) -> (usize, usize) {
    if cols <= avx512_narrow::COLS {
        return (even_part(rows.len(), avx512_narrow::ROWS_IN_PLACE), rows.len());
    }
    let even = even_part(rows.len(), ROWS);
    if cols <= LANES {
        return (even, rows.len());
    }
    match line(rows) {
        ..=3 => (even, even),
        line @ ..=HALF_ROWS => (2 * line, (2 * line).min(rows.len())),
        line => (even_part(line, ROWS), line),
    }
}

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
            avx512_narrow::run(token, tile);
        } else if tile.cols <= LANES {
            rows::<1>(tile);
        } else {
            rows::<2>(tile);
        }
    }
}

#[target_feature(enable = "avx512f")]
unsafe fn rows<const VECTORS: usize>(tile: &Tile<'_, f32>) {
    // SAFETY: as promised by the caller.
    unsafe {
        match tile.rows {
            1 => walks::<1, VECTORS>(tile),
            2 => walks::<2, VECTORS>(tile),
            3 => walks::<3, VECTORS>(tile),
            4 => walks::<4, VECTORS>(tile),
            5 => walks::<5, VECTORS>(tile),
            6 => walks::<6, VECTORS>(tile),
            7 => walks::<7, VECTORS>(tile),
            8 => walks::<8, VECTORS>(tile),
            9 => walks::<9, VECTORS>(tile),
            10 => walks::<10, VECTORS>(tile),
            11 => walks::<11, VECTORS>(tile),
            12 => walks::<12, VECTORS>(tile),
            13 => walks::<13, VECTORS>(tile),
            _ => walks::<14, VECTORS>(tile),
        }
    }
}

#[target_feature(enable = "avx512f")]
unsafe fn walks<const ROWS: usize, const VECTORS: usize>(tile: &Tile<'_, f32>) {
    // SAFETY: as promised by the caller; each walk is taken for the layout that it is for.
    unsafe {
        let Some(a_rows) = tile.a_rows else {
            return block::<ROWS, VECTORS, Packed>(tile, &[]);
        };
        let a_rows = &a_rows[..ROWS];
        if VECTORS == 1 {
            // A half tile takes so little time that the others would not pay for their code.
            return block::<ROWS, VECTORS, Scattered<ROWS, false>>(tile, a_rows);
        }
        match (Layout::of(a_rows), tile.step) {
            (Layout::Beside, _) => block::<ROWS, VECTORS, Beside>(tile, a_rows),
            // Panels, and images of 32, 64 or 128 channels.
            (Layout::Halves(Some(PANEL_COLS)), 1) => {
                block::<ROWS, VECTORS, Apart<PANEL_COLS>>(tile, a_rows)
            }
            (Layout::Halves(Some(64)), 1) => block::<ROWS, VECTORS, Apart<64>>(tile, a_rows),
            (Layout::Halves(Some(128)), 1) => block::<ROWS, VECTORS, Apart<128>>(tile, a_rows),
            (Layout::Halves(_), _) => {
                block::<ROWS, VECTORS, Scattered<ROWS, true>>(tile, a_rows);
            }
            (Layout::Anywhere, _) => {
                block::<ROWS, VECTORS, Scattered<ROWS, false>>(tile, a_rows);
            }
        }
    }
}

/// # Safety
/// As for [`Kernel::run`](super::tile::Kernel::run), and the walk must be right for the tile's A.
#[target_feature(enable = "avx512f")]
unsafe fn block<const ROWS: usize, const VECTORS: usize, W: Walk<ROWS>>(
    tile: &Tile<'_, f32>,
    a_rows: &[usize],
) {
    let mut sums = [[_mm512_setzero_ps(); VECTORS]; ROWS];
    for &c_row in &tile.c_rows[..ROWS] {
        // C is on its way while the sums are made.
        let c = tile.c.wrapping_add(c_row).cast();
        _mm_prefetch::<_MM_HINT_T0>(c);
        _mm_prefetch::<_MM_HINT_T0>(c.wrapping_add(64));
    }
    let mut ahead = tile.ahead;
    let pause = ahead.pause(tile.steps());
    let mut until_next = 0;
    let mut a = W::new(tile.a, a_rows, tile.step);
    let mut b = tile.b;
    for &segment in tile.segments {
        a.start(segment);
        let mut left = tile.segment_len;
        while left > 0 {
            if until_next == 0 {
                // SAFETY: as promised by the caller.
                unsafe { ahead.step::<COLS>() };
                until_next = pause;
            }
            let steps = left.min(until_next);
            for _ in 0..steps / W::STEPS {
                for later in 0..W::STEPS {
                    let b = b.wrapping_add(later * tile.b_stride);
                    // SAFETY: as promised by the caller, for each of the steps that are left.
                    unsafe { step(&mut a, later, b, &mut sums) };
                }
                a.advance(W::STEPS);
                b = b.wrapping_add(W::STEPS * tile.b_stride);
            }
            for _ in 0..steps % W::STEPS {
                // SAFETY: as promised by the caller.
                unsafe { step(&mut a, 0, b, &mut sums) };
                a.advance(1);
                b = b.wrapping_add(tile.b_stride);
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

/// Adds the products of one step of k, `later` steps from where the walk is.
///
/// # Safety
/// The CPU must have AVX-512, the elements of A must be readable and so must the row of B, to the
/// granule.
#[inline(always)]
unsafe fn step<const ROWS: usize, const VECTORS: usize, W: Walk<ROWS>>(
    a: &mut W,
    later: usize,
    b: *const f32,
    sums: &mut [[__m512; VECTORS]; ROWS],
) {
    // SAFETY: as promised by the caller.
    unsafe {
        let mut b_row = [_mm512_setzero_ps(); VECTORS];
        for (j, vector) in b_row.iter_mut().enumerate() {
            *vector = _mm512_loadu_ps(b.add(j * LANES));
        }
        a.hide();
        let loaded = W::ROWS_LOADED.min(ROWS);
        for (i, sums) in sums[..loaded].iter_mut().enumerate() {
            let value = _mm512_set1_ps(*a.element(i, later));
            for (sum, &b) in sums.iter_mut().zip(&b_row) {
                *sum = _mm512_fmadd_ps(value, b, *sum);
            }
        }
        for (j, &b) in b_row.iter().enumerate() {
            if j > 0 {
                a.hide();
            }
            for (i, sums) in sums.iter_mut().enumerate().skip(loaded) {
                let value = _mm512_set1_ps(*a.element(i, later));
                sums[j] = _mm512_fmadd_ps(value, b, sums[j]);
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_end_where_lines_do() {
        let lines = |lengths: &[usize]| -> Vec<usize> {
            let line =
                |(i, &length): (usize, &usize)| (0..length).map(move |j| 10_000 * i + 32 * j);
            lengths.iter().enumerate().flat_map(line).collect()
        };
        for (lengths, cols, expected) in [
            (&[14, 14][..], 32, (14, 14)),
            (&[13, 13, 13], 32, (13, 13)),
            (&[28, 28], 32, (14, 28)),
            (&[16, 16], 32, (8, 16)),
            (&[5, 5, 5], 32, (10, 10)),
            (&[5], 32, (10, 5)),
            (&[3, 3, 3, 3, 3], 32, (8, 8)),
            (&[2, 28], 32, (10, 10)),
            (&[5, 5, 5], 16, (8, 15)),
            (&[1000], 32, (14, 1000)),
            (&[1], 32, (1, 1)),
            (&[12, 12], 8, (8, 24)),
        ] {
            assert_eq!(cut_in_place(&lines(lengths), cols), expected, "{lengths:?} {cols}");
        }
    }
}
