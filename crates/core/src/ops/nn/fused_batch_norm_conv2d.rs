//! Normalisation, relu and a convolution as one op.

use tapeflow_kernels::batch_norm::Statistics;
use tapeflow_kernels::conv::normalized::{Normalization, conv2d_normalized, takes};
use tapeflow_kernels::element::{Float, Number};
use tapeflow_kernels::simd::Level;

use crate::ops::nn::Conv2D;
use crate::ops::nn::conv2d::no_scratch;
use crate::ops::nn::fused_batch_norm::check_normalization;
use crate::ops::prelude::*;

/// The dtypes whose statistics are of the same dtype. What is normalised in another one is rounded before
/// it is convolved.
pub(super) const DTYPES: DTypes = DTypes::of(&[DType::Float32, DType::Float64]);

/// [`conv2d`](crate::nn::conv2d) of images that are normalised, and go through
/// [`relu`](crate::nn::relu), as it reads them, for NHWC. A graph's passes put it in the place of the
/// three; it can be applied by itself too. What the convolution sees is never in memory as a whole.
///
/// The inputs are the images as they are before all this; their scale, offset, mean and one over the
/// standard deviation, as [`FusedBatchNormRelu`](crate::nn::FusedBatchNormRelu) has them, a number for
/// each channel; and the filters. `float32` or `float64`. The results are those of the three ops, to the
/// last bit. Refused are convolutions that read no windows of the images: those that are matrix products
/// (1x1 filters without a stride, or filters as large as the images, without padding), that have groups,
/// that are mostly padding, or that have nothing to convolve.
///
/// It has no gradient, since passes run after differentiation.
///
/// ```
/// use tapeflow_core::execute::apply;
/// use tapeflow_core::nn::{Conv2D, FusedBatchNormConv2D, Padding};
/// use tapeflow_core::Tensor;
///
/// let images = Tensor::from_slice(&[0.0f32, 2.0, 4.0, 6.0], [1, 2, 2, 1])?;
/// let filters = Tensor::from_slice(&[1.0f32, 10.0], [1, 2, 1, 1])?;
/// let numbers = [2.0f32, 1.0, 2.0, 0.5].map(|number| Tensor::from([number]));
/// let [scale, offset, mean, inverse] = &numbers;
/// let op = FusedBatchNormConv2D { conv: Conv2D::new(1, Padding::Same) };
/// let y = apply(op, &[&images, scale, offset, mean, inverse, &filters])?;
/// assert_eq!(y.to_vec::<f32>()?, [10.0, 1.0, 53.0, 5.0]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct FusedBatchNormConv2D {
    /// The convolution.
    pub conv: Conv2D,
}

impl Op for FusedBatchNormConv2D {
    fn name(&self) -> &'static str {
        "nn.fused_batch_norm_conv2d"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let (name, x, filters) = (self.name(), &inputs[0], &inputs[5]);
        check_dtype(name, "input", x.dtype, DTYPES)?;
        check_same_dtype(name, x, filters)?;
        let geometry = self.conv.kernel_geometry(name, &x.shape, &filters.shape)?;
        check_normalization(name, x, &inputs[1..5])?;
        if !takes(&geometry) {
            return Err(Error::unsupported(format!(
                "{name}: a convolution of {} with {} reads no windows: apply the ops one by one",
                x.shape, filters.shape
            )));
        }
        let shape = self.conv.output_shape(name, &x.shape, &filters.shape)?;
        Ok(vec![Spec { shape, ..*x }])
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        let (x, filters) = (inputs[0], inputs[5]);
        let geometry = self.conv.kernel_geometry(self.name(), x.shape(), filters.shape())?;
        dispatch_wide!(float, self, inputs, outputs, x.dtype(), T => {
            let x = normalization::<T>(&x, &inputs[1..5]);
            let y = outputs[0].data();
            conv2d_normalized(Level::best(), &geometry, x, filters.data(), y)
                .map_err(no_scratch(self.name()))
        })
    }

    fn gradient(&self) -> Gradient {
        Gradient::NotDifferentiable
    }
}

/// Images and the four numbers of each of their channels, as kernels take them.
pub(super) fn normalization<'a, T: Float + Number<Accumulator = T>>(
    images: &Array<'a>,
    numbers: &[Array<'a>],
) -> Normalization<'a, T> {
    let [scale, offset, mean, inverse_deviation] = [0, 1, 2, 3].map(|i| numbers[i].data());
    let statistics = Statistics { mean, inverse_deviation };
    Normalization { x: images.data(), statistics, scale, offset }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execute::apply_all;
    use crate::ops::array::ones;
    use crate::ops::nn::{DataFormat, Padding};

    #[test]
    fn refusals_name_the_argument() {
        let same = || Conv2D::new(1, Padding::Same);
        let nchw = Conv2D { data_format: DataFormat::Nchw, ..same() };
        for (conv, dtype, numbers, filter_side, wanted) in [
            (same(), DType::Float32, 3, 3, "scale is [3], the input has 2 channels"),
            (same(), DType::Float16, 2, 3, "input is float16, must be one of float32, float64"),
            (
                same(),
                DType::Float32,
                2,
                1,
                "a convolution of [1, 4, 4, 2] with [1, 1, 2, 3] reads no windows: apply the ops one \
                 by one",
            ),
            (nchw, DType::Float32, 2, 3, "NCHW runs between transposes"),
        ] {
            let of = |shape: [usize; 4]| ones(shape, dtype).unwrap();
            let (images, filters) = (of([1, 4, 4, 2]), of([filter_side, filter_side, 2, 3]));
            let number = ones([numbers], DType::Float32).unwrap();
            let inputs = [&images, &number, &number, &number, &number, &filters];
            let refusal = apply_all(FusedBatchNormConv2D { conv }, &inputs).unwrap_err();
            assert_eq!(refusal.to_string(), format!("nn.fused_batch_norm_conv2d: {wanted}"));
        }
    }
}
