//! Initializers whose values are all the same.

use super::Initializer;
use crate::dtype::DType;
use crate::error::Result;
use crate::ops::array::{broadcast_to, ones, zeros};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Zeros, `tf.initializers.Zeros`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Zeros;

impl Initializer for Zeros {
    fn initialize(&self, shape: Shape, dtype: DType) -> Result<Tensor> {
        zeros(shape, dtype)
    }
}

/// Ones, `tf.initializers.Ones`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ones;

impl Initializer for Ones {
    fn initialize(&self, shape: Shape, dtype: DType) -> Result<Tensor> {
        ones(shape, dtype)
    }
}

/// One value everywhere, `tf.initializers.Constant`.
///
/// ```
/// use tapeflow_core::DType;
/// use tapeflow_core::initializers::{Constant, Initializer};
///
/// assert_eq!(Constant(0.5).call([2], DType::Float32)?.to_vec::<f32>()?, [0.5, 0.5]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Constant(pub f64);

impl Initializer for Constant {
    fn initialize(&self, shape: Shape, dtype: DType) -> Result<Tensor> {
        broadcast_to(Tensor::scalar(self.0, dtype)?, shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_the_same_everywhere() {
        assert_eq!(Zeros.call([2, 1], DType::Int32).unwrap().to_vec::<i32>().unwrap(), [0, 0]);
        assert_eq!(Ones.call([2], DType::Float64).unwrap().to_vec::<f64>().unwrap(), [1.0, 1.0]);
        assert_eq!(Constant(3.0).call([2], DType::UInt8).unwrap().to_vec::<u8>().unwrap(), [3, 3]);
        assert!(Constant(-0.5).call([2], DType::UInt8).unwrap_err().is_dtype());
    }
}
