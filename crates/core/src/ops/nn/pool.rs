//! What the poolings share: their attributes and the geometry that follows.

use tapeflow_kernels::pool::Pool2dGeometry;

use crate::ops::nn::window::{Sweep, distance, permute, positions};
use crate::ops::nn::{DataFormat, Padding, PerAxis};
use crate::ops::prelude::*;

/// How a window of two axes is pooled: [`max_pool`](Pool2D::max_pool) and
/// [`avg_pool`](Pool2D::avg_pool) with all their arguments.
///
/// ```
/// use tapeflow_core::{DType, array};
/// use tapeflow_core::nn::{DataFormat, Padding, Pool2D};
///
/// let images = array::ones([1, 3, 8, 8], DType::Float32)?;
/// let pool = Pool2D { data_format: DataFormat::Nchw, ..Pool2D::new(2, 2, Padding::Same) };
/// assert_eq!(pool.max_pool(&images)?.shape().dims(), [1, 3, 4, 4]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Pool2D {
    /// Pixels of the window.
    pub ksize: PerAxis,
    /// Pixels from one position of the window to the next.
    pub strides: PerAxis,
    /// What surrounds the images.
    pub padding: Padding,
    /// Where the channels stand.
    pub data_format: DataFormat,
}

impl Pool2D {
    /// A pooling of NHWC images.
    pub fn new(
        ksize: impl Into<PerAxis>,
        strides: impl Into<PerAxis>,
        padding: impl Into<Padding>,
    ) -> Pool2D {
        Pool2D {
            ksize: ksize.into(),
            strides: strides.into(),
            padding: padding.into(),
            data_format: DataFormat::Nhwc,
        }
    }

    /// Applies the op that `op` makes of NHWC attributes to `input`, brought there and back.
    pub(super) fn apply<O: Op>(&self, input: &Tensor, op: impl Fn(Pool2D) -> O) -> Result<Tensor> {
        let format = self.data_format;
        let own = op(self.clone());
        if format == DataFormat::Nhwc {
            return apply(own, &[input]);
        }
        // Refusals are to speak of the caller's format.
        own.infer(&[*input.spec()])?;
        let nhwc = Pool2D {
            ksize: self.ksize.to_nhwc(own.name(), "ksize", format)?,
            strides: self.strides.to_nhwc(own.name(), "strides", format)?,
            padding: self.padding.to_nhwc(format),
            data_format: DataFormat::Nhwc,
        };
        let input = permute(input, format.to_nhwc())?;
        permute(&apply(op(nhwc), &[&input])?, format.order_from_nhwc())
    }

    /// What the kernels need to know, from the shape of the images; `op` is named in refusals.
    fn geometry(&self, op: &str, input: &Shape) -> Result<Pool2dGeometry> {
        let format = self.data_format;
        check_rank(op, "input", input, 4)?;
        let [batch, in_h, in_w, channels] = format.image(input);
        let [k_h, k_w] = self.ksize.spatial(op, "ksize", format)?;
        let [stride_h, stride_w] = self.strides.spatial(op, "strides", format)?;
        if let Padding::Explicit(pads) = self.padding {
            for (axis, window) in format.spatial_axes().into_iter().zip([k_h, k_w]) {
                if pads[axis].iter().any(|&pad| pad >= window as i64) {
                    return Err(Error::invalid_argument(format!(
                        "{op}: padding {pads:?} {format} must be smaller than the window \
                         {k_h} x {k_w}"
                    )));
                }
            }
        }
        let sweeps = [
            Sweep { input: in_h, window: k_h, dilation: 1, stride: stride_h },
            Sweep { input: in_w, window: k_w, dilation: 1, stride: stride_w },
        ];
        let positions = positions(op, sweeps, self.padding, format)?;
        let ([out_h, out_w], [pad_top, pad_left]) = (positions.output, positions.before);
        Ok(Pool2dGeometry {
            batch,
            in_h,
            in_w,
            channels,
            k_h,
            k_w,
            out_h,
            out_w,
            stride_h: distance(out_h, stride_h),
            stride_w: distance(out_w, stride_w),
            pad_top,
            pad_left,
        })
    }

    /// The shape of the output, in the data format.
    pub(super) fn output_shape(&self, op: &str, input: &Shape) -> Result<Shape> {
        let Pool2dGeometry { batch, out_h, out_w, channels, .. } = self.geometry(op, input)?;
        Ok(self.data_format.shape([batch, out_h, out_w, channels]))
    }

    /// The geometry for a kernel, which knows NHWC only.
    pub(super) fn kernel_geometry(&self, op: &str, input: &Shape) -> Result<Pool2dGeometry> {
        match self.data_format {
            DataFormat::Nhwc => self.geometry(op, input),
            format => Err(Error::unsupported(format!("{op}: {format} runs between transposes"))),
        }
    }
}
