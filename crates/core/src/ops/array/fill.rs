//! Tensors of one value.

use crate::ops::array::broadcast_to;
use crate::ops::prelude::*;

/// A tensor of `dims` filled with the scalar `value`, in its dtype. `tf.fill`.
///
/// # Errors
/// A `value` that is not a scalar, or more memory than there is.
///
/// ```
/// use tapeflow_core::array;
///
/// assert_eq!(array::fill([2, 2], 7)?.to_vec::<i32>()?, [7, 7, 7, 7]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn fill(dims: impl Into<Shape>, value: impl Into<Tensor>) -> Result<Tensor> {
    let value = value.into();
    if value.shape().rank() != 0 {
        return Err(Error::shape(format!("fill: value must be a scalar, has {}", value.shape())));
    }
    broadcast_to(value, dims)
}

/// A tensor of zeros, or of `false`. `tf.zeros`.
///
/// # Errors
/// More memory than there is.
///
/// ```
/// use tapeflow_core::{DType, array};
///
/// assert_eq!(array::zeros([3], DType::Float32)?.to_vec::<f32>()?, [0.0; 3]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn zeros(shape: impl Into<Shape>, dtype: DType) -> Result<Tensor> {
    filled(shape.into(), false, dtype)
}

/// A tensor of ones, or of `true`. `tf.ones`.
///
/// # Errors
/// More memory than there is.
///
/// ```
/// use tapeflow_core::{DType, array};
///
/// assert_eq!(array::ones([2], DType::Int64)?.to_vec::<i64>()?, [1, 1]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn ones(shape: impl Into<Shape>, dtype: DType) -> Result<Tensor> {
    filled(shape.into(), true, dtype)
}

/// Zeros with the dtype and shape of `x`. `tf.zeros_like`.
///
/// # Errors
/// More memory than there is.
///
/// ```
/// use tapeflow_core::array;
///
/// assert_eq!(array::zeros_like([1.5f32, 2.5])?.to_vec::<f32>()?, [0.0, 0.0]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn zeros_like(x: impl Into<Tensor>) -> Result<Tensor> {
    let x = x.into();
    zeros(*x.shape(), x.dtype())
}

/// Ones with the dtype and shape of `x`. `tf.ones_like`.
///
/// # Errors
/// More memory than there is.
///
/// ```
/// use tapeflow_core::array;
///
/// assert_eq!(array::ones_like([1.5f32, 2.5])?.to_vec::<f32>()?, [1.0, 1.0]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn ones_like(x: impl Into<Tensor>) -> Result<Tensor> {
    let x = x.into();
    ones(*x.shape(), x.dtype())
}

fn filled(shape: Shape, one: bool, dtype: DType) -> Result<Tensor> {
    match dtype {
        DType::Bool => Tensor::filled(one, shape),
        _ => {
            dispatch!(number, dtype, T => Tensor::filled(if one { T::ONE } else { T::ZERO }, shape))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_that_cannot_be_had_is_an_error() {
        let error = zeros([usize::MAX, 2], DType::Float32).unwrap_err();
        assert!(error.is_resource_exhausted(), "{error}");
        assert!(zeros([1 << 40, 1 << 10], DType::Float32).unwrap_err().is_resource_exhausted());
        assert!(fill([2], [1, 2]).unwrap_err().is_shape());
    }
}
