//! `digits evaluate`: a model's accuracy on the test images.

use std::path::Path;

use serde_json::json;
use tapeflow as tf;
use tf::Tensor;
use tf::data::Dataset;
use tf::nn;

use crate::cli::EvaluateOptions;
use crate::confusion::Confusion;
use crate::dataset::{self, Split};
use crate::failure::Failure;
use crate::model::{CLASSES, Model, loss, preprocess};
use crate::report::{self, Subject};
use crate::{calibration, model_file, output};

/// Images per forward pass: about as many as a training step has, so that its buffers serve.
const BATCH: usize = 125;

/// What a pass over the images finds.
pub struct Evaluation {
    pub confusion: Confusion,
    /// The mean of `-log` of the probability given to the right digit.
    pub loss: f64,
    /// What was read in each image, in order.
    pub readings: Vec<Reading>,
}

/// How one image was read.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// Its index.
    pub image: usize,
    pub label: usize,
    pub read: usize,
    /// The probability given to the digit that was read.
    pub confidence: f32,
    /// The probability given to the right digit.
    pub given: f32,
}

impl Evaluation {
    /// What was read wrong, the surest first.
    pub fn misreadings(&self) -> Vec<Reading> {
        let wrong = self.readings.iter().filter(|reading| reading.read != reading.label);
        let mut wrong: Vec<Reading> = wrong.copied().collect();
        wrong.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
        wrong
    }
}

pub fn run(options: &EvaluateOptions) -> Result<(), Failure> {
    if let Some(report) = &options.report {
        output::check_file("--report", report)?;
    }
    let model = model_file::load(options.model.as_deref())?;
    let (_, test) = dataset::load(options.data.as_deref())?;
    let evaluation = evaluate(&model, &test)?;
    let name = model_file::name(options.model.as_deref());
    if let Some(path) = &options.report {
        let subject = Subject {
            model: name,
            architecture: model.name().name(),
            data: options.data.as_deref(),
        };
        report::write(path, &subject, &test, &evaluation)?;
    }
    let accuracy = evaluation.confusion.accuracy();
    if options.json {
        let bins = calibration::bins(&evaluation.readings);
        return output::print(json!({
            "model": name.to_string_lossy(),
            "architecture": model.name().name(),
            "images": evaluation.confusion.total(),
            "test_accuracy": accuracy,
            "test_loss": evaluation.loss,
            "expected_calibration_error": calibration::expected_error(&bins),
            "confusion": evaluation.confusion.rows(),
            "report": options.report.as_deref().map(Path::to_string_lossy),
        }));
    }
    output::print(format_args!(
        "{}test accuracy {accuracy:.4}, loss {:.4}",
        evaluation.confusion, evaluation.loss
    ))?;
    match &options.report {
        Some(path) => output::print(format_args!("report written to {}", path.display())),
        None => Ok(()),
    }
}

/// Reads every image of `split` and compares with its label.
pub fn evaluate(model: &Model, split: &Split) -> tf::Result<Evaluation> {
    let mut confusion = Confusion::default();
    let mut total_loss = 0.0;
    let mut readings = Vec::with_capacity(split.len());
    let elements = (split.images.clone(), split.labels.clone());
    let measure = tf::function({
        let model = model.clone();
        move |(images, labels): (Tensor, Tensor)| {
            let logits = model.logits(&preprocess(&images)?)?;
            Ok((loss(&logits, &labels)?, nn::softmax(&logits)?, tf::argmax(&logits, 1)?))
        }
    });
    for batch in &Dataset::from_tensor_slices(elements)?.batch(BATCH) {
        let (images, labels) = batch?;
        let (loss, probabilities, read) = measure.call((images, labels.clone()))?;
        total_loss += f64::from(loss.to_scalar::<f32>()?);
        let (probabilities, _) = probabilities.as_slice::<f32>()?.as_chunks::<CLASSES>();
        let read = read.as_slice::<i64>()?.iter().zip(probabilities);
        for (&label, (&read, probabilities)) in labels.as_slice::<u8>()?.iter().zip(read) {
            let (label, read) = (usize::from(label), read as usize);
            confusion.add(label, read);
            readings.push(Reading {
                image: readings.len(),
                label,
                read,
                confidence: probabilities[read],
                given: probabilities[label],
            });
        }
    }
    let loss = total_loss / split.len() as f64;
    Ok(Evaluation { confusion, loss, readings })
}
