//! The smallest element along axes.

use tapeflow_kernels::reduce::Min;

use crate::ops::Axes;
use crate::ops::axes::{extreme_gradient, infer_reduction, run_reduction};
use crate::ops::prelude::*;

/// The op of [`reduce_min`].
#[derive(Debug, Clone)]
pub struct ReduceMin {
    /// The axes to remove.
    pub axes: Axes,
}

impl Op for ReduceMin {
    fn name(&self) -> &'static str {
        "math.reduce_min"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        infer_reduction(self.name(), &self.axes, inputs)
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        let x = inputs[0];
        if x.shape().contains(&0) {
            return dispatch!(number, x.dtype(), T => {
                outputs[0].data::<T>().fill(<T as Number>::MAX);
                Ok(())
            });
        }
        let reduced = self.axes.reduced(self.name(), x.shape())?;
        dispatch_wide!(number, self, inputs, outputs, x.dtype(), T => {
            run_reduction::<T, _>(self.name(), Min, x, &reduced, &mut outputs[0], |extreme| extreme)
        })
    }

    fn gradient(&self) -> Gradient {
        let op = self.clone();
        Gradient::rule(Saves::ALL, move |call, _| {
            let reduced = op.axes.reduced(op.name(), call.input(0).shape())?;
            extreme_gradient(call, &reduced).map(Some)
        })
    }
}

/// The smallest element along `axes`; NaN where there is one. `tf.math.reduce_min`.
///
/// That of none is the highest value, infinity for floats. Equal elements share
/// the gradient in equal parts.
///
/// # Errors
/// `x` is `bool`; an axis that `x` has not or that is named twice.
///
/// ```
/// use tapeflow_core::{Tensor, math};
///
/// let x = Tensor::from([[1.0f32, 2.0], [3.0, 4.0]]);
/// assert_eq!(math::reduce_min(&x, 1)?.to_vec::<f32>()?, [1.0, 3.0]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn reduce_min(x: impl Into<Tensor>, axes: impl Into<Axes>) -> Result<Tensor> {
    apply(ReduceMin { axes: axes.into() }, &[&x.into()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GradientTape;
    use crate::ops::array::zeros;
    use crate::ops::math::square;
    use crate::test::check_gradients;

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let x = Tensor::from([[[1.0f64, 2.5], [3.0, 4.0]], [[5.0, -6.0], [7.0, 8.0]]]);
        for axes in [Axes::all(), Axes::from(1), Axes::list([0, -1]).keepdims(true)] {
            check_gradients(
                |x| square(reduce_min(square(&x[0])?, axes.clone())?),
                std::slice::from_ref(&x),
            );
        }
    }

    #[test]
    fn ties_share_the_gradient() {
        let x = Tensor::from([[1.0f32, 3.0, 3.0], [3.0, 1.0, 1.0]]);
        let tape = GradientTape::new();
        tape.watch(&x);
        let y = reduce_min(&x, ..).unwrap();
        let gradient = tape.gradient(&y, &x).unwrap().unwrap().to_vec::<f32>().unwrap();
        let third = 1.0 / 3.0;
        let want: Vec<f32> = x.to_vec::<f32>().unwrap();
        let extreme = y.to_scalar::<f32>().unwrap();
        let want: Vec<f32> = want.iter().map(|&x| if x == extreme { third } else { 0.0 }).collect();
        assert_eq!(gradient, want);
    }

    #[test]
    fn nan_wins_and_nothing_has_an_extreme() {
        assert!(reduce_min([1.0f32, f32::NAN], ..).unwrap().to_scalar::<f32>().unwrap().is_nan());
        let empty = reduce_min(zeros([0], DType::Float32).unwrap(), ..).unwrap();
        assert_eq!(empty.to_scalar::<f32>().unwrap(), f32::INFINITY);
        let empty = reduce_min(zeros([0], DType::Int32).unwrap(), ..).unwrap();
        assert_eq!(empty.to_scalar::<i32>().unwrap(), i32::MAX);
        assert!(reduce_min([true], ..).unwrap_err().is_dtype());
    }
}
