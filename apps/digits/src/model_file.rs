//! Model files: safetensors whose metadata says which network it is and what it reads.

use std::collections::BTreeMap;
use std::path::Path;

use clap::ValueEnum;
use tapeflow as tf;
use tf::DType;
use tf::io::SafeTensors;

use crate::cli::ModelName;
use crate::failure::Failure;
use crate::model::{Model, is_finite, layout};

const FORMAT: &str = "tapeflow-digits-model";
const FORMAT_VERSION: &str = "1";
const PREPROCESSING: &str = "pixels 0..255 divided by 255, ink 1, paper 0, NHWC [n, 28, 28, 1]";

/// What `digits train --model best --weights float16` writes: the model that reads where no other is
/// named.
static SHIPPED: &[u8] = include_bytes!("../models/best.safetensors");
/// What messages call it.
const SHIPPED_NAME: &str = "the model in the program";

/// Writes the model, its weights as values of `dtype`, whole or not at all.
pub fn save(path: &Path, model: &Model, dtype: DType) -> tf::Result<()> {
    let metadata = BTreeMap::from(
        [
            ("format", FORMAT),
            ("format_version", FORMAT_VERSION),
            ("architecture", model.name().name()),
            ("preprocessing", PREPROCESSING),
            ("classes", "0 1 2 3 4 5 6 7 8 9"),
            ("producer", concat!("tapeflow ", env!("CARGO_PKG_VERSION"))),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    let tensors: Vec<_> = model
        .variables()
        .iter()
        .map(|variable| Ok((variable.name().to_owned(), tf::cast(variable.value(), dtype)?)))
        .collect::<tf::Result<_>>()?;
    tf::io::save_safetensors(path, &tensors, &metadata)
}

/// Reads a model that [`save`] wrote; without a path the one in the program.
pub fn load(path: Option<&Path>) -> Result<Model, Failure> {
    match path {
        Some(path) => load_versioned(path).map(|(model, _)| model),
        None => model(&tf::io::parse_safetensors(SHIPPED)?, SHIPPED_NAME),
    }
}

/// What to call the model that [`load`] reads.
pub fn name(path: Option<&Path>) -> &Path {
    path.unwrap_or(Path::new(SHIPPED_NAME))
}

/// Reads a model, and the version that its file says it is, if it does.
pub fn load_versioned(path: &Path) -> Result<(Model, Option<u64>), Failure> {
    let file = tf::io::load_safetensors(path).map_err(Failure::input)?;
    let version = file.metadata.get("version").and_then(|version| version.parse().ok());
    let model = model(&file, &path.display().to_string())?;
    Ok((model, version.filter(|&version| version > 0)))
}

/// The model that a file called `name` holds.
fn model(file: &SafeTensors, name: &str) -> Result<Model, Failure> {
    let refuse = |why: String| Failure::Input(format!("{name}: {why}"));
    let metadata = |key: &str| file.metadata.get(key).map(String::as_str);
    if metadata("format") != Some(FORMAT) {
        return Err(refuse(
            "not a model that `digits train` wrote (no format in its metadata)".into(),
        ));
    }
    if metadata("format_version") != Some(FORMAT_VERSION) {
        let version = metadata("format_version").unwrap_or("none");
        return Err(refuse(format!(
            "format version {version}, this program reads {FORMAT_VERSION}"
        )));
    }
    let architecture = metadata("architecture").unwrap_or("(none)");
    let architecture = ModelName::from_str(architecture, false)
        .map_err(|_| refuse(format!("unknown architecture {architecture}")))?;
    let model = Model::new(architecture, 0)?;
    let of_model = format!("the {} model", architecture.name());
    for variable in model.variables() {
        let Some(value) = file.tensors.get(variable.name()) else {
            return Err(refuse(format!("{of_model} has no {:?}", variable.name())));
        };
        let value = match value.dtype() {
            DType::Float16 => &tf::cast(value, DType::Float32)?,
            _ => value,
        };
        variable.assign(value).map_err(|error| refuse(error.to_string()))?;
        if !is_finite(variable)? {
            return Err(refuse(format!("{:?} holds a value that is not finite", variable.name())));
        }
    }
    let layout = layout(architecture);
    if let Some(extra) = file.tensors.keys().find(|key| !layout.iter().any(|(n, _)| n == *key)) {
        return Err(refuse(format!("{extra:?} is no part of {of_model}")));
    }
    Ok(model)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tapeflow_testing::mutation;

    use super::*;
    use crate::dataset;
    use crate::evaluate::evaluate;

    fn refusal(path: &Path) -> String {
        match load(Some(path)) {
            Err(Failure::Input(why)) => why,
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("{} was read", path.display()),
        }
    }

    #[test]
    fn a_model_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m");
        let model = Model::new(ModelName::AllConv, 7).unwrap();
        save(&path, &model, DType::Float32).unwrap();
        let read = load(Some(&path)).unwrap();
        assert_eq!(read.name(), ModelName::AllConv);
        for (read, written) in read.variables().iter().zip(model.variables()) {
            assert_eq!(read.value().as_bytes(), written.value().as_bytes());
        }
    }

    #[test]
    fn halves_are_read_as_singles() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m");
        let model = Model::new(ModelName::Best, 3).unwrap();
        save(&path, &model, DType::Float16).unwrap();
        assert!(fs::metadata(&path).unwrap().len() < 2 << 20);
        let read = load(Some(&path)).unwrap();
        for (read, written) in read.variables().iter().zip(model.variables()) {
            let (read, written) = (read.value(), written.value());
            let halves = tf::cast(&written, DType::Float16).unwrap();
            assert_eq!(read.as_bytes(), tf::cast(halves, DType::Float32).unwrap().as_bytes());
        }
    }

    #[test]
    fn the_model_in_the_program_is_small_and_reads_well() {
        assert!(SHIPPED.len() <= 2 << 20, "{} bytes", SHIPPED.len());
        let model = load(None).unwrap();
        assert_eq!(model.name(), ModelName::Best);
        let (_, mut test) = dataset::load(None).unwrap();
        test.images = tf::slice(&test.images, [0, 0, 0], [1000, -1, -1]).unwrap();
        test.labels = tf::slice(&test.labels, [0], [1000]).unwrap();
        let accuracy = evaluate(&model, &test).unwrap().confusion.accuracy();
        assert!(accuracy >= 0.99, "{accuracy}");
    }

    #[test]
    fn damaged_files_are_read_or_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("damaged");
        save(&path, &Model::new(ModelName::AllConv, 0).unwrap(), DType::Float32).unwrap();
        let valid = fs::read(&path).unwrap();
        let mut refused = 0;
        mutation::for_each(&valid, 300, |bytes| {
            fs::write(&path, bytes).unwrap();
            if load(Some(&path)).is_err() {
                assert!(refusal(&path).contains("damaged"));
                refused += 1;
            }
        });
        assert!(refused > 100, "only {refused} were refused");
    }

    #[test]
    fn weights_that_are_no_numbers_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m");
        let model = Model::new(ModelName::AllConv, 0).unwrap();
        let bias = tf::fill([32], f32::NAN).unwrap();
        model.variables()[1].assign(bias).unwrap();
        save(&path, &model, DType::Float32).unwrap();
        assert!(refusal(&path).ends_with(r#""conv1_b" holds a value that is not finite"#));
    }
}
