//! Initializers whose spread follows from the shape, so that signals keep their size from layer to
//! layer.

use super::Initializer;
use super::distributions::stateless_seed;
use crate::dtype::DType;
use crate::error::Result;
use crate::random;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The standard deviation of a normal distribution of deviation 1 that is cut off at two
/// deviations.
const TRUNCATED_STDDEV: f64 = 0.879_625_661_034_239_8;

/// How many inputs and outputs a unit of a layer with weights of `shape` has: the last two axes are
/// channels, those before them the window of a convolution.
fn fans(shape: &Shape) -> (f64, f64) {
    match shape.dims() {
        [] => (1.0, 1.0),
        [n] => (*n as f64, *n as f64),
        [window @ .., inputs, outputs] => {
            let window: f64 = window.iter().map(|&extent| extent as f64).product();
            (window * *inputs as f64, window * *outputs as f64)
        }
    }
}

/// Uniform values within `sqrt(6 / (inputs + outputs))`, `tf.initializers.GlorotUniform`, after
/// Glorot and Bengio (2010).
///
/// ```
/// use tapeflow_core::DType;
/// use tapeflow_core::initializers::{GlorotUniform, Initializer};
///
/// let w = GlorotUniform::new(Some(1)).call([2, 4], DType::Float32)?;
/// assert!(w.to_vec::<f32>()?.iter().all(|value| value.abs() <= 1.0));
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct GlorotUniform {
    seed: Option<i64>,
}

impl GlorotUniform {
    /// Without a seed, each call draws anew.
    pub fn new(seed: Option<i64>) -> GlorotUniform {
        GlorotUniform { seed }
    }
}

impl Initializer for GlorotUniform {
    fn initialize(&self, shape: Shape, dtype: DType) -> Result<Tensor> {
        let (inputs, outputs) = fans(&shape);
        let scale = 1.0 / ((inputs + outputs) / 2.0).max(1.0);
        let limit = (3.0 * scale).sqrt();
        super::RandomUniform::new(-limit, limit, self.seed).initialize(shape, dtype)
    }
}

/// Values of a truncated normal distribution with deviation `sqrt(2 / inputs)`,
/// `tf.initializers.HeNormal`, after He, Zhang, Ren and Sun (2015): for layers followed by `relu`.
///
/// ```
/// use tapeflow_core::DType;
/// use tapeflow_core::initializers::{HeNormal, Initializer};
///
/// let w = HeNormal::new(Some(1)).call([8, 4], DType::Float32)?;
/// assert!(w.to_vec::<f32>()?.iter().all(|value| value.abs() <= 1.14));
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct HeNormal {
    seed: Option<i64>,
}

impl HeNormal {
    /// Without a seed, each call draws anew.
    pub fn new(seed: Option<i64>) -> HeNormal {
        HeNormal { seed }
    }
}

impl Initializer for HeNormal {
    fn initialize(&self, shape: Shape, dtype: DType) -> Result<Tensor> {
        let (inputs, _) = fans(&shape);
        let stddev = (2.0 / inputs.max(1.0)).sqrt() / TRUNCATED_STDDEV;
        match self.seed {
            Some(seed) => {
                let seed = stateless_seed(seed);
                random::stateless_truncated_normal(shape, seed, 0.0, stddev, dtype)
            }
            None => random::truncated_normal(shape, 0.0, stddev, dtype),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(got: Tensor, expected: &[u32]) {
        let got = got.to_vec::<f32>().unwrap();
        assert!(got.len() >= expected.len());
        for (got, expected) in got.iter().zip(expected) {
            assert!(got.to_bits().abs_diff(*expected) <= 2, "{got:e} {expected:x}");
        }
    }

    // TensorFlow 2.21, the first values of
    //     tf.keras.initializers.GlorotUniform(seed=1)([3, 3, 1, 2])
    //     tf.keras.initializers.HeNormal(seed=1)([2, 3])
    //     tf.keras.initializers.HeNormal(seed=1)([3, 3, 2, 1])
    #[test]
    fn a_seed_gives_tensorflows_values() {
        let glorot = GlorotUniform::new(Some(1));
        check(
            glorot.call([3, 3, 1, 2], DType::Float32).unwrap(),
            &[0x3eb6b401, 0xbd1a8bd0, 0x3dc1a654, 0xbdcf6158, 0xbe6e46b7, 0xbd571a30],
        );
        let he = HeNormal::new(Some(1));
        check(
            he.call([2, 3], DType::Float32).unwrap(),
            &[0x3e137008, 0xbf0f7bea, 0x3f37b280, 0xbf65948e, 0xbf846629, 0xbee8571d],
        );
        check(
            he.call([3, 3, 2, 1], DType::Float32).unwrap(),
            &[0x3d44955f, 0xbe3f4fe3, 0x3e74edff, 0xbe990db4, 0xbeb08836, 0xbe1ae4bd],
        );
    }
}
