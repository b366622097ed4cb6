//! The same elements with the axes in another order.

use std::ops::RangeFull;

use tapeflow_kernels::movement::{gather, row_major_strides};

use crate::ops::prelude::*;

/// The op of [`transpose`].
#[derive(Debug, Clone)]
pub struct Transpose {
    /// Which axis of the input each axis of the output is.
    pub perm: Permutation,
}

/// An order of axes: `..` to reverse them, or a list of them all; negative ones count from the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permutation(Option<Vec<i64>>);

impl Permutation {
    /// The axes of `shape` in the wanted order.
    fn resolve(&self, op: &str, shape: &Shape) -> Result<Vec<usize>> {
        let Some(perm) = &self.0 else {
            return Ok((0..shape.rank()).rev().collect());
        };
        if perm.len() != shape.rank() {
            return Err(Error::invalid_argument(format!(
                "{op}: perm {perm:?} must have an entry for each axis of shape {shape}"
            )));
        }
        let mut seen = vec![false; perm.len()];
        let mut axes = Vec::with_capacity(perm.len());
        for &axis in perm {
            let axis = shape.axis(op, axis)?;
            if std::mem::replace(&mut seen[axis], true) {
                return Err(Error::invalid_argument(format!(
                    "{op}: perm {perm:?} names axis {axis} of shape {shape} twice"
                )));
            }
            axes.push(axis);
        }
        Ok(axes)
    }
}

impl From<RangeFull> for Permutation {
    fn from(_: RangeFull) -> Permutation {
        Permutation(None)
    }
}

impl<const N: usize> From<[i64; N]> for Permutation {
    fn from(perm: [i64; N]) -> Permutation {
        Permutation(Some(perm.to_vec()))
    }
}

impl From<&[i64]> for Permutation {
    fn from(perm: &[i64]) -> Permutation {
        Permutation(Some(perm.to_vec()))
    }
}

impl From<Vec<i64>> for Permutation {
    fn from(perm: Vec<i64>) -> Permutation {
        Permutation(Some(perm))
    }
}

impl Op for Transpose {
    fn name(&self) -> &'static str {
        "transpose"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let shape = &inputs[0].shape;
        let axes = self.perm.resolve(self.name(), shape)?;
        let dims: Vec<usize> = axes.iter().map(|&axis| shape[axis]).collect();
        Ok(vec![Spec { shape: Shape::new(&dims)?, ..inputs[0] }])
    }

    fn view(&self, inputs: &[Spec]) -> Option<usize> {
        // Nothing moves where the axes longer than one keep their order.
        let shape = &inputs[0].shape;
        let axes = self.perm.resolve(self.name(), shape).ok()?;
        let moved = axes.iter().filter(|&&axis| shape[axis] != 1);
        moved.is_sorted().then_some(0)
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        let x = inputs[0];
        let axes = self.perm.resolve(self.name(), x.shape())?;
        let strides = row_major_strides(x.shape());
        let strides: Vec<isize> = axes.iter().map(|&axis| strides[axis]).collect();
        let dims = *outputs[0].shape();
        dispatch!(moved, x.dtype(), T => {
            gather(x.data::<T>(), 0, &strides, &dims, outputs[0].data());
            Ok(())
        })
    }

    fn gradient(&self) -> Gradient {
        let op = self.clone();
        Gradient::rule(Saves::NOTHING, move |call, _| {
            let axes = op.perm.resolve(op.name(), &call.input_spec(0).shape)?;
            let mut inverse = vec![0; axes.len()];
            for (to, from) in axes.into_iter().enumerate() {
                inverse[from] = to as i64;
            }
            transpose(call.upstream(), inverse).map(Some)
        })
    }
}

/// `x` with its axes in another order. `tf.transpose`.
///
/// `perm` is `..` to reverse them, or for each axis of the result the axis of `x` that it is.
///
/// # Errors
/// A list that is not a permutation of `x`'s axes.
///
/// ```
/// use tapeflow_core::{Tensor, array};
///
/// let x = Tensor::from([[1, 2, 3], [4, 5, 6]]);
/// let y = array::transpose(&x, ..)?;
/// assert_eq!(y.shape().dims(), [3, 2]);
/// assert_eq!(y.to_vec::<i32>()?, [1, 4, 2, 5, 3, 6]);
/// assert_eq!(array::transpose(&y, [1, 0])?.to_vec::<i32>()?, x.to_vec::<i32>()?);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn transpose(x: impl Into<Tensor>, perm: impl Into<Permutation>) -> Result<Tensor> {
    apply(Transpose { perm: perm.into() }, &[&x.into()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::array::{reshape, zeros};
    use crate::ops::math::square;
    use crate::test::check_gradients;

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let x = Tensor::from([[[1.0f64, 2.0, 3.0]], [[4.0, 5.0, 6.0]]]);
        for perm in [Permutation::from(..), [2, 0, 1].into(), [1, 0, -1].into()] {
            check_gradients(|x| transpose(square(&x[0])?, perm.clone()), std::slice::from_ref(&x));
        }
    }

    #[test]
    fn every_order_of_three_axes() {
        let x: Vec<i32> = (0..24).collect();
        let x = reshape(x, [2, 3, 4]).unwrap();
        let values = x.to_vec::<i32>().unwrap();
        for perm in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let y = transpose(&x, perm).unwrap();
            let dims = y.shape().to_vec();
            for (flat, value) in y.to_vec::<i32>().unwrap().into_iter().enumerate() {
                let index = [flat / (dims[1] * dims[2]), flat / dims[2] % dims[1], flat % dims[2]];
                let mut from = [0; 3];
                for (axis, &at) in perm.iter().zip(&index) {
                    from[*axis as usize] = at;
                }
                assert_eq!(value, values[from[0] * 12 + from[1] * 4 + from[2]], "{perm:?}");
            }
        }
    }

    #[test]
    fn values_are_shared_where_nothing_moves() {
        let x = Tensor::from([[1.0f32, 2.0]]);
        let y = transpose(&x, ..).unwrap();
        assert_eq!(x.as_bytes().as_ptr(), y.as_bytes().as_ptr());
        assert_eq!(y.shape().dims(), [2, 1]);
        let empty = zeros([0, 3], DType::Float32).unwrap();
        assert_eq!(transpose(empty, ..).unwrap().shape().dims(), [3, 0]);
    }

    #[test]
    fn what_is_refused() {
        let x = Tensor::from([[1, 2, 3]]);
        let error = transpose(&x, [0, 0]).unwrap_err();
        assert_eq!(error.to_string(), "transpose: perm [0, 0] names axis 0 of shape [1, 3] twice");
        assert!(transpose(&x, [0]).unwrap_err().is_invalid_argument());
        assert!(transpose(&x, [0, 2]).unwrap_err().is_invalid_argument());
    }
}
