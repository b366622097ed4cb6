//! Normally distributed values of a seed, without the tails.

use tapeflow_kernels::philox as kernel;

use super::start;
use crate::ops::prelude::*;

/// The op of [`stateless_truncated_normal`], whose input is where the stream begins, a `uint64 [3]`: the
/// counter's low and high half and the key.
#[derive(Debug, Clone, Copy)]
pub struct StatelessTruncatedNormal {
    /// The wanted shape.
    pub shape: Shape,
    /// The mean.
    pub mean: f64,
    /// The standard deviation before the tails are cut off.
    pub stddev: f64,
    /// The wanted dtype.
    pub dtype: DType,
}

impl Op for StatelessTruncatedNormal {
    fn name(&self) -> &'static str {
        "random.stateless_truncated_normal"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        start::check(self.name(), &inputs[0])?;
        check_dtype(self.name(), "dtype", self.dtype, DTypes::FLOATING)?;
        Ok(vec![Spec::new(self.dtype, self.shape)])
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        dispatch!(float, self.dtype, T => {
            let (mean, stddev) = (T::from_f64(self.mean), T::from_f64(self.stddev));
            kernel::truncated_normal(start::stream(&inputs[0]), outputs[0].data::<T>(), mean, stddev);
            Ok(())
        })
    }

    fn gradient(&self) -> Gradient {
        Gradient::NotDifferentiable
    }
}

/// Values of a normal distribution of which those two or more standard deviations from the mean
/// are drawn again, `tf.random.stateless_truncated_normal`: TensorFlow's values on a CPU within 2
/// units in the last place.
///
/// # Errors
/// A dtype that is not floating.
///
/// ```
/// use tapeflow_core::{DType, random};
///
/// let x = random::stateless_truncated_normal([100], [1, 2], 0.0, 0.05, DType::Float32)?;
/// assert!(x.to_vec::<f32>()?.iter().all(|value| value.abs() <= 0.1));
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn stateless_truncated_normal(
    shape: impl Into<Shape>,
    seed: [i64; 2],
    mean: f64,
    stddev: f64,
    dtype: DType,
) -> Result<Tensor> {
    let shape = shape.into();
    apply(
        StatelessTruncatedNormal { shape, mean, stddev, dtype },
        &[&start::tensor(start::of_seed(seed))],
    )
}

#[cfg(test)]
mod tests {
    use half::f16;

    use super::*;

    // The numbers are those of TensorFlow 2.21:
    //     tf.random.stateless_truncated_normal([12], [3, 4], 0.0, 1.0, dtype=...)
    fn draw(dtype: DType) -> Tensor {
        stateless_truncated_normal([12], [3, 4], 0.0, 1.0, dtype).unwrap()
    }

    #[test]
    fn values_are_tensorflows_within_2_ulp() {
        let expected: [u32; 12] = [
            0xbe321bb6, 0x3fd60fb8, 0x3eb2435c, 0xbfda1917, 0x3f2375fc, 0xbfa7ab9c, 0xbc2af4af,
            0xbf85677c, 0xbf463057, 0xbf2933a2, 0xbeb7c3d6, 0x3eaecda3,
        ];
        for (got, expected) in draw(DType::Float32).to_vec::<f32>().unwrap().iter().zip(expected) {
            assert!(got.to_bits().abs_diff(expected) <= 2, "{got:e} {expected:x}");
        }
        let expected: [u16; 12] = [
            0xb191, 0x3eb0, 0x3592, 0xbed1, 0x391c, 0xbd3d, 0xa158, 0xbc2b, 0xba32, 0xb94a, 0xb5be,
            0x3576,
        ];
        for (got, expected) in draw(DType::Float16).to_vec::<f16>().unwrap().iter().zip(expected) {
            assert!(got.to_bits().abs_diff(expected) <= 2, "{got:e} {expected:x}");
        }
        let expected: [u64; 12] = [
            0xbfd5307d4b0c15b0,
            0x3f9c7ada8bf00095,
            0xbfd5ee2bb459c737,
            0x3fe82aa509412947,
            0xbfe2a20d6b1cb0a1,
            0xbfdc128970c47c77,
            0xbfe906082be8404f,
            0xbfdf238b61746f4b,
            0x3fd597e7f75b4a30,
            0x3fe4c577eed90275,
            0xbfeb71ddc510f61d,
            0x3fb993ad54e9c151,
        ];
        for (got, expected) in draw(DType::Float64).to_vec::<f64>().unwrap().iter().zip(expected) {
            assert!(got.to_bits().abs_diff(expected) <= 2, "{got:e} {expected:x}");
        }
    }

    #[test]
    fn only_floats() {
        let refused = stateless_truncated_normal([2], [1, 2], 0.0, 1.0, DType::Bool);
        assert!(refused.unwrap_err().is_dtype());
    }
}
