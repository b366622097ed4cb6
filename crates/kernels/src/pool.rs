//! Two-dimensional max and average pooling and their gradients, NHWC.
//!
//! A window is cut off at the edges of the image: padding is neither a maximum nor counted in an
//! average, as in TensorFlow. A window that lies in the padding altogether has the maximum
//! [`Number::LOWEST`] and the average 0.
//!
//! The first maximum in row-major order of the window wins, as in TensorFlow's CPU kernels, and as
//! there nothing is greater than a NaN nor is a NaN greater than anything: a maximum begins at
//! [`Number::LOWEST`] and passes NaNs over; the gradient goes to the first element that no later
//! one is greater than.

use std::ops::Range;

use crate::element::{Element, Float, Number};
use crate::lanes::for_each_lanes;
use crate::parallel::{SharedMut, for_each_chunk_mut, for_each_index};
use crate::simd::{Level, vectorize};

/// The most pixels of a window whose maximum has its place in a byte, which has one value more.
pub(crate) const MAX_PLACES: usize = u8::MAX as usize;

/// Elements that are worth a piece of parallel work.
const PIECE_LEN: usize = 1 << 14;

/// The shape of a pooling. All lengths are in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pool2dGeometry {
    /// Images.
    pub batch: usize,
    /// Rows of an input image.
    pub in_h: usize,
    /// Columns of an input image.
    pub in_w: usize,
    /// Channels, each pooled by itself.
    pub channels: usize,
    /// Rows of the window.
    pub k_h: usize,
    /// Columns of the window.
    pub k_w: usize,
    /// Rows of an output image.
    pub out_h: usize,
    /// Columns of an output image.
    pub out_w: usize,
    /// Input rows from one window to the next.
    pub stride_h: usize,
    /// Input columns from one window to the next.
    pub stride_w: usize,
    /// Rows of padding before the first.
    pub pad_top: usize,
    /// Columns of padding before the first.
    pub pad_left: usize,
}

/// A window cut off at the edges of the image.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    pub first_row: usize,
    pub end_row: usize,
    pub first_col: usize,
    pub end_col: usize,
}

impl Window {
    fn area(&self) -> usize {
        (self.end_row - self.first_row) * (self.end_col - self.first_col)
    }
}

impl Pool2dGeometry {
    /// The elements of one input image.
    pub fn in_image_len(&self) -> usize {
        self.in_h * self.in_w * self.channels
    }

    /// The elements of one output image.
    pub fn out_image_len(&self) -> usize {
        self.out_h * self.out_w * self.channels
    }

    pub(crate) fn check(&self, x: usize, y: usize) {
        assert!(self.stride_h > 0 && self.stride_w > 0, "pool: no such geometry: {self:?}");
        assert_eq!(x, self.batch * self.in_image_len(), "pool: input of {self:?}");
        assert_eq!(y, self.batch * self.out_image_len(), "pool: output of {self:?}");
    }

    /// Also that each maximum has a place, which a byte can number.
    pub(crate) fn check_places(&self, x: usize, y: usize, places: usize) {
        self.check(x, y);
        let window = self.k_h.saturating_mul(self.k_w);
        assert!(places == y && window <= MAX_PLACES, "pool: places of {self:?}");
    }

    /// The input rows that a row of windows sees.
    pub(crate) fn rows(&self, out_y: usize) -> Range<usize> {
        let window = self.window(out_y, 0);
        window.first_row..window.end_row
    }

    pub(crate) fn window(&self, out_y: usize, out_x: usize) -> Window {
        let cut = |out: usize, stride: usize, pad: usize, k: usize, len: usize| {
            let start = out.saturating_mul(stride);
            let end = start.saturating_add(k).saturating_sub(pad).min(len);
            (start.saturating_sub(pad).min(end), end)
        };
        let (first_row, end_row) = cut(out_y, self.stride_h, self.pad_top, self.k_h, self.in_h);
        let (first_col, end_col) = cut(out_x, self.stride_w, self.pad_left, self.k_w, self.in_w);
        Window { first_row, end_row, first_col, end_col }
    }

    /// The output pixels whose windows see a pixel of the input.
    fn windows_over(&self, row: usize, col: usize) -> Window {
        let over = |position: usize, stride: usize, pad: usize, k: usize, out: usize| {
            let position = position + pad;
            let end = out.min(position / stride + 1);
            ((position + 1).saturating_sub(k).div_ceil(stride).min(end), end)
        };
        let (first_row, end_row) = over(row, self.stride_h, self.pad_top, self.k_h, self.out_h);
        let (first_col, end_col) = over(col, self.stride_w, self.pad_left, self.k_w, self.out_w);
        Window { first_row, end_row, first_col, end_col }
    }

    /// The offsets of a window's pixels in an image, in row-major order.
    fn pixels(&self, window: Window) -> impl Iterator<Item = usize> {
        let (in_w, channels) = (self.in_w, self.channels);
        (window.first_row..window.end_row).flat_map(move |row| {
            (window.first_col..window.end_col).map(move |col| (row * in_w + col) * channels)
        })
    }

    /// Whether windows are 2x2, do not overlap and are all whole.
    pub(crate) fn is_whole_2x2(&self) -> bool {
        (self.k_h, self.k_w, self.stride_h, self.stride_w) == (2, 2, 2, 2)
            && (self.pad_top, self.pad_left) == (0, 0)
            && 2 * self.out_h <= self.in_h
            && 2 * self.out_w <= self.in_w
    }

    /// Calls `row` with each row of output pixels, its image and its position there, in parallel.
    fn for_each_out_row<T: Element>(
        &self,
        y: &mut [T],
        row: impl Fn(usize, usize, &mut [T]) + Sync,
    ) {
        let row_len = self.out_w * self.channels;
        if y.is_empty() {
            return;
        }
        let rows = PIECE_LEN.div_ceil(row_len);
        for_each_chunk_mut(y, rows * row_len, |index, chunk| {
            for (offset, out) in chunk.chunks_exact_mut(row_len).enumerate() {
                let position = index * rows + offset;
                row(position / self.out_h, position % self.out_h, out);
            }
        });
    }

    /// Calls `image` with each image of the input's gradient, in parallel.
    fn for_each_in_image<T: Element>(&self, dx: &mut [T], image: impl Fn(usize, &mut [T]) + Sync) {
        let len = self.in_image_len();
        if dx.is_empty() {
            return;
        }
        let images = (PIECE_LEN / len).max(1);
        let count = dx.len() / len;
        let shared = SharedMut::new(dx);
        for_each_index(count.div_ceil(images), |piece| {
            for index in piece * images..count.min((piece + 1) * images) {
                // SAFETY: each image belongs to one piece.
                image(index, unsafe { shared.range(index * len, (index + 1) * len) });
            }
        });
    }
}

/// The maximum of each window of `x` into `y`.
///
/// ```
/// use tapeflow_kernels::pool::{Pool2dGeometry, max_pool};
/// let geometry = Pool2dGeometry {
///     batch: 1, in_h: 2, in_w: 4, channels: 1, k_h: 2, k_w: 2, out_h: 1, out_w: 2,
///     stride_h: 2, stride_w: 2, pad_top: 0, pad_left: 0,
/// };
/// let mut y = [0; 2];
/// max_pool(&geometry, &[1, 2, 3, 4, 8, 7, 6, 5], &mut y);
/// assert_eq!(y, [8, 6]);
/// ```
///
/// # Panics
/// If a slice does not have the length that the geometry says.
pub fn max_pool<T: Number>(geometry: &Pool2dGeometry, x: &[T], y: &mut [T]) {
    geometry.check(x.len(), y.len());
    let g = *geometry;
    let level = Level::best();
    g.for_each_out_row(y, |image, out_y, out| {
        let x = &x[image * g.in_image_len()..][..g.in_image_len()];
        vectorize!(for T, level, || {
            if g.is_whole_2x2() {
                max_row_2x2(&g, x, out_y, out);
            } else {
                max_row(&g, x, out_y, out);
            }
        });
    });
}

#[inline(always)]
fn max_row<T: Number>(g: &Pool2dGeometry, x: &[T], out_y: usize, out: &mut [T]) {
    for (out_x, out) in out.chunks_exact_mut(g.channels).enumerate() {
        out.fill(T::LOWEST);
        for pixel in g.pixels(g.window(out_y, out_x)) {
            for (best, &value) in out.iter_mut().zip(&x[pixel..]) {
                *best = larger(*best, value);
            }
        }
    }
}

#[inline(always)]
fn max_row_2x2<T: Number>(g: &Pool2dGeometry, x: &[T], out_y: usize, out: &mut [T]) {
    let (c, row_len) = (g.channels, g.in_w * g.channels);
    let (upper, lower) = x[2 * out_y * row_len..][..2 * row_len].split_at(row_len);
    let pixels = upper.chunks_exact(2 * c).zip(lower.chunks_exact(2 * c));
    for (out, (upper, lower)) in out.chunks_exact_mut(c).zip(pixels) {
        let (upper, lower) = (upper.split_at(c), lower.split_at(c));
        for (i, out) in out.iter_mut().enumerate() {
            let top = larger(larger(T::LOWEST, upper.0[i]), upper.1[i]);
            *out = larger(larger(top, lower.0[i]), lower.1[i]);
        }
    }
}

/// The larger of two, `best` where either is NaN.
#[inline(always)]
pub(crate) fn larger<T: Number>(best: T, value: T) -> T {
    if value > best { value } else { best }
}

/// The offset in `x` of the maximum of a window that has pixels, for `N` channels from `channel` on.
#[inline(always)]
fn argmax<T: Number, const N: usize>(
    g: &Pool2dGeometry,
    x: &[T],
    window: Window,
    channel: usize,
) -> [usize; N] {
    let (mut best, mut places) = ([T::LOWEST; N], [0; N]);
    for (index, pixel) in g.pixels(window).enumerate() {
        let start = pixel + channel;
        for (i, &value) in x[start..][..N].iter().enumerate() {
            if index == 0 || value > best[i] {
                (best[i], places[i]) = (value, start + i);
            }
        }
    }
    places
}

/// The gradient with respect to the input of [`max_pool`]: `dy` goes to the place of each maximum,
/// all else in `dx` is zero.
///
/// ```
/// # use tapeflow_kernels::pool::{Pool2dGeometry, max_pool_grad};
/// // The windows of the example of `max_pool`.
/// # let geometry = Pool2dGeometry {
/// #     batch: 1, in_h: 2, in_w: 4, channels: 1, k_h: 2, k_w: 2, out_h: 1, out_w: 2,
/// #     stride_h: 2, stride_w: 2, pad_top: 0, pad_left: 0,
/// # };
/// let x = [1, 2, 3, 4, 8, 7, 6, 5];
/// let mut dx = [0; 8];
/// max_pool_grad(&geometry, &x, &[10, 20], &mut dx);
/// assert_eq!(dx, [0, 0, 0, 0, 10, 0, 20, 0]);
/// ```
///
/// # Panics
/// If a slice does not have the length that the geometry says.
pub fn max_pool_grad<T: Number>(geometry: &Pool2dGeometry, x: &[T], dy: &[T], dx: &mut [T]) {
    geometry.check(x.len(), dy.len());
    geometry.check(dx.len(), dy.len());
    let g = *geometry;
    let level = Level::best();
    g.for_each_in_image(dx, |image, dx| {
        let x = &x[image * g.in_image_len()..][..g.in_image_len()];
        let dy = &dy[image * g.out_image_len()..][..g.out_image_len()];
        if g.is_whole_2x2() {
            vectorize!(for T, level, || max_grad_2x2(&g, x, dy, dx));
        } else {
            max_grad(&g, x, dy, dx);
        }
    });
}

fn max_grad<T: Number>(g: &Pool2dGeometry, x: &[T], dy: &[T], dx: &mut [T]) {
    dx.fill(T::ZERO);
    for (position, dy) in dy.chunks_exact(g.channels).enumerate() {
        let window = g.window(position / g.out_w, position % g.out_w);
        if window.area() == 0 {
            continue;
        }
        for_each_lanes!(g.channels, channel, N => {
            for (place, &dy) in argmax::<T, N>(g, x, window, channel).into_iter().zip(&dy[channel..]) {
                dx[place] = dx[place].add(dy);
            }
        });
    }
}

#[inline(always)]
fn max_grad_2x2<T: Number>(g: &Pool2dGeometry, x: &[T], dy: &[T], dx: &mut [T]) {
    let (c, row_len) = (g.channels, g.in_w * g.channels);
    let (pooled, rest) = dx.split_at_mut(2 * g.out_h * row_len);
    rest.fill(T::ZERO);
    let rows = x.chunks_exact(2 * row_len).zip(pooled.chunks_exact_mut(2 * row_len));
    for (dy, (x, dx)) in dy.chunks_exact(g.out_w * c).zip(rows) {
        let (x_upper, x_lower) = x.split_at(row_len);
        let (dx_upper, dx_lower) = dx.split_at_mut(row_len);
        dx_upper[2 * g.out_w * c..].fill(T::ZERO);
        dx_lower[2 * g.out_w * c..].fill(T::ZERO);
        let x = x_upper.chunks_exact(2 * c).zip(x_lower.chunks_exact(2 * c));
        let dx = dx_upper.chunks_exact_mut(2 * c).zip(dx_lower.chunks_exact_mut(2 * c));
        for ((dy, x), dx) in dy.chunks_exact(c).zip(x).zip(dx) {
            max_grad_window([x.0, x.1], dy, [dx.0, dx.1]);
        }
    }
}

/// The gradient of one 2x2 window: two pixels of two rows.
#[inline(always)]
fn max_grad_window<T: Number>([x_upper, x_lower]: [&[T]; 2], dy: &[T], dx: [&mut [T]; 2]) {
    let c = dy.len();
    let [dx_upper, dx_lower] = dx;
    let (dx0, dx1) = dx_upper[..2 * c].split_at_mut(c);
    let (dx2, dx3) = dx_lower[..2 * c].split_at_mut(c);
    let (x0, x1) = x_upper[..2 * c].split_at(c);
    let (x2, x3) = x_lower[..2 * c].split_at(c);
    let (x, mut dx) = ([x0, x1, x2, x3], [dx0, dx1, dx2, dx3]);
    for_each_lanes!(c, channel, N => {
        max_grad_lanes::<T, N>(x, dy, &mut dx, channel);
    });
}

/// `N` channels of the four pixels of a window. They are copied to arrays first, of which the
/// compiler knows that they do not overlap: slices it would take one element at a time.
#[inline(always)]
fn max_grad_lanes<T: Number, const N: usize>(
    x: [&[T]; 4],
    dy: &[T],
    dx: &mut [&mut [T]; 4],
    channel: usize,
) {
    let load = |from: &[T]| -> [T; N] { std::array::from_fn(|i| from[channel..][..N][i]) };
    let (x, dy) = (x.map(load), load(dy));
    let mut shares = [[T::ZERO; N]; 4];
    for i in 0..N {
        // Where each element is greater than all before it.
        let second = x[1][i] > x[0][i];
        let upper = larger(x[0][i], x[1][i]);
        let third = x[2][i] > upper;
        let fourth = x[3][i] > larger(upper, x[2][i]);
        // What of `dy` no element behind takes.
        let before_fourth = if fourth { T::ZERO } else { dy[i] };
        let before_third = if third { T::ZERO } else { before_fourth };
        shares[3][i] = if fourth { dy[i] } else { T::ZERO };
        shares[2][i] = if third { before_fourth } else { T::ZERO };
        shares[1][i] = if second { before_third } else { T::ZERO };
        shares[0][i] = if second { T::ZERO } else { before_third };
    }
    for (dx, share) in dx.iter_mut().zip(shares) {
        dx[channel..][..N].copy_from_slice(&share);
    }
}

/// The gradient of [`max_pool_grad`] with respect to its `dy`: the element of `ddx` (shaped as `x`)
/// at the place of each maximum of `x`, into `ddy` (shaped as the output).
///
/// ```
/// # use tapeflow_kernels::pool::{Pool2dGeometry, max_pool_grad_grad};
/// // The windows of the example of `max_pool`.
/// # let geometry = Pool2dGeometry {
/// #     batch: 1, in_h: 2, in_w: 4, channels: 1, k_h: 2, k_w: 2, out_h: 1, out_w: 2,
/// #     stride_h: 2, stride_w: 2, pad_top: 0, pad_left: 0,
/// # };
/// let x = [1, 2, 3, 4, 8, 7, 6, 5];
/// let mut ddy = [0; 2];
/// max_pool_grad_grad(&geometry, &x, &[0, 1, 2, 3, 4, 5, 6, 7], &mut ddy);
/// assert_eq!(ddy, [4, 6]);
/// ```
///
/// # Panics
/// If a slice does not have the length that the geometry says.
pub fn max_pool_grad_grad<T: Number>(geometry: &Pool2dGeometry, x: &[T], ddx: &[T], ddy: &mut [T]) {
    geometry.check(x.len(), ddy.len());
    geometry.check(ddx.len(), ddy.len());
    let g = *geometry;
    g.for_each_out_row(ddy, |image, out_y, out| {
        let start = image * g.in_image_len();
        for (out_x, out) in out.chunks_exact_mut(g.channels).enumerate() {
            let window = g.window(out_y, out_x);
            if window.area() == 0 {
                out.fill(T::ZERO);
                continue;
            }
            for_each_lanes!(g.channels, channel, N => {
                let places = argmax::<T, N>(&g, &x[start..], window, channel);
                for (out, place) in out[channel..].iter_mut().zip(places) {
                    *out = ddx[start + place];
                }
            });
        }
    });
}

/// The average of each window of `x` into `y`; sums are kept in the accumulator type.
///
/// ```
/// # use tapeflow_kernels::pool::{Pool2dGeometry, avg_pool};
/// // The windows of the example of `max_pool`.
/// # let geometry = Pool2dGeometry {
/// #     batch: 1, in_h: 2, in_w: 4, channels: 1, k_h: 2, k_w: 2, out_h: 1, out_w: 2,
/// #     stride_h: 2, stride_w: 2, pad_top: 0, pad_left: 0,
/// # };
/// let mut y = [0.0f32; 2];
/// avg_pool(&geometry, &[1.0, 2.0, 3.0, 4.0, 8.0, 7.0, 6.0, 5.0], &mut y);
/// assert_eq!(y, [4.5, 4.5]);
/// ```
///
/// # Panics
/// If a slice does not have the length that the geometry says.
pub fn avg_pool<T: Float>(geometry: &Pool2dGeometry, x: &[T], y: &mut [T])
where
    T::Accumulator: Float,
{
    geometry.check(x.len(), y.len());
    let g = *geometry;
    let level = Level::best();
    g.for_each_out_row(y, |image, out_y, out| {
        let x = &x[image * g.in_image_len()..][..g.in_image_len()];
        vectorize!(for T, level, || {
            for (out_x, out) in out.chunks_exact_mut(g.channels).enumerate() {
                let window = g.window(out_y, out_x);
                let scale = reciprocal(window.area());
                for_each_lanes!(g.channels, channel, N => {
                    average::<T, N>(&g, x, window, scale, channel, out);
                });
            }
        });
    });
}

/// The average of `N` channels of a window.
#[inline(always)]
fn average<T: Float, const N: usize>(
    g: &Pool2dGeometry,
    x: &[T],
    window: Window,
    scale: T::Accumulator,
    channel: usize,
    out: &mut [T],
) {
    let mut sums = [T::Accumulator::ZERO; N];
    for pixel in g.pixels(window) {
        for (sum, value) in sums.iter_mut().zip(&x[pixel + channel..][..N]) {
            *sum = sum.add(value.to_accumulator());
        }
    }
    for (out, sum) in out[channel..][..N].iter_mut().zip(sums) {
        *out = T::from_accumulator(sum.mul(scale));
    }
}

/// The gradient with respect to the input of [`avg_pool`]: each element of `dy` is spread evenly
/// over its window.
///
/// ```
/// # use tapeflow_kernels::pool::{Pool2dGeometry, avg_pool_grad};
/// // The windows of the example of `max_pool`.
/// # let geometry = Pool2dGeometry {
/// #     batch: 1, in_h: 2, in_w: 4, channels: 1, k_h: 2, k_w: 2, out_h: 1, out_w: 2,
/// #     stride_h: 2, stride_w: 2, pad_top: 0, pad_left: 0,
/// # };
/// let mut dx = [0.0f32; 8];
/// avg_pool_grad(&geometry, &[4.0, 8.0], &mut dx);
/// assert_eq!(dx, [1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0]);
/// ```
///
/// # Panics
/// If a slice does not have the length that the geometry says.
pub fn avg_pool_grad<T: Float>(geometry: &Pool2dGeometry, dy: &[T], dx: &mut [T])
where
    T::Accumulator: Float,
{
    geometry.check(dx.len(), dy.len());
    let g = *geometry;
    let level = Level::best();
    g.for_each_in_image(dx, |image, dx| {
        let dy = &dy[image * g.out_image_len()..][..g.out_image_len()];
        vectorize!(for T, level, || {
            for (position, dx) in dx.chunks_exact_mut(g.channels).enumerate() {
                let windows = g.windows_over(position / g.in_w, position % g.in_w);
                for_each_lanes!(g.channels, channel, N => {
                    average_grad::<T, N>(&g, dy, windows, channel, dx);
                });
            }
        });
    });
}

/// The gradient of `N` channels of a pixel, from the output pixels whose windows see it.
#[inline(always)]
fn average_grad<T: Float, const N: usize>(
    g: &Pool2dGeometry,
    dy: &[T],
    windows: Window,
    channel: usize,
    dx: &mut [T],
) where
    T::Accumulator: Float,
{
    let mut sums = [T::Accumulator::ZERO; N];
    for out_y in windows.first_row..windows.end_row {
        for out_x in windows.first_col..windows.end_col {
            let scale = reciprocal(g.window(out_y, out_x).area());
            let start = (out_y * g.out_w + out_x) * g.channels + channel;
            for (sum, dy) in sums.iter_mut().zip(&dy[start..][..N]) {
                *sum = sum.add(dy.to_accumulator().mul(scale));
            }
        }
    }
    for (dx, sum) in dx[channel..][..N].iter_mut().zip(sums) {
        *dx = T::from_accumulator(sum);
    }
}

/// `1 / area`; 0 for an empty window, whose sum is 0 too.
fn reciprocal<A: Float>(area: usize) -> A {
    if area == 0 { A::ZERO } else { A::from_f64(1.0 / area as f64) }
}
