//! Tensors of one shape side by side along a new axis.

use crate::ops::array::{concat, expand_dims};
use crate::ops::prelude::*;

/// The `values`, all of one shape, side by side along a new axis that stands at `axis` in the
/// result; negative counts from its end. `tf.stack`.
///
/// # Errors
/// No values; dtypes or shapes that differ; an axis that the result has not.
///
/// ```
/// use tapeflow_core::{Tensor, array};
///
/// let (x, y) = (Tensor::from([1, 2]), Tensor::from([3, 4]));
/// let rows = array::stack([&x, &y], 0)?;
/// assert_eq!(rows.shape().dims(), [2, 2]);
/// assert_eq!(array::stack([&x, &y], 1)?.to_vec::<i32>()?, [1, 3, 2, 4]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn stack<T: Into<Tensor>>(values: impl IntoIterator<Item = T>, axis: i64) -> Result<Tensor> {
    let values: Vec<Tensor> = values.into_iter().map(Into::into).collect();
    let first = values.first().ok_or_else(|| Error::invalid_argument("stack: no values"))?;
    for (i, value) in values.iter().enumerate() {
        check_same_dtype("stack", first.spec(), value.spec())?;
        if value.shape() != first.shape() {
            return Err(Error::shape(format!(
                "stack: value {i} has shape {}, value 0 {}",
                value.shape(),
                first.shape()
            )));
        }
    }
    let rows: Result<Vec<Tensor>> = values
        .iter()
        .map(|value| expand_dims(value, axis).map_err(|error| error.context("stack")))
        .collect();
    concat(rows?, axis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::math::square;
    use crate::test::check_gradients;

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let x = [Tensor::from([1.0f64, 2.0]), Tensor::from([3.0f64, 4.0])];
        for axis in [0, 1, -1, -2] {
            check_gradients(|x| square(stack([&x[0], &x[1], &x[0]], axis)?), &x);
        }
    }

    #[test]
    fn scalars_and_one_value() {
        assert_eq!(stack([1, 2, 3], 0).unwrap().to_vec::<i32>().unwrap(), [1, 2, 3]);
        assert_eq!(stack([[1.0f32, 2.0]], 1).unwrap().shape().dims(), [2, 1]);
    }

    #[test]
    fn what_is_refused() {
        let error = stack([Tensor::from([1]), Tensor::from([1, 2])], 0).unwrap_err();
        assert_eq!(error.to_string(), "stack: value 1 has shape [2], value 0 [1]");
        assert!(stack([1, 2], 1).unwrap_err().is_invalid_argument());
        assert!(stack([[1], [2]], -3).unwrap_err().is_invalid_argument());
        assert!(stack(Vec::<Tensor>::new(), 0).unwrap_err().is_invalid_argument());
        let mixed = [Tensor::from([1]), Tensor::from([1.0f32])];
        assert!(stack(&mixed, 0).unwrap_err().is_dtype());
    }
}
