//! Means over axes.

use tapeflow_kernels::reduce::Sum;

use crate::ops::Axes;
use crate::ops::array::{broadcast_to, cast, reshape};
use crate::ops::axes::{infer_reduction, kept, run_reduction};
use crate::ops::math::divide;
use crate::ops::prelude::*;

/// The op of [`reduce_mean`], on floats and 64-bit integers.
#[derive(Debug, Clone)]
pub struct ReduceMean {
    /// The axes to remove.
    pub axes: Axes,
}

/// How many elements each mean is of.
fn count(shape: &Shape, reduced: &[bool]) -> usize {
    shape.iter().zip(reduced).filter(|(_, gone)| **gone).map(|(&dim, _)| dim).product()
}

impl Op for ReduceMean {
    fn name(&self) -> &'static str {
        "math.reduce_mean"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        infer_reduction(self.name(), &self.axes, inputs)
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        let (x, dims) = (inputs[0], inputs[0].shape());
        let reduced = self.axes.reduced(self.name(), dims)?;
        let count = count(dims, &reduced);
        match x.dtype() {
            // The mean of no integers is 0.
            DType::Int64 => {
                let mean = |sum: i64| sum / count.max(1) as i64;
                run_reduction::<i64, _>(self.name(), Sum, x, &reduced, &mut outputs[0], mean)
            }
            DType::UInt64 => {
                let mean = |sum: u64| sum / count.max(1) as u64;
                run_reduction::<u64, _>(self.name(), Sum, x, &reduced, &mut outputs[0], mean)
            }
            dtype => dispatch_wide!(float, self, inputs, outputs, dtype, T => {
                // Exact in f64 but for one rounding, as the division in T's own type would be.
                let mean = |sum| Number::from_f64(Number::to_f64(sum) / count as f64);
                run_reduction::<T, _>(self.name(), Sum, x, &reduced, &mut outputs[0], mean)
            }),
        }
    }

    fn gradient(&self) -> Gradient {
        let op = self.clone();
        Gradient::rule(Saves::NOTHING, move |call, _| {
            let shape = &call.input_spec(0).shape;
            let reduced = op.axes.reduced(op.name(), shape)?;
            let count = Tensor::scalar(count(shape, &reduced) as f64, call.upstream().dtype())?;
            // Divided before it is repeated.
            let share = reshape(divide(call.upstream(), count)?, kept(shape, &reduced))?;
            broadcast_to(share, *shape).map(Some)
        })
    }
}

/// The mean of the elements along `axes`. `tf.math.reduce_mean`.
///
/// `axes` is `..` for all, an index or a list; [`Axes::keepdims`] keeps them with extent 1. The mean
/// of integers is that of their 64-bit sum, truncated towards zero. The mean of nothing is NaN for
/// floats, 0 for integers.
///
/// # Errors
/// `x` is `bool`; an axis that `x` has not or that is named twice.
///
/// ```
/// use tapeflow_core::{Tensor, math};
///
/// let x = Tensor::from([[1.0f32, 2.0], [3.0, 4.0]]);
/// assert_eq!(math::reduce_mean(&x, ..)?.to_scalar::<f32>()?, 2.5);
/// assert_eq!(math::reduce_mean([1, 2], ..)?.to_scalar::<i32>()?, 1);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn reduce_mean(x: impl Into<Tensor>, axes: impl Into<Axes>) -> Result<Tensor> {
    let (x, axes) = (x.into(), axes.into());
    let dtype = x.dtype();
    let wide = match dtype {
        DType::UInt8 | DType::UInt16 | DType::UInt32 => DType::UInt64,
        DType::Int8 | DType::Int16 | DType::Int32 => DType::Int64,
        _ => return apply(ReduceMean { axes }, &[&x]),
    };
    cast(apply(ReduceMean { axes }, &[&cast(x, wide)?])?, dtype)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::array::{fill, zeros};
    use crate::ops::math::square;
    use crate::test::check_gradients;

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let x = Tensor::from([[[1.0f64, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]]);
        for axes in [Axes::all(), Axes::from(1), Axes::list([0, -1]).keepdims(true)] {
            check_gradients(
                |x| square(reduce_mean(&x[0], axes.clone())?),
                std::slice::from_ref(&x),
            );
        }
    }

    #[test]
    fn integers_are_summed_in_64_bits_and_truncated() {
        let mean = |x: Tensor| {
            let mean = reduce_mean(&x, ..).unwrap();
            assert_eq!(mean.dtype(), x.dtype());
            cast(mean, DType::Int64).unwrap().to_scalar::<i64>().unwrap()
        };
        assert_eq!(mean([100i8; 3].into()), 100);
        assert_eq!(mean(fill([256], i8::MIN).unwrap()), -128);
        assert_eq!(mean([200u8, 200].into()), 200);
        assert_eq!(mean([i32::MAX; 2].into()), i64::from(i32::MAX));
        assert_eq!(mean([-1, -2].into()), -1);
        assert_eq!(mean([i64::MAX; 2].into()), -1);
        assert_eq!(mean([u64::MAX; 2].into()), i64::MAX);
        assert_eq!(mean(zeros([0], DType::Int32).unwrap()), 0);
    }

    #[test]
    fn floats_of_every_width_and_of_none() {
        for dtype in [DType::Float16, DType::BFloat16, DType::Float32, DType::Float64] {
            let x = cast(fill([3000], 2).unwrap(), dtype).unwrap();
            let mean = cast(reduce_mean(x, ..).unwrap(), DType::Float64).unwrap();
            assert_eq!(mean.to_scalar::<f64>().unwrap(), 2.0, "{dtype}");
            let empty = reduce_mean(zeros([0, 2], dtype).unwrap(), 0).unwrap();
            let empty = cast(empty, DType::Float64).unwrap().to_vec::<f64>().unwrap();
            assert!(empty.len() == 2 && empty.iter().all(|mean| mean.is_nan()), "{dtype}");
        }
        assert!(reduce_mean([true], ..).unwrap_err().is_dtype());
    }
}
