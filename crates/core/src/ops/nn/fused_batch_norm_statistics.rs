//! The statistics of a batch normalisation alone.

use crate::ops::nn::FusedBatchNorm;
use crate::ops::prelude::*;

/// All outputs of [`FusedBatchNorm`] but `y`, for NHWC: where the ops that follow normalise `x`
/// themselves as they read it ([`FusedBatchNormConv2D`](crate::nn::FusedBatchNormConv2D)). The inputs are
/// those of [`FusedBatchNorm`], scale and offset too, which nothing depends on here.
///
/// It has no gradient, since passes run after differentiation.
///
/// ```
/// use tapeflow_core::execute::apply_all;
/// use tapeflow_core::nn::{FusedBatchNorm, FusedBatchNormStatistics};
/// use tapeflow_core::{DType, Tensor, array};
///
/// let x = Tensor::from_slice(&[1.0f32, 3.0], [2, 1, 1, 1])?;
/// let (one, none) = (Tensor::from([1.0f32]), array::zeros([0], DType::Float32)?);
/// let op = FusedBatchNormStatistics { norm: FusedBatchNorm::default() };
/// let outputs = apply_all(op, &[&x, &one, &one, &none, &none])?;
/// assert_eq!(outputs[0].to_vec::<f32>()?, [2.0]);
/// assert_eq!(outputs[1].to_vec::<f32>()?, [2.0]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct FusedBatchNormStatistics {
    /// The normalisation.
    pub norm: FusedBatchNorm,
}

impl Op for FusedBatchNormStatistics {
    fn name(&self) -> &'static str {
        "nn.fused_batch_norm_statistics"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let mut outputs = self.norm.infer_nhwc(self.name(), inputs)?;
        outputs.remove(0);
        Ok(outputs)
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        dispatch!(float, inputs[0].dtype(), T => {
            self.norm.statistics::<T>(self.name(), inputs, outputs).map(|_| ())
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
    use crate::ops::array::{cast, ones};
    use crate::ops::nn::DataFormat;

    #[test]
    fn those_of_the_normalisation() {
        let values: Vec<f32> = (0..90).map(|i| (i as f32 * 1.7).sin()).collect();
        let x = Tensor::from_slice(&values, [2, 3, 3, 5]).unwrap();
        let one = ones([5], DType::Float32).unwrap();
        let training = FusedBatchNorm { exponential_avg_factor: 0.1, ..Default::default() };
        let inference = FusedBatchNorm { is_training: false, ..Default::default() };
        for dtype in [DType::Float32, DType::BFloat16] {
            let x = cast(&x, dtype).unwrap();
            let inputs = [&x, &one, &one, &one, &one];
            for norm in [training, inference] {
                let got = apply_all(FusedBatchNormStatistics { norm }, &inputs).unwrap();
                let wanted = apply_all(norm, &inputs).unwrap();
                assert_eq!(got.len() + 1, wanted.len());
                for (got, wanted) in got.iter().zip(&wanted[1..]) {
                    assert_eq!(got.to_vec::<f32>().unwrap(), wanted.to_vec::<f32>().unwrap());
                }
            }
        }
    }

    #[test]
    fn refusals_name_the_format() {
        let x = ones([1, 2, 2, 2], DType::Float32).unwrap();
        let one = ones([2], DType::Float32).unwrap();
        let norm = FusedBatchNorm { data_format: DataFormat::Nchw, ..Default::default() };
        let op = FusedBatchNormStatistics { norm };
        assert_eq!(
            apply_all(op, &[&x, &one, &one, &one, &one]).unwrap_err().to_string(),
            "nn.fused_batch_norm_statistics: NCHW runs between transposes"
        );
    }
}
