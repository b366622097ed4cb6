//! Normalisation by given statistics.

use crate::ops::array::cast;
use crate::ops::math::{add, divide, multiply, negative, sqrt};
use crate::ops::prelude::*;

/// `(x - mean) / sqrt(variance + variance_epsilon) * scale + offset`, where all broadcast to `x`.
/// `tf.nn.batch_normalization`.
///
/// [`moments`](crate::nn::moments) gives `mean` and `variance`;
/// [`fused_batch_norm`](crate::nn::fused_batch_norm) does both in fewer passes over memory.
///
/// # Errors
/// Dtypes that are not floating; shapes that do not broadcast.
///
/// ```
/// use tapeflow_core::{Tensor, nn};
///
/// let x = Tensor::from([[1.0f32, 5.0], [3.0, 5.0]]);
/// let (mean, variance) = nn::moments(&x, 0)?;
/// let offset = Tensor::from([10.0f32, 20.0]);
/// let y = nn::batch_normalization(&x, &mean, &variance, Some(&offset), None, 1e-3)?;
/// assert!((y.to_vec::<f32>()?[0] - 9.0005).abs() < 1e-5);
/// assert_eq!(y.to_vec::<f32>()?[3], 20.0);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn batch_normalization(
    x: impl Into<Tensor>,
    mean: impl Into<Tensor>,
    variance: impl Into<Tensor>,
    offset: Option<&Tensor>,
    scale: Option<&Tensor>,
    variance_epsilon: f64,
) -> Result<Tensor> {
    let (x, mean, variance) = (x.into(), mean.into(), variance.into());
    let op = "nn.batch_normalization";
    check_dtype(op, "x", x.dtype(), DTypes::FLOATING)?;
    check_dtype(op, "variance", variance.dtype(), DTypes::FLOATING)?;
    let epsilon = cast(variance_epsilon, variance.dtype())?;
    let deviation = sqrt(add(variance, epsilon)?)?;
    let factor = match scale {
        Some(scale) => divide(scale, deviation)?,
        None => divide(cast(1.0f64, deviation.dtype())?, deviation)?,
    };
    let shift = negative(multiply(mean, &factor)?)?;
    let shift = match offset {
        Some(offset) => add(offset, shift)?,
        None => shift,
    };
    add(multiply(&x, cast(factor, x.dtype())?)?, cast(shift, x.dtype())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::check_gradients;

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let x = Tensor::from([[0.5f64, -1.0, 2.0], [0.1, 0.3, -0.4]]);
        let statistics = [
            Tensor::from([0.1f64, 0.2, -0.3]),
            Tensor::from([0.5f64, 1.5, 2.0]),
            Tensor::from([1.0f64, -1.0, 0.5]),
            Tensor::from([2.0f64, 0.3, 1.0]),
        ];
        let inputs = [vec![x], statistics.to_vec()].concat();
        check_gradients(
            |x| batch_normalization(&x[0], &x[1], &x[2], Some(&x[3]), Some(&x[4]), 1e-3),
            &inputs,
        );
        check_gradients(
            |x| batch_normalization(&x[0], &x[1], &x[2], None, None, 1e-3),
            &inputs[..3],
        );
    }

    #[test]
    fn what_is_refused() {
        let y = batch_normalization([1i32], [1.0f32], [1.0f32], None, None, 1e-3);
        assert!(y.unwrap_err().is_dtype());
    }
}
