//! `digits predict`: the digit in each image file.

use std::path::Path;

use serde_json::json;
use tapeflow as tf;
use tf::{Tensor, nn};

use crate::cli::PredictOptions;
use crate::failure::Failure;
use crate::model::{CLASSES, Model, SIZE, preprocess};
use crate::{model_file, output, picture};

pub fn run(options: &PredictOptions) -> Result<(), Failure> {
    let model = model_file::load(&options.model)?;
    let mut unreadable = 0;
    for path in &options.images {
        match read(&model, path) {
            Ok(probabilities) => print_reading(path, &probabilities, options.json)?,
            Err(why) => {
                unreadable += 1;
                if options.json {
                    output::print(json!({"image": path, "error": why}))?;
                } else {
                    output::say(format_args!("digits: {}: {why}", path.display()));
                }
            }
        }
    }
    match unreadable {
        0 => Ok(()),
        1 => Err(Failure::Input("1 image could not be read".into())),
        _ => Err(Failure::Input(format!("{unreadable} images could not be read"))),
    }
}

fn read(model: &Model, path: &Path) -> Result<Vec<f32>, String> {
    let pixels = picture::read(path)?;
    let probabilities = || -> tf::Result<Vec<f32>> {
        let image = Tensor::from_slice(&pixels, [1, SIZE, SIZE])?;
        nn::softmax(model.logits(&preprocess(&image)?)?)?.to_vec::<f32>()
    };
    probabilities().map_err(|error| error.to_string())
}

fn print_reading(path: &Path, probabilities: &[f32], json: bool) -> Result<(), Failure> {
    let digit = (0..CLASSES)
        .max_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b]))
        .expect("there are ten classes");
    let confidence = probabilities[digit];
    if json {
        output::print(json!({
            "image": path,
            "digit": digit,
            "confidence": confidence,
            "probabilities": probabilities,
        }))
    } else {
        output::print(format_args!("{}: {digit} ({:.1} %)", path.display(), confidence * 100.0))
    }
}
