//! The cross-entropy of scores with given probabilities.

use tapeflow_kernels::softmax as kernels;

use crate::ops::Axes;
use crate::ops::array::{broadcast_to, cast, expand_dims};
use crate::ops::math::{multiply, negative, subtract};
use crate::ops::nn::rows::move_to_last;
use crate::ops::nn::softmax::{infer_along_axis, last_extent};
use crate::ops::nn::{log_softmax, softmax};
use crate::ops::prelude::*;

/// The op of [`softmax_cross_entropy_with_logits`], whose inputs have one dtype and shape;
/// [`call`](SoftmaxCrossEntropyWithLogits::call) takes the axis.
///
/// It runs along the last axis; [`call`](SoftmaxCrossEntropyWithLogits::call) brings others there.
#[derive(Debug, Clone, Copy)]
pub struct SoftmaxCrossEntropyWithLogits {
    /// The axis of the classes; negative counts from the end.
    pub axis: i64,
}

impl SoftmaxCrossEntropyWithLogits {
    /// The cross-entropy along `axis`. `tf.nn.softmax_cross_entropy_with_logits` with all its
    /// arguments.
    ///
    /// # Errors
    /// As for [`softmax_cross_entropy_with_logits`]; an axis that `logits` has not.
    ///
    /// ```
    /// use tapeflow_core::nn::SoftmaxCrossEntropyWithLogits;
    ///
    /// let (labels, logits) = ([[1.0f32], [0.0]], [[1000.0f32], [0.0]]);
    /// let loss = SoftmaxCrossEntropyWithLogits { axis: 0 }.call(labels, logits)?;
    /// assert_eq!(loss.to_vec::<f32>()?, [0.0]);
    /// # Ok::<(), tapeflow_core::Error>(())
    /// ```
    pub fn call(self, labels: impl Into<Tensor>, logits: impl Into<Tensor>) -> Result<Tensor> {
        let (labels, logits) = (labels.into(), logits.into());
        let name = self.name();
        infer_along_axis(name, logits.spec(), self.axis)?;
        if labels.shape().broadcast(logits.shape()) != Some(*logits.shape()) {
            return Err(Error::shape(format!(
                "{name}: labels {} do not broadcast to logits {}",
                labels.shape(),
                logits.shape()
            )));
        }
        let labels = broadcast_to(cast(labels, logits.dtype())?, *logits.shape())?;
        let axis = logits.shape().axis(name, self.axis)?;
        if axis + 1 == logits.shape().rank() {
            return apply(self, &[&labels, &logits]);
        }
        let (labels, logits) = (move_to_last(&labels, axis)?, move_to_last(&logits, axis)?);
        apply(SoftmaxCrossEntropyWithLogits { axis: -1 }, &[&labels, &logits])
    }
}

impl Op for SoftmaxCrossEntropyWithLogits {
    fn name(&self) -> &'static str {
        "nn.softmax_cross_entropy_with_logits"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let (labels, logits) = (&inputs[0], &inputs[1]);
        check_same_dtype(self.name(), labels, logits)?;
        infer_along_axis(self.name(), logits, self.axis)?;
        if labels.shape != logits.shape {
            return Err(Error::shape(format!(
                "{}: labels are {}, logits {}",
                self.name(),
                labels.shape,
                logits.shape
            )));
        }
        let shape = Axes::from(self.axis).result(self.name(), &logits.shape)?;
        Ok(vec![Spec { shape, ..*logits }])
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        let (labels, logits) = (inputs[0], inputs[1]);
        let len = last_extent(self.name(), logits.shape(), self.axis)?;
        dispatch_wide!(float, self, inputs, outputs, logits.dtype(), T => {
            let (labels, logits) = (labels.data::<T>(), logits.data::<T>());
            kernels::cross_entropy(labels, logits, len, outputs[0].data());
            Ok(())
        })
    }

    fn gradient(&self) -> Gradient {
        Gradient::rule(Saves::INPUTS, |call, input| {
            let (labels, logits) = (call.input(0), call.input(1));
            let upstream = expand_dims(call.upstream(), -1)?;
            match input {
                0 => multiply(negative(upstream)?, log_softmax(logits)?).map(Some),
                // TensorFlow's: exact where the labels sum to one.
                _ => multiply(upstream, subtract(softmax(logits)?, labels)?).map(Some),
            }
        })
    }
}

/// The cross-entropy of each row of `labels` with the softmax of that row of `logits`:
/// `-sum(labels * log_softmax(logits))` along the last axis, computed so that nothing overflows.
/// `tf.nn.softmax_cross_entropy_with_logits`.
///
/// Rows of `labels` are probabilities. `labels` are converted to the dtype of `logits` and
/// broadcast to their shape; the result has that shape without the last axis. The gradient with
/// respect to `logits` is `softmax(logits) - labels`, as in TensorFlow, which is exact where labels
/// sum to one. [`SoftmaxCrossEntropyWithLogits`] takes another axis.
///
/// # Errors
/// `logits` that are not floating, or a scalar; `labels` that do not broadcast to them.
///
/// ```
/// use tapeflow_core::nn;
///
/// let labels = [[1.0f32, 0.0], [0.5, 0.5]];
/// let loss = nn::softmax_cross_entropy_with_logits(labels, [[0.0f32, -1000.0], [2.0, 2.0]])?;
/// assert_eq!(loss.to_vec::<f32>()?, [0.0, 2f32.ln()]);
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn softmax_cross_entropy_with_logits(
    labels: impl Into<Tensor>,
    logits: impl Into<Tensor>,
) -> Result<Tensor> {
    SoftmaxCrossEntropyWithLogits { axis: -1 }.call(labels, logits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::array::{transpose, zeros};
    use crate::test::check_gradients;

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let labels = Tensor::from([[0.2f64, 0.5, 0.3], [0.0, 0.9, 0.1]]);
        let logits = Tensor::from([[0.5f64, -1.0, 2.0], [0.1, 0.3, -0.4]]);
        check_gradients(
            |x| softmax_cross_entropy_with_logits(&x[0], &x[1]),
            &[labels.clone(), logits.clone()],
        );
        let (labels, logits) = (transpose(labels, ..).unwrap(), transpose(logits, ..).unwrap());
        let op = SoftmaxCrossEntropyWithLogits { axis: 0 };
        check_gradients(|x| op.call(&x[0], &x[1]), &[labels, logits]);
    }

    #[test]
    fn an_axis_in_the_middle() {
        let values: Vec<f64> = (0..24).map(|i| (f64::from(i) * 1.3).sin()).collect();
        let logits = Tensor::from_slice(&values, [2, 3, 4]).unwrap();
        let labels = softmax(&logits).unwrap();
        let losses = SoftmaxCrossEntropyWithLogits { axis: 1 }.call(&labels, &logits).unwrap();
        assert_eq!(losses.shape().dims(), [2, 4]);
        let moved = |x| transpose(x, [0, 2, 1]).unwrap();
        let want = softmax_cross_entropy_with_logits(moved(&labels), moved(&logits)).unwrap();
        assert_eq!(losses.to_vec::<f64>().unwrap(), want.to_vec::<f64>().unwrap());
    }

    #[test]
    fn labels_are_converted_and_broadcast() {
        let logits = [[0.0f32, 0.0], [0.0, -1000.0]];
        let losses = softmax_cross_entropy_with_logits([1i32, 0], logits).unwrap();
        assert_eq!(losses.to_vec::<f32>().unwrap(), [2f32.ln(), 0.0]);
        let half = cast(logits, DType::Float16).unwrap();
        let losses = softmax_cross_entropy_with_logits([[1.0f64], [1.0]], half).unwrap();
        assert_eq!(losses.spec(), &Spec::new(DType::Float16, [2]));
    }

    #[test]
    fn empty_losses() {
        let of = |shape: [usize; 2]| zeros(shape, DType::Float32).unwrap();
        let losses = softmax_cross_entropy_with_logits(of([2, 0]), of([2, 0])).unwrap();
        assert_eq!(losses.to_vec::<f32>().unwrap(), [0.0; 2]);
        let losses = softmax_cross_entropy_with_logits(of([0, 3]), of([0, 3])).unwrap();
        assert_eq!(losses.shape().dims(), [0]);
    }

    #[test]
    fn refusals_name_both_shapes() {
        let of = |shape: [usize; 2]| zeros(shape, DType::Float32).unwrap();
        assert_eq!(
            softmax_cross_entropy_with_logits(of([2, 4]), of([2, 3])).unwrap_err().to_string(),
            "nn.softmax_cross_entropy_with_logits: labels [2, 4] do not broadcast to logits [2, 3]"
        );
        assert!(softmax_cross_entropy_with_logits(of([2, 3]), of([1, 3])).is_err());
        assert!(softmax_cross_entropy_with_logits(1.0f32, 1.0f32).unwrap_err().is_shape());
        assert!(softmax_cross_entropy_with_logits([1], [1]).unwrap_err().is_dtype());
    }
}
