//! Max pooling that keeps the place of each maximum in a byte, and the way back by these places.

use super::fused::BiasRelu;
use crate::element::Number;
use crate::lanes::{for_each_lanes, load};
use crate::pool::{Pool2dGeometry, larger};
use crate::simd::{Level, vectorize};

/// The place of a maximum that no gradient reaches: relu cut it off, or its window is empty.
pub const NO_PLACE: u8 = u8::MAX;

/// Rows of one image's convolution, before bias and relu, from row `first` on.
#[derive(Clone, Copy)]
pub(crate) struct ConvRows<'a, T> {
    pub data: &'a [T],
    pub first: usize,
}

/// Pools one row of windows, with bias and relu before, into a row of `y` and of `places`.
///
/// The two ways are compiled apart, and each is called in one place: else they would be too long to
/// be inlined where the wide registers are.
#[inline(never)]
pub(crate) fn pool_row<T: Number>(
    level: Level,
    g: &Pool2dGeometry,
    conv: ConvRows<'_, T>,
    epilogue: &BiasRelu<'_, T>,
    out_y: usize,
    y: &mut [T],
    places: &mut [u8],
) {
    if g.is_whole_2x2() {
        vectorize!(for T, level, || pool_row_2x2(g, conv, epilogue, out_y, y, places));
    } else {
        vectorize!(for T, level, || pool_row_any(g, conv, epilogue, out_y, y, places));
    }
}

/// Where windows are 2x2, do not overlap and are whole.
#[inline(always)]
fn pool_row_2x2<T: Number>(
    g: &Pool2dGeometry,
    conv: ConvRows<'_, T>,
    epilogue: &BiasRelu<'_, T>,
    out_y: usize,
    y: &mut [T],
    places: &mut [u8],
) {
    let c = g.channels;
    let first = (2 * out_y - conv.first) * g.in_w * c;
    for (out_x, (y, places)) in y.chunks_exact_mut(c).zip(places.chunks_exact_mut(c)).enumerate() {
        let upper = first + 2 * out_x * c;
        let lower = upper + g.in_w * c;
        let pixels = [(0, upper), (1, upper + c), (2, lower), (3, lower + c)];
        pool_window(conv.data, pixels.into_iter(), epilogue, y, places);
    }
}

/// Whatever the windows.
#[inline(always)]
fn pool_row_any<T: Number>(
    g: &Pool2dGeometry,
    conv: ConvRows<'_, T>,
    epilogue: &BiasRelu<'_, T>,
    out_y: usize,
    y: &mut [T],
    places: &mut [u8],
) {
    let c = g.channels;
    for (out_x, (y, places)) in y.chunks_exact_mut(c).zip(places.chunks_exact_mut(c)).enumerate() {
        // Pixels of the window that lie in the padding have places too.
        let window = g.window(out_y, out_x);
        let above = (window.first_row + g.pad_top).saturating_sub(out_y * g.stride_h);
        let left = (window.first_col + g.pad_left).saturating_sub(out_x * g.stride_w);
        let pixels = (window.first_row..window.end_row).flat_map(|row| {
            let place = (row - window.first_row + above) * g.k_w + left;
            let pixel = (row - conv.first) * g.in_w;
            (window.first_col..window.end_col)
                .enumerate()
                .map(move |(i, col)| ((place + i) as u8, (pixel + col) * c))
        });
        pool_window(conv.data, pixels, epilogue, y, places);
    }
}

/// Pools one window, whose pixels are given by their place in it and their offset.
#[inline(always)]
fn pool_window<T: Number>(
    conv: &[T],
    pixels: impl Iterator<Item = (u8, usize)> + Clone,
    epilogue: &BiasRelu<'_, T>,
    y: &mut [T],
    places: &mut [u8],
) {
    for_each_lanes!(y.len(), channel, N => {
        pool_lanes::<T, N>(conv, pixels.clone(), epilogue, channel, y, places);
    });
}

/// Pools `N` channels of a window, which the compiler compares side by side.
#[inline(always)]
fn pool_lanes<T: Number, const N: usize>(
    conv: &[T],
    mut pixels: impl Iterator<Item = (u8, usize)>,
    epilogue: &BiasRelu<'_, T>,
    channel: usize,
    y: &mut [T],
    places: &mut [u8],
) {
    let bias: [T; N] = load(epilogue.bias, channel);
    let finished = |offset: usize| -> [T; N] {
        let values: [T; N] = load(conv, offset + channel);
        std::array::from_fn(|i| epilogue.finish(values[i], bias[i]))
    };
    let mut best = [T::LOWEST; N];
    // The first element is the maximum until a greater one comes, even if it is NaN.
    let (mut top, mut place) = ([T::ZERO; N], [u32::from(NO_PLACE); N]);
    if let Some((index, offset)) = pixels.next() {
        (top, place) = (finished(offset), [u32::from(index); N]);
        for i in 0..N {
            best[i] = larger(best[i], top[i]);
        }
    }
    for (index, offset) in pixels {
        let values = finished(offset);
        for i in 0..N {
            place[i] = if values[i] > top[i] { u32::from(index) } else { place[i] };
            top[i] = larger(top[i], values[i]);
            best[i] = larger(best[i], values[i]);
        }
    }
    if epilogue.relu {
        for i in 0..N {
            place[i] = if top[i] > T::ZERO { place[i] } else { u32::from(NO_PLACE) };
        }
    }
    let place: [u8; N] = std::array::from_fn(|i| place[i] as u8);
    y[channel..][..N].copy_from_slice(&best);
    places[channel..][..N].copy_from_slice(&place);
}

/// The gradient that came to an image's pooled pixels, and the places to which it goes.
#[derive(Clone, Copy)]
pub(super) struct PooledGradient<'a, T> {
    pub dy: &'a [T],
    pub places: &'a [u8],
}

/// Where windows are 2x2, do not overlap and are whole: the gradient of the two rows that a row of
/// windows covers, whose pixels are `pixel_stride` apart. Columns beyond the last window get zeros.
#[inline(always)]
pub(super) fn spread_row_2x2<T: Number>(
    g: &Pool2dGeometry,
    row: PooledGradient<'_, T>,
    rows: &mut [T],
    pixel_stride: usize,
) {
    let c = g.channels;
    let (upper, lower) = rows.split_at_mut(g.in_w * pixel_stride);
    let pooled = row.dy.chunks_exact(c).zip(row.places.chunks_exact(c));
    let pixels =
        upper.chunks_exact_mut(2 * pixel_stride).zip(lower.chunks_exact_mut(2 * pixel_stride));
    for ((dy, places), (upper, lower)) in pooled.zip(pixels) {
        let (upper, lower) = (upper.split_at_mut(pixel_stride), lower.split_at_mut(pixel_stride));
        let mut pixels = [upper.0, upper.1, lower.0, lower.1];
        for_each_lanes!(c, channel, N => {
            spread_lanes::<T, N>(dy, places, channel, &mut pixels);
        });
    }
    let covered = 2 * g.out_w * pixel_stride;
    upper[covered..].fill(T::ZERO);
    lower[covered..].fill(T::ZERO);
}

#[inline(always)]
fn spread_lanes<T: Number, const N: usize>(
    dy: &[T],
    places: &[u8],
    channel: usize,
    pixels: &mut [&mut [T]; 4],
) {
    let dy: [T; N] = load(dy, channel);
    let places: &[u8] = &places[channel..][..N];
    for (place, pixel) in (0..).zip(pixels) {
        let share: [T; N] =
            std::array::from_fn(|i| if places[i] == place { dy[i] } else { T::ZERO });
        pixel[channel..][..N].copy_from_slice(&share);
    }
}

/// The gradient of a whole image, whatever the windows; pixels are `pixel_stride` apart.
pub(super) fn spread_image<T: Number>(
    g: &Pool2dGeometry,
    image: PooledGradient<'_, T>,
    pixels: &mut [T],
    pixel_stride: usize,
) {
    pixels.fill(T::ZERO);
    let pooled = image.dy.chunks_exact(g.channels).zip(image.places.chunks_exact(g.channels));
    for (position, (dy, places)) in pooled.enumerate() {
        let (out_y, out_x) = (position / g.out_w, position % g.out_w);
        for (c, (&dy, &place)) in dy.iter().zip(places).enumerate() {
            let (in_window_y, in_window_x) = (place as usize / g.k_w, place as usize % g.k_w);
            let row = (out_y * g.stride_h + in_window_y).wrapping_sub(g.pad_top);
            let col = (out_x * g.stride_w + in_window_x).wrapping_sub(g.pad_left);
            // No pooling gives a place beyond the image; one made up gets nothing.
            if place != NO_PLACE && row < g.in_h && col < g.in_w {
                let gradient = &mut pixels[(row * g.in_w + col) * pixel_stride + c];
                *gradient = gradient.add(dy);
            }
        }
    }
}

/// Adds to `sums` all of an image's gradient that has a place.
#[inline(always)]
pub(super) fn add_to_bias<T: Number>(image: PooledGradient<'_, T>, sums: &mut [T]) {
    let c = sums.len();
    for_each_lanes!(c, channel, N => {
        bias_lanes::<T, N>(image, c, channel, sums);
    });
}

#[inline(always)]
fn bias_lanes<T: Number, const N: usize>(
    image: PooledGradient<'_, T>,
    channels: usize,
    channel: usize,
    sums: &mut [T],
) {
    // The image is summed by itself first, which loses less.
    let mut image_sums = [T::ZERO; N];
    for (dy, places) in image.dy.chunks_exact(channels).zip(image.places.chunks_exact(channels)) {
        let dy: [T; N] = load(dy, channel);
        let places: &[u8] = &places[channel..][..N];
        for i in 0..N {
            let share = if places[i] == NO_PLACE { T::ZERO } else { dy[i] };
            image_sums[i] = image_sums[i].add(share);
        }
    }
    for (sum, image_sum) in sums[channel..][..N].iter_mut().zip(image_sums) {
        *sum = sum.add(image_sum);
    }
}
