//! Initializers that draw from one distribution whatever the shape.

use super::Initializer;
use crate::dtype::DType;
use crate::error::Result;
use crate::random;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The seed of a stateless function that Keras makes of an initializer's.
pub(super) fn stateless_seed(seed: i64) -> [i64; 2] {
    [seed, 0]
}

/// Values of a normal distribution, `tf.initializers.RandomNormal`.
///
/// ```
/// use tapeflow_core::DType;
/// use tapeflow_core::initializers::{Initializer, RandomNormal};
///
/// let filters = RandomNormal::new(0.0, 0.05, Some(1)).call([3, 3, 1, 32], DType::Float32)?;
/// assert_eq!(filters.shape().dims(), [3, 3, 1, 32]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct RandomNormal {
    mean: f64,
    stddev: f64,
    seed: Option<i64>,
}

impl RandomNormal {
    /// With this mean and standard deviation; without a seed, each call draws anew.
    pub fn new(mean: f64, stddev: f64, seed: Option<i64>) -> RandomNormal {
        RandomNormal { mean, stddev, seed }
    }
}

impl Default for RandomNormal {
    /// TensorFlow's: mean 0, standard deviation 0.05, no seed.
    fn default() -> RandomNormal {
        RandomNormal::new(0.0, 0.05, None)
    }
}

impl Initializer for RandomNormal {
    fn initialize(&self, shape: Shape, dtype: DType) -> Result<Tensor> {
        let RandomNormal { mean, stddev, seed } = *self;
        match seed {
            Some(seed) => {
                random::stateless_normal(shape, stateless_seed(seed), mean, stddev, dtype)
            }
            None => random::normal(shape, mean, stddev, dtype),
        }
    }
}

/// Values spread evenly over a range, `tf.initializers.RandomUniform`.
///
/// ```
/// use tapeflow_core::DType;
/// use tapeflow_core::initializers::{Initializer, RandomUniform};
///
/// let x = RandomUniform::new(-0.05, 0.05, None).call([10], DType::Float32)?;
/// assert!(x.to_vec::<f32>()?.iter().all(|value| (-0.05..0.05).contains(value)));
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct RandomUniform {
    minval: f64,
    maxval: f64,
    seed: Option<i64>,
}

impl RandomUniform {
    /// Values in `[minval, maxval)`; without a seed, each call draws anew.
    pub fn new(minval: f64, maxval: f64, seed: Option<i64>) -> RandomUniform {
        RandomUniform { minval, maxval, seed }
    }
}

impl Default for RandomUniform {
    /// TensorFlow's: from -0.05 to 0.05, no seed.
    fn default() -> RandomUniform {
        RandomUniform::new(-0.05, 0.05, None)
    }
}

impl Initializer for RandomUniform {
    fn initialize(&self, shape: Shape, dtype: DType) -> Result<Tensor> {
        let RandomUniform { minval, maxval, seed } = *self;
        match seed {
            Some(seed) => {
                random::stateless_uniform(shape, stateless_seed(seed), minval, maxval, dtype)
            }
            None => random::uniform(shape, minval, maxval, dtype),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(x: Tensor) -> Vec<u32> {
        x.to_vec::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
    }

    // TensorFlow 2.21:
    //     tf.keras.initializers.RandomNormal(0.0, 0.05, seed=1)([4])
    //     tf.keras.initializers.RandomUniform(-0.05, 0.05, seed=1)([4])
    #[test]
    fn a_seed_gives_tensorflows_values() {
        let x = RandomNormal::new(0.0, 0.05, Some(1)).call([4], DType::Float32).unwrap();
        for (got, expected) in
            bits(x).iter().zip([0x3bcf80fdu32, 0xbcc9f089, 0x3d014493, 0xbd218e47])
        {
            assert!(got.abs_diff(expected) <= 2);
        }
        let x = RandomUniform::new(-0.05, 0.05, Some(1)).call([4], DType::Float32).unwrap();
        assert_eq!(bits(x), [0x3d1b075d, 0xbb832300, 0x3c245134, 0xbc2ff7cc]);
    }

    #[test]
    fn without_a_seed_each_call_draws_anew() {
        let draw = || bits(RandomNormal::default().call([4], DType::Float32).unwrap());
        assert_ne!(draw(), draw());
        let draw = || bits(RandomUniform::default().call([4], DType::Float32).unwrap());
        assert_ne!(draw(), draw());
    }
}
