//! Rows to columns, eight by eight.

use std::arch::x86_64::{
    __m256, _mm256_loadu_ps, _mm256_permute2f128_ps, _mm256_shuffle_ps, _mm256_storeu_ps,
    _mm256_unpackhi_ps, _mm256_unpacklo_ps,
};

use crate::simd::Avx2Fma;

/// Rows and columns of a block.
pub(super) const BLOCK: usize = 8;
/// Elements of a row that are taken at a time: a cache line, so that each is read once.
const RUN: usize = 2 * BLOCK;

/// Writes `columns[i * width + j] = rows[j * row_stride + i]` for i < `depth`, j < `lines`.
///
/// # Safety
/// These elements of `columns` must be writable, from this thread alone.
///
/// # Panics
/// If there are fewer than [`BLOCK`] lines, or `rows` is too short.
pub(super) unsafe fn transpose(
    _: Avx2Fma,
    rows: &[f32],
    row_stride: usize,
    (depth, lines): (usize, usize),
    columns: *mut f32,
    width: usize,
) {
    assert!(lines >= BLOCK && lines <= width && depth > 0);
    assert!((lines - 1) * row_stride + depth <= rows.len());
    let whole = depth / BLOCK * BLOCK;
    for start in (0..whole).step_by(RUN) {
        for j in (0..lines).step_by(BLOCK) {
            // The last block overlaps the one before, so that it is whole too.
            let j = j.min(lines - BLOCK);
            for i in (start..whole.min(start + RUN)).step_by(BLOCK) {
                // SAFETY: the token is the proof of AVX2; the block ends at `i + BLOCK <= depth`
                // and `j + BLOCK <= lines`, which lies within the slice as asserted and within what
                // the caller lets us write.
                unsafe {
                    let source = rows.as_ptr().add(j * row_stride + i);
                    let target = columns.add(i * width + j);
                    transpose_block(source, row_stride, target, width);
                }
            }
        }
    }
    for i in whole..depth {
        for j in 0..lines {
            // SAFETY: one of the elements that the caller lets us write.
            unsafe { *columns.add(i * width + j) = rows[j * row_stride + i] };
        }
    }
}

#[target_feature(enable = "avx2")]
unsafe fn transpose_block(
    source: *const f32,
    source_stride: usize,
    target: *mut f32,
    target_stride: usize,
) {
    // SAFETY: as promised by the caller.
    let row = |j: usize| unsafe { _mm256_loadu_ps(source.add(j * source_stride)) };
    let rows = [row(0), row(1), row(2), row(3), row(4), row(5), row(6), row(7)];
    let upper = quarters([rows[0], rows[1], rows[2], rows[3]]);
    let lower = quarters([rows[4], rows[5], rows[6], rows[7]]);
    for i in 0..4 {
        let first = _mm256_permute2f128_ps::<0x20>(upper[i], lower[i]);
        let second = _mm256_permute2f128_ps::<0x31>(upper[i], lower[i]);
        // SAFETY: as promised by the caller.
        unsafe {
            _mm256_storeu_ps(target.add(i * target_stride), first);
            _mm256_storeu_ps(target.add((i + 4) * target_stride), second);
        }
    }
}

/// Transposes the two 4x4 blocks of four rows.
#[target_feature(enable = "avx2")]
fn quarters([a, b, c, d]: [__m256; 4]) -> [__m256; 4] {
    let (ab_low, ab_high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    let (cd_low, cd_high) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
    [
        _mm256_shuffle_ps::<0x44>(ab_low, cd_low),
        _mm256_shuffle_ps::<0xee>(ab_low, cd_low),
        _mm256_shuffle_ps::<0x44>(ab_high, cd_high),
        _mm256_shuffle_ps::<0xee>(ab_high, cd_high),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_is_transposed() {
        let Some(token) = Avx2Fma::detect() else { return };
        for (depth, lines) in [(8, 8), (1, 8), (7, 13), (16, 32), (37, 14), (40, 20)] {
            let (row_stride, width) = (depth + 3, lines + 2);
            let rows: Vec<_> = (0..lines * row_stride).map(|value| value as f32).collect();
            let mut columns = vec![-1.0; depth * width];
            // SAFETY: there are `depth` rows of `width` columns.
            unsafe {
                let columns = columns.as_mut_ptr();
                transpose(token, &rows, row_stride, (depth, lines), columns, width);
            }
            for (place, &value) in columns.iter().enumerate() {
                let (i, j) = (place / width, place % width);
                let expected = if j < lines { (j * row_stride + i) as f32 } else { -1.0 };
                assert_eq!(value, expected, "{depth} x {lines}");
            }
        }
    }
}
