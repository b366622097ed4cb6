//! Where the largest element is.

use tapeflow_kernels::reduce;

use crate::ops::prelude::*;
use crate::ops::wide::run_wide;

/// The op of [`argmax`], with all its arguments.
///
/// ```
/// use tapeflow_core::{DType, math::Argmax};
///
/// let rows = Argmax { axis: 1, output_type: DType::Int32 }.call([[1.0f32, 3.0], [4.0, 2.0]])?;
/// assert_eq!(rows.to_vec::<i32>()?, [1, 0]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Argmax {
    /// The axis to remove; negative counts from the end.
    pub axis: i64,
    /// The dtype of the indices: `int64`, `int32`, `int16` or `uint16`.
    pub output_type: DType,
}

impl Argmax {
    /// Applies the op.
    ///
    /// # Errors
    /// As for [`argmax`]; an output type that is none of the four.
    pub fn call(self, x: impl Into<Tensor>) -> Result<Tensor> {
        apply(self, &[&x.into()])
    }
}

impl Op for Argmax {
    fn name(&self) -> &'static str {
        "math.argmax"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let index_types = DTypes::of(&[DType::Int16, DType::UInt16, DType::Int32, DType::Int64]);
        check_dtype(self.name(), "output_type", self.output_type, index_types)?;
        let shape = &inputs[0].shape;
        let axis = shape.axis(self.name(), self.axis)?;
        let mut dims = shape.to_vec();
        let extent = dims.remove(axis);
        let shape = Shape::new(&dims)?;
        if extent == 0 {
            return Err(Error::shape(format!(
                "{}: axis {axis} of shape {} is empty",
                self.name(),
                inputs[0].shape
            )));
        }
        Ok(vec![Spec { dtype: self.output_type, shape }])
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        let x = inputs[0];
        let axis = x.shape().axis(self.name(), self.axis)?;
        let (outer, inner) = (&x.shape()[..axis], &x.shape()[axis + 1..]);
        let dims = [outer.iter().product(), x.shape()[axis], inner.iter().product()];
        if outputs[0].dtype().size() < size_of::<i64>() {
            return run_wide(outputs[0].dtype(), false, inputs, outputs, &|i, o| self.run(i, o));
        }
        dispatch_wide!(any, self, inputs, outputs, x.dtype(), T => {
            // An index has the same bits in either type of 64.
            reduce::argmax(x.data::<T>(), dims, outputs[0].data::<i64>(), |index| index as i64);
            Ok(())
        })
    }

    fn gradient(&self) -> Gradient {
        Gradient::NotDifferentiable
    }
}

/// The index, as `int64`, of the first largest element along `axis`; NaN is never the largest.
/// `tf.math.argmax`.
///
/// [`Argmax`] takes the type of the indices too.
///
/// # Errors
/// An axis that `x` has not or that is empty.
///
/// ```
/// use tapeflow_core::math;
///
/// assert_eq!(math::argmax([[1, 3, 3], [4, 2, 0]], 1)?.to_vec::<i64>()?, [1, 0]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn argmax(x: impl Into<Tensor>, axis: i64) -> Result<Tensor> {
    Argmax { axis, output_type: DType::Int64 }.call(x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::array::{cast, zeros};

    #[test]
    fn any_axis_and_dtype() {
        let x = Tensor::from([[[1.0f32, 0.0], [0.0, 1.0]], [[1.0, 1.0], [0.0, 0.0]]]);
        for dtype in DType::ALL {
            let x = cast(&x, dtype).unwrap();
            assert_eq!(argmax(&x, 0).unwrap().to_vec::<i64>().unwrap(), [0, 1, 0, 0], "{dtype}");
            assert_eq!(argmax(&x, -2).unwrap().to_vec::<i64>().unwrap(), [0, 1, 0, 0], "{dtype}");
            assert_eq!(argmax(&x, -1).unwrap().to_vec::<i64>().unwrap(), [0, 1, 0, 0], "{dtype}");
        }
        for output_type in [DType::Int16, DType::UInt16, DType::Int32] {
            let y = Argmax { axis: 0, output_type }.call([1, 3]).unwrap();
            assert_eq!(y.dtype(), output_type);
            assert_eq!(cast(y, DType::Int64).unwrap().to_scalar::<i64>().unwrap(), 1);
        }
    }

    #[test]
    fn nan_is_never_the_largest() {
        let index = |x: [f32; 3]| argmax(x, 0).unwrap().to_scalar::<i64>().unwrap();
        let nan = f32::NAN;
        assert_eq!(index([nan, 1.0, 2.0]), 2);
        assert_eq!(index([1.0, nan, 2.0]), 2);
        assert_eq!(index([1.0, 2.0, nan]), 1);
        assert_eq!(index([nan; 3]), 0);
        assert_eq!(index([f32::NEG_INFINITY; 3]), 0);
    }

    #[test]
    fn what_is_refused() {
        let empty = |shape: [usize; 2]| zeros(shape, DType::Float32).unwrap();
        let error = argmax(empty([0, 3]), 0).unwrap_err();
        assert_eq!(error.to_string(), "math.argmax: axis 0 of shape [0, 3] is empty");
        assert_eq!(argmax(empty([0, 3]), 1).unwrap().shape().dims(), [0]);
        assert!(argmax(1.0f32, 0).unwrap_err().is_invalid_argument());
        assert!(argmax([1.0f32], 1).unwrap_err().is_invalid_argument());
        let output_type = DType::UInt8;
        assert!(Argmax { axis: 0, output_type }.call([1]).unwrap_err().is_dtype());
    }
}
