//! `digits predict`: the digits in image files.

mod annotate;
mod show;

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tapeflow::io::write_atomically;

use crate::cli::PredictOptions;
use crate::failure::Failure;
use crate::model::Model;
use crate::reading::{Digit, Reading};
use crate::{model_file, output, reading};

/// The largest file that is read, in bytes.
const LARGEST_FILE: u64 = 256 << 20;

pub fn run(options: &PredictOptions) -> Result<(), Failure> {
    let (model, images) = model_and_images(options)?;
    let annotated = match &options.annotate {
        Some(out) => annotated_files(out, images)?.into_iter().map(Some).collect(),
        None => vec![None; images.len()],
    };
    let mut unreadable = 0;
    for (path, annotated) in images.iter().zip(annotated) {
        let done = file_bytes(path).and_then(|bytes| {
            let reading = reading::read(&model, &bytes)?;
            Ok((bytes, reading))
        });
        match done {
            Ok((bytes, reading)) => {
                print(path, &reading, options)?;
                if let Some(out) = annotated {
                    write_annotated(&out, &bytes, &reading)?;
                }
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
        return output::print(as_json(&path.to_string_lossy(), reading, options.show));
    }
    if reading.left_out > 0 {
        let (path, count) = (path.display(), reading.left_out);
        output::say(format_args!(
            "digits: {path}: {count} more pieces of ink were not looked at; cut the picture into parts"
        ));
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

/// What was read in an image, for machines; with `seen`, each digit also as the network saw it.
pub fn as_json(image: &str, reading: &Reading, seen: bool) -> Value {
    let digits: Vec<Value> = reading
        .digits()
        .map(|digit| {
            let area = digit.area;
            let mut answer = json!({
                "digit": digit.digit,
                "confidence": digit.confidence(),
                "sure": digit.is_sure(),
                "box": [area.left, area.top, area.width(), area.height()],
                "probabilities": digit.probabilities,
            });
            if seen {
                answer["seen"] = STANDARD.encode(digit.image).into();
            }
            answer
        })
        .collect();
    let mut answer = json!({"image": image, "text": reading.text(), "digits": digits});
    if reading.left_out > 0 {
        answer["left_out"] = reading.left_out.into();
    }
    answer
}

/// Where the annotated picture of each image goes: to the file `out`, or into the folder, under a name
/// of its own. Refuses to write over an image that is read.
fn annotated_files(out: &Path, images: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let refuse = |why: String| Err(Failure::Input(format!("--annotate {}: {why}", out.display())));
    let files = if images.len() == 1 && !out.is_dir() {
        output::check_file("--annotate", out)?;
        vec![out.to_path_buf()]
    } else {
        if let Err(error) = fs::create_dir_all(out) {
            return refuse(format!("of several images, a folder: {error}"));
        }
        let mut taken = HashSet::new();
        images.iter().map(|image| own_name(image, out, &mut taken)).collect()
    };
    let read: HashSet<PathBuf> =
        images.iter().filter_map(|image| fs::canonicalize(image).ok()).collect();
    let over = |file: &&PathBuf| fs::canonicalize(file).is_ok_and(|file| read.contains(&file));
    match files.iter().find(over) {
        Some(file) => refuse(format!("would write over {}, an image to read", file.display())),
        None => Ok(files),
    }
}

/// The image's name in `folder`, with a number where several images have the same.
fn own_name(image: &Path, folder: &Path, taken: &mut HashSet<PathBuf>) -> PathBuf {
    let name = image.file_name().unwrap_or(image.as_os_str());
    let numbered = |number: usize| {
        let mut name = name.to_owned();
        if number > 1 {
            name.push(format!("-{number}"));
        }
        name.push(".png");
        folder.join(name)
    };
    let mut names = (1..).map(numbered);
    names.find(|file| taken.insert(file.clone())).expect("there are more numbers than images")
}

fn write_annotated(out: &Path, image: &[u8], reading: &Reading) -> Result<(), Failure> {
    let failed = |why: String| Failure::Failed(format!("writing {}: {why}", out.display()));
    let png = annotate::png(image, reading).map_err(failed)?;
    write_atomically(out, |file| file.write_all(&png)).map_err(|error| failed(error.to_string()))
}
