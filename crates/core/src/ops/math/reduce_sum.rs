//! Sums over axes.

use tapeflow_kernels::reduce::Sum;

use crate::ops::Axes;
use crate::ops::array::{broadcast_to, reshape};
use crate::ops::axes::{kept, run_reduction};
use crate::ops::prelude::*;

/// The op of [`reduce_sum`].
#[derive(Debug, Clone)]
pub struct ReduceSum {
    /// The axes to remove.
    pub axes: Axes,
}

impl Op for ReduceSum {
    fn name(&self) -> &'static str {
        "math.reduce_sum"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        check_dtype(self.name(), "x", inputs[0].dtype, DTypes::NUMERIC)?;
        let shape = self.axes.result(self.name(), &inputs[0].shape)?;
        Ok(vec![Spec { shape, ..inputs[0] }])
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        let x = inputs[0];
        let reduced = self.axes.reduced(self.name(), x.shape())?;
        dispatch_wide!(number, self, inputs, outputs, x.dtype(), T => {
            run_reduction::<T, _>(self.name(), Sum, x, &reduced, &mut outputs[0], |sum| sum)
        })
    }

    fn gradient(&self) -> Gradient {
        let op = self.clone();
        Gradient::rule(Saves::NOTHING, move |call, _| {
            let shape = &call.input_spec(0).shape;
            let kept = kept(shape, &op.axes.reduced(op.name(), shape)?);
            broadcast_to(reshape(call.upstream(), kept)?, *shape).map(Some)
        })
    }
}

/// The sum of the elements along `axes`; that of none is 0. `tf.math.reduce_sum`.
///
/// `axes` is `..` for all, an index or a list; [`Axes::keepdims`] keeps them with extent 1.
///
/// # Errors
/// `x` is `bool`; an axis that `x` has not or that is named twice.
///
/// ```
/// use tapeflow_core::{Tensor, math};
///
/// let x = Tensor::from([[1.0f32, 2.0], [3.0, 4.0]]);
/// assert_eq!(math::reduce_sum(&x, 1)?.to_vec::<f32>()?, [3.0, 7.0]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn reduce_sum(x: impl Into<Tensor>, axes: impl Into<Axes>) -> Result<Tensor> {
    apply(ReduceSum { axes: axes.into() }, &[&x.into()])
}

/// Sums `x` over the axes along which `shape` was broadcast to its shape: the one place where
/// broadcasting is undone.
pub(crate) fn sum_to_shape(x: Tensor, shape: &Shape) -> Result<Tensor> {
    if x.shape() == shape {
        return Ok(x);
    }
    let lead = x.shape().rank() - shape.rank();
    let axes = (0..x.shape().rank())
        .filter(|&axis| axis < lead || (shape[axis - lead] == 1 && x.shape()[axis] != 1))
        .map(|axis| axis as i64);
    reshape(reduce_sum(&x, Axes::list(axes.collect::<Vec<_>>()))?, *shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::check_gradients;

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let x = Tensor::from([[[1.0f64, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]]);
        for axes in [Axes::all(), Axes::from(1), Axes::list([0, -1]).keepdims(true)] {
            check_gradients(|x| reduce_sum(&x[0], axes.clone()), std::slice::from_ref(&x));
        }
    }

    #[test]
    fn axes_are_checked() {
        let x = Tensor::from([[1.0f32, 2.0]]);
        let error = reduce_sum(&x, 2).unwrap_err();
        assert_eq!(error.to_string(), "math.reduce_sum: axis 2 is outside [-2, 2) of shape [1, 2]");
        assert!(reduce_sum(&x, [0, -2]).unwrap_err().is_invalid_argument());
        assert!(reduce_sum([true], ..).unwrap_err().is_dtype());
    }
}
