//! `digits evaluate`: a model's accuracy on the test images.

use serde_json::json;
use tapeflow as tf;
use tf::Tensor;
use tf::data::Dataset;

use crate::cli::EvaluateOptions;
use crate::confusion::Confusion;
use crate::dataset::{self, Split};
use crate::failure::Failure;
use crate::model::{Model, loss, preprocess};
use crate::{model_file, output};

/// Images per forward pass: about as many as a training step has, so that its buffers serve.
const BATCH: usize = 125;

/// What a pass over the images finds.
pub struct Evaluation {
    pub confusion: Confusion,
    /// The mean of `-log` of the probability given to the right digit.
    pub loss: f64,
}

pub fn run(options: &EvaluateOptions) -> Result<(), Failure> {
    let model = model_file::load(&options.model)?;
    let (_, test) = dataset::load(options.data.as_deref())?;
    let evaluation = evaluate(&model, &test)?;
    let accuracy = evaluation.confusion.accuracy();
    if options.json {
        output::print(json!({
            "model": options.model,
            "architecture": model.name().name(),
            "images": evaluation.confusion.total(),
            "test_accuracy": accuracy,
            "test_loss": evaluation.loss,
            "confusion": evaluation.confusion.rows(),
        }))
    } else {
        output::print(format_args!(
            "{}test accuracy {accuracy:.4}, loss {:.4}",
            evaluation.confusion, evaluation.loss
        ))
    }
}

/// Reads every image of `split` and compares with its label.
pub fn evaluate(model: &Model, split: &Split) -> tf::Result<Evaluation> {
    let mut confusion = Confusion::default();
    let mut total_loss = 0.0;
    let elements = (split.images.clone(), split.labels.clone());
    let measure = tf::function({
        let model = model.clone();
        move |(images, labels): (Tensor, Tensor)| {
            let logits = model.logits(&preprocess(&images)?)?;
            Ok((loss(&logits, &labels)?, tf::argmax(&logits, 1)?))
        }
    });
    for batch in &Dataset::from_tensor_slices(elements)?.batch(BATCH) {
        let (images, labels) = batch?;
        let (loss, read) = measure.call((images, labels.clone()))?;
        total_loss += f64::from(loss.to_scalar::<f32>()?);
        for (&label, &read) in labels.as_slice::<u8>()?.iter().zip(read.as_slice::<i64>()?) {
            confusion.add(label.into(), read as usize);
        }
    }
    let loss = total_loss / split.len() as f64;
    Ok(Evaluation { confusion, loss })
}
