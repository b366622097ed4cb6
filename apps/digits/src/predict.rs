//! `digits predict`: the digits in image files.

mod annotate;
mod show;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cli::PredictOptions;
use crate::failure::Failure;
use crate::model::Model;
use crate::reading::{Digit, Reading};
use crate::{model_file, output, reading};

/// The largest file that is read, in bytes.
const LARGEST_FILE: u64 = 256 << 20;

pub fn run(options: &PredictOptions) -> Result<(), Failure> {
    let (model, images) = model_and_images(options)?;
    let annotations = Annotations::new(options.annotate.as_deref(), images.len())?;
    let mut unreadable = 0;
    for path in images {
        let done = file_bytes(path).and_then(|bytes| {
            let reading = reading::read(&model, &bytes)?;
            Ok((bytes, reading))
        });
        match done {
            Ok((bytes, reading)) => {
                print(path, &reading, options)?;
                annotations.write(path, &bytes, &reading)?;
            }
            Err(why) => {
                unreadable += 1;
                if options.json {
                    output::print(json!({"image": path.to_string_lossy(), "error": why}))?;
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

/// The model asked for, and the images. A model may also stand before the images, without `--model`.
fn model_and_images(options: &PredictOptions) -> Result<(Model, &[PathBuf]), Failure> {
    let is_model = |path: &Path| path.extension().is_some_and(|end| end == "safetensors");
    let (model, images) = match (&options.model, options.images.as_slice()) {
        (None, [model, images @ ..]) if is_model(model) => (Some(model), images),
        (model, images) => (model.as_ref(), images),
    };
    if images.is_empty() {
        return Err(Failure::Input("which image? Name one after the model".into()));
    }
    Ok((model_file::load(model.map(PathBuf::as_path))?, images))
}

fn file_bytes(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut read = |from: &mut dyn Read| from.take(LARGEST_FILE + 1).read_to_end(&mut bytes);
    let done = if path == Path::new("-") {
        read(&mut io::stdin().lock())
    } else {
        File::open(path).and_then(|mut file| read(&mut file))
    };
    done.map_err(|error| format!("cannot read it: {error}"))?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(format!("it has more than {LARGEST_FILE} bytes"));
    }
    Ok(bytes)
}

fn print(path: &Path, reading: &Reading, options: &PredictOptions) -> Result<(), Failure> {
    if options.json {
        return output::print(as_json(&path.to_string_lossy(), reading));
    }
    if reading.lines.is_empty() {
        return output::print(format_args!("{}: no digit here", path.display()));
    }
    for line in &reading.lines {
        let digits: Vec<String> = line.iter().map(Digit::to_string).collect();
        let confidences: Vec<String> =
            line.iter().map(|digit| format!("{:.1} %", digit.confidence() * 100.0)).collect();
        let (digits, confidences) = (digits.join(" "), confidences.join(" "));
        output::print(format_args!("{}: {digits} ({confidences})", path.display()))?;
        if options.show {
            output::print(show::side_by_side(line))?;
        }
    }
    Ok(())
}

/// What was read in an image, for machines.
pub fn as_json(image: &str, reading: &Reading) -> Value {
    let digits: Vec<Value> = reading
        .digits()
        .map(|digit| {
            let area = digit.area;
            json!({
                "digit": digit.digit,
                "confidence": digit.confidence(),
                "box": [area.left, area.top, area.width(), area.height()],
                "probabilities": digit.probabilities,
            })
        })
        .collect();
    json!({"image": image, "text": reading.text(), "digits": digits})
}

/// Where annotated pictures go.
enum Annotations {
    Nowhere,
    File(PathBuf),
    Folder(PathBuf),
}

impl Annotations {
    fn new(out: Option<&Path>, images: usize) -> Result<Annotations, Failure> {
        match out {
            None => Ok(Annotations::Nowhere),
            Some(out) if images == 1 && !out.is_dir() => Ok(Annotations::File(out.into())),
            Some(out) => {
                fs::create_dir_all(out).map_err(|error| {
                    Failure::Input(format!(
                        "--annotate {}: of several images, a folder: {error}",
                        out.display()
                    ))
                })?;
                Ok(Annotations::Folder(out.into()))
            }
        }
    }

    fn write(&self, image: &Path, bytes: &[u8], reading: &Reading) -> Result<(), Failure> {
        let out = match self {
            Annotations::Nowhere => return Ok(()),
            Annotations::File(out) => out.clone(),
            Annotations::Folder(folder) => {
                let name = image.file_name().unwrap_or(image.as_os_str());
                let mut name = name.to_owned();
                name.push(".png");
                folder.join(name)
            }
        };
        annotate::png(bytes, reading)
            .and_then(|png| fs::write(&out, png).map_err(|error| error.to_string()))
            .map_err(|why| Failure::Failed(format!("writing {}: {why}", out.display())))
    }
}
