//! The gradients of a convolution with batch normalisation, relu and max pooling as one op.

use tapeflow_kernels::conv::normalized::{
    Input, ResultGradient, ToImages, conv2d_backprop_normalized, takes_gradients,
};
use tapeflow_kernels::element::{Float, Number};
use tapeflow_kernels::simd::Level;

use crate::ops::nn::conv2d::no_scratch;
use crate::ops::nn::fused_batch_norm::check_normalization;
use crate::ops::nn::fused_batch_norm_conv2d::{DTYPES, normalization};
use crate::ops::nn::fused_batch_norm_grad::scale_and_offset_sums;
use crate::ops::nn::{Conv2D, FusedBatchNormReluGrad};
use crate::ops::prelude::*;

/// The gradients of a [`conv2d`](crate::nn::conv2d) whose result is normalised, goes through relu and,
/// perhaps, max pooling, for NHWC: with respect to the filters, to scale and offset, and, if asked for,
/// to the images. A graph's passes put it in the place of [`FusedBatchNormReluGrad`] and the
/// convolution's two gradients. That with respect to the convolution's result is never in memory as a
/// whole.
///
/// The inputs are those of [`FusedBatchNormReluGrad`], whose `x` is the convolution's result; the
/// images; if the convolution normalised these as it read them
/// ([`FusedBatchNormConv2D`](crate::nn::FusedBatchNormConv2D)), their scale, offset, mean and one over
/// the standard deviation; and for the gradient with respect to the images the filters. `float32` or
/// `float64`. The results are those of the ops that it stands for, to the last bit.
///
/// Refused is what [`FusedBatchNormConv2D`](crate::nn::FusedBatchNormConv2D) refuses; fewer than 8 images,
/// or filters of more than 2 MiB, whose gradients are not computed image by image; output channels that
/// are no multiple of 16; and strides, where there is a gradient with respect to the images.
///
/// It has no gradient of its own, since passes run after differentiation.
///
/// ```
/// use tapeflow_core::execute::apply_all;
/// use tapeflow_core::nn::{Conv2D, FusedBatchNormReluGrad, FusedConv2DBatchNormGrad, Padding};
/// use tapeflow_core::{DType, Shape, Tensor, array};
///
/// let images = array::ones([8, 1, 3, 1], DType::Float32)?;
/// let x = array::ones([8, 1, 2, 16], DType::Float32)?;
/// let dy = x.clone();
/// let number = |value: f32| Tensor::from([value; 16]);
/// let [scale, offset, mean, inverse] = [2.0, 1.0, 0.0, 1.0].map(number);
/// let op = FusedConv2DBatchNormGrad {
///     conv: Conv2D::new(1, Padding::Valid),
///     norm: FusedBatchNormReluGrad { is_training: false, pool: None },
///     filters_shape: Shape::from([1, 2, 1, 16]),
///     normalized_images: false,
///     to_images: false,
/// };
/// let gradients = apply_all(op, &[&dy, &x, &scale, &offset, &mean, &inverse, &images])?;
/// assert_eq!(gradients[0].to_vec::<f32>()?, [32.0; 32]);
/// assert_eq!(gradients[1].to_vec::<f32>()?, [16.0; 16]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct FusedConv2DBatchNormGrad {
    /// The convolution.
    pub conv: Conv2D,
    /// The way back through what followed it.
    pub norm: FusedBatchNormReluGrad,
    /// The shape of the filters.
    pub filters_shape: Shape,
    /// Whether the convolution normalised the images as it read them.
    pub normalized_images: bool,
    /// Whether there is a gradient with respect to the images as the convolution saw them.
    pub to_images: bool,
}

/// The inputs, each where it belongs.
struct Parts<'a, I> {
    norm: &'a [I],
    images: &'a I,
    /// Of the images.
    numbers: &'a [I],
    filters: Option<&'a I>,
}

impl FusedConv2DBatchNormGrad {
    fn parts<'a, I>(&self, inputs: &'a [I]) -> Parts<'a, I> {
        let (norm, rest) = inputs.split_at(self.norm.num_inputs());
        let (images, rest) = rest.split_at(1);
        let (numbers, filters) = rest.split_at(if self.normalized_images { 4 } else { 0 });
        let filters = self.to_images.then(|| &filters[0]);
        Parts { norm, images: &images[0], numbers, filters }
    }
}

impl Op for FusedConv2DBatchNormGrad {
    fn name(&self) -> &'static str {
        "nn.fused_conv2d_batch_norm_grad"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let (name, Parts { norm, images, numbers, filters }) = (self.name(), self.parts(inputs));
        let (x, shape) = (&norm[1], self.filters_shape);
        check_dtype(name, "x", x.dtype, DTYPES)?;
        check_same_dtype(name, x, images)?;
        if let Some(filters) = filters {
            check_same_dtype(name, x, filters)?;
            if filters.shape != shape {
                let filters = filters.shape;
                return Err(Error::shape(format!("{name}: filters are {filters}, not {shape}")));
            }
        }
        let of_norm = self.norm.infer(norm)?;
        let geometry = self.conv.kernel_geometry(name, &images.shape, &shape)?;
        let output = Shape::from([geometry.batch, geometry.out_h, geometry.out_w, geometry.out_c]);
        if x.shape != output {
            let x = &x.shape;
            return Err(Error::shape(format!("{name}: x is {x}, the convolution has {output}")));
        }
        check_normalization(name, images, numbers)?;
        if !takes_gradients(&geometry, self.to_images) {
            let end = if self.to_images { " and the images" } else { "" };
            return Err(Error::unsupported(format!(
                "{name}: the gradients of a convolution of {} with {shape}, for the filters{end}, are \
                 not computed image by image: apply the ops one by one",
                images.shape
            )));
        }
        let mut outputs = vec![Spec { shape, ..*x }, of_norm[1], of_norm[2]];
        outputs.extend(self.to_images.then_some(*images));
        Ok(outputs)
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        dispatch_wide!(float, self, inputs, outputs, inputs[0].dtype(), T => {
            self.run_in::<T>(inputs, outputs)
        })
    }

    fn gradient(&self) -> Gradient {
        Gradient::NotDifferentiable
    }
}

impl FusedConv2DBatchNormGrad {
    fn run_in<T: Float + Number<Accumulator = T>>(
        &self,
        inputs: &[Array<'_>],
        outputs: &mut [ArrayMut<'_>],
    ) -> Result<()> {
        let (name, Parts { norm, images, numbers, filters }) = (self.name(), self.parts(inputs));
        let too_few = || Error::unsupported(format!("{name}: too few outputs"));
        let [dfilters, dscale, doffset, dimages @ ..] = outputs else {
            return Err(too_few());
        };
        let geometry = self.conv.kernel_geometry(name, images.shape(), &self.filters_shape)?;
        let pool = self.norm.pool_geometry(norm)?;
        let (dy, statistics, scale) = self.norm.arguments::<T>(norm, pool.as_ref());
        let x = norm[1].data();
        let is_training = self.norm.is_training;
        let sums = scale_and_offset_sums(name, is_training, dy, x, statistics, dscale, doffset)?;
        let images = match self.normalized_images {
            true => Input::NormalizedRelu(normalization(images, numbers)),
            false => Input::Plain(images.data()),
        };
        let to_images = match (filters, dimages) {
            (None, _) => None,
            (Some(filters), [dimages, ..]) => {
                Some(ToImages { filters: filters.data(), dimages: dimages.data() })
            }
            (Some(_), []) => return Err(too_few()),
        };
        let dy = ResultGradient { dy, x, statistics, scale, sums };
        let dfilters = dfilters.data();
        conv2d_backprop_normalized(Level::best(), &geometry, images, dy, dfilters, to_images)
            .map_err(no_scratch(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execute::apply_all;
    use crate::ops::array::ones;
    use crate::ops::nn::Padding;

    /// What is wrong with a call.
    #[derive(Clone, Copy)]
    struct Call {
        rows: usize,
        filters: [usize; 4],
        numbers: usize,
        dtype: DType,
    }

    /// Nothing but that there is only one image.
    const ONE_IMAGE: Call =
        Call { rows: 4, filters: [3, 3, 2, 16], numbers: 2, dtype: DType::Float32 };

    fn refusal(Call { rows, filters, numbers, dtype }: Call) -> String {
        let of = |shape: [usize; 4]| ones(shape, dtype).unwrap();
        let per_channel = |channels: usize| ones([channels], DType::Float32).unwrap();
        let (dy, images, filters) = (of([1, 4, 4, 16]), of([1, rows, 4, 2]), of(filters));
        let op = FusedConv2DBatchNormGrad {
            conv: Conv2D::new(1, Padding::Same),
            norm: FusedBatchNormReluGrad { is_training: true, pool: None },
            filters_shape: Shape::from(ONE_IMAGE.filters),
            normalized_images: true,
            to_images: true,
        };
        let (scale, number) = (per_channel(16), per_channel(numbers));
        let norm = [&dy, &dy, &scale, &scale, &scale, &scale];
        let rest = [&images, &number, &number, &number, &number, &filters];
        apply_all(op, &[norm, rest].concat()).unwrap_err().to_string()
    }

    #[test]
    fn refusals_name_the_shapes() {
        for (call, wanted) in [
            (
                Call { rows: 5, ..ONE_IMAGE },
                "x is [1, 4, 4, 16], the convolution has [1, 5, 4, 16]",
            ),
            (
                Call { filters: [5, 3, 2, 16], ..ONE_IMAGE },
                "filters are [5, 3, 2, 16], not [3, 3, 2, 16]",
            ),
            (Call { numbers: 3, ..ONE_IMAGE }, "scale is [3], the input has 2 channels"),
            (
                Call { dtype: DType::BFloat16, ..ONE_IMAGE },
                "x is bfloat16, must be one of float32, float64",
            ),
            (
                ONE_IMAGE,
                "the gradients of a convolution of [1, 4, 4, 2] with [3, 3, 2, 16], for the filters \
                 and the images, are not computed image by image: apply the ops one by one",
            ),
        ] {
            assert_eq!(refusal(call), format!("nn.fused_conv2d_batch_norm_grad: {wanted}"));
        }
    }
}
