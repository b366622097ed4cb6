//! The cross-entropy of scores with the one class that is right.

use tapeflow_kernels::softmax as kernels;

use crate::ops::array::{OneHot, expand_dims};
use crate::ops::math::{multiply, subtract};
use crate::ops::nn::softmax;
use crate::ops::prelude::*;

/// The op of [`sparse_softmax_cross_entropy_with_logits`].
#[derive(Debug, Clone, Copy)]
pub struct SparseSoftmaxCrossEntropyWithLogits;

impl Op for SparseSoftmaxCrossEntropyWithLogits {
    fn name(&self) -> &'static str {
        "nn.sparse_softmax_cross_entropy_with_logits"
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let (labels, logits) = (&inputs[0], &inputs[1]);
        let name = self.name();
        check_dtype(name, "labels", labels.dtype, DTypes::of(&[DType::Int32, DType::Int64]))?;
        check_dtype(name, "logits", logits.dtype, DTypes::FLOATING)?;
        let refuse = |why: &str| {
            Err(Error::shape(format!(
                "{name}: {why} (labels {}, logits {})",
                labels.shape, logits.shape
            )))
        };
        match logits.shape.split_last() {
            None => refuse("logits must have at least 1 axis"),
            Some((0, _)) => refuse("there are no classes"),
            Some((_, rows)) if rows != labels.shape.dims() => {
                refuse("labels must have the shape of logits without the last axis")
            }
            Some(_) => Ok(vec![Spec { shape: labels.shape, dtype: logits.dtype }]),
        }
    }

    fn run(&self, inputs: &[Array<'_>], outputs: &mut [ArrayMut<'_>]) -> Result<()> {
        let (labels, logits) = (inputs[0], inputs[1]);
        let classes = logits.shape()[logits.shape().rank() - 1];
        let (label32, label64);
        let label: &(dyn Fn(usize) -> usize + Sync) = match labels.dtype() {
            DType::Int32 => {
                let labels = check_labels(self.name(), labels.data::<i32>(), classes)?;
                label32 = move |row: usize| labels[row] as usize;
                &label32
            }
            _ => {
                let labels = check_labels(self.name(), labels.data::<i64>(), classes)?;
                label64 = move |row: usize| labels[row] as usize;
                &label64
            }
        };
        dispatch_wide!(float, self, inputs, outputs, logits.dtype(), T => {
            kernels::sparse_cross_entropy(label, logits.data::<T>(), classes, outputs[0].data());
            Ok(())
        })
    }

    fn gradient(&self) -> Gradient {
        // With respect to the logits: labels are integers.
        Gradient::rule(Saves::INPUTS, |call, _| {
            let (labels, logits) = (call.input(0), call.input(1));
            let classes = logits.shape()[logits.shape().rank() - 1] as i64;
            let right = OneHot { dtype: Some(logits.dtype()), ..OneHot::new(classes) };
            let excess = subtract(softmax(logits)?, right.call(labels)?)?;
            multiply(expand_dims(call.upstream(), -1)?, excess).map(Some)
        })
    }
}

/// The labels, each of which is a class.
fn check_labels<'a, T: Number>(op: &str, labels: &'a [T], classes: usize) -> Result<&'a [T]>
where
    i64: From<T>,
{
    let is_class = |label: i64| usize::try_from(label).is_ok_and(|label| label < classes);
    match labels.iter().map(|&label| i64::from(label)).find(|&label| !is_class(label)) {
        None => Ok(labels),
        Some(label) => {
            Err(Error::invalid_argument(format!("{op}: label {label} is outside [0, {classes})")))
        }
    }
}

/// The cross-entropy of the softmax of each row of `logits` with the class that `labels` give for
/// it: `-log_softmax(logits)[label]`, computed so that nothing overflows.
/// `tf.nn.sparse_softmax_cross_entropy_with_logits`.
///
/// `logits` are `[.., classes]`, `labels` and the result have their shape without the last axis;
/// `labels` are `int32` or `int64`.
///
/// # Errors
/// Other dtypes or shapes; no classes; a label outside `[0, classes)`.
///
/// ```
/// use tapeflow_core::nn;
///
/// let logits = [[0.0f32, -1000.0], [2.0, 2.0]];
/// let loss = nn::sparse_softmax_cross_entropy_with_logits([0i64, 1], logits)?;
/// assert_eq!(loss.to_vec::<f32>()?, [0.0, 2f32.ln()]);
/// assert_eq!(
///     nn::sparse_softmax_cross_entropy_with_logits([0, 2], logits).unwrap_err().to_string(),
///     "nn.sparse_softmax_cross_entropy_with_logits: label 2 is outside [0, 2)",
/// );
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
pub fn sparse_softmax_cross_entropy_with_logits(
    labels: impl Into<Tensor>,
    logits: impl Into<Tensor>,
) -> Result<Tensor> {
    apply(SparseSoftmaxCrossEntropyWithLogits, &[&labels.into(), &logits.into()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::array::{cast, one_hot, zeros};
    use crate::ops::nn::softmax_cross_entropy_with_logits;
    use crate::test::check_gradients;

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let logits = Tensor::from([[0.5f64, -1.0, 2.0], [0.1, 0.3, -0.4]]);
        check_gradients(|x| sparse_softmax_cross_entropy_with_logits([2, 0], &x[0]), &[logits]);
    }

    #[test]
    fn it_is_the_loss_of_the_one_hot_labels() {
        let values: Vec<f32> = (0..24).map(|i| (i as f32 * 1.3).sin() * 9.0).collect();
        let logits = Tensor::from_slice(&values, [2, 3, 4]).unwrap();
        let labels = Tensor::from([[0i64, 3, 1], [2, 2, 0]]);
        let losses = sparse_softmax_cross_entropy_with_logits(&labels, &logits).unwrap();
        let dense = softmax_cross_entropy_with_logits(one_hot(&labels, 4).unwrap(), &logits);
        assert_eq!(losses.to_vec::<f32>().unwrap(), dense.unwrap().to_vec::<f32>().unwrap());
    }

    #[test]
    fn scalars_halves_and_empty_batches() {
        let loss = sparse_softmax_cross_entropy_with_logits(1, [0.0f32, 0.0]).unwrap();
        assert_eq!(loss.to_scalar::<f32>().unwrap(), 2f32.ln());
        let half = cast([[0.0f32, 0.0]], DType::BFloat16).unwrap();
        let loss = sparse_softmax_cross_entropy_with_logits([1], half).unwrap();
        assert_eq!(loss.dtype(), DType::BFloat16);
        let (labels, logits) = (zeros([0], DType::Int32), zeros([0, 3], DType::Float32));
        let loss = sparse_softmax_cross_entropy_with_logits(labels.unwrap(), logits.unwrap());
        assert_eq!(loss.unwrap().shape().dims(), [0]);
    }

    #[test]
    fn refusals_name_the_shapes() {
        let refusal = |labels: Tensor, logits: Tensor| {
            let error = sparse_softmax_cross_entropy_with_logits(labels, logits).unwrap_err();
            let error = error.to_string();
            error.split_once(": ").unwrap().1.to_owned()
        };
        let logits = Tensor::from([[1.0f32, 2.0, 3.0]]);
        assert_eq!(refusal(Tensor::from([-1]), logits.clone()), "label -1 is outside [0, 3)");
        assert_eq!(
            refusal(Tensor::from([1, 2]), logits.clone()),
            "labels must have the shape of logits without the last axis \
             (labels [2], logits [1, 3])"
        );
        assert_eq!(
            refusal(Tensor::from([1.0f32]), logits),
            "labels is float32, must be one of int32, int64"
        );
        assert_eq!(
            refusal(Tensor::from([0]), zeros([1, 0], DType::Float32).unwrap()),
            "there are no classes (labels [1], logits [1, 0])"
        );
        assert_eq!(
            refusal(Tensor::from(0), Tensor::from(0.0f32)),
            "logits must have at least 1 axis (labels [], logits [])"
        );
    }
}
