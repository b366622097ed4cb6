//! The way forward; see the module above.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{
    __m512, _CMP_GT_OQ, _CMP_UNORD_Q, _mm_mask_mov_epi8, _mm_set1_epi8, _mm_setzero_si128,
    _mm_storeu_si128, _mm512_add_ps, _mm512_cmp_ps_mask, _mm512_fmadd_ps, _mm512_loadu_ps,
    _mm512_mask_mov_ps, _mm512_max_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
};
use std::array;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{LANES, PIECES, SIDE, TAPS, fits, image_size, window};
use crate::buffer::AllocError;
use crate::conv::Conv2dGeometry;
use crate::conv::offsets::for_each_piece;
use crate::conv::places::NO_PLACE;
use crate::gemm::tile::even_part;
use crate::parallel::SharedMut;
use crate::pool::Pool2dGeometry;
#[cfg(target_arch = "x86_64")]
use crate::simd::Avx512;
use crate::simd::Level;

/// The convolution with `filters`, `bias`, relu and pooling, into `y` and `places`: what
/// [`conv2d_bias_max_pool`](crate::conv::fused::conv2d_bias_max_pool) does, to the same bits.
///
/// Whether it was done: not if the shapes are others or the level is not AVX-512, and not if a window
/// began with NaN.
#[expect(clippy::too_many_arguments, reason = "a convolution and a pooling")]
pub(in crate::conv) fn conv2d_bias_relu_max_pool(
    level: Level,
    g: &Conv2dGeometry,
    pool: &Pool2dGeometry,
    x: &[f32],
    filters: &[f32],
    bias: &[f32],
    y: &mut [f32],
    places: &mut [u8],
) -> Result<bool, AllocError> {
    #[cfg(target_arch = "x86_64")]
    if let Level::Avx512(token) = level
        && fits(g, pool)
    {
        return for_each_band(g, pool, x, y, places, |band| {
            // SAFETY: the token is the proof of AVX-512.
            unsafe { pool_band(token, band, filters, bias) }
        });
    }
    Ok(false)
}

/// Some rows of windows of an image.
struct Band<'a> {
    /// What they see, with zeros around it, in rows of `2 * out_w + 2`.
    input: &'a [f32],
    /// Windows of a row.
    out_w: usize,
    y: &'a mut [f32],
    places: &'a mut [u8],
}

/// Calls `band` with bands of rows of all images, on several threads. Whether it always returned
/// true.
fn for_each_band(
    g: &Conv2dGeometry,
    pool: &Pool2dGeometry,
    x: &[f32],
    y: &mut [f32],
    places: &mut [u8],
    band: impl Fn(Band<'_>) -> bool + Sync,
) -> Result<bool, AllocError> {
    let band_rows = even_part(pool.out_h, pool.out_h.div_ceil(PIECES.div_ceil(g.batch)));
    let bands = pool.out_h.div_ceil(band_rows);
    let most = window(g, pool, 0, band_rows);
    let row_len = pool.out_w * g.out_c;
    let (y, places) = (SharedMut::new(y), SharedMut::new(places));
    let all_done = AtomicBool::new(true);
    for_each_piece(g.batch * bands, most.rows * most.cols, |piece, scratch| {
        let (image, first_row) = (piece / bands, piece % bands * band_rows);
        let rows = band_rows.min(pool.out_h - first_row);
        let input = window(g, pool, first_row, rows).copy(image_size(g), &x, image, scratch);
        let start = (image * pool.out_h + first_row) * row_len;
        let end = start + rows * row_len;
        // SAFETY: the rows of a band belong to this piece alone.
        let (y, places) = unsafe { (y.range(start, end), places.range(start, end)) };
        if !band(Band { input, out_w: pool.out_w, y, places }) {
            all_done.store(false, Ordering::Relaxed);
        }
    })?;
    Ok(all_done.into_inner())
}

/// Pools a band, [`LANES`] channels of two windows at a time. Whether all maxima are numbers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn pool_band(_: Avx512, band: Band<'_>, filters: &[f32], bias: &[f32]) -> bool {
    let Band { input, out_w, y, places } = band;
    let (channels, stride) = (bias.len(), 2 * out_w + SIDE - 1);
    let row_len = out_w * channels;
    let mut total = _mm512_setzero_ps();
    for channel in (0..channels).step_by(LANES) {
        let filters = Filters {
            taps: array::from_fn(|tap| load(&filters[tap * channels + channel..])),
            bias: load(&bias[channel..]),
        };
        for (row, start) in (0..y.len()).step_by(row_len).enumerate() {
            let input = &input[2 * row * stride..][..4 * stride];
            let (y, places) = (&mut y[start..][..row_len], &mut places[start..][..row_len]);
            let mut put = |col: usize, sums: &[__m512; 4]| {
                let at = col * channels + channel;
                let max = pool_window(sums, filters.bias, &mut y[at..], &mut places[at..]);
                // A NaN stays in the sum.
                total = _mm512_add_ps(total, max);
            };
            for col in (0..out_w - 1).step_by(2) {
                let sums = convolve::<2, 6>(&filters, pixels(input, stride, 2 * col));
                put(col, &sums[0]);
                put(col + 1, &sums[1]);
            }
            if !out_w.is_multiple_of(2) {
                let sums = convolve::<1, 4>(&filters, pixels(input, stride, 2 * (out_w - 1)));
                put(out_w - 1, &sums[0]);
            }
        }
    }
    _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(total, total) == 0
}

/// The filters of [`LANES`] channels.
#[cfg(target_arch = "x86_64")]
struct Filters {
    taps: [__m512; TAPS],
    bias: __m512,
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn load(from: &[f32]) -> __m512 {
    let from = &from[..LANES];
    // SAFETY: the slice has as many elements as the vector, as just cut.
    unsafe { _mm512_loadu_ps(from.as_ptr()) }
}

/// What the windows of a row see from a column on.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn pixels<const COLS: usize>(input: &[f32], stride: usize, col: usize) -> [&[f32; COLS]; 4] {
    let row = |row: usize| input[row * stride + col..].first_chunk().expect("a window is whole");
    [row(0), row(1), row(2), row(3)]
}

/// The convolution at the four pixels of each window, which see `COLS` columns.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn convolve<const WINDOWS: usize, const COLS: usize>(
    filters: &Filters,
    pixels: [&[f32; COLS]; 4],
) -> [[__m512; 4]; WINDOWS] {
    let mut sums = [[_mm512_setzero_ps(); 4]; WINDOWS];
    for tap in 0..TAPS {
        let (down, right) = (tap / SIDE, tap % SIDE);
        for (window, sums) in sums.iter_mut().enumerate() {
            for (pixel, sum) in sums.iter_mut().enumerate() {
                let x = pixels[pixel / 2 + down][2 * window + pixel % 2 + right];
                *sum = _mm512_fmadd_ps(_mm512_set1_ps(x), filters.taps[tap], *sum);
            }
        }
    }
    sums
}

/// Writes the maximum of a window, which is NaN where the first pixel is, and its place.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn pool_window(sums: &[__m512; 4], bias: __m512, y: &mut [f32], places: &mut [u8]) -> __m512 {
    let zero = _mm512_setzero_ps();
    // Relu: of two zeros, and where one is NaN, this is the second. The other pixels need none: what
    // is below zero is no greater than the first.
    let mut max = _mm512_max_ps(zero, _mm512_add_ps(sums[0], bias));
    let mut place = _mm_setzero_si128();
    for (pixel, &sum) in (1..).zip(&sums[1..]) {
        let value = _mm512_add_ps(sum, bias);
        let greater = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(value, max);
        max = _mm512_mask_mov_ps(max, greater, value);
        place = _mm_mask_mov_epi8(place, greater, _mm_set1_epi8(pixel));
    }
    let passes = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(max, zero);
    let place = _mm_mask_mov_epi8(_mm_set1_epi8(NO_PLACE as i8), passes, place);
    let (y, places) = (&mut y[..LANES], &mut places[..LANES]);
    // SAFETY: the slices have as many elements as the vectors, as just cut.
    unsafe {
        _mm512_storeu_ps(y.as_mut_ptr(), max);
        _mm_storeu_si128(places.as_mut_ptr().cast(), place);
    }
    max
}
