//! The gradient of max pooling, relu and bias as one op.

use tapeflow_kernels::conv::fused;
use tapeflow_kernels::simd::Level;

use crate::ops::nn::Pool2D;
use crate::ops::nn::conv2d::no_scratch;
use crate::ops::nn::fused_conv2d::pool_geometry;
use crate::ops::prelude::*;

/// The gradients of what follows the convolution in a pooled
/// [`FusedConv2D`](crate::nn::FusedConv2D). The inputs are the gradient with respect to `y` and
/// `argmax`; the outputs are those with respect to the convolution's result and to the bias, which
/// is the sum of the first over all but the channels.
///
/// It has no gradient of its own, since passes run after differentiation.
///
/// ```
/// use tapeflow_core::execute::apply_all;
/// use tapeflow_core::nn::{FusedPoolReluGrad, Padding, Pool2D};
/// use tapeflow_core::{Shape, Tensor};
///
/// let dy = Tensor::from_slice(&[1.0f32, 2.0], [1, 1, 2, 1])?;
/// let argmax = Tensor::from_slice(&[2u8, 255], [1, 1, 2, 1])?;
/// let pool = Pool2D::new(2, 2, Padding::Valid);
/// let op = FusedPoolReluGrad { input_shape: Shape::from([1, 2, 4, 1]), pool };
/// let gradients = apply_all(op, &[&dy, &argmax])?;
/// assert_eq!(gradients[0].to_vec::<f32>()?, [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
/// assert_eq!(gradients[1].to_vec::<f32>()?, [1.0]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct FusedPoolReluGrad {
    /// The shape of the convolution's result.
    pub input_shape: Shape,
    /// The max pooling.
    pub pool: Pool2D,
}

impl Op for FusedPoolReluGrad {
    fn name(&self) -> &'static str {
        "nn.fused_pool_relu_grad"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let dy = &inputs[0];
        pool_geometry(self.name(), &self.pool, &self.input_shape)?;
        let output = self.pool.output_shape(self.name(), &self.input_shape)?;
        check_pooled(self.name(), dy, &inputs[1], &output)?;
        let bias = Shape::from([self.input_shape[3]]);
        Ok(vec![Spec { shape: self.input_shape, ..*dy }, Spec { shape: bias, ..*dy }])
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        let geometry = pool_geometry(self.name(), &self.pool, &self.input_shape)?;
        let (first, rest) = outputs.split_at_mut(1);
        dispatch_wide!(float, self, inputs, outputs, inputs[0].dtype(), T => {
            let (dx, dbias) = (first[0].data::<T>(), rest[0].data::<T>());
            let (dy, argmax) = (inputs[0].data::<T>(), inputs[1].data::<u8>());
            fused::relu_max_pool_grad(Level::best(), &geometry, dy, argmax, dx, dbias)
                .map_err(no_scratch(self.name()))
        })
    }

    fn gradient(&self) -> Gradient {
        Gradient::NotDifferentiable
    }
}

/// Refuses a gradient and places that are not those of a pooling's output.
pub(super) fn check_pooled(op: &str, dy: &Spec, argmax: &Spec, output: &Shape) -> Result<()> {
    check_dtype(op, "dy", dy.dtype, DTypes::FLOATING)?;
    check_dtype(op, "argmax", argmax.dtype, DTypes::of(&[DType::UInt8]))?;
    if dy.shape != *output || argmax.shape != *output {
        return Err(Error::shape(format!(
            "{op}: dy is {}, argmax {}, the pooled output is {output}",
            dy.shape, argmax.shape
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execute::apply_all;
    use crate::ops::array::zeros;
    use crate::ops::nn::Padding;

    #[test]
    fn refusals_name_the_shapes() {
        let op = || FusedPoolReluGrad {
            input_shape: Shape::from([1, 4, 4, 2]),
            pool: Pool2D::new(2, 2, Padding::Valid),
        };
        let dy = zeros([1, 2, 2, 2], DType::Float32).unwrap();
        let argmax = zeros([1, 2, 2, 1], DType::UInt8).unwrap();
        assert_eq!(
            apply_all(op(), &[&dy, &argmax]).unwrap_err().to_string(),
            "nn.fused_pool_relu_grad: dy is [1, 2, 2, 2], argmax [1, 2, 2, 1], the pooled output \
             is [1, 2, 2, 2]"
        );
        assert!(apply_all(op(), &[&dy, &dy]).unwrap_err().is_dtype());
    }
}
