//! Mean and variance along axes.

use crate::ops::Axes;
use crate::ops::array::{cast, reshape};
use crate::ops::math::{reduce_mean, square, subtract};
use crate::ops::prelude::*;

/// The mean and the variance of `x` along `axes`. `tf.nn.moments`.
///
/// The variance is the mean of the squared distances from the mean, not the unbiased one. The
/// 16-bit floats are computed in `float32`.
///
/// # Errors
/// `x` is not floating; axes that it has not.
///
/// ```
/// use tapeflow_core::nn;
///
/// let (mean, variance) = nn::moments([[1.0f32, 5.0], [3.0, 5.0]], 0)?;
/// assert_eq!(mean.to_vec::<f32>()?, [2.0, 5.0]);
/// assert_eq!(variance.to_vec::<f32>()?, [1.0, 0.0]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn moments(x: impl Into<Tensor>, axes: impl Into<Axes>) -> Result<(Tensor, Tensor)> {
    let (x, axes) = (x.into(), axes.into());
    let dtype = x.dtype();
    check_dtype("nn.moments", "x", dtype, DTypes::FLOATING)?;
    let wide = match dtype {
        DType::Float16 | DType::BFloat16 => cast(&x, DType::Float32)?,
        _ => x,
    };
    let mean = reduce_mean(&wide, axes.clone().keepdims(true))?;
    let variance = reduce_mean(square(subtract(&wide, &mean)?)?, axes)?;
    let mean = reshape(mean, *variance.shape())?;
    Ok((cast(mean, dtype)?, cast(variance, dtype)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::check_gradients;

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let x = Tensor::from([[0.5f64, -1.0, 2.0], [0.1, 0.3, -0.4]]);
        check_gradients(|x| Ok(moments(&x[0], 0)?.0), std::slice::from_ref(&x));
        check_gradients(|x| Ok(moments(&x[0], ..)?.1), &[x]);
    }

    #[test]
    fn axes_stay_where_asked_for() {
        let (mean, variance) = moments([[1.0f64, 3.0]], Axes::from(-1).keepdims(true)).unwrap();
        assert_eq!(mean.shape().dims(), [1, 1]);
        assert_eq!(variance.shape().dims(), [1, 1]);
        let (mean, _) = moments([[1.0f64, 3.0]], -1).unwrap();
        assert_eq!(mean.shape().dims(), [1]);
        assert!(moments([1i32], 0).unwrap_err().is_dtype());
    }
}
