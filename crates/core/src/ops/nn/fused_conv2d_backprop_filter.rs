//! The gradients of a fused convolution with respect to filters and bias as one op.

use tapeflow_kernels::conv::fused;
use tapeflow_kernels::simd::Level;

use crate::ops::nn::conv2d::no_scratch;
use crate::ops::nn::fused_conv2d::pool_geometry;
use crate::ops::nn::fused_pool_relu_grad::check_pooled;
use crate::ops::nn::{Conv2D, Pool2D};
use crate::ops::prelude::*;

/// The gradients of a pooled [`FusedConv2D`](crate::nn::FusedConv2D) with respect to its filters
/// and its bias. The inputs are the images, the gradient with respect to `y` and `argmax`. For a
/// layer whose input needs no gradient: that with respect to the convolution's result is never in
/// memory.
///
/// It has no gradient of its own, since passes run after differentiation.
///
/// ```
/// use tapeflow_core::execute::apply_all;
/// use tapeflow_core::nn::{Conv2D, FusedConv2DBackpropFilter, Padding, Pool2D};
/// use tapeflow_core::{Shape, Tensor};
///
/// let images = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0], [1, 2, 2, 1])?;
/// let dy = Tensor::from_slice(&[10.0f32], [1, 1, 1, 1])?;
/// let argmax = Tensor::from_slice(&[3u8], [1, 1, 1, 1])?;
/// let op = FusedConv2DBackpropFilter {
///     filters_shape: Shape::from([1, 1, 1, 1]),
///     conv: Conv2D::new(1, Padding::Same),
///     pool: Pool2D::new(2, 2, Padding::Valid),
/// };
/// let gradients = apply_all(op, &[&images, &dy, &argmax])?;
/// assert_eq!(gradients[0].to_vec::<f32>()?, [40.0]);
/// assert_eq!(gradients[1].to_vec::<f32>()?, [10.0]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct FusedConv2DBackpropFilter {
    /// The shape of the filters.
    pub filters_shape: Shape,
    /// The convolution.
    pub conv: Conv2D,
    /// The max pooling.
    pub pool: Pool2D,
}

impl Op for FusedConv2DBackpropFilter {
    fn name(&self) -> &'static str {
        "nn.fused_conv2d_backprop_filter"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let (input, dy) = (&inputs[0], &inputs[1]);
        check_same_dtype(self.name(), input, dy)?;
        self.conv.kernel_geometry(self.name(), &input.shape, &self.filters_shape)?;
        let conv = self.conv.output_shape(self.name(), &input.shape, &self.filters_shape)?;
        pool_geometry(self.name(), &self.pool, &conv)?;
        let output = self.pool.output_shape(self.name(), &conv)?;
        check_pooled(self.name(), dy, &inputs[2], &output)?;
        let bias = Shape::from([self.filters_shape[3]]);
        Ok(vec![Spec { shape: self.filters_shape, ..*dy }, Spec { shape: bias, ..*dy }])
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        let (input, dy, argmax) = (inputs[0], inputs[1], inputs[2]);
        let name = self.name();
        let conv = self.conv.kernel_geometry(name, input.shape(), &self.filters_shape)?;
        let shape = Shape::from([conv.batch, conv.out_h, conv.out_w, conv.out_c]);
        let pool = pool_geometry(name, &self.pool, &shape)?;
        let (first, rest) = outputs.split_at_mut(1);
        dispatch_wide!(float, self, inputs, outputs, input.dtype(), T => {
            fused::conv2d_backprop_filter_pooled(
                Level::best(),
                &conv,
                &pool,
                input.data::<T>(),
                dy.data::<T>(),
                argmax.data::<u8>(),
                first[0].data::<T>(),
                rest[0].data::<T>(),
            )
            .map_err(no_scratch(name))
        })
    }

    fn gradient(&self) -> Gradient {
        Gradient::NotDifferentiable
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execute::apply_all;
    use crate::ops::array::zeros;
    use crate::ops::nn::Padding;

    #[test]
    fn refusals_name_the_shapes() {
        let op = FusedConv2DBackpropFilter {
            filters_shape: Shape::from([3, 3, 1, 2]),
            conv: Conv2D::new(1, Padding::Same),
            pool: Pool2D::new(2, 2, Padding::Valid),
        };
        let of = |shape: [usize; 4], dtype| zeros(shape, dtype).unwrap();
        let (x, dy) = (of([1, 4, 4, 1], DType::Float32), of([1, 4, 4, 2], DType::Float32));
        let argmax = of([1, 2, 2, 2], DType::UInt8);
        assert_eq!(
            apply_all(op, &[&x, &dy, &argmax]).unwrap_err().to_string(),
            "nn.fused_conv2d_backprop_filter: dy is [1, 4, 4, 2], argmax [1, 2, 2, 2], the pooled \
             output is [1, 2, 2, 2]"
        );
    }
}
