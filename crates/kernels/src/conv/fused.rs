//! Convolutions fused with what follows them in a network: bias, relu and max pooling, and the
//! gradients of the whole.
//!
//! A pooled convolution is never in memory: a few of its rows are computed into scratch that stays
//! in the first-level cache and pooled there. The place of each maximum is kept in a byte, so the
//! gradients need neither the convolution's result nor the pooled one.
//!
//! Results are those of the functions one after the other: relu keeps NaN and its gradient at 0 is
//! 0, pooling is that of [`pool`](crate::pool).

use std::any::TypeId;
use std::ops::Range;

use super::filter_gradient::{self, OutputGradient, pixel_stride};
use super::forward;
pub use super::places::NO_PLACE;
pub(crate) use super::places::{ConvRows, pool_row};
use super::places::{PooledGradient, add_to_bias, spread_image, spread_row_2x2};
use super::{Conv2dGeometry, conv2d_at, conv2d_backprop_filter_at, single_channel};
use crate::buffer::{AllocError, Buffer};
use crate::element::Number;
use crate::gemm::tile::even_part;
use crate::gemm::widen;
use crate::parallel::{SharedMut, for_each_chunk_mut, for_each_index};
use crate::pool::Pool2dGeometry;
use crate::simd::{Level, vectorize};

/// Bytes of a convolution's result that are kept at a time: half of the first-level cache.
const GROUP_BYTES: usize = 16 << 10;
/// Elements that are worth a piece of work where only bias, relu and pooling are left to do.
const PIECE_LEN: usize = 1 << 14;
/// Blocks of images whose gradients are summed each by itself.
const BLOCKS: usize = 16;
/// The most pixels of a window: each has a place.
const MAX_WINDOW: usize = NO_PLACE as usize;

/// What follows a convolution.
#[derive(Clone, Copy, Debug)]
pub struct BiasRelu<'a, T> {
    /// A number for each output channel, added.
    pub bias: &'a [T],
    /// Whether negative results become zero.
    pub relu: bool,
}

impl<T: Number> BiasRelu<'_, T> {
    #[inline(always)]
    pub(super) fn finish(&self, value: T, bias: T) -> T {
        let value = value.add(bias);
        // Nothing is below the lowest of all: without relu every value stays.
        let limit = if self.relu { T::ZERO } else { T::MIN };
        if value < limit { T::ZERO } else { value }
    }

    /// Finishes whole pixels in place.
    fn finish_pixels(&self, level: Level, pixels: &mut [T]) {
        vectorize!(for T, level, || {
            for pixel in pixels.chunks_exact_mut(self.bias.len()) {
                for (value, &bias) in pixel.iter_mut().zip(self.bias) {
                    *value = self.finish(*value, bias);
                }
            }
        });
    }
}

/// [`conv2d`](super::conv2d) followed by bias and relu, into `y`.
///
/// ```
/// use tapeflow_kernels::conv::Conv2dGeometry;
/// use tapeflow_kernels::conv::fused::{BiasRelu, conv2d_bias};
/// use tapeflow_kernels::simd::Level;
/// let geometry = Conv2dGeometry {
///     batch: 1, in_h: 2, in_w: 3, in_c: 1, k_h: 2, k_w: 2, out_c: 1, out_h: 1, out_w: 2,
///     stride_h: 1, stride_w: 1, dilation_h: 1, dilation_w: 1, pad_top: 0, pad_left: 0, groups: 1,
/// };
/// let (x, mut y) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [0.0f32; 2]);
/// let epilogue = BiasRelu { bias: &[-14.0], relu: true };
/// conv2d_bias(Level::best(), &geometry, &x, &[1.0; 4], epilogue, &mut y)?;
/// assert_eq!(y, [0.0, 2.0]);
/// # Ok::<(), tapeflow_kernels::buffer::AllocError>(())
/// ```
///
/// # Errors
/// [`AllocError`] when there is no memory for scratch space.
///
/// # Panics
/// If a slice does not have the length that the geometry says.
pub fn conv2d_bias<T: Number>(
    level: Level,
    geometry: &Conv2dGeometry,
    x: &[T],
    filters: &[T],
    epilogue: BiasRelu<'_, T>,
    y: &mut [T],
) -> Result<(), AllocError> {
    geometry.check(x.len(), filters.len(), y.len());
    assert_eq!(epilogue.bias.len(), geometry.out_c, "conv2d: bias of {geometry:?}");
    if y.is_empty() {
        return Ok(());
    }
    let Some(plan) = plan::<T>(geometry, forward::band_rows)? else {
        conv2d_at(level, geometry, x, filters, y)?;
        let pixels = PIECE_LEN.div_ceil(geometry.out_c);
        for_each_chunk_mut(y, pixels * geometry.out_c, |_, y| epilogue.finish_pixels(level, y));
        return Ok(());
    };
    let row_len = geometry.out_w * geometry.out_c;
    let group = group_rows::<T>(row_len);
    let (bands, rows) = cut(geometry.out_h, forward::band_rows(geometry));
    let y = SharedMut::new(y);
    plan.for_each_band(level, &x, filters, bands, rows, 0, |band, _| {
        let first = (band.image * geometry.out_h + band.rows.start) * row_len;
        for start in band.rows.clone().step_by(group) {
            let rows = start..band.rows.end.min(start + group);
            let at = first + (start - band.rows.start) * row_len;
            let end = at + rows.len() * row_len;
            // SAFETY: the rows of a band belong to this piece alone.
            unsafe { band.compute(rows, &y, at) };
            // SAFETY: as above.
            epilogue.finish_pixels(level, unsafe { y.range(at, end) });
        }
    })
}

/// [`conv2d`](super::conv2d) followed by bias, relu and max pooling: the maxima into `y`, and into
/// `places` where in its window each is, counted in row-major order from the top left of the whole
/// window. It is [`NO_PLACE`] where no gradient passes: where relu gave 0 or NaN, and for windows
/// that lie in the padding altogether.
///
/// # Errors
/// [`AllocError`] when there is no memory for scratch space.
///
/// # Panics
/// If a slice does not have the length that the geometries say, the pooling's input is not the
/// convolution's output, or a window has more than 255 pixels.
#[expect(clippy::too_many_arguments, reason = "a convolution and a pooling")]
pub fn conv2d_bias_max_pool<T: Number>(
    level: Level,
    geometry: &Conv2dGeometry,
    pool: &Pool2dGeometry,
    x: &[T],
    filters: &[T],
    epilogue: BiasRelu<'_, T>,
    y: &mut [T],
    places: &mut [u8],
) -> Result<(), AllocError> {
    let conv_len = geometry.batch * geometry.out_image_len();
    geometry.check(x.len(), filters.len(), conv_len);
    check_pooled(geometry, pool, y.len(), places.len());
    assert_eq!(epilogue.bias.len(), geometry.out_c, "conv2d: bias of {geometry:?}");
    if y.is_empty() {
        return Ok(());
    }
    if TypeId::of::<T>() == TypeId::of::<f32>() && epilogue.relu {
        // Casts of a type to itself.
        let (x, filters) = (bytemuck::cast_slice(x), bytemuck::cast_slice(filters));
        let (bias, y) = (bytemuck::cast_slice(epilogue.bias), bytemuck::cast_slice_mut(y));
        let forward = single_channel::conv2d_bias_relu_max_pool;
        if forward(level, geometry, pool, x, filters, bias, y, places)? {
            return Ok(());
        }
    }
    let out_row_len = pool.out_w * pool.channels;
    let (shared_y, shared_places) = (SharedMut::new(y), SharedMut::new(places));
    let pool_image_row = |conv: ConvRows<'_, T>, image: usize, out_y: usize| {
        let start = (image * pool.out_h + out_y) * out_row_len;
        // SAFETY: each row of windows is pooled once.
        let y = unsafe { shared_y.range(start, start + out_row_len) };
        // SAFETY: as above.
        let places = unsafe { shared_places.range(start, start + out_row_len) };
        pool_row(level, pool, conv, &epilogue, out_y, y, places);
    };

    let band_rows = (forward::band_rows(geometry) / pool.stride_h).max(1);
    let most_rows = |pooled_rows: usize| (pooled_rows - 1) * pool.stride_h + pool.k_h;
    let max_rows = |_: &Conv2dGeometry| most_rows(band_rows).min(geometry.out_h);
    let Some(plan) = plan::<T>(geometry, max_rows)? else {
        let mut conv = Buffer::uninit_reused(conv_len.saturating_mul(size_of::<T>()))?;
        conv2d_at(level, geometry, x, filters, conv.as_mut_slice())?;
        let conv = conv.as_slice::<T>();
        for_each_index(pool.batch, |image| {
            let data = &conv[image * pool.in_image_len()..][..pool.in_image_len()];
            for out_y in 0..pool.out_h {
                pool_image_row(ConvRows { data, first: 0 }, image, out_y);
            }
        });
        return Ok(());
    };
    let row_len = geometry.out_w * geometry.out_c;
    let group_len = GROUP_BYTES / size_of::<T>() / row_len;
    let group = (group_len.saturating_sub(pool.k_h) / pool.stride_h + 1).min(band_rows);
    let scratch_len = most_rows(group).min(geometry.out_h) * row_len;
    let (bands, pooled_rows) = cut(pool.out_h, band_rows);
    let rows = |band| covered(pool, pooled_rows(band));
    plan.for_each_band(level, &x, filters, bands, rows, scratch_len, |band, scratch| {
        let pooled = pooled_rows(band.index);
        for start in pooled.clone().step_by(group) {
            let pooled = start..pooled.end.min(start + group);
            let rows = covered(pool, pooled.clone());
            // SAFETY: the scratch is this piece's own.
            unsafe { band.compute(rows.clone(), &SharedMut::new(scratch), 0) };
            let conv = ConvRows { data: scratch, first: rows.start };
            pooled.for_each(|out_y| pool_image_row(conv, band.image, out_y));
        }
    })
}

/// The gradient with respect to a convolution's result that bias, relu and max pooling followed,
/// and its sum over all but the channels: into `dx` and `dbias`, from the gradient with respect to
/// the pooled result and the places of [`conv2d_bias_max_pool`].
///
/// # Errors
/// [`AllocError`] when there is no memory for scratch space.
///
/// # Panics
/// If a slice does not have the length that the geometry says.
pub fn relu_max_pool_grad<T: Number>(
    level: Level,
    pool: &Pool2dGeometry,
    dy: &[T],
    places: &[u8],
    dx: &mut [T],
    dbias: &mut [T],
) -> Result<(), AllocError> {
    pool.check(dx.len(), dy.len());
    assert_eq!((places.len(), dbias.len()), (dy.len(), pool.channels), "pool: {pool:?}");
    dbias.fill(T::ZERO);
    if dy.is_empty() || dx.is_empty() {
        dx.fill(T::ZERO);
        return Ok(());
    }
    let source = Pooled { level, pool, dy, places, pixel_stride: pool.channels };
    let block_images = even_part(pool.batch, pool.batch.div_ceil(BLOCKS));
    let blocks = pool.batch.div_ceil(block_images);
    let mut partial = Buffer::zeroed((blocks * dbias.len()).saturating_mul(size_of::<T>()))?;
    let (dx, sums) = (SharedMut::new(dx), SharedMut::new(partial.as_mut_slice::<T>()));
    for_each_index(blocks, |block| {
        let (start, end) = (block * pool.channels, (block + 1) * pool.channels);
        // SAFETY: each block has its own sums.
        let sums = unsafe { sums.range(start, end) };
        for image in block * block_images..pool.batch.min((block + 1) * block_images) {
            let start = image * pool.in_image_len();
            // SAFETY: each image belongs to one block.
            let dx = unsafe { dx.range(start, start + pool.in_image_len()) };
            source.spread(image, 0..pool.in_h, dx);
            source.add_bias(image, sums);
        }
    });
    for sums in partial.as_slice::<T>().chunks_exact(dbias.len()) {
        dbias.iter_mut().zip(sums).for_each(|(total, &sum)| *total = total.add(sum));
    }
    Ok(())
}

/// The gradients with respect to the filters and the bias of [`conv2d_bias_max_pool`]: into
/// `dfilters` and `dbias`, from that with respect to the pooled result. What comes to the
/// convolution's result is never in memory.
///
/// # Errors
/// [`AllocError`] when there is no memory for scratch space.
///
/// # Panics
/// If a slice does not have the length that the geometries say, or the pooling's input is not the
/// convolution's output.
#[expect(clippy::too_many_arguments, reason = "a convolution and a pooling")]
pub fn conv2d_backprop_filter_pooled<T: Number>(
    level: Level,
    geometry: &Conv2dGeometry,
    pool: &Pool2dGeometry,
    x: &[T],
    dy: &[T],
    places: &[u8],
    dfilters: &mut [T],
    dbias: &mut [T],
) -> Result<(), AllocError> {
    let conv_len = geometry.batch * geometry.out_image_len();
    geometry.check(x.len(), dfilters.len(), conv_len);
    check_pooled(geometry, pool, dy.len(), places.len());
    assert_eq!(dbias.len(), geometry.out_c, "conv2d: bias of {geometry:?}");
    if geometry.is_empty() {
        dfilters.fill(T::ZERO);
        dbias.fill(T::ZERO);
        return Ok(());
    }
    if TypeId::of::<T>() == TypeId::of::<f32>() {
        // Casts of a type to itself.
        let (x, dy) = (bytemuck::cast_slice(x), bytemuck::cast_slice(dy));
        let dfilters = bytemuck::cast_slice_mut(dfilters);
        let dbias = bytemuck::cast_slice_mut(dbias);
        let backward = single_channel::backprop_filter;
        if backward(level, geometry, pool, x, dy, places, dfilters, dbias)? {
            return Ok(());
        }
    }
    if !sums_in_itself::<T>() {
        let (x, dy) = (widen(x)?, widen(dy)?);
        let bytes = size_of::<T::Accumulator>() * (dfilters.len() + dbias.len());
        let mut wide = Buffer::uninit_reused(bytes)?;
        let (wide_filters, wide_bias) = wide.as_mut_slice().split_at_mut(dfilters.len());
        conv2d_backprop_filter_pooled::<T::Accumulator>(
            level,
            geometry,
            pool,
            x.as_slice(),
            dy.as_slice(),
            places,
            wide_filters,
            wide_bias,
        )?;
        let narrow = |(to, &from): (&mut T, &T::Accumulator)| *to = T::from_accumulator(from);
        dfilters.iter_mut().zip(&*wide_filters).for_each(narrow);
        dbias.iter_mut().zip(&*wide_bias).for_each(narrow);
        return Ok(());
    }
    if let Some(plan) = filter_gradient::Plan::new(geometry)? {
        let dy = Pooled { level, pool, dy, places, pixel_stride: pixel_stride(geometry) };
        return plan.run(level, &x, &dy, dfilters, dbias);
    }
    let mut conv = Buffer::uninit_reused(conv_len.saturating_mul(size_of::<T>()))?;
    relu_max_pool_grad(level, pool, dy, places, conv.as_mut_slice::<T>(), dbias)?;
    conv2d_backprop_filter_at(level, geometry, x, conv.as_slice(), dfilters)
}

/// Panics unless the convolution's output is what is pooled.
pub(super) fn check_pooling(g: &Conv2dGeometry, pool: &Pool2dGeometry) {
    assert_eq!(
        (pool.batch, pool.in_h, pool.in_w, pool.channels),
        (g.batch, g.out_h, g.out_w, g.out_c),
        "conv2d: pooled by {pool:?}"
    );
}

fn check_pooled(geometry: &Conv2dGeometry, pool: &Pool2dGeometry, y: usize, places: usize) {
    pool.check(geometry.batch * geometry.out_image_len(), y);
    check_pooling(geometry, pool);
    assert!(places == y && pool.k_h.saturating_mul(pool.k_w) <= MAX_WINDOW, "pool: {pool:?}");
}

/// Whether sums of this type are kept in itself, so that a convolution can work in place.
fn sums_in_itself<T: Number>() -> bool {
    TypeId::of::<T>() == TypeId::of::<T::Accumulator>()
}

/// The plan of a fused convolution; none where the convolution has to be computed by itself.
fn plan<T: Number>(
    geometry: &Conv2dGeometry,
    max_rows: impl Fn(&Conv2dGeometry) -> usize,
) -> Result<Option<forward::Plan>, AllocError> {
    if geometry.is_empty() || !sums_in_itself::<T>() {
        return Ok(None);
    }
    forward::Plan::new(geometry, max_rows(geometry))
}

/// The number of parts of `part` rows that `len` rows are cut into, and the rows of each.
fn cut(len: usize, part: usize) -> (usize, impl Fn(usize) -> Range<usize>) {
    (len.div_ceil(part), move |index| index * part..len.min((index + 1) * part))
}

/// How many rows of a convolution stay in the first-level cache; at least one.
fn group_rows<T>(row_len: usize) -> usize {
    (GROUP_BYTES / size_of::<T>() / row_len).max(1)
}

/// The rows of the input that rows of windows see.
fn covered(pool: &Pool2dGeometry, pooled: Range<usize>) -> Range<usize> {
    let rows = pool.window(pooled.start, 0).first_row..pool.window(pooled.end - 1, 0).end_row;
    if rows.is_empty() { 0..0 } else { rows }
}

/// The gradient with respect to a convolution's result, spread from that of the pooled one.
pub(crate) struct Pooled<'a, T> {
    pub level: Level,
    pub pool: &'a Pool2dGeometry,
    pub dy: &'a [T],
    pub places: &'a [u8],
    pub pixel_stride: usize,
}

impl<T: Number> Pooled<'_, T> {
    /// The rows of an image's pooled gradient.
    fn part(&self, image: usize, pooled: Range<usize>) -> PooledGradient<'_, T> {
        let row_len = self.pool.out_w * self.pool.channels;
        let first = image * self.pool.out_h;
        let range = (first + pooled.start) * row_len..(first + pooled.end) * row_len;
        PooledGradient { dy: &self.dy[range.clone()], places: &self.places[range] }
    }

    /// Spreads rows of an image's gradient; windows that overlap need all rows at once.
    pub(crate) fn spread(&self, image: usize, rows: Range<usize>, pixels: &mut [T]) {
        let g = self.pool;
        if !g.is_whole_2x2() {
            spread_image(g, self.part(image, 0..g.out_h), pixels, self.pixel_stride);
            return;
        }
        let pair_len = 2 * g.in_w * self.pixel_stride;
        let mut pairs = pixels[..rows.len() * pair_len / 2].chunks_mut(pair_len);
        for out_y in rows.start / 2..(rows.end / 2).min(g.out_h) {
            let row = self.part(image, out_y..out_y + 1);
            if let Some(pair) = pairs.next() {
                vectorize!(for T, self.level, || spread_row_2x2(g, row, pair, self.pixel_stride));
            }
        }
        pairs.for_each(|below| below.fill(T::ZERO));
    }
}

impl<T: Number> OutputGradient<T> for Pooled<'_, T> {
    fn group_rows(&self) -> usize {
        let g = self.pool;
        if !g.is_whole_2x2() {
            return g.in_h;
        }
        let rows = group_rows::<T>(g.in_w * self.pixel_stride).next_multiple_of(2);
        rows.min(g.in_h.next_multiple_of(2))
    }

    fn scratch_len(&self) -> usize {
        (self.group_rows() * self.pool.in_w).saturating_mul(self.pixel_stride)
    }

    fn rows<'a>(&'a self, image: usize, rows: Range<usize>, scratch: &'a mut [T]) -> &'a [T] {
        self.spread(image, rows, scratch);
        scratch
    }

    fn bias_len(&self) -> usize {
        self.pool.channels
    }

    fn add_bias(&self, image: usize, sums: &mut [T]) {
        let image = self.part(image, 0..self.pool.out_h);
        vectorize!(for T, self.level, || add_to_bias(image, sums));
    }
}
