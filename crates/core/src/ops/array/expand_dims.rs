//! A new axis of extent one.

use crate::ops::array::reshape;
use crate::ops::prelude::*;
use crate::shape::MAX_RANK;

/// `x` with a new axis of extent 1 that stands at `axis` in the result; negative counts from its
/// end. Shares the values. `tf.expand_dims`.
///
/// # Errors
/// An axis that the result has not, or a result of more axes than a shape can have.
///
/// ```
/// use tapeflow_core::array;
///
/// assert_eq!(array::expand_dims([1, 2], 0)?.shape().dims(), [1, 2]);
/// assert_eq!(array::expand_dims([1, 2], -1)?.shape().dims(), [2, 1]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn expand_dims(x: impl Into<Tensor>, axis: i64) -> Result<Tensor> {
    let x = x.into();
    let rank = x.shape().rank() as i64 + 1;
    if axis < -rank || axis >= rank {
        return Err(Error::invalid_argument(format!(
            "expand_dims: axis {axis} is outside [-{rank}, {rank}) for shape {}",
            x.shape()
        )));
    }
    if rank as usize > MAX_RANK {
        return Err(Error::shape(format!(
            "expand_dims: shape {} has {MAX_RANK} axes already",
            x.shape()
        )));
    }
    let mut dims = x.shape().to_vec();
    dims.insert(axis.rem_euclid(rank) as usize, 1);
    reshape(x, Shape::new(&dims)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::math::square;
    use crate::test::check_gradients;

    #[test]
    fn gradients_are_those_of_finite_differences() {
        check_gradients(|x| expand_dims(square(&x[0])?, 1), &[Tensor::from([1.0f64, 2.0])]);
    }

    #[test]
    fn what_is_refused() {
        assert_eq!(expand_dims(1, 0).unwrap().shape().dims(), [1]);
        assert!(expand_dims([1, 2], 2).unwrap_err().is_invalid_argument());
        assert!(expand_dims([1, 2], -3).unwrap_err().is_invalid_argument());
        let full = Tensor::from_slice(&[1], [1; MAX_RANK]).unwrap();
        assert!(expand_dims(full, 0).unwrap_err().is_shape());
    }
}
