//! Convolutions among batch normalisations.
//!
//! What comes out of a normalisation and relu on its way into a convolution, and the gradient that comes
//! out of a normalisation on its way back into one, are computed image by image, or by parts of images,
//! where the convolution reads them: neither is in memory for all images. The results are, to the last
//! bit, those of the kernels one after the other. Not every shape is taken: [`takes`] and
//! [`takes_gradients`] say which.

use std::ops::Range;

use super::filter_gradient::{self, OutputGradient, pixel_stride};
use super::fused::check_pooling;
use super::{Conv2dGeometry, forward, input_gradient};
use crate::batch_norm::{InputGradient, NormalizedRelu, Statistics, Upstream};
use crate::buffer::AllocError;
use crate::element::{Float, Number};
use crate::parallel::SharedMut;
use crate::simd::Level;

/// Whether [`conv2d_normalized`] takes a convolution: if it reads windows of the images, which are copied
/// among zeros as a rule and may as well be computed there. Others are matrix products (1x1 filters
/// without a stride, or filters as large as the images, without padding), have groups, are mostly
/// padding, or have nothing to convolve.
pub fn takes(geometry: &Conv2dGeometry) -> bool {
    !geometry.is_empty()
        && geometry.as_matrix_product().is_none()
        && forward::reader(geometry).is_some()
}

/// Whether [`conv2d_backprop_normalized`] takes a convolution, with the gradient of the images or without.
/// Besides [`takes`] it asks for 8 images or more and filters of no more than 2 MiB, else each gradient
/// would be computed several times; for output channels that are a multiple of 16, so that tiles read it
/// where it is; and, to pass it on to the images, for strides of 1.
pub fn takes_gradients(geometry: &Conv2dGeometry, to_images: bool) -> bool {
    let g = geometry;
    let passes_on = || (g.stride_h, g.stride_w) == (1, 1) && input_gradient::Plan::new(g).is_some();
    takes(g)
        && pixel_stride(g) == g.out_c
        && filter_gradient::cut_by_images(g)
        && (!to_images || passes_on())
}

/// An array before normalisation and relu, and what
/// [`normalize_relu`](crate::batch_norm::normalize_relu) needs besides.
#[derive(Clone, Copy, Debug)]
pub struct Normalization<'a, T> {
    /// The array.
    pub x: &'a [T],
    /// The statistics of its channels.
    pub statistics: Statistics<'a, T>,
    /// By which it is scaled.
    pub scale: &'a [T],
    /// By which it is shifted.
    pub offset: &'a [T],
}

impl<'a, T: Float + Number<Accumulator = T>> Normalization<'a, T> {
    fn images(&self, level: Level, channels: usize) -> Result<NormalizedRelu<'a, T>, AllocError> {
        assert_eq!(self.offset.len(), channels, "conv2d: channels of the normalisation");
        NormalizedRelu::new(level, self.x, self.statistics, self.scale, self.offset)
    }
}

/// The images of a convolution.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a, T> {
    /// As they are in memory.
    Plain(&'a [T]),
    /// Normalised, and through relu.
    NormalizedRelu(Normalization<'a, T>),
}

/// The gradient with respect to the result of a convolution that was then normalised: that of
/// [`normalize_grad`](crate::batch_norm::normalize_grad), whose arguments these are.
#[derive(Clone, Copy, Debug)]
pub struct ResultGradient<'a, T: Number> {
    /// What comes back to the normalised result.
    pub dy: Upstream<'a, T>,
    /// The convolution's result.
    pub x: &'a [T],
    /// The statistics of its channels.
    pub statistics: Statistics<'a, T>,
    /// By which it was scaled.
    pub scale: &'a [T],
    /// The gradients with respect to scale and offset, where the statistics are those of `x`.
    pub sums: Option<[&'a [T]; 2]>,
}

/// Where the gradient with respect to the images goes.
#[derive(Debug)]
pub struct ToImages<'a, T> {
    /// The filters.
    pub filters: &'a [T],
    /// The gradient with respect to the images as the convolution saw them.
    pub dimages: &'a mut [T],
}

/// The convolution of normalised images with `filters`, into `y`.
///
/// ```
/// use tapeflow_kernels::batch_norm::Statistics;
/// use tapeflow_kernels::conv::Conv2dGeometry;
/// use tapeflow_kernels::conv::normalized::{Normalization, conv2d_normalized};
/// use tapeflow_kernels::simd::Level;
/// let geometry = Conv2dGeometry {
///     batch: 1, in_h: 2, in_w: 2, in_c: 1, k_h: 1, k_w: 2, out_c: 1, out_h: 2, out_w: 2,
///     stride_h: 1, stride_w: 1, dilation_h: 1, dilation_w: 1, pad_top: 0, pad_left: 0, groups: 1,
/// };
/// let statistics = Statistics { mean: &[2.0], inverse_deviation: &[0.5] };
/// let x = Normalization { x: &[0.0, 2.0, 4.0, 6.0], statistics, scale: &[2.0], offset: &[1.0] };
/// let mut y = [0.0f32; 4];
/// conv2d_normalized(Level::best(), &geometry, x, &[1.0, 10.0], &mut y)?;
/// assert_eq!(y, [10.0, 1.0, 53.0, 5.0]);
/// # Ok::<(), tapeflow_kernels::buffer::AllocError>(())
/// ```
///
/// # Errors
/// [`AllocError`] when there is no memory for scratch space.
///
/// # Panics
/// If a slice does not have the length that the geometry says, or [`takes`] says no.
pub fn conv2d_normalized<T: Float + Number<Accumulator = T>>(
    level: Level,
    geometry: &Conv2dGeometry,
    x: Normalization<'_, T>,
    filters: &[T],
    y: &mut [T],
) -> Result<(), AllocError> {
    geometry.check(x.x.len(), filters.len(), y.len());
    assert!(takes(geometry), "conv2d: normalised images of {geometry:?}");
    let plan = forward::Plan::new(geometry, forward::band_rows(geometry))?;
    let plan = plan.expect("what is read in windows has a plan");
    plan.run(level, &x.images(level, geometry.in_c)?, filters, y)
}

/// The gradients of a convolution that was then normalised: with respect to the filters into
/// `dfilters`, and, where it is wanted, with respect to the images.
///
/// # Errors
/// [`AllocError`] when there is no memory for scratch space.
///
/// # Panics
/// If a slice does not have the length that the geometry says, a pooling's input is not the
/// convolution's result, or [`takes_gradients`] says no.
pub fn conv2d_backprop_normalized<T: Float + Number<Accumulator = T>>(
    level: Level,
    geometry: &Conv2dGeometry,
    images: Input<'_, T>,
    dy: ResultGradient<'_, T>,
    dfilters: &mut [T],
    to_images: Option<ToImages<'_, T>>,
) -> Result<(), AllocError> {
    let g = geometry;
    let images_len = match images {
        Input::Plain(x) => x.len(),
        Input::NormalizedRelu(normalization) => normalization.x.len(),
    };
    g.check(images_len, dfilters.len(), dy.x.len());
    if let Some(ToImages { filters, dimages }) = &to_images {
        g.check(dimages.len(), filters.len(), dy.x.len());
    }
    assert!(takes_gradients(g, to_images.is_some()), "conv2d: normalised gradients of {g:?}");
    assert_eq!(dy.statistics.mean.len(), g.out_c, "conv2d: channels of {g:?}");
    if let Upstream::ReluMaxPool { pool, .. } = dy.dy {
        check_pooling(g, pool);
    }

    let images_plan;
    let to_images = match to_images {
        Some(ToImages { filters, dimages }) => {
            images_plan =
                input_gradient::Plan::new(g).expect("gradients that are taken have a plan");
            Some((images_plan.only_phase(level, filters)?, SharedMut::new(dimages)))
        }
        None => None,
    };
    let ResultGradient { dy, x, statistics, scale, sums } = dy;
    let gradient = InputGradient::new(level, dy, x, statistics, scale, sums)?;
    let source = Source { geometry, gradient, to_images };
    let plan = filter_gradient::Plan::new(g)?.expect("what is read in windows has a plan");
    match images {
        Input::Plain(x) => plan.run(level, &x, &source, dfilters, &mut []),
        Input::NormalizedRelu(normalization) => {
            let images = normalization.images(level, g.in_c)?;
            plan.run(level, &images, &source, dfilters, &mut [])
        }
    }
}

/// Hands out the gradient of a normalised convolution's result, and passes each image's on to the images.
/// Only for work that is cut by images.
struct Source<'a, T: Number> {
    geometry: &'a Conv2dGeometry,
    gradient: InputGradient<'a, T>,
    to_images: Option<(input_gradient::Phase<'a>, SharedMut<'a, T>)>,
}

impl<T: Float> OutputGradient<T> for Source<'_, T> {
    fn group_rows(&self) -> usize {
        self.geometry.out_h
    }

    /// An image's gradient, and behind it what computing it and passing it on take.
    fn scratch_len(&self) -> usize {
        let passing_on = self.to_images.as_ref().map_or(0, |(phase, _)| phase.scratch_len());
        self.geometry.out_image_len() + passing_on.max(self.gradient.scratch_len())
    }

    fn rows<'a>(&'a self, image: usize, rows: Range<usize>, scratch: &'a mut [T]) -> &'a [T] {
        debug_assert_eq!(rows, 0..self.geometry.out_h);
        let len = self.geometry.out_image_len();
        let (dy, scratch) = scratch.split_at_mut(len);
        self.gradient.write(image * len..(image + 1) * len, dy, scratch);
        dy
    }

    fn image_done(&self, image: usize, scratch: &mut [T]) {
        let Some((phase, dimages)) = &self.to_images else { return };
        let (dy, scratch) = scratch.split_at_mut(self.geometry.out_image_len());
        for band in 0..phase.bands() {
            // SAFETY: as work is cut by images, one piece alone has this one.
            unsafe { phase.band(dy, image, band, dimages, scratch) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken() {
        let same = Conv2dGeometry {
            batch: 16,
            in_h: 14,
            in_w: 14,
            in_c: 32,
            k_h: 3,
            k_w: 3,
            out_c: 64,
            out_h: 14,
            out_w: 14,
            stride_h: 1,
            stride_w: 1,
            dilation_h: 1,
            dilation_w: 1,
            pad_top: 1,
            pad_left: 1,
            groups: 1,
        };
        assert!(takes_gradients(&same, true) && takes_gradients(&same, false));
        let strided = Conv2dGeometry { stride_h: 2, out_h: 7, ..same };
        assert!(takes_gradients(&strided, false) && !takes_gradients(&strided, true));
        let pointwise = Conv2dGeometry { k_h: 1, k_w: 1, pad_top: 0, pad_left: 0, ..same };
        let few_images = Conv2dGeometry { batch: 7, ..same };
        let large_filters = Conv2dGeometry { in_c: 256, out_c: 256, ..same };
        let odd_channels = Conv2dGeometry { out_c: 10, ..same };
        for other in [pointwise, few_images, large_filters, odd_channels] {
            assert!(!takes_gradients(&other, true) && !takes_gradients(&other, false), "{other:?}");
            assert_eq!(takes(&other), other != pointwise);
        }
        assert!(!takes(&Conv2dGeometry { groups: 2, ..same }));
        assert!(!takes(&Conv2dGeometry { batch: 0, ..same }));
    }
}
