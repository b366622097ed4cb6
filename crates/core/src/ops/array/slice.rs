//! A block of a tensor.

use tapeflow_kernels::movement::{gather, row_major_strides};

use crate::ops::array::pad;
use crate::ops::prelude::*;

/// The op of [`slice()`].
#[derive(Debug, Clone)]
pub struct Slice {
    /// Where the block begins on each axis.
    pub begin: Vec<i64>,
    /// Its extents; -1 reaches to the end of the axis.
    pub size: Vec<i64>,
}

impl Slice {
    /// The first index and the extent on each axis.
    fn resolve(&self, shape: &Shape) -> Result<Vec<(usize, usize)>> {
        let (begin, size, op) = (&self.begin, &self.size, self.name());
        if begin.len() != shape.rank() || size.len() != shape.rank() {
            return Err(Error::invalid_argument(format!(
                "{op}: begin {begin:?} and size {size:?} must each have an entry for each axis of \
                 shape {shape}"
            )));
        }
        let outside = |axis| {
            Error::invalid_argument(format!(
                "{op}: begin {begin:?} and size {size:?} leave shape {shape} on axis {axis}"
            ))
        };
        let mut ranges = Vec::with_capacity(shape.rank());
        for (axis, &dim) in shape.iter().enumerate() {
            let start = usize::try_from(begin[axis]).map_err(|_| outside(axis))?;
            let left = dim.checked_sub(start).ok_or_else(|| outside(axis))?;
            let extent = match size[axis] {
                -1 => left,
                size => usize::try_from(size).map_err(|_| outside(axis))?,
            };
            if extent > left {
                return Err(outside(axis));
            }
            ranges.push((start, extent));
        }
        Ok(ranges)
    }

    /// Where the block begins among the elements of the input.
    fn offset(ranges: &[(usize, usize)], strides: &[isize]) -> isize {
        ranges.iter().zip(strides).map(|(&(start, _), stride)| start as isize * stride).sum()
    }
}

impl Op for Slice {
    fn name(&self) -> &'static str {
        "slice"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let ranges = self.resolve(&inputs[0].shape)?;
        let dims: Vec<usize> = ranges.iter().map(|&(_, extent)| extent).collect();
        Ok(vec![Spec { shape: Shape::new(&dims)?, ..inputs[0] }])
    }

    fn view(&self, inputs: &[Spec]) -> Option<usize> {
        let shape = &inputs[0].shape;
        let ranges = self.resolve(shape).ok()?;
        // The block is dense where, past axes of extent one, only the next axis is cut.
        let first_long = ranges.iter().position(|&(_, extent)| extent != 1).unwrap_or(shape.rank());
        let whole = |axis: usize| ranges[axis].1 == shape[axis];
        let dense = (first_long + 1..shape.rank()).all(whole);
        dense.then(|| Slice::offset(&ranges, &row_major_strides(shape)) as usize)
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        let x = inputs[0];
        let ranges = self.resolve(x.shape())?;
        let strides = row_major_strides(x.shape());
        let start = Slice::offset(&ranges, &strides);
        let dims = *outputs[0].shape();
        dispatch!(moved, x.dtype(), T => {
            gather(x.data::<T>(), start, &strides, &dims, outputs[0].data());
            Ok(())
        })
    }

    fn gradient(&self) -> Gradient {
        let op = self.clone();
        Gradient::rule(Saves::NOTHING, move |call, _| {
            let shape = &call.input_spec(0).shape;
            let ranges = op.resolve(shape)?;
            let around = |(&(start, extent), &dim): (&(usize, usize), &usize)| {
                [start as i64, (dim - start - extent) as i64]
            };
            let paddings: Vec<[i64; 2]> = ranges.iter().zip(shape.iter()).map(around).collect();
            pad(call.upstream(), paddings).map(Some)
        })
    }
}

/// The block of `x` that begins at `begin` and has the extents `size`, of which -1 reaches to the
/// end of its axis. `tf.slice`.
///
/// A block that lies in one piece, such as one cut from the first axis alone, shares the values.
///
/// # Errors
/// A number of entries that is not that of `x`'s axes; a block that leaves `x`.
///
/// ```
/// use tapeflow_core::{Tensor, array};
///
/// let x = Tensor::from([[1, 2, 3], [4, 5, 6]]);
/// assert_eq!(array::slice(&x, [0, 1], [2, -1])?.to_vec::<i32>()?, [2, 3, 5, 6]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn slice(
    x: impl Into<Tensor>,
    begin: impl Into<Vec<i64>>,
    size: impl Into<Vec<i64>>,
) -> Result<Tensor> {
    apply(Slice { begin: begin.into(), size: size.into() }, &[&x.into()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::array::{cast, reshape, zeros};
    use crate::ops::math::square;
    use crate::test::check_gradients;

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let x = Tensor::from([[1.0f64, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]);
        for (begin, size) in
            [([1, 0], [1, -1]), ([0, 1], [2, 2]), ([2, 2], [1, 1]), ([1, 1], [0, 2])]
        {
            check_gradients(|x| square(slice(&x[0], begin, size)?), std::slice::from_ref(&x));
        }
    }

    #[test]
    fn blocks_in_one_piece_share_the_values() {
        let x = reshape((0..24).collect::<Vec<i32>>(), [2, 3, 4]).unwrap();
        let at = |y: &Tensor| y.as_bytes().as_ptr() as usize - x.as_bytes().as_ptr() as usize;
        let second = slice(&x, [1, 0, 0], [1, -1, -1]).unwrap();
        assert_eq!((at(&second), second.to_vec::<i32>().unwrap()[0]), (48, 12));
        let rows = slice(&second, [0, 1, 0], [1, 2, 4]).unwrap();
        assert_eq!((at(&rows), rows.to_vec::<i32>().unwrap()), (64, (16..24).collect()));
        let part = slice(&x, [1, 2, 1], [1, 1, 2]).unwrap();
        assert_eq!((at(&part), part.to_vec::<i32>().unwrap()), (84, vec![21, 22]));
        let columns = slice(&x, [0, 0, 3], [-1, -1, 1]).unwrap();
        assert_eq!(columns.to_vec::<i32>().unwrap(), [3, 7, 11, 15, 19, 23]);
    }

    #[test]
    fn empty_blocks_and_any_dtype() {
        for dtype in DType::ALL {
            let x = cast([[0, 1], [1, 1], [0, 0]], dtype).unwrap();
            assert_eq!(slice(&x, [3, 0], [-1, -1]).unwrap().shape().dims(), [0, 2]);
            assert_eq!(slice(&x, [3, 2], [0, 0]).unwrap().shape().dims(), [0, 0]);
            assert_eq!(slice(&x, [1, 2], [1, 0]).unwrap().as_bytes().len(), 0);
            let y = cast(slice(&x, [0, 1], [2, 1]).unwrap(), DType::Int32).unwrap();
            assert_eq!(y.to_vec::<i32>().unwrap(), [1, 1], "{dtype}");
        }
        assert_eq!(slice(5, [], []).unwrap().to_scalar::<i32>().unwrap(), 5);
        let empty = zeros([0, 2], DType::Float32).unwrap();
        assert_eq!(slice(empty, [0, 1], [-1, 1]).unwrap().shape().dims(), [0, 1]);
    }

    #[test]
    fn what_is_refused() {
        let error = slice([1, 2, 3], [2], [2]).unwrap_err();
        assert_eq!(error.to_string(), "slice: begin [2] and size [2] leave shape [3] on axis 0");
        for (begin, size) in [(4, 0), (4, -1), (-1, 1), (0, -2), (0, i64::MAX), (i64::MIN, 1)] {
            assert!(slice([1, 2, 3], [begin], [size]).unwrap_err().is_invalid_argument());
        }
        assert!(slice([1, 2, 3], [0, 0], [1, 1]).unwrap_err().is_invalid_argument());
        assert!(slice([1, 2, 3], [0], [1, 1]).unwrap_err().is_invalid_argument());
    }
}
