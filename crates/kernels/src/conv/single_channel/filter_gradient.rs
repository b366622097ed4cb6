//! The way back to the filters; see the module above.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{
    _mm_cmplt_epu8_mask, _mm_loadu_ps, _mm_loadu_si128, _mm_set1_epi8, _mm512_add_ps,
    _mm512_broadcast_f32x4, _mm512_cvtepu8_epi32, _mm512_fmadd_ps, _mm512_loadu_ps,
    _mm512_maskz_loadu_ps, _mm512_permutevar_ps, _mm512_setzero_ps, _mm512_storeu_ps,
};
use std::array;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{LANES, PIECES, SIDE, TAPS, fits, image_size, window};
use crate::buffer::{AllocError, Buffer};
use crate::conv::Conv2dGeometry;
use crate::conv::filter_gradient::add_blocks;
use crate::conv::offsets::for_each_piece;
use crate::gemm::tile::even_part;
use crate::parallel::SharedMut;
use crate::pool::Pool2dGeometry;
#[cfg(target_arch = "x86_64")]
use crate::simd::Avx512;
use crate::simd::Level;

/// The sums of a channel: one for each tap, and one for the bias.
const SUMS: usize = TAPS + 1;

/// The gradients of filters and bias from that of the pooled result, `dy`, and its places: what
/// [`conv2d_backprop_filter_pooled`](crate::conv::fused::conv2d_backprop_filter_pooled) does.
///
/// Whether it was done: not if the shapes are others or the level is not AVX-512, and not if `x` has
/// NaN or an infinity.
#[expect(clippy::too_many_arguments, reason = "a convolution and a pooling")]
pub(in crate::conv) fn backprop_filter(
    level: Level,
    g: &Conv2dGeometry,
    pool: &Pool2dGeometry,
    x: &[f32],
    dy: &[f32],
    places: &[u8],
    dfilters: &mut [f32],
    dbias: &mut [f32],
) -> Result<bool, AllocError> {
    #[cfg(target_arch = "x86_64")]
    if let Level::Avx512(token) = level
        && fits(g, pool)
    {
        return sum_blocks(token, g, pool, x, dy, places, dfilters, dbias);
    }
    Ok(false)
}

/// Sums fixed blocks of images, and then these in order.
#[cfg(target_arch = "x86_64")]
#[expect(clippy::too_many_arguments, reason = "a convolution and a pooling")]
fn sum_blocks(
    token: Avx512,
    g: &Conv2dGeometry,
    pool: &Pool2dGeometry,
    x: &[f32],
    dy: &[f32],
    places: &[u8],
    dfilters: &mut [f32],
    dbias: &mut [f32],
) -> Result<bool, AllocError> {
    let block_images = even_part(g.batch, g.batch.div_ceil(PIECES));
    let blocks = g.batch.div_ceil(block_images);
    let block_len = SUMS * g.out_c;
    let mut partial = Buffer::zeroed((blocks * block_len).saturating_mul(size_of::<f32>()))?;
    let sums = SharedMut::new(partial.as_mut_slice::<f32>());
    let whole = window(g, pool, 0, pool.out_h);
    let input_len = whole.rows * whole.cols;
    let (quads_h, quads_w) = (whole.rows - 1, whole.cols - 1);
    let scratch_len = 4 * quads_h * quads_w + input_len;
    let (in_len, out_len) = (g.in_image_len(), pool.out_image_len());
    let all_finite = AtomicBool::new(true);
    for_each_piece(blocks, scratch_len, |block, scratch| {
        let (quads, scratch) = scratch.as_chunks_mut::<4>().0.split_at_mut(quads_h * quads_w);
        let scratch = scratch.as_flattened_mut();
        // SAFETY: each block has its own sums.
        let sums = unsafe { sums.range(block * block_len, (block + 1) * block_len) };
        for image in block * block_images..g.batch.min((block + 1) * block_images) {
            let image_x = &x[image * in_len..][..in_len];
            if !image_x.iter().fold(true, |finite, x| finite & x.is_finite()) {
                all_finite.store(false, Ordering::Relaxed);
            }
            let input = whole.copy(image_size(g), &image_x, 0, scratch);
            gather_quads(input, whole.cols, quads);
            let image = Image {
                quads,
                quads_w,
                out_w: pool.out_w,
                channels: g.out_c,
                dy: &dy[image * out_len..][..out_len],
                places: &places[image * out_len..][..out_len],
            };
            for channel in (0..g.out_c).step_by(LANES) {
                // SAFETY: the token is the proof of AVX-512.
                unsafe { image.add(token, channel, sums) };
            }
        }
    })?;
    let partial = partial.as_slice::<f32>();
    add_blocks(partial, block_len, 0, dfilters);
    add_blocks(partial, block_len, dfilters.len(), dbias);
    Ok(all_finite.into_inner())
}

/// For each position of `input` that has them: the four pixels of the window that begins there.
fn gather_quads(input: &[f32], cols: usize, quads: &mut [[f32; 4]]) {
    let rows = input.chunks_exact(cols).zip(input[cols..].chunks_exact(cols));
    for ((upper, lower), quads) in rows.zip(quads.chunks_exact_mut(cols - 1)) {
        for ((quad, upper), lower) in quads.iter_mut().zip(upper.windows(2)).zip(lower.windows(2)) {
            *quad = [upper[0], upper[1], lower[0], lower[1]];
        }
    }
}

/// What the gradient of an image is summed from.
#[cfg(target_arch = "x86_64")]
struct Image<'a> {
    /// Rows of `quads_w`.
    quads: &'a [[f32; 4]],
    quads_w: usize,
    out_w: usize,
    channels: usize,
    dy: &'a [f32],
    places: &'a [u8],
}

#[cfg(target_arch = "x86_64")]
impl Image<'_> {
    /// Adds the image's share for `LANES` channels to `sums`, rows of all channels.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn add(&self, _: Avx512, channel: usize, sums: &mut [f32]) {
        let row_len = self.out_w * self.channels;
        let (mut taps, mut bias) = ([_mm512_setzero_ps(); TAPS], _mm512_setzero_ps());
        let rows = self.dy.chunks_exact(row_len).zip(self.places.chunks_exact(row_len));
        for (row, (dy, places)) in rows.enumerate() {
            let quads: [_; SIDE] =
                array::from_fn(|down| &self.quads[(2 * row + down) * self.quads_w..]);
            for col in 0..self.out_w {
                let at = col * self.channels + channel;
                let (dy, places) = (&dy[at..][..LANES], &places[at..][..LANES]);
                // SAFETY: both slices have as many elements as the vectors, as just cut.
                let (dy, places) = unsafe {
                    let places = _mm_loadu_si128(places.as_ptr().cast());
                    // No gradient passes where there is no place.
                    let is_place = _mm_cmplt_epu8_mask(places, _mm_set1_epi8(4));
                    let dy = _mm512_maskz_loadu_ps(is_place, dy.as_ptr());
                    (dy, _mm512_cvtepu8_epi32(places))
                };
                bias = _mm512_add_ps(bias, dy);
                for (tap, sum) in taps.iter_mut().enumerate() {
                    let quad = &quads[tap / SIDE][2 * col + tap % SIDE];
                    // SAFETY: a quad has four elements.
                    let quad = unsafe { _mm512_broadcast_f32x4(_mm_loadu_ps(quad.as_ptr())) };
                    *sum = _mm512_fmadd_ps(dy, _mm512_permutevar_ps(quad, places), *sum);
                }
            }
        }
        for (row, sum) in taps.into_iter().chain([bias]).enumerate() {
            let total = &mut sums[row * self.channels + channel..][..LANES];
            // SAFETY: the slice has as many elements as the vector, as just cut.
            unsafe {
                let sum = _mm512_add_ps(_mm512_loadu_ps(total.as_ptr()), sum);
                _mm512_storeu_ps(total.as_mut_ptr(), sum);
            }
        }
    }
}
