//! Logarithms of probabilities from scores.

use tapeflow_kernels::softmax as kernels;

use crate::ops::Axes;
use crate::ops::math::{multiply, reduce_sum, subtract};
use crate::ops::nn::softmax;
use crate::ops::nn::softmax::{along_last, infer_along_axis, last_extent};
use crate::ops::prelude::*;

/// The op of [`log_softmax`]; [`call`](LogSoftmax::call) takes the axis.
///
/// It runs along the last axis; [`call`](LogSoftmax::call) brings others there.
#[derive(Debug, Clone, Copy)]
pub struct LogSoftmax {
    /// The axis along which the probabilities sum to one; negative counts from the end.
    pub axis: i64,
}

impl LogSoftmax {
    /// The logarithm of the softmax along `axis`. `tf.nn.log_softmax` with all its arguments.
    ///
    /// # Errors
    /// As for [`log_softmax`]; an axis that `logits` has not.
    ///
    /// ```
    /// use tapeflow_core::{Tensor, nn::LogSoftmax};
    ///
    /// let logits = Tensor::from([[0.0f32], [-1000.0]]);
    /// assert_eq!(LogSoftmax { axis: 0 }.call(&logits)?.to_vec::<f32>()?, [0.0, -1000.0]);
    /// # Ok::<(), tapeflow_core::Error>(())
    /// ```
    pub fn call(self, logits: impl Into<Tensor>) -> Result<Tensor> {
        along_last(self, self.axis, LogSoftmax { axis: -1 }, &logits.into())
    }
}

impl Op for LogSoftmax {
    fn name(&self) -> &'static str {
        "nn.log_softmax"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        infer_along_axis(self.name(), &inputs[0], self.axis)
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        let logits = inputs[0];
        let len = last_extent(self.name(), logits.shape(), self.axis)?;
        dispatch_wide!(float, self, inputs, outputs, logits.dtype(), T => {
            kernels::log_softmax(logits.data::<T>(), len, outputs[0].data());
            Ok(())
        })
    }

    fn gradient(&self) -> Gradient {
        Gradient::rule(Saves::INPUTS, |call, _| {
            let upstream = call.upstream();
            let total = reduce_sum(upstream, Axes::from(-1).keepdims(true))?;
            subtract(upstream, multiply(softmax(call.input(0))?, total)?).map(Some)
        })
    }
}

/// `x - log(sum(exp(x)))` along the last axis, computed so that nothing overflows.
/// `tf.nn.log_softmax`.
///
/// [`LogSoftmax`] takes another axis.
///
/// # Errors
/// `logits` that are not floating, or a scalar.
///
/// ```
/// use tapeflow_core::nn;
///
/// assert_eq!(nn::log_softmax([[0.0f32, -1000.0]])?.to_vec::<f32>()?, [0.0, -1000.0]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn log_softmax(logits: impl Into<Tensor>) -> Result<Tensor> {
    LogSoftmax { axis: -1 }.call(logits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::array::{cast, zeros};
    use crate::test::check_gradients;

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let logits = Tensor::from([[0.5f64, -1.0, 2.0], [0.1, 0.3, -0.4]]);
        check_gradients(|x| log_softmax(&x[0]), std::slice::from_ref(&logits));
        check_gradients(|x| LogSoftmax { axis: 0 }.call(&x[0]), &[logits]);
    }

    #[test]
    fn it_is_the_logarithm_of_softmax() {
        let logits = [0.5f64, -1.0, 2.0, 0.25];
        let y = log_softmax(logits).unwrap().to_vec::<f64>().unwrap();
        let p = softmax(logits).unwrap().to_vec::<f64>().unwrap();
        for (y, p) in y.iter().zip(p) {
            assert!((y - p.ln()).abs() < 1e-14);
        }
        let y = log_softmax([f32::NEG_INFINITY, 1.0]).unwrap().to_vec::<f32>().unwrap();
        assert_eq!(y, [f32::NEG_INFINITY, 0.0]);
    }

    #[test]
    fn half_is_computed_in_float() {
        for dtype in [DType::Float16, DType::BFloat16] {
            let y = log_softmax(cast([4.0f32; 8], dtype).unwrap()).unwrap();
            let y = cast(y, DType::Float32).unwrap().to_vec::<f32>().unwrap();
            assert!(y.iter().all(|y| (y + 8f32.ln()).abs() < 1e-2), "{dtype}: {y:?}");
        }
    }

    #[test]
    fn refusals_and_empty_tensors() {
        let y = log_softmax(zeros([3, 0], DType::Float32).unwrap()).unwrap();
        assert_eq!(y.shape().dims(), [3, 0]);
        assert_eq!(
            log_softmax(1.0f32).unwrap_err().to_string(),
            "nn.log_softmax: logits must have at least 1 axis, are a scalar"
        );
        assert!(LogSoftmax { axis: -2 }.call([1.0f32]).unwrap_err().is_invalid_argument());
        assert!(log_softmax([1i32]).unwrap_err().is_dtype());
    }
}
