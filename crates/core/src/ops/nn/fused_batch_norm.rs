//! Batch normalisation of images in one op.

use tapeflow_kernels::batch_norm::{Statistics, moments, normalize};
use tapeflow_kernels::simd::Level;

use crate::execute::apply_all;
use crate::ops::array::zeros;
use crate::ops::nn::conv2d::no_scratch;
use crate::ops::nn::window::permute;
use crate::ops::nn::{DataFormat, FusedBatchNormGrad};
use crate::ops::prelude::*;

/// TensorFlow takes no smaller epsilon.
const MIN_EPSILON: f64 = 1.001e-5;

/// The op of [`fused_batch_norm`]; [`call`](FusedBatchNorm::call) takes every attribute.
///
/// It runs on NHWC; [`call`](FusedBatchNorm::call) brings other formats there. Its inputs are `x`,
/// `scale`, `offset`, `mean` and `variance`; where the last two are not read they may be empty. Its
/// outputs are `y`, the mean and variance that [`call`](FusedBatchNorm::call) returns, and for the
/// gradient the mean and one over the standard deviation by which `x` was normalised.
/// `tf.raw_ops.FusedBatchNormV3`.
#[derive(Debug, Clone, Copy)]
pub struct FusedBatchNorm {
    /// Added to the variance, so that nothing is divided by zero; at least `1.001e-5` is.
    pub epsilon: f64,
    /// How much of the running statistics is replaced by those of the batch: 1 for all.
    pub exponential_avg_factor: f64,
    /// Where the channels stand.
    pub data_format: DataFormat,
    /// Whether `x` is normalised by its own statistics, or by those given.
    pub is_training: bool,
}

impl Default for FusedBatchNorm {
    /// Training, by statistics of the batch alone.
    fn default() -> FusedBatchNorm {
        FusedBatchNorm {
            epsilon: 1e-3,
            exponential_avg_factor: 1.0,
            data_format: DataFormat::Nhwc,
            is_training: true,
        }
    }
}

impl FusedBatchNorm {
    /// Normalised `x`, and the running mean and variance: those given as `running` where it is not
    /// training, else moved by `exponential_avg_factor` towards those of the batch.
    /// `tf.compat.v1.nn.fused_batch_norm` with all its arguments.
    ///
    /// # Errors
    /// As for [`fused_batch_norm`]; no `running` where it is needed.
    ///
    /// ```
    /// use tapeflow_core::Tensor;
    /// use tapeflow_core::nn::FusedBatchNorm;
    ///
    /// let x = Tensor::from_slice(&[1.0f32, 2.0], [1, 1, 1, 2])?;
    /// let (ones, zeros) = (Tensor::from([1.0f32, 1.0]), Tensor::from([0.0f32, 0.0]));
    /// let (mean, variance) = (Tensor::from([1.0f32, 0.0]), Tensor::from([4.0f32, 4.0]));
    /// let op = FusedBatchNorm { epsilon: 1e-4, is_training: false, ..Default::default() };
    /// let (y, _, _) = op.call(&x, &ones, &zeros, Some((&mean, &variance)))?;
    /// assert!((y.to_vec::<f32>()?[1] - 1.0).abs() < 1e-4);
    /// # Ok::<(), tapeflow_core::Error>(())
    /// ```
    pub fn call(
        self,
        x: impl Into<Tensor>,
        scale: impl Into<Tensor>,
        offset: impl Into<Tensor>,
        running: Option<(&Tensor, &Tensor)>,
    ) -> Result<(Tensor, Tensor, Tensor)> {
        let (x, scale, offset) = (x.into(), scale.into(), offset.into());
        let (mean, variance) = match running {
            Some((mean, variance)) => (mean.clone(), variance.clone()),
            None => {
                let none = zeros([0], scale.dtype())?;
                (none.clone(), none)
            }
        };
        // Refusals are to speak of the caller's format.
        self.infer(&[&x, &scale, &offset, &mean, &variance].map(|input| *input.spec()))?;
        let format = self.data_format;
        let nhwc = FusedBatchNorm { data_format: DataFormat::Nhwc, ..self };
        let x = if format == DataFormat::Nhwc { x } else { permute(&x, format.to_nhwc())? };
        let mut outputs = apply_all(nhwc, &[&x, &scale, &offset, &mean, &variance])?.into_iter();
        let (Some(y), Some(mean), Some(variance)) =
            (outputs.next(), outputs.next(), outputs.next())
        else {
            return Err(Error::unsupported(format!("{}: too few outputs", self.name())));
        };
        let back = format != DataFormat::Nhwc;
        let y = if back { permute(&y, format.order_from_nhwc())? } else { y };
        Ok((y, mean, variance))
    }

    /// The outputs' specs, for an op that runs on NHWC; `op` is named in the refusal of other formats.
    pub(super) fn infer_nhwc(&self, op: &str, inputs: &[Spec]) -> Result<Vec<Spec>> {
        self.check_nhwc(op)?;
        self.infer(inputs)
    }

    fn check_nhwc(&self, op: &str) -> Result<()> {
        match self.data_format {
            DataFormat::Nhwc => Ok(()),
            format => Err(Error::unsupported(format!("{op}: {format} runs between transposes"))),
        }
    }

    /// The epsilon that is added.
    fn epsilon(&self) -> f64 {
        self.epsilon.max(MIN_EPSILON)
    }

    /// Whether the running statistics are read.
    fn reads_running(&self) -> bool {
        !self.is_training || self.exponential_avg_factor != 1.0
    }
}

/// The dtype of the statistics of images of `dtype`.
pub(super) fn statistics_dtype(dtype: DType) -> DType {
    if dtype == DType::Float64 { dtype } else { DType::Float32 }
}

/// Refuses a number per channel that is of another dtype or shape.
pub(super) fn check_per_channel(
    op: &str,
    argument: &str,
    spec: &Spec,
    dtype: DType,
    channels: usize,
) -> Result<()> {
    if spec.dtype != dtype {
        return Err(Error::dtype(format!("{op}: {argument} is {}, must be {dtype}", spec.dtype)));
    }
    if spec.shape.dims() != [channels] {
        return Err(Error::shape(format!(
            "{op}: {argument} is {}, the input has {channels} channels",
            spec.shape
        )));
    }
    Ok(())
}

/// Refuses scale, offset, mean and one over the deviation, the first of `numbers`, that are not one for
/// each channel of NHWC images, or of another dtype than their statistics.
pub(super) fn check_normalization(op: &str, images: &Spec, numbers: &[Spec]) -> Result<()> {
    let names = ["scale", "offset", "mean", "inverse_deviation"];
    names.iter().zip(numbers).try_for_each(|(argument, spec)| {
        check_per_channel(op, argument, spec, statistics_dtype(images.dtype), images.shape[3])
    })
}

impl Op for FusedBatchNorm {
    fn name(&self) -> &'static str {
        "nn.fused_batch_norm"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let (name, x) = (self.name(), &inputs[0]);
        check_dtype(name, "x", x.dtype, DTypes::FLOATING)?;
        check_rank(name, "x", &x.shape, 4)?;
        let channels = x.shape[self.data_format.channel_axis(4)];
        if channels == 0 {
            return Err(Error::shape(format!("{name}: x has no channels, is {}", x.shape)));
        }
        let dtype = statistics_dtype(x.dtype);
        let arguments = ["scale", "offset", "mean", "variance"];
        for (index, (argument, spec)) in arguments.iter().zip(&inputs[1..]).enumerate() {
            let unread = index >= 2 && !self.reads_running();
            if !(unread && spec.shape.dims() == [0]) {
                check_per_channel(name, argument, spec, dtype, channels)?;
            }
        }
        let per_channel = Spec { shape: Shape::from([channels]), dtype };
        Ok(vec![*x, per_channel, per_channel, per_channel, per_channel])
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        self.check_nhwc(self.name())?;
        dispatch_wide!(float, self, inputs, outputs, inputs[0].dtype(), T => {
            self.run_in::<T>(inputs, outputs)
        })
    }

    fn gradient(&self) -> Gradient {
        let (is_training, epsilon) = (self.is_training, self.epsilon());
        let statistics = Saves::output(3).and(Saves::output(4));
        let saves = Saves::input(0).and(Saves::input(1)).and(statistics);
        Gradient::rule(saves, move |call, index| {
            // As in TensorFlow, none passes through the running statistics.
            let Some(upstream) = call.upstream_of(0).filter(|_| index < 3) else {
                return Ok(None);
            };
            let op = FusedBatchNormGrad { is_training, epsilon };
            let inputs = [upstream, call.input(0), call.input(1), call.output(3), call.output(4)];
            call.shared(|| apply_all(op, &inputs)).map(|gradients| Some(gradients[index].clone()))
        })
    }
}

impl FusedBatchNorm {
    fn run_in<T: Float>(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()>
    where
        T::Accumulator: Float,
    {
        let [y, statistics @ ..] = outputs else {
            return Err(Error::unsupported(format!("{}: too few outputs", self.name())));
        };
        let statistics = self.statistics::<T>(self.name(), inputs, statistics)?;
        let (scale, offset) = (inputs[1].data(), inputs[2].data());
        normalize(Level::best(), inputs[0].data(), statistics, scale, offset, y.data::<T>())
            .map_err(no_scratch(self.name()))
    }

    /// Computes the outputs behind `y`, and returns the last two, by which `x` is normalised; `op` is
    /// named in refusals.
    pub(super) fn statistics<'a, T: Float>(
        &self,
        op: &'static str,
        inputs: &[Array<'_>],
        outputs: &'a mut [ArrayMut<'_>],
    ) -> Result<Statistics<'a, T::Accumulator>>
    where
        T::Accumulator: Float,
    {
        let x = inputs[0].data::<T>();
        let given = |index: usize| inputs[index].data::<T::Accumulator>();
        let number = |value: f64| T::Accumulator::from_f64(value);
        let [new_mean, new_variance, mean, inverse, ..] = outputs else {
            return Err(Error::unsupported(format!("{op}: too few outputs")));
        };
        let (new_mean, new_variance) =
            (new_mean.data::<T::Accumulator>(), new_variance.data::<T::Accumulator>());
        let (mean, inverse) = (mean.data::<T::Accumulator>(), inverse.data::<T::Accumulator>());
        if self.is_training {
            moments(Level::best(), x, mean, inverse).map_err(no_scratch(op))?;
            // The variance that is kept is the unbiased one.
            let rows = (x.len() / mean.len()) as f64;
            let unbiased = number(rows / (rows - 1.0).max(1.0));
            let (share, rest) =
                (number(self.exponential_avg_factor), number(1.0 - self.exponential_avg_factor));
            let moved = |new: &mut [T::Accumulator], batch: &[T::Accumulator], old, factor| {
                for (index, (new, &batch)) in new.iter_mut().zip(batch).enumerate() {
                    let batch = batch.mul(factor);
                    *new = match self.reads_running() {
                        true => given(old)[index].mul(rest).add(batch.mul(share)),
                        false => batch,
                    };
                }
            };
            moved(new_mean, mean, 3, T::Accumulator::ONE);
            moved(new_variance, inverse, 4, unbiased);
        } else {
            new_mean.copy_from_slice(given(3));
            new_variance.copy_from_slice(given(4));
            mean.copy_from_slice(given(3));
            inverse.copy_from_slice(given(4));
        }
        let epsilon = number(self.epsilon());
        for variance in inverse.iter_mut() {
            *variance = variance.add(epsilon).sqrt().recip();
        }
        Ok(Statistics { mean, inverse_deviation: inverse })
    }
}

/// Images with each channel brought to mean 0 and variance 1 over the batch, then scaled and
/// shifted, for training; and the batch's mean and unbiased variance.
/// `tf.compat.v1.nn.fused_batch_norm`.
///
/// `x` is NHWC, `scale` and `offset` have a number for each channel, `float32` for the 16-bit
/// floats. TensorFlow takes no `float64`; it is taken here. No gradient passes through the second
/// and third result. [`FusedBatchNorm`] takes every attribute, and statistics for inference.
///
/// # Errors
/// `x` is not floating, has not four axes, or no channel; `scale` or `offset` of another dtype or
/// not a number for each channel.
///
/// ```
/// use tapeflow_core::{Tensor, nn};
///
/// let x = Tensor::from_slice(&[1.0f32, 3.0], [2, 1, 1, 1])?;
/// let (y, mean, variance) = nn::fused_batch_norm(&x, [1.0f32], [0.5f32])?;
/// assert!((y.to_vec::<f32>()?[1] - 1.5).abs() < 1e-3);
/// assert_eq!(mean.to_vec::<f32>()?, [2.0]);
/// assert_eq!(variance.to_vec::<f32>()?, [2.0]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn fused_batch_norm(
    x: impl Into<Tensor>,
    scale: impl Into<Tensor>,
    offset: impl Into<Tensor>,
) -> Result<(Tensor, Tensor, Tensor)> {
    FusedBatchNorm::default().call(x, scale, offset, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::array::{cast, ones};
    use crate::test::check_gradients;

    fn images(shape: [usize; 4]) -> Tensor {
        let len = shape.iter().product::<usize>();
        let values: Vec<f64> = (0..len).map(|i| (i as f64 * 1.7).sin() + 0.3).collect();
        Tensor::from_slice(&values, shape).unwrap()
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let (scale, offset) = (Tensor::from([1.5f64, -0.7]), Tensor::from([0.2f64, 0.4]));
        let (mean, variance) = (Tensor::from([0.1f64, 0.5]), Tensor::from([0.6f64, 1.3]));
        for (is_training, data_format, shape) in [
            (true, DataFormat::Nhwc, [2, 2, 3, 2]),
            (true, DataFormat::Nchw, [2, 2, 1, 3]),
            (false, DataFormat::Nhwc, [1, 2, 2, 2]),
        ] {
            let op = FusedBatchNorm { is_training, data_format, ..Default::default() };
            check_gradients(
                |x| Ok(op.call(&x[0], &x[1], &x[2], Some((&mean, &variance)))?.0),
                &[images(shape), scale.clone(), offset.clone()],
            );
        }
    }

    #[test]
    fn running_statistics_move_by_the_factor() {
        let x = Tensor::from_slice(&[1.0f32, 3.0], [2, 1, 1, 1]).unwrap();
        let op = FusedBatchNorm { exponential_avg_factor: 0.25, ..Default::default() };
        let (old_mean, old_variance) = (Tensor::from([4.0f32]), Tensor::from([10.0f32]));
        let running = Some((&old_mean, &old_variance));
        let (_, mean, variance) = op.call(&x, [1.0f32], [0.0f32], running).unwrap();
        assert_eq!(mean.to_vec::<f32>().unwrap(), [3.5]);
        assert_eq!(variance.to_vec::<f32>().unwrap(), [8.0]);
    }

    #[test]
    fn every_float_is_normalised() {
        for dtype in [DType::Float16, DType::BFloat16, DType::Float32, DType::Float64] {
            let x = cast(images([2, 3, 3, 1]), dtype).unwrap();
            let one = ones([1], statistics_dtype(dtype)).unwrap();
            let (y, _, _) = fused_batch_norm(&x, &one, &one).unwrap();
            assert_eq!(y.dtype(), dtype);
            let y = cast(y, DType::Float64).unwrap().to_vec::<f64>().unwrap();
            let mean = y.iter().sum::<f64>() / y.len() as f64;
            assert!((mean - 1.0).abs() < 1e-2, "{dtype}: {mean}");
        }
    }

    #[test]
    fn no_images_have_no_mean() {
        let x = zeros([0, 2, 2, 3], DType::Float32).unwrap();
        let (y, mean, _) = fused_batch_norm(&x, [1.0f32; 3], [1.0f32; 3]).unwrap();
        assert_eq!(y.shape().dims(), [0, 2, 2, 3]);
        assert!(mean.to_vec::<f32>().unwrap()[0].is_nan());
    }

    #[test]
    fn refusals_name_the_argument() {
        let x = ones([1, 2, 2, 3], DType::Float32).unwrap();
        assert_eq!(
            fused_batch_norm(&x, [1.0f32; 2], [1.0f32; 3]).unwrap_err().to_string(),
            "nn.fused_batch_norm: scale is [2], the input has 3 channels"
        );
        assert_eq!(
            fused_batch_norm(&x, [1.0f32; 3], [1.0f64; 3]).unwrap_err().to_string(),
            "nn.fused_batch_norm: offset is float64, must be float32"
        );
        let op = FusedBatchNorm { is_training: false, ..Default::default() };
        assert_eq!(
            op.call(&x, [1.0f32; 3], [1.0f32; 3], None).unwrap_err().to_string(),
            "nn.fused_batch_norm: mean is [0], the input has 3 channels"
        );
        assert!(fused_batch_norm([1.0f32], [1.0f32], [1.0f32]).unwrap_err().is_shape());
    }
}
