//! Two-dimensional convolutions and their gradients.
//!
//! Images are NHWC, filters HWIO (`[k_h, k_w, in_c / groups, out_c]`), as TensorFlow's defaults.
//!
//! # How it is done
//! A convolution is a product of two matrices: one row per output pixel, one column per output
//! channel, summed over the taps of the filter. No matrix of patches is made: a tile (see
//! [`gemm`](crate::gemm)) reads A(i, k) at *offset of pixel i* + *offset of tap k* in an image that
//! has zeros around it. All three kernels are this one, with the offsets in other roles:
//!
//! - forward: rows are output pixels, the sum runs over taps and input channels;
//! - input gradient: rows are input pixels, the sum runs over taps and output channels. With a
//!   stride, input pixels fall into `stride_h * stride_w` phases, each of which sees its own subset
//!   of the taps, at stride 1;
//! - filter gradient: rows are taps and input channels, the sum runs over output pixels. Fixed
//!   blocks of images are summed each by itself and then added in order.
//!
//! The first layer of a net on grey images, which is mostly its pooling, has loops of its own
//! (`single_channel`). A 1x1 filter, or one as large as the image, is a plain matrix product. Groups,
//! and paddings or dilations so large that the zeros would outweigh the image, take the loops of
//! [`naive`].
//!
//! [`fused`] and [`normalized`] take along what stands before and behind a convolution in a network.

mod filter_gradient;
mod forward;
pub mod fused;
mod images;
mod input_gradient;
pub mod normalized;
mod offsets;
mod places;
mod product;
mod single_channel;
mod window;

use std::any::TypeId;

use crate::buffer::{AllocError, Buffer};
use crate::element::Number;
use crate::gemm::{Matrix, Update, gemm_at, widen};
use crate::naive;
use crate::parallel::for_each_chunk_mut;
use crate::simd::Level;
pub(crate) use offsets::for_each_piece;

/// The shape of a convolution. All lengths are in elements.
///
/// `pad_top` and `pad_left` are the zeros before the first row and column; those after the last
/// follow from the output size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conv2dGeometry {
    /// Images.
    pub batch: usize,
    /// Rows of an input image.
    pub in_h: usize,
    /// Columns of an input image.
    pub in_w: usize,
    /// Channels of the input.
    pub in_c: usize,
    /// Rows of a filter.
    pub k_h: usize,
    /// Columns of a filter.
    pub k_w: usize,
    /// Channels of the output, that is, filters.
    pub out_c: usize,
    /// Rows of an output image.
    pub out_h: usize,
    /// Columns of an output image.
    pub out_w: usize,
    /// Input rows from one output row to the next.
    pub stride_h: usize,
    /// Input columns from one output column to the next.
    pub stride_w: usize,
    /// Input rows from one filter row to the next.
    pub dilation_h: usize,
    /// Input columns from one filter column to the next.
    pub dilation_w: usize,
    /// Zero rows before the first.
    pub pad_top: usize,
    /// Zero columns before the first.
    pub pad_left: usize,
    /// Groups of channels that are convolved by themselves; divides `in_c` and `out_c`.
    pub groups: usize,
}

impl Conv2dGeometry {
    /// The elements of one input image.
    pub fn in_image_len(&self) -> usize {
        self.in_h * self.in_w * self.in_c
    }

    /// The elements of one output image.
    pub fn out_image_len(&self) -> usize {
        self.out_h * self.out_w * self.out_c
    }

    /// The elements of all filters.
    pub fn filters_len(&self) -> usize {
        self.k_h * self.k_w * (self.in_c / self.groups) * self.out_c
    }

    fn check(&self, x: usize, filters: usize, y: usize) {
        assert!(
            self.groups > 0
                && self.in_c.is_multiple_of(self.groups)
                && self.out_c.is_multiple_of(self.groups)
                && self.stride_h > 0
                && self.stride_w > 0
                && self.dilation_h > 0
                && self.dilation_w > 0,
            "conv2d: no such geometry: {self:?}"
        );
        assert_eq!(x, self.batch * self.in_image_len(), "conv2d: input of {self:?}");
        assert_eq!(filters, self.filters_len(), "conv2d: filters of {self:?}");
        assert_eq!(y, self.batch * self.out_image_len(), "conv2d: output of {self:?}");
    }

    /// Whether nothing is summed or nothing comes out.
    fn is_empty(&self) -> bool {
        self.batch == 0
            || self.in_image_len() == 0
            || self.out_image_len() == 0
            || self.filters_len() == 0
    }

    /// The shape [m, n, k] of the plain matrix product that this convolution is, if it is one.
    fn as_matrix_product(&self) -> Option<[usize; 3]> {
        if self.groups != 1 || self.pad_top != 0 || self.pad_left != 0 {
            return None;
        }
        let size = (self.in_h, self.in_w);
        let pointwise = (self.k_h, self.k_w) == (1, 1)
            && (self.stride_h, self.stride_w) == (1, 1)
            && (self.out_h, self.out_w) == size;
        let whole = (self.k_h, self.k_w) == size
            && (self.dilation_h, self.dilation_w) == (1, 1)
            && (self.out_h, self.out_w) == (1, 1);
        let pixels = self.batch * self.out_h * self.out_w;
        (pointwise || whole).then_some([pixels, self.out_c, self.k_h * self.k_w * self.in_c])
    }
}

/// The convolution of `x` (`[batch, in_h, in_w, in_c]`) with `filters` into `y`
/// (`[batch, out_h, out_w, out_c]`).
///
/// As in TensorFlow the filters are not mirrored (a cross-correlation).
///
/// ```
/// use tapeflow_kernels::conv::{Conv2dGeometry, conv2d};
/// // The sums of the 2x2 windows of a 2x3 image.
/// let geometry = Conv2dGeometry {
///     batch: 1, in_h: 2, in_w: 3, in_c: 1, k_h: 2, k_w: 2, out_c: 1, out_h: 1, out_w: 2,
///     stride_h: 1, stride_w: 1, dilation_h: 1, dilation_w: 1, pad_top: 0, pad_left: 0, groups: 1,
/// };
/// let mut y = [0.0f32; 2];
/// conv2d(&geometry, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[1.0; 4], &mut y)?;
/// assert_eq!(y, [12.0, 16.0]);
/// # Ok::<(), tapeflow_kernels::buffer::AllocError>(())
/// ```
///
/// # Errors
/// [`AllocError`] when there is no memory for scratch space.
///
/// # Panics
/// If a slice does not have the length that the geometry says.
pub fn conv2d<T: Number>(
    geometry: &Conv2dGeometry,
    x: &[T],
    filters: &[T],
    y: &mut [T],
) -> Result<(), AllocError> {
    conv2d_at(Level::best(), geometry, x, filters, y)
}

/// As [`conv2d`], with the instructions of the given level; for tests and measurements.
///
/// # Errors
/// As [`conv2d`].
///
/// # Panics
/// As [`conv2d`].
pub fn conv2d_at<T: Number>(
    level: Level,
    geometry: &Conv2dGeometry,
    x: &[T],
    filters: &[T],
    y: &mut [T],
) -> Result<(), AllocError> {
    geometry.check(x.len(), filters.len(), y.len());
    if geometry.is_empty() {
        y.fill(T::ZERO);
        return Ok(());
    }
    in_accumulator(x, filters, y, |x, filters, y| {
        if let Some([m, n, k]) = geometry.as_matrix_product() {
            let (x, filters) = (Matrix::row_major(x, k), Matrix::row_major(filters, n));
            return gemm_at(level, m, n, k, x, filters, Update::Assign, y);
        }
        match forward::Plan::new(geometry, forward::band_rows(geometry))? {
            Some(plan) => plan.run(level, &x, filters, y),
            None => {
                let image = Conv2dGeometry { batch: 1, ..*geometry };
                let (in_len, out_len) = (geometry.in_image_len(), geometry.out_image_len());
                for_each_chunk_mut(y, out_len, |index, y| {
                    naive::conv2d(&image, &x[index * in_len..][..in_len], filters, y);
                });
                Ok(())
            }
        }
    })
}

/// The gradient with respect to the input of [`conv2d`]: `dy` is that of the output.
///
/// ```
/// # use tapeflow_kernels::conv::{Conv2dGeometry, conv2d_backprop_input};
/// // The image, filter and output of the example of `conv2d`.
/// # let geometry = Conv2dGeometry {
/// #     batch: 1, in_h: 2, in_w: 3, in_c: 1, k_h: 2, k_w: 2, out_c: 1, out_h: 1, out_w: 2,
/// #     stride_h: 1, stride_w: 1, dilation_h: 1, dilation_w: 1, pad_top: 0, pad_left: 0, groups: 1,
/// # };
/// let mut dx = [0.0f32; 6];
/// conv2d_backprop_input(&geometry, &[1.0, 10.0], &[1.0, 2.0, 3.0, 4.0], &mut dx)?;
/// assert_eq!(dx, [1.0, 12.0, 20.0, 3.0, 34.0, 40.0]);
/// # Ok::<(), tapeflow_kernels::buffer::AllocError>(())
/// ```
///
/// # Errors
/// [`AllocError`] when there is no memory for scratch space.
///
/// # Panics
/// If a slice does not have the length that the geometry says.
pub fn conv2d_backprop_input<T: Number>(
    geometry: &Conv2dGeometry,
    dy: &[T],
    filters: &[T],
    dx: &mut [T],
) -> Result<(), AllocError> {
    conv2d_backprop_input_at(Level::best(), geometry, dy, filters, dx)
}

/// As [`conv2d_backprop_input`], with the instructions of the given level.
///
/// # Errors
/// As [`conv2d_backprop_input`].
///
/// # Panics
/// As [`conv2d_backprop_input`].
pub fn conv2d_backprop_input_at<T: Number>(
    level: Level,
    geometry: &Conv2dGeometry,
    dy: &[T],
    filters: &[T],
    dx: &mut [T],
) -> Result<(), AllocError> {
    geometry.check(dx.len(), filters.len(), dy.len());
    if geometry.is_empty() {
        dx.fill(T::ZERO);
        return Ok(());
    }
    in_accumulator(dy, filters, dx, |dy, filters, dx| {
        if let Some([m, n, k]) = geometry.as_matrix_product() {
            let filters = Matrix::row_major(filters, n).transposed();
            return gemm_at(level, m, k, n, Matrix::row_major(dy, n), filters, Update::Assign, dx);
        }
        match input_gradient::Plan::new(geometry) {
            Some(plan) => plan.run(level, dy, filters, dx),
            None => {
                let image = Conv2dGeometry { batch: 1, ..*geometry };
                let (in_len, out_len) = (geometry.in_image_len(), geometry.out_image_len());
                for_each_chunk_mut(dx, in_len, |index, dx| {
                    let dy = &dy[index * out_len..][..out_len];
                    naive::conv2d_backprop_input(&image, dy, filters, dx);
                });
                Ok(())
            }
        }
    })
}

/// The gradient with respect to the filters of [`conv2d`]: `dy` is that of the output.
///
/// ```
/// # use tapeflow_kernels::conv::{Conv2dGeometry, conv2d_backprop_filter};
/// // The image, filter and output of the example of `conv2d`.
/// # let geometry = Conv2dGeometry {
/// #     batch: 1, in_h: 2, in_w: 3, in_c: 1, k_h: 2, k_w: 2, out_c: 1, out_h: 1, out_w: 2,
/// #     stride_h: 1, stride_w: 1, dilation_h: 1, dilation_w: 1, pad_top: 0, pad_left: 0, groups: 1,
/// # };
/// let mut dfilters = [0.0f32; 4];
/// conv2d_backprop_filter(&geometry, &[1., 2., 3., 4., 5., 6.], &[1., 10.], &mut dfilters)?;
/// assert_eq!(dfilters, [21.0, 32.0, 54.0, 65.0]);
/// # Ok::<(), tapeflow_kernels::buffer::AllocError>(())
/// ```
///
/// # Errors
/// [`AllocError`] when there is no memory for scratch space.
///
/// # Panics
/// If a slice does not have the length that the geometry says.
pub fn conv2d_backprop_filter<T: Number>(
    geometry: &Conv2dGeometry,
    x: &[T],
    dy: &[T],
    dfilters: &mut [T],
) -> Result<(), AllocError> {
    conv2d_backprop_filter_at(Level::best(), geometry, x, dy, dfilters)
}

/// As [`conv2d_backprop_filter`], with the instructions of the given level.
///
/// # Errors
/// As [`conv2d_backprop_filter`].
///
/// # Panics
/// As [`conv2d_backprop_filter`].
pub fn conv2d_backprop_filter_at<T: Number>(
    level: Level,
    geometry: &Conv2dGeometry,
    x: &[T],
    dy: &[T],
    dfilters: &mut [T],
) -> Result<(), AllocError> {
    geometry.check(x.len(), dfilters.len(), dy.len());
    if geometry.is_empty() {
        dfilters.fill(T::ZERO);
        return Ok(());
    }
    in_accumulator(x, dy, dfilters, |x, dy, dfilters| {
        if let Some([m, n, k]) = geometry.as_matrix_product() {
            let x = Matrix::row_major(x, k).transposed();
            return gemm_at(level, k, n, m, x, Matrix::row_major(dy, n), Update::Assign, dfilters);
        }
        match filter_gradient::Plan::new(geometry)? {
            Some(plan) => {
                let dy = filter_gradient::InMemory { geometry, dy };
                plan.run(level, &x, &dy, dfilters, &mut [])
            }
            None => {
                naive::conv2d_backprop_filter(geometry, x, dy, dfilters);
                Ok(())
            }
        }
    })
}

/// Runs a kernel in the accumulator type of `T`: on copies if that is another type.
fn in_accumulator<T: Number>(
    a: &[T],
    b: &[T],
    out: &mut [T],
    kernel: impl FnOnce(
        &[T::Accumulator],
        &[T::Accumulator],
        &mut [T::Accumulator],
    ) -> Result<(), AllocError>,
) -> Result<(), AllocError> {
    if TypeId::of::<T>() == TypeId::of::<T::Accumulator>() {
        // Casts of a type to itself.
        let (a, b) = (bytemuck::cast_slice(a), bytemuck::cast_slice(b));
        return kernel(a, b, bytemuck::cast_slice_mut(out));
    }
    let (a, b) = (widen(a)?, widen(b)?);
    let mut wide = Buffer::uninit_reused(size_of::<T::Accumulator>() * out.len())?;
    kernel(a.as_slice(), b.as_slice(), wide.as_mut_slice())?;
    for (out, &wide) in out.iter_mut().zip(wide.as_slice::<T::Accumulator>()) {
        *out = T::from_accumulator(wide);
    }
    Ok(())
}
