//! Batch normalisation, relu and max pooling as one op.

use tapeflow_kernels::batch_norm::{normalize_max_pool, normalize_relu};
use tapeflow_kernels::simd::Level;

use crate::ops::nn::conv2d::no_scratch;
use crate::ops::nn::fused_conv2d::pool_geometry;
use crate::ops::nn::{FusedBatchNorm, Pool2D};
use crate::ops::prelude::*;

/// [`FusedBatchNorm`], [`relu`](crate::nn::relu) and [`max_pool`](crate::nn::max_pool) in one pass,
/// for NHWC. A graph's passes put it in the place of the three; it can be applied by itself too.
/// `tf.raw_ops._FusedBatchNormEx` with the activation `Relu`.
///
/// Inputs and outputs are those of [`FusedBatchNorm`], but that `y` has been through what follows.
/// With a pooling there is one more output, `argmax`, as that of
/// [`FusedConv2D`](crate::nn::FusedConv2D).
/// [`FusedBatchNormReluGrad`](crate::nn::FusedBatchNormReluGrad) goes back. The results are those of
/// the three ops.
///
/// It has no gradient, since passes run after differentiation.
///
/// ```
/// use tapeflow_core::execute::apply_all;
/// use tapeflow_core::nn::{FusedBatchNorm, FusedBatchNormRelu};
/// use tapeflow_core::{DType, Tensor, array};
///
/// let x = Tensor::from_slice(&[1.0f32, 3.0], [2, 1, 1, 1])?;
/// let (one, none) = (Tensor::from([1.0f32]), array::zeros([0], DType::Float32)?);
/// let op = FusedBatchNormRelu { norm: FusedBatchNorm::default(), pool: None };
/// let outputs = apply_all(op, &[&x, &one, &Tensor::from([0.0f32]), &none, &none])?;
/// let y = outputs[0].to_vec::<f32>()?;
/// assert!(y[0] == 0.0 && (y[1] - 1.0).abs() < 1e-3);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct FusedBatchNormRelu {
    /// The normalisation.
    pub norm: FusedBatchNorm,
    /// The max pooling at the end, if there is one.
    pub pool: Option<Pool2D>,
}

impl Op for FusedBatchNormRelu {
    fn name(&self) -> &'static str {
        "nn.fused_batch_norm_relu"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let mut outputs = self.norm.infer_nhwc(self.name(), inputs)?;
        if let Some(pool) = &self.pool {
            pool_geometry(self.name(), pool, &inputs[0].shape)?;
            let shape = pool.output_shape(self.name(), &inputs[0].shape)?;
            outputs[0].shape = shape;
            outputs.push(Spec { shape, dtype: DType::UInt8 });
        }
        Ok(outputs)
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        dispatch!(float, inputs[0].dtype(), T => self.run_in::<T>(inputs, outputs))
    }

    fn gradient(&self) -> Gradient {
        Gradient::NotDifferentiable
    }
}

impl FusedBatchNormRelu {
    fn run_in<T: Float>(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()>
    where
        T::Accumulator: Float,
    {
        let name = self.name();
        let (first, rest) = outputs.split_at_mut(1);
        let (statistics, argmax) = rest.split_at_mut(4);
        let statistics = self.norm.statistics::<T>(name, inputs, statistics)?;
        let (x, y) = (inputs[0].data::<T>(), first[0].data::<T>());
        let (scale, offset) = (inputs[1].data(), inputs[2].data());
        let level = Level::best();
        let done = match (&self.pool, argmax) {
            (Some(pool), [argmax]) => {
                let pool = pool_geometry(name, pool, inputs[0].shape())?;
                let argmax = argmax.data::<u8>();
                normalize_max_pool(level, &pool, x, statistics, scale, offset, y, argmax)
            }
            _ => normalize_relu(level, x, statistics, scale, offset, y),
        };
        done.map_err(no_scratch(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execute::apply_all;
    use crate::ops::array::{cast, ones, zeros};
    use crate::ops::nn::{DataFormat, FusedBatchNormReluGrad, Padding, relu};
    use crate::{GradientTape, UnconnectedGradients};

    fn values(shape: [usize; 4], seed: f64, dtype: DType) -> Tensor {
        let len = shape.iter().product::<usize>();
        let values: Vec<f64> = (0..len).map(|i| (i as f64 * 1.7 + seed).sin()).collect();
        cast(Tensor::from_slice(&values, shape).unwrap(), dtype).unwrap()
    }

    fn compare(got: &Tensor, wanted: &Tensor, bound: f64) {
        assert_eq!(got.spec(), wanted.spec());
        let numbers =
            |x: &Tensor| cast(x, DType::Float64).unwrap().to_vec::<f64>().unwrap().into_iter();
        for (got, wanted) in numbers(got).zip(numbers(wanted)) {
            assert!((got - wanted).abs() <= bound * (1.0 + wanted.abs()), "{got} {wanted}");
        }
    }

    /// Forward and gradients, by the fused ops and by the tape.
    fn check(norm: FusedBatchNorm, pool: Option<Pool2D>, dtype: DType, bound: f64) {
        let x = values([3, 6, 6, 9], 0.0, dtype);
        let wide = crate::ops::nn::fused_batch_norm::statistics_dtype(dtype);
        let number = |seed| crate::array::reshape(values([9, 1, 1, 1], seed, wide), [9]).unwrap();
        let (scale, offset, mean) = (number(1.0), number(2.0), number(3.0));
        let variance = ones([9], wide).unwrap();
        let tape = GradientTape::new();
        [&x, &scale, &offset].into_iter().for_each(|source| tape.watch(source));
        let (y, new_mean, new_variance) =
            norm.call(&x, &scale, &offset, Some((&mean, &variance))).unwrap();
        let y = relu(y).unwrap();
        let y = pool.as_ref().map_or(Ok(y.clone()), |pool| pool.max_pool(&y)).unwrap();
        let dy = values([0, 1, 2, 3].map(|axis| y.shape()[axis]), 4.0, dtype);
        let sources = [&x, &scale, &offset];
        let gradients =
            tape.gradient_with(&[&y], &[&dy], &sources, UnconnectedGradients::None).unwrap();

        let op = FusedBatchNormRelu { norm, pool: pool.clone() };
        let outputs = apply_all(op, &[&x, &scale, &offset, &mean, &variance]).unwrap();
        for (got, wanted) in outputs.iter().zip([&y, &new_mean, &new_variance]) {
            compare(got, wanted, 0.0);
        }
        let is_training = norm.is_training;
        let mut inputs = vec![&dy, &x, &scale, &offset, &outputs[3], &outputs[4]];
        inputs.extend(outputs.get(5));
        let op = FusedBatchNormReluGrad { is_training, pool };
        let got = apply_all(op, &inputs).unwrap();
        for (got, wanted) in got.iter().zip(gradients) {
            compare(got, &wanted.unwrap(), bound);
        }
    }

    #[test]
    fn the_same_as_one_op_after_the_other() {
        let training = FusedBatchNorm { exponential_avg_factor: 0.1, ..Default::default() };
        let inference = FusedBatchNorm { is_training: false, ..Default::default() };
        for norm in [training, inference] {
            for pool in [
                None,
                Some(Pool2D::new(2, 2, Padding::Same)),
                Some(Pool2D::new(3, 2, Padding::Valid)),
            ] {
                check(norm, pool.clone(), DType::Float32, 1e-5);
                check(norm, pool.clone(), DType::Float64, 1e-12);
                check(norm, pool.clone(), DType::BFloat16, 2e-2);
                check(norm, pool, DType::Float16, 2e-3);
            }
        }
    }

    #[test]
    fn no_images() {
        let (x, one) = (zeros([0, 4, 4, 3], DType::Float32).unwrap(), [1.0f32; 3]);
        let [one, none] = [Tensor::from(one), zeros([0], DType::Float32).unwrap()];
        let norm = FusedBatchNorm::default();
        let pool = Some(Pool2D::new(2, 2, Padding::Same));
        let op = FusedBatchNormRelu { norm, pool: pool.clone() };
        let outputs = apply_all(op, &[&x, &one, &one, &none, &none]).unwrap();
        assert_eq!(outputs[0].shape().dims(), [0, 2, 2, 3]);
        assert!(outputs[1].to_vec::<f32>().unwrap()[0].is_nan());
        let op = FusedBatchNormReluGrad { is_training: true, pool };
        let inputs = [&outputs[0], &x, &one, &one, &outputs[3], &outputs[4], &outputs[5]];
        assert_eq!(apply_all(op, &inputs).unwrap()[2].to_vec::<f32>().unwrap(), [0.0; 3]);
    }

    #[test]
    fn refusals_name_the_argument() {
        let x = ones([1, 30, 30, 3], DType::Float32).unwrap();
        let one = ones([3], DType::Float32).unwrap();
        let refusal = |norm: FusedBatchNorm, size: i64| {
            let pool = Some(Pool2D::new(size, size, Padding::Same));
            let op = FusedBatchNormRelu { norm, pool };
            apply_all(op, &[&x, &one, &one, &one, &one]).unwrap_err().to_string()
        };
        assert_eq!(
            refusal(FusedBatchNorm::default(), 16),
            "nn.fused_batch_norm_relu: a window of 16 x 16 has more than 255 pixels"
        );
        let norm = FusedBatchNorm { data_format: DataFormat::Nchw, ..Default::default() };
        assert_eq!(refusal(norm, 2), "nn.fused_batch_norm_relu: NCHW runs between transposes");
    }
}
