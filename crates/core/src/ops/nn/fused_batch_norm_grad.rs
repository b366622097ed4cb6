//! The gradient of fused batch normalisation.

use tapeflow_kernels::batch_norm::{Statistics, Upstream, normalize_grad, normalize_grad_sums};
use tapeflow_kernels::simd::Level;

use crate::ops::Axes;
use crate::ops::array::cast;
use crate::ops::math::{add, divide, multiply, reduce_mean, reduce_sum, sqrt, square, subtract};
use crate::ops::nn::conv2d::no_scratch;
use crate::ops::nn::fused_batch_norm::{check_per_channel, statistics_dtype};
use crate::ops::prelude::*;
use crate::tape::{GradientTape, UnconnectedGradients};

/// The gradients of [`fused_batch_norm`](crate::nn::fused_batch_norm) with respect to `x`, `scale`
/// and `offset`, for NHWC. The inputs are the gradient with respect to `y`, then `x`, `scale`, and
/// the mean and one over the standard deviation by which `x` was normalised.
/// `tf.raw_ops.FusedBatchNormGradV3`.
///
/// ```
/// use tapeflow_core::execute::apply_all;
/// use tapeflow_core::nn::FusedBatchNormGrad;
/// use tapeflow_core::Tensor;
///
/// let dy = Tensor::from_slice(&[1.0f32, 2.0], [2, 1, 1, 1])?;
/// let x = Tensor::from_slice(&[1.0f32, 3.0], [2, 1, 1, 1])?;
/// let [scale, mean, inverse] = [3.0f32, 2.0, 1.0].map(|value| Tensor::from([value]));
/// let op = FusedBatchNormGrad { is_training: false, epsilon: 1e-3 };
/// let gradients = apply_all(op, &[&dy, &x, &scale, &mean, &inverse])?;
/// assert_eq!(gradients[0].to_vec::<f32>()?, [3.0, 6.0]);
/// assert_eq!(gradients[1].to_vec::<f32>()?, [1.0]);
/// assert_eq!(gradients[2].to_vec::<f32>()?, [3.0]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct FusedBatchNormGrad {
    /// Whether the statistics are those of `x` and depend on it.
    pub is_training: bool,
    /// What was added to the variance.
    pub epsilon: f64,
}

impl FusedBatchNormGrad {
    /// The same three gradients, written with the public ops: what the second order is taken of.
    /// The statistics are computed anew in training, where they depend on `x`.
    fn composed(&self, [dy, x, scale, mean, inverse]: [&Tensor; 5]) -> Result<Vec<Tensor>> {
        let dtype = scale.dtype();
        let (wide_dy, wide_x) = (cast(dy, dtype)?, cast(x, dtype)?);
        let rows = Axes::from([0, 1, 2]);
        let (mean, inverse) = if self.is_training {
            let mean = reduce_mean(&wide_x, rows.clone())?;
            let variance = reduce_mean(square(subtract(&wide_x, &mean)?)?, rows.clone())?;
            let deviation = sqrt(add(variance, cast(self.epsilon, dtype)?)?)?;
            (mean, divide(cast(1.0f64, dtype)?, deviation)?)
        } else {
            (mean.clone(), inverse.clone())
        };
        let normalized = multiply(subtract(&wide_x, mean)?, &inverse)?;
        let products = multiply(&wide_dy, &normalized)?;
        let mut rest = wide_dy.clone();
        if self.is_training {
            rest = subtract(rest, reduce_mean(&wide_dy, rows.clone())?)?;
            let slope = reduce_mean(&products, rows.clone())?;
            rest = subtract(rest, multiply(normalized, slope)?)?;
        }
        let dx = multiply(rest, multiply(scale, inverse)?)?;
        let (dscale, doffset) = (reduce_sum(products, rows.clone())?, reduce_sum(wide_dy, rows)?);
        Ok(vec![cast(dx, x.dtype())?, dscale, doffset])
    }

    fn run_in<T: Float>(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()>
    where
        T::Accumulator: Float,
    {
        let given = |index: usize| inputs[index].data::<T::Accumulator>();
        let statistics = Statistics { mean: given(3), inverse_deviation: given(4) };
        let (dy, x) = (Upstream::Given(inputs[0].data()), inputs[1].data::<T>());
        gradients(self.name(), self.is_training, dy, x, statistics, given(2), outputs)
    }
}

/// The gradients with respect to `x`, scale and offset into `outputs`; `op` is named in refusals.
pub(super) fn gradients<T: Float>(
    op: &'static str,
    is_training: bool,
    dy: Upstream<'_, T>,
    x: &[T],
    statistics: Statistics<'_, T::Accumulator>,
    scale: &[T::Accumulator],
    outputs: &mut [ArrayMut<'_>],
) -> Result<()> {
    let [dx, dscale, doffset] = outputs else {
        return Err(Error::unsupported(format!("{op}: too few outputs")));
    };
    let sums = scale_and_offset_sums(op, is_training, dy, x, statistics, dscale, doffset)?;
    normalize_grad(Level::best(), dy, x, statistics, scale, sums, dx.data::<T>())
        .map_err(no_scratch(op))
}

/// The gradients with respect to scale and offset into two outputs, and both again where that with
/// respect to `x` depends on them.
pub(super) fn scale_and_offset_sums<'a, T: Float>(
    op: &'static str,
    is_training: bool,
    dy: Upstream<'_, T>,
    x: &[T],
    statistics: Statistics<'_, T::Accumulator>,
    dscale: &'a mut ArrayMut<'_>,
    doffset: &'a mut ArrayMut<'_>,
) -> Result<Option<[&'a [T::Accumulator]; 2]>> {
    let (dscale, doffset) = (dscale.data::<T::Accumulator>(), doffset.data::<T::Accumulator>());
    normalize_grad_sums(Level::best(), dy, x, statistics, dscale, doffset)
        .map_err(no_scratch(op))?;
    Ok(is_training.then_some([dscale, doffset]))
}

impl Op for FusedBatchNormGrad {
    fn name(&self) -> &'static str {
        "nn.fused_batch_norm_grad"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let (name, dy, x) = (self.name(), &inputs[0], &inputs[1]);
        check_same_dtype(name, dy, x)?;
        check_dtype(name, "x", x.dtype, DTypes::FLOATING)?;
        check_rank(name, "x", &x.shape, 4)?;
        if dy.shape != x.shape || x.shape[3] == 0 {
            return Err(Error::shape(format!("{name}: dy is {}, x is {}", dy.shape, x.shape)));
        }
        for (argument, spec) in ["scale", "mean", "inverse_deviation"].iter().zip(&inputs[2..]) {
            check_per_channel(name, argument, spec, statistics_dtype(x.dtype), x.shape[3])?;
        }
        Ok(vec![*x, inputs[2], inputs[2]])
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        dispatch_wide!(float, self, inputs, outputs, inputs[0].dtype(), T => {
            self.run_in::<T>(inputs, outputs)
        })
    }

    fn gradient(&self) -> Gradient {
        let op = *self;
        Gradient::rule(Saves::INPUTS, move |call, index| {
            // The statistics are not free: in training `x` decides them, else they are constant.
            if index > 2 {
                return Ok(None);
            }
            let inputs = [0, 1, 2, 3, 4].map(|index| call.input(index));
            let gradients = call.shared(|| {
                let tape = GradientTape::new();
                inputs[..3].iter().for_each(|input| tape.watch(*input));
                let outputs = op.composed(inputs)?;
                let reached: Vec<_> = outputs
                    .iter()
                    .enumerate()
                    .filter_map(|(i, y)| Some((y, call.upstream_of(i)?)))
                    .collect();
                let (targets, upstreams): (Vec<_>, Vec<_>) = reached.into_iter().unzip();
                let zero = UnconnectedGradients::Zero;
                let gradients = tape.gradient_with(&targets, &upstreams, &inputs[..3], zero)?;
                Ok(gradients.into_iter().flatten().collect())
            })?;
            Ok(Some(gradients[index].clone()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execute::apply_all;
    use crate::ops::array::ones;
    use crate::test::check_gradients;

    fn values(shape: [usize; 4], phase: f64) -> Tensor {
        let len = shape.iter().product::<usize>();
        let values: Vec<f64> = (0..len).map(|i| (i as f64 * 1.3 + phase).sin()).collect();
        Tensor::from_slice(&values, shape).unwrap()
    }

    #[test]
    fn the_composed_gradients_are_the_same() {
        let inputs =
            [values([2, 3, 1, 2], 0.0), values([2, 3, 1, 2], 1.0), Tensor::from([1.5f64, -0.7])];
        let (mean, variance) = crate::nn::moments(&inputs[1], [0, 1, 2]).unwrap();
        let inverse = divide(1.0f64, sqrt(add(variance, 1e-3f64).unwrap()).unwrap()).unwrap();
        for is_training in [true, false] {
            let op = FusedBatchNormGrad { is_training, epsilon: 1e-3 };
            let inputs = [&inputs[0], &inputs[1], &inputs[2], &mean, &inverse];
            let (fused, composed) = (apply_all(op, &inputs).unwrap(), op.composed(inputs).unwrap());
            for (fused, composed) in fused.iter().zip(&composed) {
                let (fused, composed) = (fused.to_vec::<f64>(), composed.to_vec::<f64>());
                for (fused, composed) in fused.unwrap().iter().zip(composed.unwrap()) {
                    assert!((fused - composed).abs() < 1e-12, "{fused} {composed}");
                }
            }
        }
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        // With given statistics; those of training depend on x and are checked with the forward op.
        let (mean, inverse) = (Tensor::from([0.1f64, 0.5]), Tensor::from([0.6f64, 1.3]));
        let op = FusedBatchNormGrad { is_training: false, epsilon: 1e-3 };
        let inputs =
            [values([1, 2, 2, 2], 0.0), values([1, 2, 2, 2], 1.0), Tensor::from([1.5f64, -0.7])];
        for output in 0..3 {
            check_gradients(
                |x| Ok(apply_all(op, &[&x[0], &x[1], &x[2], &mean, &inverse])?.swap_remove(output)),
                &inputs,
            );
        }
    }

    #[test]
    fn refusals_name_the_argument() {
        let x = ones([1, 2, 2, 3], DType::Float32).unwrap();
        let (three, two) = (ones([3], DType::Float32).unwrap(), ones([2], DType::Float32).unwrap());
        let op = FusedBatchNormGrad { is_training: true, epsilon: 1e-3 };
        assert_eq!(
            apply_all(op, &[&x, &x, &three, &two, &three]).unwrap_err().to_string(),
            "nn.fused_batch_norm_grad: mean is [2], the input has 3 channels"
        );
    }
}
