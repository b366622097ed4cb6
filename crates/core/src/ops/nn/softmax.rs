//! Probabilities from scores.

use tapeflow_kernels::softmax as kernels;

use crate::ops::Axes;
use crate::ops::math::{multiply, reduce_sum, subtract};
use crate::ops::nn::rows::swap_with_last;
use crate::ops::prelude::*;

/// The op of [`softmax`]; [`call`](Softmax::call) takes the axis.
///
/// It runs along the last axis; [`call`](Softmax::call) brings others there.
#[derive(Debug, Clone, Copy)]
pub struct Softmax {
    /// The axis along which the probabilities sum to one; negative counts from the end.
    pub axis: i64,
}

impl Softmax {
    /// The softmax along `axis`. `tf.nn.softmax` with all its arguments.
    ///
    /// # Errors
    /// As for [`softmax`]; an axis that `logits` has not.
    ///
    /// ```
    /// use tapeflow_core::{Tensor, nn::Softmax};
    ///
    /// let logits = Tensor::from([[1.0f32, 2.0], [1.0, 2.0]]);
    /// assert_eq!(Softmax { axis: 0 }.call(&logits)?.to_vec::<f32>()?, [0.5; 4]);
    /// # Ok::<(), tapeflow_core::Error>(())
    /// ```
    pub fn call(self, logits: impl Into<Tensor>) -> Result<Tensor> {
        along_last(self, self.axis, Softmax { axis: -1 }, &logits.into())
    }
}

/// Applies `op`, which works along `axis` of `x` and is `last` along the last one.
pub(super) fn along_last<O: Op>(op: O, axis: i64, last: O, x: &Tensor) -> Result<Tensor> {
    let rank = x.shape().rank();
    if rank == 0 || matches!(x.shape().axis(op.name(), axis), Ok(axis) if axis == rank - 1) {
        return apply(op, &[x]);
    }
    let axis = x.shape().axis(op.name(), axis)?;
    op.infer(&[*x.spec()])?;
    swap_with_last(&apply(last, &[&swap_with_last(x, axis)?])?, axis)
}

/// One floating input with at least one axis, `axis` among them; the output is like it.
pub(super) fn infer_along_axis(op: &str, logits: &Spec, axis: i64) -> Result<Vec<Spec>> {
    check_dtype(op, "logits", logits.dtype, DTypes::FLOATING)?;
    if logits.shape.rank() == 0 {
        return Err(Error::shape(format!("{op}: logits must have at least 1 axis, are a scalar")));
    }
    logits.shape.axis(op, axis)?;
    Ok(vec![*logits])
}

/// The extent of the last axis, where `axis` is that one: what the kernels run along.
pub(super) fn last_extent(op: &str, shape: &Shape, axis: i64) -> Result<usize> {
    let index = shape.axis(op, axis)?;
    if index + 1 != shape.rank() {
        return Err(Error::unsupported(format!("{op}: axis {axis} runs between transposes")));
    }
    Ok(shape[index])
}

impl Op for Softmax {
    fn name(&self) -> &'static str {
        "nn.softmax"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        infer_along_axis(self.name(), &inputs[0], self.axis)
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        let logits = inputs[0];
        let len = last_extent(self.name(), logits.shape(), self.axis)?;
        dispatch_wide!(float, self, inputs, outputs, logits.dtype(), T => {
            kernels::softmax(logits.data::<T>(), len, outputs[0].data());
            Ok(())
        })
    }

    fn gradient(&self) -> Gradient {
        Gradient::rule(Saves::OUTPUTS, |call, _| {
            let (y, upstream) = (call.output(0), call.upstream());
            let mean = reduce_sum(multiply(upstream, y)?, Axes::from(-1).keepdims(true))?;
            multiply(subtract(upstream, mean)?, y).map(Some)
        })
    }
}

/// `exp(x) / sum(exp(x))` along the last axis, computed so that nothing overflows. `tf.nn.softmax`.
///
/// [`Softmax`] takes another axis.
///
/// # Errors
/// `logits` that are not floating, or a scalar.
///
/// ```
/// use tapeflow_core::nn;
///
/// let y = nn::softmax([[1000.0f32, 1000.0], [0.0, -1000.0]])?;
/// assert_eq!(y.to_vec::<f32>()?, [0.5, 0.5, 1.0, 0.0]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn softmax(logits: impl Into<Tensor>) -> Result<Tensor> {
    Softmax { axis: -1 }.call(logits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::array::{cast, zeros};
    use crate::test::check_gradients;

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let logits = Tensor::from([[0.5f64, -1.0, 2.0], [0.1, 0.3, -0.4]]);
        check_gradients(|x| softmax(&x[0]), std::slice::from_ref(&logits));
        check_gradients(|x| Softmax { axis: 0 }.call(&x[0]), &[logits]);
    }

    #[test]
    fn every_float_sums_to_one() {
        for dtype in [DType::Float16, DType::BFloat16, DType::Float32, DType::Float64] {
            let logits = cast([1.0f32, 2.0, -3.0, 0.5], dtype).unwrap();
            let y = cast(softmax(logits).unwrap(), DType::Float64).unwrap();
            let sum: f64 = y.to_vec::<f64>().unwrap().iter().sum();
            assert!((sum - 1.0).abs() < 1e-2, "{dtype}: {sum}");
        }
    }

    #[test]
    fn long_rows_in_many_pieces() {
        let logits = zeros([3, 5000], DType::Float32).unwrap();
        let y = softmax(logits).unwrap().to_vec::<f32>().unwrap();
        assert!(y.iter().all(|&y| (y * 5000.0 - 1.0).abs() < 1e-6), "{:?}", &y[..3]);
        assert_eq!(y.len(), 15000);
    }

    #[test]
    fn empty_tensors_pass() {
        for shape in [[0, 3], [3, 0]] {
            let y = softmax(zeros(shape, DType::Float32).unwrap()).unwrap();
            assert_eq!(y.shape().dims(), shape);
        }
    }

    #[test]
    fn refusals_name_the_axis() {
        assert_eq!(
            softmax(1.0f32).unwrap_err().to_string(),
            "nn.softmax: logits must have at least 1 axis, are a scalar"
        );
        assert_eq!(
            Softmax { axis: 2 }.call([[1.0f32]]).unwrap_err().to_string(),
            "nn.softmax: axis 2 is outside [-2, 2) of shape [1, 1]"
        );
        assert!(softmax([1i32]).unwrap_err().is_dtype());
    }
}
