//! Tensors one after another along an axis.

use tapeflow_kernels::movement::copy_columns;

use crate::ops::array::slice;
use crate::ops::prelude::*;

/// The op of [`concat()`].
#[derive(Debug, Clone, Copy)]
pub struct Concat {
    /// The axis along which they follow each other; negative counts from the end.
    pub axis: i64,
}

impl Op for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let first = inputs
            .first()
            .ok_or_else(|| Error::invalid_argument(format!("{}: no values", self.name())))?;
        let axis = first.shape.axis(self.name(), self.axis)?;
        let mut dims = first.shape.to_vec();
        for (i, spec) in inputs.iter().enumerate().skip(1) {
            check_same_dtype(self.name(), first, spec)?;
            let fits = spec.shape.rank() == dims.len()
                && (0..dims.len()).all(|a| a == axis || spec.shape[a] == first.shape[a]);
            if !fits {
                return Err(Error::shape(format!(
                    "{}: value {i} of shape {} does not follow {} along axis {axis}",
                    self.name(),
                    spec.shape,
                    first.shape
                )));
            }
            dims[axis] = dims[axis].saturating_add(spec.shape[axis]);
        }
        Ok(vec![Spec { shape: Shape::new(&dims)?, ..*first }])
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        let dims = *outputs[0].shape();
        let axis = dims.axis(self.name(), self.axis)?;
        let row: usize = dims[axis..].iter().product();
        dispatch!(moved, inputs[0].dtype(), T => {
            let out = outputs[0].data::<T>();
            let mut start = 0;
            for x in inputs {
                let part: usize = x.shape()[axis..].iter().product();
                copy_columns(x.data::<T>(), part, out, start, row);
                start += part;
            }
            Ok(())
        })
    }

    fn gradient(&self) -> Gradient {
        let op = *self;
        Gradient::rule(Saves::NOTHING, move |call, input| {
            let shape = call.input_spec(input).shape;
            let axis = shape.axis(op.name(), op.axis)?;
            let mut begin = vec![0; shape.rank()];
            begin[axis] = (0..input).map(|i| call.input_spec(i).shape[axis] as i64).sum();
            let size: Vec<i64> = shape.iter().map(|&dim| dim as i64).collect();
            slice(call.upstream(), begin, size).map(Some)
        })
    }
}

/// The `values` one after another along `axis`, on which alone their shapes may differ.
/// `tf.concat`.
///
/// # Errors
/// No values; dtypes that differ; scalars; shapes that do not fit. A single value is returned as it
/// is, whatever the axis, as TensorFlow does.
///
/// ```
/// use tapeflow_core::{Tensor, array};
///
/// let (x, y) = (Tensor::from([[1, 2]]), Tensor::from([[3, 4], [5, 6]]));
/// assert_eq!(array::concat([&x, &y], 0)?.to_vec::<i32>()?, [1, 2, 3, 4, 5, 6]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn concat<T: Into<Tensor>>(values: impl IntoIterator<Item = T>, axis: i64) -> Result<Tensor> {
    let mut values: Vec<Tensor> = values.into_iter().map(Into::into).collect();
    if values.len() == 1 {
        return Ok(values.swap_remove(0));
    }
    apply(Concat { axis }, &values.iter().collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::array::{cast, zeros};
    use crate::ops::math::square;
    use crate::test::check_gradients;

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let x = [Tensor::from([[1.0f64], [2.0]]), Tensor::from([[3.0f64, 4.0], [5.0, 6.0]])];
        check_gradients(|x| square(concat([&x[0], &x[1], &x[0]], -1)?), &x);
        let x = [Tensor::from([[1.0f64, 2.0]]), Tensor::from([[3.0f64, 4.0], [5.0, 6.0]])];
        check_gradients(|x| square(concat(x, 0)?), &x);
    }

    #[test]
    fn any_dtype_and_an_empty_part() {
        for dtype in DType::ALL {
            let x = cast([[0, 1], [1, 0]], dtype).unwrap();
            let empty = zeros([2, 0], dtype).unwrap();
            let y = concat([&x, &empty, &x], 1).unwrap();
            let y = cast(y, DType::Int32).unwrap();
            assert_eq!(y.to_vec::<i32>().unwrap(), [0, 1, 0, 1, 1, 0, 1, 0], "{dtype}");
        }
        assert_eq!(concat([5], 3).unwrap().to_scalar::<i32>().unwrap(), 5);
    }

    #[test]
    fn what_is_refused() {
        let zeros = |dims: &[usize]| zeros(Shape::new(dims).unwrap(), DType::Float32).unwrap();
        let error = concat([zeros(&[2, 3]), zeros(&[2, 2])], 0).unwrap_err();
        assert_eq!(
            error.to_string(),
            "concat: value 1 of shape [2, 2] does not follow [2, 3] along axis 0"
        );
        assert!(concat([zeros(&[0]), zeros(&[2, 2])], 0).unwrap_err().is_shape());
        assert!(concat([zeros(&[2]), zeros(&[2])], 1).unwrap_err().is_invalid_argument());
        assert!(concat([1, 2], 0).unwrap_err().is_invalid_argument());
        assert!(concat(Vec::<Tensor>::new(), 0).unwrap_err().is_invalid_argument());
        let mixed = [Tensor::from([1]), Tensor::from([1.0f32])];
        assert!(concat(&mixed, 0).unwrap_err().is_dtype());
    }
}
