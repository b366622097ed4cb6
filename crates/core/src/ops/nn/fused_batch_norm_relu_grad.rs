//! The gradient of batch normalisation, relu and max pooling as one op.

use tapeflow_kernels::batch_norm::{Statistics, Upstream};
use tapeflow_kernels::pool::Pool2dGeometry;

use crate::ops::nn::Pool2D;
use crate::ops::nn::fused_batch_norm::check_normalization;
use crate::ops::nn::fused_batch_norm_grad::gradients;
use crate::ops::nn::fused_conv2d::pool_geometry;
use crate::ops::nn::fused_pool_relu_grad::check_pooled;
use crate::ops::prelude::*;

/// The gradients of [`FusedBatchNormRelu`](crate::nn::FusedBatchNormRelu) with respect to `x`,
/// `scale` and `offset`. The inputs are the gradient with respect to `y`, then `x`, `scale`,
/// `offset`, the mean and one over the standard deviation by which `x` was normalised, and with a
/// pooling `argmax`. What comes to the normalised `x` is never in memory.
///
/// It has no gradient of its own, since passes run after differentiation.
///
/// ```
/// use tapeflow_core::execute::apply_all;
/// use tapeflow_core::nn::FusedBatchNormReluGrad;
/// use tapeflow_core::Tensor;
///
/// let dy = Tensor::from_slice(&[1.0f32, 2.0], [2, 1, 1, 1])?;
/// let x = Tensor::from_slice(&[1.0f32, 3.0], [2, 1, 1, 1])?;
/// let [scale, offset, mean, inverse] = [3.0f32, 0.0, 2.0, 1.0].map(|value| Tensor::from([value]));
/// let op = FusedBatchNormReluGrad { is_training: false, pool: None };
/// let gradients = apply_all(op, &[&dy, &x, &scale, &offset, &mean, &inverse])?;
/// assert_eq!(gradients[0].to_vec::<f32>()?, [0.0, 6.0]);
/// assert_eq!(gradients[1].to_vec::<f32>()?, [2.0]);
/// assert_eq!(gradients[2].to_vec::<f32>()?, [2.0]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct FusedBatchNormReluGrad {
    /// Whether the statistics are those of `x` and depend on it.
    pub is_training: bool,
    /// The max pooling, if there was one.
    pub pool: Option<Pool2D>,
}

impl Op for FusedBatchNormReluGrad {
    fn name(&self) -> &'static str {
        "nn.fused_batch_norm_relu_grad"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let (name, dy, x) = (self.name(), &inputs[0], &inputs[1]);
        check_same_dtype(name, dy, x)?;
        check_dtype(name, "x", x.dtype, DTypes::FLOATING)?;
        check_rank(name, "x", &x.shape, 4)?;
        if x.shape[3] == 0 || self.pool.is_none() && dy.shape != x.shape {
            return Err(Error::shape(format!("{name}: dy is {}, x is {}", dy.shape, x.shape)));
        }
        check_normalization(name, x, &inputs[2..])?;
        if let Some(pool) = &self.pool {
            pool_geometry(name, pool, &x.shape)?;
            check_pooled(name, dy, &inputs[6], &pool.output_shape(name, &x.shape)?)?;
        }
        Ok(vec![*x, inputs[2], inputs[2]])
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        dispatch!(float, inputs[0].dtype(), T => self.run_in::<T>(inputs, outputs))
    }

    fn gradient(&self) -> Gradient {
        Gradient::NotDifferentiable
    }
}

impl FusedBatchNormReluGrad {
    fn run_in<T: Float>(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        let pool = self.pool_geometry(inputs)?;
        let (upstream, statistics, scale) = self.arguments::<T>(inputs, pool.as_ref());
        let x = inputs[1].data();
        gradients(self.name(), self.is_training, upstream, x, statistics, scale, outputs)
    }

    /// How many inputs there are.
    pub(crate) fn num_inputs(&self) -> usize {
        6 + usize::from(self.pool.is_some())
    }

    pub(super) fn pool_geometry(&self, inputs: &[Array<'_>]) -> Result<Option<Pool2dGeometry>> {
        let geometry = |pool| pool_geometry(self.name(), pool, inputs[1].shape());
        self.pool.as_ref().map(geometry).transpose()
    }

    /// The inputs as kernels take them: what comes back to the normalised `x`, the statistics and the
    /// scale; `pool` is what [`pool_geometry`](Self::pool_geometry) returns.
    pub(super) fn arguments<'a, T: Float>(
        &self,
        inputs: &[Array<'a>],
        pool: Option<&'a Pool2dGeometry>,
    ) -> (Upstream<'a, T>, Statistics<'a, T::Accumulator>, &'a [T::Accumulator]) {
        let dy = inputs[0].data::<T>();
        let [scale, offset, mean, inverse_deviation] =
            [2, 3, 4, 5].map(|index| inputs[index].data::<T::Accumulator>());
        let upstream = match pool {
            Some(pool) => Upstream::ReluMaxPool { dy, places: inputs[6].data(), pool },
            None => Upstream::Relu { dy, scale, offset },
        };
        (upstream, Statistics { mean, inverse_deviation }, scale)
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
        let of = |shape: [usize; 4], dtype| zeros(shape, dtype).unwrap();
        let (x, dy) = (of([1, 4, 4, 2], DType::Float32), of([1, 2, 2, 2], DType::Float32));
        let number = zeros([2], DType::Float32).unwrap();
        let argmax = of([1, 2, 2, 1], DType::UInt8);
        let inputs = [&dy, &x, &number, &number, &number, &number, &argmax];
        let op = FusedBatchNormReluGrad { is_training: true, pool: None };
        assert_eq!(
            apply_all(op, &inputs[..6]).unwrap_err().to_string(),
            "nn.fused_batch_norm_relu_grad: dy is [1, 2, 2, 2], x is [1, 4, 4, 2]"
        );
        let pool = Some(Pool2D::new(2, 2, Padding::Valid));
        let op = FusedBatchNormReluGrad { is_training: true, pool };
        assert_eq!(
            apply_all(op, &inputs).unwrap_err().to_string(),
            "nn.fused_batch_norm_relu_grad: dy is [1, 2, 2, 2], argmax [1, 2, 2, 1], the pooled \
             output is [1, 2, 2, 2]"
        );
    }
}
