//! Two-dimensional convolution.

use tapeflow_kernels::AllocError;
use tapeflow_kernels::conv::{self, Conv2dGeometry};

use crate::ops::array::reshape;
use crate::ops::nn::window::{Sweep, distance, permute, positions};
use crate::ops::nn::{Conv2DBackpropFilter, Conv2DBackpropInput, DataFormat, Padding, PerAxis};
use crate::ops::prelude::*;

/// Those that TensorFlow convolves on a CPU.
pub(super) const DTYPES: DTypes = DTypes::FLOATING.or(DTypes::of(&[DType::Int32]));

/// The op of [`conv2d`]; [`call`](Conv2D::call) takes every attribute.
///
/// It runs on NHWC; [`call`](Conv2D::call) brings other formats there.
#[derive(Debug, Clone, PartialEq)]
pub struct Conv2D {
    /// Pixels from one position of the filters to the next.
    pub strides: PerAxis,
    /// What surrounds the images.
    pub padding: Padding,
    /// Where the channels stand.
    pub data_format: DataFormat,
    /// Pixels from one tap of the filters to the next.
    pub dilations: PerAxis,
}

impl Conv2D {
    /// A convolution of NHWC images, without dilation.
    pub fn new(strides: impl Into<PerAxis>, padding: impl Into<Padding>) -> Conv2D {
        Conv2D {
            strides: strides.into(),
            padding: padding.into(),
            data_format: DataFormat::Nhwc,
            dilations: PerAxis::default(),
        }
    }

    /// The convolution of `input` with `filters`. `tf.nn.conv2d` with all its arguments.
    ///
    /// # Errors
    /// As for [`conv2d`].
    ///
    /// ```
    /// use tapeflow_core::{DType, array};
    /// use tapeflow_core::nn::{Conv2D, DataFormat, Padding};
    ///
    /// let images = array::ones([1, 1, 5, 5], DType::Float32)?;
    /// let filters = array::ones([3, 3, 1, 1], DType::Float32)?;
    /// let y = Conv2D {
    ///     data_format: DataFormat::Nchw,
    ///     dilations: 2.into(),
    ///     ..Conv2D::new(1, Padding::Valid)
    /// }
    /// .call(&images, &filters)?;
    /// assert_eq!(y.shape().dims(), [1, 1, 1, 1]);
    /// assert_eq!(y.to_vec::<f32>()?, [9.0]);
    /// # Ok::<(), tapeflow_core::Error>(())
    /// ```
    pub fn call(self, input: impl Into<Tensor>, filters: impl Into<Tensor>) -> Result<Tensor> {
        let (input, filters) = (input.into(), filters.into());
        if let Some((batch, image)) = split_batch(input.shape()) {
            let rows = Shape::from([batch.num_elements(), image[0], image[1], image[2]]);
            let output = self.call(reshape(&input, rows)?, &filters)?;
            let dims = [batch.dims(), &output.shape()[1..]].concat();
            return reshape(&output, Shape::new(&dims)?);
        }
        if self.data_format == DataFormat::Nhwc {
            return apply(self, &[&input, &filters]);
        }
        // Refusals are to speak of the caller's format.
        self.infer(&[*input.spec(), *filters.spec()])?;
        let format = self.data_format;
        let input = permute(&input, format.to_nhwc())?;
        permute(&apply(self.nhwc()?, &[&input, &filters])?, format.order_from_nhwc())
    }

    /// The same convolution of images in NHWC.
    fn nhwc(&self) -> Result<Conv2D> {
        let (op, format) = (self.name(), self.data_format);
        Ok(Conv2D {
            strides: self.strides.to_nhwc(op, "strides", format)?,
            padding: self.padding.to_nhwc(format),
            data_format: DataFormat::Nhwc,
            dilations: self.dilations.to_nhwc(op, "dilations", format)?,
        })
    }

    /// What the kernels need to know, from the shapes of images and filters; `op` is named in
    /// refusals.
    pub(super) fn geometry(
        &self,
        op: &str,
        input: &Shape,
        filters: &Shape,
    ) -> Result<Conv2dGeometry> {
        let format = self.data_format;
        check_rank(op, "input", input, 4)?;
        check_rank(op, "filters", filters, 4)?;
        let refuse = |why: String| {
            Err(Error::shape(format!(
                "{op}: {why} (input {input} {format}, filters {filters} HWIO)"
            )))
        };
        let [batch, in_h, in_w, in_c] = format.image(input);
        let [k_h, k_w, depth, out_c] = [0, 1, 2, 3].map(|axis| filters[axis]);
        if filters.num_elements() == 0 {
            return refuse("filters are empty".into());
        }
        let groups = in_c / depth;
        if groups * depth != in_c || groups == 0 || out_c % groups != 0 {
            return refuse(format!("input has {in_c} channels, filters expect {depth}"));
        }
        let [stride_h, stride_w] = self.strides.spatial(op, "strides", format)?;
        let [dilation_h, dilation_w] = self.dilations.spatial(op, "dilations", format)?;
        let sweeps = [
            Sweep { input: in_h, window: k_h, dilation: dilation_h, stride: stride_h },
            Sweep { input: in_w, window: k_w, dilation: dilation_w, stride: stride_w },
        ];
        let positions = positions(op, sweeps, self.padding, format)?;
        let ([out_h, out_w], [pad_top, pad_left]) = (positions.output, positions.before);
        Ok(Conv2dGeometry {
            batch,
            in_h,
            in_w,
            in_c,
            k_h,
            k_w,
            out_c,
            out_h,
            out_w,
            stride_h: distance(out_h, stride_h),
            stride_w: distance(out_w, stride_w),
            dilation_h: distance(k_h, dilation_h),
            dilation_w: distance(k_w, dilation_w),
            pad_top,
            pad_left,
            groups,
        })
    }

    /// The shape of the output, in the data format.
    pub(super) fn output_shape(&self, op: &str, input: &Shape, filters: &Shape) -> Result<Shape> {
        let geometry = self.geometry(op, input, filters)?;
        let Conv2dGeometry { batch, out_h, out_w, out_c, .. } = geometry;
        Ok(self.data_format.shape([batch, out_h, out_w, out_c]))
    }

    /// The geometry for a kernel, which knows NHWC only.
    pub(super) fn kernel_geometry(
        &self,
        op: &str,
        input: &Shape,
        filters: &Shape,
    ) -> Result<Conv2dGeometry> {
        match self.data_format {
            DataFormat::Nhwc => self.geometry(op, input, filters),
            format => Err(Error::unsupported(format!("{op}: {format} runs between transposes"))),
        }
    }
}

/// Where there are more than four axes, those of the batch and the last three.
fn split_batch(shape: &Shape) -> Option<(Shape, [usize; 3])> {
    let (batch, &image) = shape.split_last_chunk::<3>()?;
    let batch = (batch.len() > 1).then(|| Shape::new(batch).expect("a part of a shape"))?;
    Some((batch, image))
}

/// The error of a kernel that found no memory for its scratch space.
pub(super) fn no_scratch(op: &'static str) -> impl Fn(AllocError) -> Error {
    move |_| Error::resource_exhausted(format!("{op}: no memory for scratch space"))
}

impl Op for Conv2D {
    fn name(&self) -> &'static str {
        "nn.conv2d"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let (input, filters) = (&inputs[0], &inputs[1]);
        check_same_dtype(self.name(), input, filters)?;
        check_dtype(self.name(), "input", input.dtype, DTYPES)?;
        let shape = self.output_shape(self.name(), &input.shape, &filters.shape)?;
        Ok(vec![Spec { shape, ..*input }])
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        let (input, filters) = (inputs[0], inputs[1]);
        let geometry = self.kernel_geometry(self.name(), input.shape(), filters.shape())?;
        dispatch_wide!(product, self, inputs, outputs, input.dtype(), T => {
            let (input, output) = (input.data::<T>(), outputs[0].data::<T>());
            if input.is_empty() || output.is_empty() {
                output.fill(T::ZERO);
                return Ok(());
            }
            conv::conv2d(&geometry, input, filters.data(), output).map_err(no_scratch(self.name()))
        })
    }

    fn gradient(&self) -> Gradient {
        let conv = self.clone();
        Gradient::rule(Saves::INPUTS, move |call, index| {
            let (input, filters, upstream) = (call.input(0), call.input(1), call.upstream());
            let conv = conv.clone();
            match index {
                0 => {
                    let op = Conv2DBackpropInput { input_shape: *input.shape(), conv };
                    apply(op, &[filters, upstream]).map(Some)
                }
                _ => {
                    let op = Conv2DBackpropFilter { filters_shape: *filters.shape(), conv };
                    apply(op, &[input, upstream]).map(Some)
                }
            }
        })
    }
}

/// The convolution of NHWC images with filters. `tf.nn.conv2d`.
///
/// `input` is `[batch, height, width, in_channels]`, `filters` are
/// `[height, width, in_channels / groups, out_channels]`, the result is
/// `[batch, height, width, out_channels]`; as many groups of channels as `in_channels` is a
/// multiple of the filters'. Filters are not mirrored. More axes in front of the last three are
/// all of the batch. `strides` is a number, `[height, width]` or a list for every axis. Along each
/// axis the result has `ceil(input / stride)` pixels with [`Padding::Same`],
/// `ceil((input - filter + 1) / stride)` with [`Padding::Valid`].
///
/// [`Conv2D`] takes NCHW and dilations besides.
///
/// # Errors
/// Dtypes that differ or are neither floating nor `int32`; shapes without four axes; channels that
/// do not fit; empty filters, or filters larger than the padded image; strides, dilations or
/// padding that are out of range or not 1 (0 for padding) for batch and channels.
///
/// ```
/// use tapeflow_core::{DType, array, nn};
/// use tapeflow_core::nn::Padding;
///
/// let images = array::ones([1, 28, 28, 1], DType::Float32)?;
/// let filters = array::ones([3, 3, 1, 32], DType::Float32)?;
/// assert_eq!(nn::conv2d(&images, &filters, 3, Padding::Same)?.shape().dims(), [1, 10, 10, 32]);
/// assert_eq!(nn::conv2d(&images, &filters, 3, Padding::Valid)?.shape().dims(), [1, 9, 9, 32]);
///
/// let images = array::ones([1, 28, 28, 3], DType::Float32)?;
/// assert_eq!(
///     nn::conv2d(&images, &filters, 1, Padding::Same).unwrap_err().to_string(),
///     "nn.conv2d: input has 3 channels, filters expect 1 \
///      (input [1, 28, 28, 3] NHWC, filters [3, 3, 1, 32] HWIO)",
/// );
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn conv2d(
    input: impl Into<Tensor>,
    filters: impl Into<Tensor>,
    strides: impl Into<PerAxis>,
    padding: impl Into<Padding>,
) -> Result<Tensor> {
    Conv2D::new(strides, padding).call(input, filters)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GradientTape;
    use crate::ops::array::{cast, ones, zeros};
    use crate::test::check_gradients;

    fn values(shape: &[usize], phase: f64) -> Tensor {
        let shape = Shape::new(shape).unwrap();
        let values: Vec<f64> =
            (0..shape.num_elements()).map(|i| (i as f64 * 1.7 + phase).sin()).collect();
        Tensor::from_slice(&values, shape).unwrap()
    }

    fn floats(shape: &[usize]) -> Tensor {
        ones(Shape::new(shape).unwrap(), DType::Float32).unwrap()
    }

    fn refusal(conv: Conv2D, input: &[usize], filters: &[usize]) -> String {
        conv.call(floats(input), floats(filters)).unwrap_err().to_string()
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let check = |conv: Conv2D, input: &[usize], filters: &[usize]| {
            let inputs = [values(input, 0.0), values(filters, 1.0)];
            check_gradients(|x| conv.clone().call(&x[0], &x[1]), &inputs);
        };
        let explicit = [[0, 0], [1, 0], [0, 2], [0, 0]];
        check(Conv2D::new(1, Padding::Same), &[2, 3, 4, 2], &[3, 2, 2, 2]);
        check(Conv2D::new([2, 1], Padding::Valid), &[1, 5, 3, 1], &[2, 2, 1, 2]);
        check(Conv2D::new(2, explicit), &[1, 3, 3, 2], &[2, 2, 2, 1]);
        check(Conv2D::new(1, Padding::Same), &[1, 3, 3, 4], &[2, 2, 2, 2]);
        let dilated = Conv2D { dilations: [2, 1].into(), ..Conv2D::new(1, Padding::Same) };
        check(dilated, &[1, 4, 3, 1], &[2, 2, 1, 1]);
        let channels_first =
            Conv2D { data_format: DataFormat::Nchw, ..Conv2D::new([1, 1, 2, 1], Padding::Same) };
        check(channels_first, &[1, 2, 3, 4], &[2, 3, 2, 1]);
    }

    #[test]
    fn filters_are_not_mirrored() {
        let image = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0], [1, 1, 4, 1]).unwrap();
        let filters = Tensor::from_slice(&[1.0f32, 10.0, 100.0], [1, 3, 1, 1]).unwrap();
        let y = conv2d(&image, &filters, 1, Padding::Same).unwrap();
        assert_eq!(y.to_vec::<f32>().unwrap(), [210.0, 321.0, 432.0, 43.0]);
        let y = conv2d(&image, &filters, 2, Padding::Same).unwrap();
        assert_eq!(y.to_vec::<f32>().unwrap(), [321.0, 43.0]);
    }

    #[test]
    fn groups_see_their_own_channels() {
        let image = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0], [1, 1, 1, 4]).unwrap();
        let filters = Tensor::from_slice(&[1.0f32, 1.0, 1.0, 10.0], [1, 1, 2, 2]).unwrap();
        let y = conv2d(&image, &filters, 1, Padding::Valid).unwrap();
        assert_eq!(y.to_vec::<f32>().unwrap(), [3.0, 43.0]);
    }

    #[test]
    fn channels_first_is_a_transposed_channels_last() {
        let pads = [[0, 0], [0, 0], [1, 2], [3, 0]];
        let conv = Conv2D { data_format: DataFormat::Nchw, ..Conv2D::new([1, 1, 2, 3], pads) };
        let (input, filters) = (values(&[2, 3, 5, 6], 0.0), values(&[2, 3, 3, 4], 1.0));
        let y = conv.call(&input, &filters).unwrap();
        assert_eq!(y.shape().dims(), [2, 4, 4, 3]);
        let last = permute(&input, DataFormat::Nchw.to_nhwc()).unwrap();
        let pads = [[0, 0], [1, 2], [3, 0], [0, 0]];
        let want = conv2d(&last, &filters, [2, 3], pads).unwrap();
        let want = permute(&want, DataFormat::Nchw.order_from_nhwc()).unwrap();
        assert_eq!(y.to_vec::<f64>().unwrap(), want.to_vec::<f64>().unwrap());
    }

    #[test]
    fn every_dtype_convolves() {
        for dtype in DType::ALL.into_iter().filter(|&dtype| DTYPES.contains(dtype)) {
            let of = |shape: [usize; 4]| ones(shape, dtype).unwrap();
            let y = conv2d(of([1, 3, 3, 2]), of([3, 3, 2, 1]), 1, Padding::Same).unwrap();
            let y = cast(y, DType::Int32).unwrap().to_vec::<i32>().unwrap();
            assert_eq!(y, [8, 12, 8, 12, 18, 12, 8, 12, 8], "{dtype}");
        }
        let x = ones([1, 1, 1, 1], DType::Int64).unwrap();
        assert!(conv2d(&x, &x, 1, Padding::Same).unwrap_err().is_dtype());
    }

    #[test]
    fn all_axes_before_the_image_are_the_batch() {
        let y = conv2d(floats(&[2, 3, 5, 5, 1]), floats(&[2, 2, 1, 4]), 2, Padding::Same).unwrap();
        assert_eq!(y.shape().dims(), [2, 3, 3, 3, 4]);
    }

    #[test]
    fn an_empty_batch_has_gradients() {
        let (input, filters) = (floats(&[0, 4, 4, 1]), floats(&[2, 2, 1, 3]));
        let tape = GradientTape::new();
        tape.watch(&filters);
        let y = conv2d(&input, &filters, 1, Padding::Same).unwrap();
        assert_eq!(y.shape().dims(), [0, 4, 4, 3]);
        let gradient = tape.gradient(&y, &filters).unwrap().unwrap();
        assert_eq!(gradient.to_vec::<f32>().unwrap(), [0.0; 12]);
        let large = zeros([0, 1 << 28, 1 << 28, 1], DType::Float32).unwrap();
        assert!(conv2d(large, &filters, 1, Padding::Same).is_ok());
    }

    #[test]
    fn refusals_name_shapes_and_format() {
        let same = || Conv2D::new(1, Padding::Same);
        assert_eq!(
            refusal(same(), &[4, 4, 1], &[3, 3, 1, 2]),
            "nn.conv2d: input must have 4 axes, has shape [4, 4, 1]"
        );
        assert_eq!(
            refusal(same(), &[1, 4, 4, 0], &[3, 3, 1, 2]),
            "nn.conv2d: input has 0 channels, filters expect 1 \
             (input [1, 4, 4, 0] NHWC, filters [3, 3, 1, 2] HWIO)"
        );
        assert_eq!(
            refusal(same(), &[1, 4, 4, 1], &[0, 3, 1, 2]),
            "nn.conv2d: filters are empty (input [1, 4, 4, 1] NHWC, filters [0, 3, 1, 2] HWIO)"
        );
        let channels_first = Conv2D { data_format: DataFormat::Nchw, ..same() };
        assert_eq!(
            refusal(channels_first, &[1, 3, 4, 4], &[3, 3, 2, 2]),
            "nn.conv2d: input has 3 channels, filters expect 2 \
             (input [1, 3, 4, 4] NCHW, filters [3, 3, 2, 2] HWIO)"
        );
        assert!(
            refusal(Conv2D::new([2, 2, 2, 2], Padding::Same), &[1, 4, 4, 1], &[3, 3, 1, 2])
                .starts_with("nn.conv2d: strides [2, 2, 2, 2] NHWC: must be 1 on the axes of")
        );
        let dilated = Conv2D { dilations: 100.into(), ..Conv2D::new(1, Padding::Valid) };
        assert_eq!(
            refusal(dilated, &[2, 8, 8, 4], &[3, 3, 4, 6]),
            "nn.conv2d: a window of 3 with dilation 100 and stride 1 does not fit height 8, \
             padding VALID"
        );
        let (x, w) = (floats(&[1, 1, 1, 1]), zeros([1, 1, 1, 1], DType::Float64).unwrap());
        assert!(conv2d(x, w, 1, Padding::Same).unwrap_err().is_dtype());
    }

    #[test]
    fn hostile_attributes_are_errors_or_small() {
        let (x, w) = (floats(&[1, 4, 4, 1]), floats(&[3, 3, 1, 1]));
        for large in [i64::MAX, i64::MAX / 2, 1 << 62, 1 << 40] {
            let y = conv2d(&x, &w, large, Padding::Same).unwrap();
            assert_eq!(y.shape().dims(), [1, 1, 1, 1]);
            let pads = [[0, 0], [large, large], [0, 0], [0, 0]];
            assert!(conv2d(&x, &w, 1, pads).is_err());
            let pads = [[0, 0], [large / 4, 0], [0, 0], [0, 0]];
            assert!(conv2d(&x, &w, large, pads).is_ok());
            for padding in [Padding::Same, Padding::Valid] {
                let dilated = Conv2D { dilations: large.into(), ..Conv2D::new(1, padding) };
                if let Ok(y) = dilated.call(&x, &w) {
                    assert_eq!(y.shape().dims(), [1, 4, 4, 1]);
                    // Only the middle tap meets the image.
                    assert_eq!(y.to_vec::<f32>().unwrap(), [1.0; 16]);
                }
            }
        }
    }
}
