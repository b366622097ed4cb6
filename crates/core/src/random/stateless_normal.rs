//! Normally distributed values of a seed.

use tapeflow_kernels::philox as kernel;

use super::start;
use crate::ops::prelude::*;

/// The op of [`stateless_normal`], whose input is where the stream begins, a `uint64 [3]`: the
/// counter's low and high half and the key.
#[derive(Debug, Clone, Copy)]
pub struct StatelessNormal {
    /// The wanted shape.
    pub shape: Shape,
    /// The mean.
    pub mean: f64,
    /// The standard deviation.
    pub stddev: f64,
    /// The wanted dtype.
    pub dtype: DType,
}

impl Op for StatelessNormal {
    fn name(&self) -> &'static str {
        "random.stateless_normal"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        start::check(self.name(), &inputs[0])?;
        check_dtype(self.name(), "dtype", self.dtype, DTypes::FLOATING)?;
        Ok(vec![Spec::new(self.dtype, self.shape)])
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        dispatch!(float, self.dtype, T => {
            let (mean, stddev) = (T::from_f64(self.mean), T::from_f64(self.stddev));
            kernel::normal(start::stream(&inputs[0]), outputs[0].data::<T>(), mean, stddev);
            Ok(())
        })
    }

    fn gradient(&self) -> Gradient {
        Gradient::NotDifferentiable
    }
}

/// Values of a normal distribution, a function of the arguments alone: those of
/// `tf.random.stateless_normal` on a CPU within 2 units in the last place.
///
/// # Errors
/// A dtype that is not floating.
///
/// ```
/// use tapeflow_core::{DType, random};
///
/// let x = random::stateless_normal([2, 3], [1, 2], 0.0, 0.05, DType::Float32)?;
/// assert_eq!(x.shape().dims(), [2, 3]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn stateless_normal(
    shape: impl Into<Shape>,
    seed: [i64; 2],
    mean: f64,
    stddev: f64,
    dtype: DType,
) -> Result<Tensor> {
    let shape = shape.into();
    apply(StatelessNormal { shape, mean, stddev, dtype }, &[&start::tensor(start::of_seed(seed))])
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};

    use super::*;

    // The numbers are those of TensorFlow 2.21:
    //     tf.random.stateless_normal([6], [1, 2], dtype=...)
    //     tf.random.stateless_normal([6], [3, 4], 0.1, 0.05, dtype=...)
    fn draw(dtype: DType) -> [Tensor; 2] {
        [([1, 2], 0.0, 1.0), ([3, 4], 0.1, 0.05)]
            .map(|(seed, mean, stddev)| stateless_normal([6], seed, mean, stddev, dtype).unwrap())
    }

    #[test]
    fn float32_is_tensorflows_within_2_ulp() {
        let expected: [[u32; 6]; 2] = [
            [0x3f0b4acd, 0x3e545b81, 0x3d96a8e4, 0x3d3e3228, 0xbfa69a7f, 0xbf742ff1],
            [0x3dbafd3b, 0x3e3c064a, 0x3df073e0, 0x3c7292a0, 0x3d8dca6f, 0x3df24cc4],
        ];
        for (got, expected) in draw(DType::Float32).iter().zip(expected) {
            for (got, expected) in got.to_vec::<f32>().unwrap().iter().zip(expected) {
                assert!(got.to_bits().abs_diff(expected) <= 2, "{got:e} {expected:x}");
            }
        }
    }

    #[test]
    fn float64_is_tensorflows_within_2_ulp() {
        let expected: [[u64; 6]; 2] = [
            [
                0xbfc23745fceed393,
                0x3fe7b30df7adce2e,
                0xbff7813821086c87,
                0x3ff25d2c6f1a9e3a,
                0xbfe719a6fdd9e259,
                0xbfecbe32b640db75,
            ],
            [
                0x3fb55cb3bdca6210,
                0x3fb9f4bc54f30002,
                0x3f9a26a1968755e0,
                0x3fc37ee7981b425e,
                0x3fb5f083815d1629,
                0x3fb6bfe5d121bca0,
            ],
        ];
        for (got, expected) in draw(DType::Float64).iter().zip(expected) {
            for (got, expected) in got.to_vec::<f64>().unwrap().iter().zip(expected) {
                assert!(got.to_bits().abs_diff(expected) <= 2, "{got:e} {expected:x}");
            }
        }
    }

    #[test]
    fn sixteen_bits_are_tensorflows_within_2_ulp() {
        let float16: [[u16; 6]; 2] = [
            [0x385a, 0x32a3, 0x2cb5, 0x29f2, 0xbd35, 0xbba1],
            [0x2dd8, 0x31e0, 0x2f83, 0x2390, 0x2c6e, 0x2f92],
        ];
        for (got, expected) in draw(DType::Float16).iter().zip(float16) {
            for (got, expected) in got.to_vec::<f16>().unwrap().iter().zip(expected) {
                assert!(got.to_bits().abs_diff(expected) <= 2, "{got:e} {expected:x}");
            }
        }
        let bfloat16: [[u16; 6]; 2] = [
            [0x3f0b, 0x3e54, 0x3d97, 0x3d3e, 0xbfa7, 0xbf74],
            [0x3dbb, 0x3e3c, 0x3df1, 0x3c70, 0x3d8e, 0x3df2],
        ];
        for (got, expected) in draw(DType::BFloat16).iter().zip(bfloat16) {
            for (got, expected) in got.to_vec::<bf16>().unwrap().iter().zip(expected) {
                assert!(got.to_bits().abs_diff(expected) <= 2, "{got:e} {expected:x}");
            }
        }
    }

    #[test]
    fn only_floats() {
        assert!(stateless_normal([2], [1, 2], 0.0, 1.0, DType::Int32).unwrap_err().is_dtype());
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let draw = || stateless_normal([100_003], [7, 8], 0.0, 1.0, DType::Float32).unwrap();
        tapeflow_kernels::parallel::set_threads(1);
        let one = draw();
        tapeflow_kernels::parallel::set_threads(2);
        let two = draw();
        tapeflow_kernels::parallel::set_threads(0);
        assert_eq!(one.as_bytes(), two.as_bytes());
    }
}
