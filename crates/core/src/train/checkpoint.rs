//! The state of a training run in one file.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::io::{load_safetensors, save_safetensors};
use crate::tensor::Tensor;
use crate::variable::Variable;

/// The metadata entry that tells a damaged file from a whole one.
const CHECKSUM_KEY: &str = "tapeflow.checksum";

/// Named tensors and metadata that a training run resumes from, like `tf.train.Checkpoint`.
///
/// On disk it is a `.safetensors` file with a CRC-32 of names, dtypes, shapes, values and metadata
/// in its metadata, so a file damaged anywhere is refused. The same content is the same bytes.
///
/// ```
/// use tapeflow_core::{Variable, train::Checkpoint};
///
/// let w = Variable::named("w", [1.0f32, 2.0]);
/// let path = std::env::temp_dir().join(format!("tapeflow-doc-{}.ckpt", std::process::id()));
/// Checkpoint::of([&w])?.with_metadata("seed", 42).write(&path)?;
///
/// w.assign([0.0f32, 0.0])?;
/// let checkpoint = Checkpoint::read(&path)?;
/// checkpoint.restore([&w])?;
/// assert_eq!(w.value().to_vec::<f32>()?, [1.0, 2.0]);
/// assert_eq!(checkpoint.metadata::<u64>("seed")?, 42);
/// # std::fs::remove_file(path).unwrap();
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Checkpoint {
    tensors: BTreeMap<String, Tensor>,
    metadata: BTreeMap<String, String>,
}

impl Checkpoint {
    /// A checkpoint of nothing.
    pub fn new() -> Checkpoint {
        Checkpoint::default()
    }

    /// A checkpoint of the variables' present values, by their names.
    ///
    /// # Errors
    /// Two variables of one name.
    pub fn of<'a>(variables: impl IntoIterator<Item = &'a Variable>) -> Result<Checkpoint> {
        let mut checkpoint = Checkpoint::new();
        for variable in variables {
            checkpoint.insert(variable.name(), variable)?;
        }
        Ok(checkpoint)
    }

    /// Adds a tensor.
    ///
    /// # Errors
    /// There is one of that name.
    pub fn insert(&mut self, name: impl Into<String>, tensor: impl Into<Tensor>) -> Result<()> {
        let name = name.into();
        if self.tensors.contains_key(&name) {
            return Err(Error::invalid_argument(format!(
                "Checkpoint: two variables or tensors are named {name:?}"
            )));
        }
        let tensor = tensor.into();
        tensor.bytes()?;
        self.tensors.insert(name, tensor);
        Ok(())
    }

    /// The same checkpoint with a metadata entry, which replaces one of the same key.
    pub fn with_metadata(mut self, key: impl Into<String>, value: impl ToString) -> Checkpoint {
        self.metadata.insert(key.into(), value.to_string());
        self
    }

    /// The tensors by name.
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }

    /// The tensor of a name.
    ///
    /// # Errors
    /// There is none.
    pub fn tensor(&self, name: &str) -> Result<&Tensor> {
        self.tensors.get(name).ok_or_else(|| {
            let names: Vec<_> = self.tensors.keys().map(String::as_str).collect();
            Error::data(format!("the checkpoint has no tensor {name:?}, only {}", list(&names)))
        })
    }

    /// The metadata entry of a key: a string, or a number read from it.
    ///
    /// # Errors
    /// There is none, or it is no `T`.
    pub fn metadata<T: FromStr>(&self, key: &str) -> Result<T> {
        let value = self
            .metadata
            .get(key)
            .ok_or_else(|| Error::data(format!("the checkpoint has no metadata {key:?}")))?;
        value.parse().map_err(|_| {
            Error::data(format!("the checkpoint's metadata {key:?} has the bad value {value:?}"))
        })
    }

    /// Assigns to each variable the tensor of its name, and to none where anything is wrong.
    ///
    /// # Errors
    /// A variable without tensor, a tensor without variable, or another dtype or shape.
    pub fn restore<'a>(&self, variables: impl IntoIterator<Item = &'a Variable>) -> Result<()> {
        let variables: Vec<_> = variables.into_iter().collect();
        let extra: Vec<_> = self
            .tensors
            .keys()
            .filter(|name| variables.iter().all(|variable| variable.name() != *name))
            .map(String::as_str)
            .collect();
        if !extra.is_empty() {
            return Err(Error::data(format!(
                "the checkpoint has tensors that no variable takes: {}",
                list(&extra)
            )));
        }
        self.restore_partial(variables)
    }

    /// Like [`restore`](Checkpoint::restore), but leaves tensors without variable aside.
    ///
    /// # Errors
    /// A variable without tensor, or another dtype or shape.
    pub fn restore_partial<'a>(
        &self,
        variables: impl IntoIterator<Item = &'a Variable>,
    ) -> Result<()> {
        let variables: Vec<_> = variables.into_iter().collect();
        let missing: Vec<_> = variables
            .iter()
            .map(|variable| variable.name())
            .filter(|name| !self.tensors.contains_key(*name))
            .collect();
        if !missing.is_empty() {
            return Err(Error::data(format!(
                "the checkpoint has no tensor for the variables {}",
                list(&missing)
            )));
        }
        for variable in &variables {
            variable.check("restore", self.tensors[variable.name()].spec())?;
        }
        variables.iter().try_for_each(|variable| variable.assign(&self.tensors[variable.name()]))
    }

    /// Writes the checkpoint, whole or not at all.
    ///
    /// # Errors
    /// A write that fails; a full disk is
    /// [`is_resource_exhausted`](Error::is_resource_exhausted).
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        let tensors: Vec<_> =
            self.tensors.iter().map(|(name, tensor)| (name, tensor.clone())).collect();
        let mut metadata = self.metadata.clone();
        metadata.insert(CHECKSUM_KEY.into(), self.checksum());
        save_safetensors(path, &tensors, &metadata)
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    /// A file that cannot be read, is no checkpoint, is cut off or damaged.
    pub fn read(path: impl AsRef<Path>) -> Result<Checkpoint> {
        let path = path.as_ref();
        let file = load_safetensors(path)?;
        let mut checkpoint = Checkpoint { tensors: file.tensors, metadata: file.metadata };
        let problem = match checkpoint.metadata.remove(CHECKSUM_KEY) {
            Some(checksum) if checksum == checkpoint.checksum() => return Ok(checkpoint),
            Some(_) => "the file is damaged: its checksum does not match",
            None => "the file has no checksum, so it is not a checkpoint",
        };
        Err(Error::data(format!("reading {}: {problem}", path.display())))
    }

    /// Each part goes in with its length before it, so that no two contents run together alike.
    fn checksum(&self) -> String {
        let mut crc = crc32fast::Hasher::new();
        let mut add = |bytes: &[u8]| {
            crc.update(&(bytes.len() as u64).to_le_bytes());
            crc.update(bytes);
        };
        for (key, value) in &self.metadata {
            // The entry itself, if the user has one of that key, is replaced on writing.
            if key != CHECKSUM_KEY {
                add(key.as_bytes());
                add(value.as_bytes());
            }
        }
        for (name, tensor) in &self.tensors {
            add(name.as_bytes());
            add(tensor.spec().to_string().as_bytes());
            add(&crate::io::little_endian(tensor));
        }
        format!("crc32:{:08x}", crc.finalize())
    }
}

/// Up to eight names, quoted.
fn list(names: &[&str]) -> String {
    const SHOWN: usize = 8;
    let mut text = format!("{:?}", &names[..names.len().min(SHOWN)]);
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}

#[cfg(test)]
mod tests {
    use tapeflow_testing::mutation;

    use super::*;

    fn checkpoint() -> Checkpoint {
        let mut checkpoint = Checkpoint::of([
            &Variable::named("w", [[1.0f32, 2.0], [3.0, 4.0]]),
            &Variable::untrainable("step", 7i64),
        ])
        .unwrap()
        .with_metadata("seed", u64::MAX)
        .with_metadata("model", "lesson");
        checkpoint.insert("random", [1u32, 2]).unwrap();
        checkpoint
    }

    fn bytes_of(checkpoint: &Checkpoint) -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        checkpoint.write(&path).unwrap();
        std::fs::read(path).unwrap()
    }

    #[test]
    fn all_of_it_comes_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        checkpoint().write(&path).unwrap();
        let read = Checkpoint::read(&path).unwrap();
        assert_eq!(read.metadata::<u64>("seed").unwrap(), u64::MAX);
        assert_eq!(read.metadata::<String>("model").unwrap(), "lesson");
        assert_eq!(read.tensor("random").unwrap().to_vec::<u32>().unwrap(), [1, 2]);
        assert!(read.metadata::<u64>("model").unwrap_err().is_data());
        assert!(read.metadata::<u64>("none").unwrap_err().is_data());
        let error = read.tensor("none").unwrap_err().to_string();
        assert_eq!(error, r#"the checkpoint has no tensor "none", only ["random", "step", "w"]"#);
        assert_eq!(bytes_of(&read), bytes_of(&checkpoint()));
    }

    #[test]
    fn restoring_is_all_or_nothing() {
        let w = Variable::named("w", [[0.0f32; 2]; 2]);
        let step = Variable::named("step", 0i64);
        let other = Variable::named("other", 0i64);
        let wrong_shape = Variable::named("w", [0.0f32; 4]);
        let wrong_dtype = Variable::named("w", [[0.0f64; 2]; 2]);
        let checkpoint = checkpoint();

        let extra = checkpoint.restore([&w, &step]).unwrap_err();
        assert!(extra.is_data());
        assert_eq!(
            extra.to_string(),
            r#"the checkpoint has tensors that no variable takes: ["random"]"#
        );
        let missing = checkpoint.restore_partial([&w, &step, &other]).unwrap_err();
        assert_eq!(
            missing.to_string(),
            r#"the checkpoint has no tensor for the variables ["other"]"#
        );
        let shape = checkpoint.restore_partial([&step, &wrong_shape]).unwrap_err();
        assert!(shape.is_shape());
        assert_eq!(
            shape.to_string(),
            r#"Variable.restore: "w" is float32 [4], got float32 [2, 2]"#
        );
        assert!(checkpoint.restore_partial([&step, &wrong_dtype]).unwrap_err().is_dtype());
        assert_eq!(step.value().to_scalar::<i64>().unwrap(), 0);

        checkpoint.restore_partial([&w, &step]).unwrap();
        assert_eq!(step.value().to_scalar::<i64>().unwrap(), 7);
        assert_eq!(w.value().to_vec::<f32>().unwrap(), [1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn two_of_one_name_are_refused() {
        let (a, b) = (Variable::new(1.0f32), Variable::new(2.0f32));
        assert!(Checkpoint::of([&a, &b]).unwrap_err().is_invalid_argument());
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        let valid = bytes_of(&checkpoint());
        let mut read_anyway = 0;
        mutation::for_each(&valid, 2000, |bytes| {
            std::fs::write(&path, bytes).unwrap();
            if let Ok(read) = Checkpoint::read(&path) {
                // Damage that JSON does not see, such as a space in the padding.
                assert_eq!(bytes_of(&read), valid);
                read_anyway += 1;
            }
        });
        assert!(read_anyway < 200, "{read_anyway} damaged files were read");

        save_safetensors::<&str>(&path, &[], &BTreeMap::new()).unwrap();
        let error = Checkpoint::read(&path).unwrap_err();
        assert!(error.to_string().ends_with("so it is not a checkpoint"), "{error}");
    }
}
