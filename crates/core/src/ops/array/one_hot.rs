//! Vectors that are off but for one element.

use num_traits::AsPrimitive;

use crate::ops::prelude::*;

/// The op of [`one_hot`], with all its arguments.
///
/// ```
/// use tapeflow_core::{DType, array::OneHot};
///
/// let columns = OneHot { axis: 0, dtype: Some(DType::Int32), ..OneHot::new(2) }.call([1, 0, -1])?;
/// assert_eq!(columns.shape().dims(), [2, 3]);
/// assert_eq!(columns.to_vec::<i32>()?, [0, 1, 0, 1, 0, 0]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct OneHot {
    /// The extent of the new axis.
    pub depth: i64,
    /// Where the new axis stands in the result; -1 is last.
    pub axis: i64,
    /// The scalar at the index; 1 by default.
    pub on_value: Option<Tensor>,
    /// The scalar elsewhere; 0 by default.
    pub off_value: Option<Tensor>,
    /// The dtype of the result; by default that of the values, `float32` without them.
    pub dtype: Option<DType>,
}

impl OneHot {
    /// Ones and zeros of `float32` along a new last axis.
    pub fn new(depth: i64) -> OneHot {
        OneHot { depth, axis: -1, on_value: None, off_value: None, dtype: None }
    }

    /// Applies the op.
    ///
    /// # Errors
    /// As for [`one_hot`]; an axis that the result has not; values that are not scalars of one
    /// dtype, which is `dtype` where that is given; `bool` without both values.
    pub fn call(self, indices: impl Into<Tensor>) -> Result<Tensor> {
        apply(self, &[&indices.into()])
    }

    fn output_dtype(&self) -> Result<DType> {
        let values = [("on_value", &self.on_value), ("off_value", &self.off_value)];
        let mut dtype = self.dtype;
        for (name, value) in values {
            let Some(value) = value else { continue };
            if value.shape().rank() != 0 {
                return Err(Error::shape(format!(
                    "{}: {name} must be a scalar, has shape {}",
                    self.name(),
                    value.shape()
                )));
            }
            if *dtype.get_or_insert(value.dtype()) != value.dtype() {
                return Err(Error::dtype(format!(
                    "{}: {name} is {}, must be {} as dtype or the other value",
                    self.name(),
                    value.dtype(),
                    dtype.unwrap_or(DType::Float32)
                )));
            }
        }
        let dtype = dtype.unwrap_or(DType::Float32);
        if dtype == DType::Bool && (self.on_value.is_none() || self.off_value.is_none()) {
            return Err(Error::dtype(format!(
                "{}: bool needs both on_value and off_value",
                self.name()
            )));
        }
        Ok(dtype)
    }

    /// The axes of the indices before the new one.
    fn lead<'a>(&self, indices: &'a Shape) -> Result<&'a [usize]> {
        match usize::try_from(self.axis) {
            _ if self.axis == -1 => Ok(indices),
            Ok(axis) if axis <= indices.rank() => Ok(&indices[..axis]),
            _ => Err(Error::invalid_argument(format!(
                "{}: axis {} is neither -1 nor in [0, {}] for indices {indices}",
                self.name(),
                self.axis,
                indices.rank()
            ))),
        }
    }
}

impl Op for OneHot {
    fn name(&self) -> &'static str {
        "one_hot"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        check_dtype(self.name(), "indices", inputs[0].dtype, DTypes::INTEGER)?;
        let depth = usize::try_from(self.depth).map_err(|_| {
            let (op, depth) = (self.name(), self.depth);
            Error::invalid_argument(format!("{op}: depth must not be negative, is {depth}"))
        })?;
        let mut dims = inputs[0].shape.to_vec();
        dims.insert(self.lead(&inputs[0].shape)?.len(), depth);
        let shape = Shape::new(&dims).map_err(|error| error.context(self.name()))?;
        Ok(vec![Spec { dtype: self.output_dtype()?, shape }])
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        let indices = inputs[0];
        let depth = self.depth as usize;
        let lead = self.lead(indices.shape())?;
        let inner: usize = indices.shape()[lead.len()..].iter().product();
        type IndexAt = fn(&Array<'_>, usize) -> i64;
        let index_at = dispatch!(integer, indices.dtype(), I => {
            let index_at: IndexAt = |indices, i| indices.data::<I>()[i].as_();
            Ok(index_at)
        })?;
        dispatch!(any, outputs[0].dtype(), T => {
            let value = |given: &Option<Tensor>, default: T| match given {
                Some(value) => Ok(value.array()?.data::<T>()[0]),
                None => Ok(default),
            };
            let (on, off) = (value(&self.on_value, T::ONE)?, value(&self.off_value, T::ZERO)?);
            let out = outputs[0].data::<T>();
            out.fill(off);
            for i in 0..indices.shape().num_elements() {
                let index = index_at(&indices, i);
                if (0..self.depth).contains(&index) {
                    out[(i / inner * depth + index as usize) * inner + i % inner] = on;
                }
            }
            Ok(())
        })
    }

    fn gradient(&self) -> Gradient {
        Gradient::NotDifferentiable
    }
}

/// A vector of `depth` elements for each index, along a new last axis: 1 at the index, 0 elsewhere
/// and all 0 for an index outside, as `float32`. `tf.one_hot`.
///
/// [`OneHot`] takes the axis, the values and the dtype too.
///
/// # Errors
/// Indices that are not integers (of those TensorFlow's CPU takes four types); a negative depth.
///
/// ```
/// use tapeflow_core::array;
///
/// let y = array::one_hot([1, 0, 9], 2)?;
/// assert_eq!(y.to_vec::<f32>()?, [0.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn one_hot(indices: impl Into<Tensor>, depth: i64) -> Result<Tensor> {
    OneHot::new(depth).call(indices)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::array::{cast, zeros};

    #[test]
    fn any_index_type_and_dtype() {
        for indices in DType::ALL.into_iter().filter(|dtype| dtype.is_integer()) {
            let indices = cast([2, 200, 0], indices).unwrap();
            let y = one_hot(&indices, 3).unwrap().to_vec::<f32>().unwrap();
            assert_eq!(y, [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
            for dtype in DType::ALL.into_iter().filter(|&dtype| dtype != DType::Bool) {
                let y = OneHot { dtype: Some(dtype), ..OneHot::new(2) }.call([1]).unwrap();
                assert_eq!(y.dtype(), dtype);
                let y = cast(y, DType::Int32).unwrap();
                assert_eq!(y.to_vec::<i32>().unwrap(), [0, 1], "{dtype}");
            }
        }
        assert!(one_hot([true], 2).unwrap_err().is_dtype());
        assert!(one_hot([1.0f32], 2).unwrap_err().is_dtype());
    }

    #[test]
    fn the_axis_may_stand_anywhere() {
        let indices = Tensor::from([[0, 1, 2], [2, 5, -1]]);
        let at = |axis| {
            let op = OneHot { axis, on_value: Some(7.into()), ..OneHot::new(3) };
            op.call(&indices).unwrap()
        };
        assert_eq!(at(1).shape().dims(), [2, 3, 3]);
        let middle = at(1).to_vec::<i32>().unwrap();
        assert_eq!(middle, [7, 0, 0, 0, 7, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 7, 0, 0]);
        let first = at(0).to_vec::<i32>().unwrap();
        assert_eq!(first, [7, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 7, 7, 0, 0]);
        assert_eq!(at(-1).to_vec::<i32>().unwrap(), at(2).to_vec::<i32>().unwrap());
        let error = OneHot { axis: -2, ..OneHot::new(3) }.call(&indices).unwrap_err();
        assert_eq!(
            error.to_string(),
            "one_hot: axis -2 is neither -1 nor in [0, 2] for indices [2, 3]"
        );
        assert!(OneHot { axis: 3, ..OneHot::new(3) }.call(&indices).is_err());
    }

    #[test]
    fn values_decide_the_dtype_and_must_agree() {
        let with = |on: Option<Tensor>, off: Option<Tensor>, dtype| {
            OneHot { on_value: on, off_value: off, dtype, ..OneHot::new(2) }.call([1])
        };
        let y = with(None, Some(Tensor::from(-1i64)), None).unwrap();
        assert_eq!(y.to_vec::<i64>().unwrap(), [-1, 1]);
        let y = with(Some(false.into()), Some(true.into()), None).unwrap();
        assert_eq!(y.to_vec::<bool>().unwrap(), [true, false]);
        let mixed = with(Some(5.into()), Some(Tensor::from(-1.0f32)), None).unwrap_err();
        assert!(mixed.is_dtype());
        assert!(with(Some(5.5f32.into()), None, Some(DType::Int32)).unwrap_err().is_dtype());
        assert!(with(None, None, Some(DType::Bool)).unwrap_err().is_dtype());
        assert!(with(Some([1].into()), None, None).unwrap_err().is_shape());
    }

    #[test]
    fn depths_and_empty_indices() {
        assert_eq!(one_hot([1, 2], 0).unwrap().shape().dims(), [2, 0]);
        assert_eq!(one_hot(1, 3).unwrap().to_vec::<f32>().unwrap(), [0.0, 1.0, 0.0]);
        let empty = zeros([2, 0], DType::Int32).unwrap();
        let y = OneHot { axis: 1, ..OneHot::new(3) }.call(&empty).unwrap();
        assert_eq!(y.shape().dims(), [2, 3, 0]);
        let error = one_hot([1], -1).unwrap_err();
        assert_eq!(error.to_string(), "one_hot: depth must not be negative, is -1");
        assert!(one_hot([1], i64::MAX).unwrap_err().is_resource_exhausted());
    }
}
