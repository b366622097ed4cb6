//! The last few checkpoints of a run.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::io::{TEMPORARY_SUFFIX, sync_directory};

const PREFIX: &str = "ckpt-";
const SUFFIX: &str = ".safetensors";

/// Keeps the newest checkpoints of a run in a directory, like `tf.train.CheckpointManager`.
///
/// They are named `ckpt-<step>.safetensors`. One process at a time saves to a directory.
///
/// ```
/// use tapeflow_core::{Variable, train::{Checkpoint, CheckpointManager}};
///
/// let directory = std::env::temp_dir().join(format!("tapeflow-doc-run-{}", std::process::id()));
/// let manager = CheckpointManager::new(&directory, 2)?;
/// let w = Variable::named("w", 0.0f32);
/// for step in 1..=3 {
///     w.assign_add(1.0f32)?;
///     manager.save(step, &Checkpoint::of([&w])?)?;
/// }
/// assert_eq!(manager.checkpoints()?.len(), 2);
/// let latest = manager.latest()?.unwrap();
/// assert_eq!(latest.step, 3);
/// latest.checkpoint.restore([&w])?;
/// assert_eq!(w.value().to_scalar::<f32>()?, 3.0);
/// # std::fs::remove_dir_all(directory).unwrap();
/// # Ok::<(), tapeflow_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct CheckpointManager {
    directory: PathBuf,
    max_to_keep: usize,
}

/// The newest checkpoint that can be read.
#[derive(Debug)]
pub struct Latest {
    /// The step it was saved at.
    pub step: u64,
    /// Its file.
    pub path: PathBuf,
    /// Its content.
    pub checkpoint: Checkpoint,
    /// Why newer files were passed over, each naming its file: they are damaged.
    pub skipped: Vec<Error>,
}

impl CheckpointManager {
    /// A manager of `directory`, which the first save makes where it is missing, that keeps the
    /// newest `max_to_keep` checkpoints. Unfinished files of a killed process are removed.
    ///
    /// # Errors
    /// A `max_to_keep` of 0, or a directory that cannot be read.
    pub fn new(directory: impl Into<PathBuf>, max_to_keep: usize) -> Result<CheckpointManager> {
        let directory = directory.into();
        if max_to_keep == 0 {
            return Err(Error::invalid_argument(
                "CheckpointManager: max_to_keep is 0, must be at least 1",
            ));
        }
        let manager = CheckpointManager { directory, max_to_keep };
        let unfinished = |name: &str| {
            name.starts_with(&format!(".{PREFIX}")) && name.ends_with(TEMPORARY_SUFFIX)
        };
        for name in manager.names()?.iter().filter(|name| unfinished(name)) {
            manager.remove(&manager.directory.join(name))?;
        }
        Ok(manager)
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Writes `ckpt-<step>.safetensors` and returns its path. When it is durable, and not before,
    /// checkpoints beyond the newest `max_to_keep` are removed, and so are those of later steps: they
    /// belong to a run that was given up by going back.
    ///
    /// # Errors
    /// A write or removal that fails. Where the write failed all older checkpoints are still there.
    pub fn save(&self, step: u64, checkpoint: &Checkpoint) -> Result<PathBuf> {
        let directory = &self.directory;
        fs::create_dir_all(directory)
            .map_err(|error| Error::io(format!("making {}", directory.display()), error))?;
        let path = directory.join(format!("{PREFIX}{step}{SUFFIX}"));
        checkpoint.write(&path)?;
        let (mut earlier, mut surplus) = (self.checkpoints()?, Vec::new());
        while earlier.last().is_some_and(|(saved, _)| *saved >= step) {
            surplus.extend(earlier.pop().filter(|(saved, _)| *saved > step));
        }
        let excess = (earlier.len() + 1).saturating_sub(self.max_to_keep);
        surplus.extend(earlier.drain(..excess));
        for (_, old) in &surplus {
            self.remove(old)?;
        }
        Ok(path)
    }

    /// Step and path of every checkpoint, the oldest step first.
    ///
    /// # Errors
    /// A directory that cannot be read.
    pub fn checkpoints(&self) -> Result<Vec<(u64, PathBuf)>> {
        let mut checkpoints: Vec<_> = self
            .names()?
            .iter()
            .filter_map(|name| Some((step_of(name)?, self.directory.join(name))))
            .collect();
        checkpoints.sort();
        Ok(checkpoints)
    }

    /// The path of the checkpoint with the highest step, unread.
    ///
    /// # Errors
    /// A directory that cannot be read.
    pub fn latest_checkpoint(&self) -> Result<Option<PathBuf>> {
        Ok(self.checkpoints()?.pop().map(|(_, path)| path))
    }

    /// Reads the newest checkpoint that is whole; `None` where there is no checkpoint at all.
    /// What was passed over is in [`Latest::skipped`].
    ///
    /// # Errors
    /// A directory that cannot be read, or checkpoints of which none can.
    pub fn latest(&self) -> Result<Option<Latest>> {
        let mut skipped = Vec::new();
        for (step, path) in self.checkpoints()?.into_iter().rev() {
            match Checkpoint::read(&path) {
                Ok(checkpoint) => return Ok(Some(Latest { step, path, checkpoint, skipped })),
                Err(error) if error.is_resource_exhausted() => return Err(error),
                Err(error) => skipped.push(error),
            }
        }
        if skipped.is_empty() {
            return Ok(None);
        }
        let reasons: Vec<_> = skipped.iter().map(Error::to_string).collect();
        Err(Error::data(format!(
            "no checkpoint in {} can be read: {}",
            self.directory.display(),
            reasons.join("; ")
        )))
    }

    fn names(&self) -> Result<Vec<String>> {
        let read = || {
            let mut names = Vec::new();
            let entries = match fs::read_dir(&self.directory) {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(names),
                entries => entries?,
            };
            for entry in entries {
                // A name that is not Unicode is none of ours.
                names.extend(entry?.file_name().into_string());
            }
            Ok(names)
        };
        read().map_err(|error| Error::io(format!("listing {}", self.directory.display()), error))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        fs::remove_file(path)
            .and_then(|()| sync_directory(&self.directory))
            .map_err(|error| Error::io(format!("removing {}", path.display()), error))
    }
}

fn step_of(name: &str) -> Option<u64> {
    let step = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    // Only names that `save` gives: no sign, no leading zeros.
    step.parse().ok().filter(|number: &u64| number.to_string() == step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variable::Variable;

    fn checkpoint(step: u64) -> Checkpoint {
        Checkpoint::of([&Variable::named("w", step as f32)]).unwrap().with_metadata("step", step)
    }

    fn steps(manager: &CheckpointManager) -> Vec<u64> {
        manager.checkpoints().unwrap().into_iter().map(|(step, _)| step).collect()
    }

    #[test]
    fn the_newest_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let manager = CheckpointManager::new(directory.path().join("run"), 3).unwrap();
        assert!(manager.latest().unwrap().is_none());
        assert_eq!(manager.latest_checkpoint().unwrap(), None);
        assert!(!manager.directory().exists());
        for step in [5, 9, 10, 100] {
            let path = manager.save(step, &checkpoint(step)).unwrap();
            assert!(path.ends_with(format!("ckpt-{step}.safetensors")));
        }
        assert_eq!(steps(&manager), [9, 10, 100]);
        manager.save(100, &checkpoint(100)).unwrap();
        assert_eq!(steps(&manager), [9, 10, 100]);
        manager.save(10, &checkpoint(10)).unwrap();
        assert_eq!(steps(&manager), [9, 10], "what came after step 10 is given up");
    }

    #[test]
    fn damaged_and_unfinished_files_are_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let manager = CheckpointManager::new(path, 5).unwrap();
        for step in 1..=3 {
            manager.save(step, &checkpoint(step)).unwrap();
        }
        let unfinished = path.join(".ckpt-4.safetensors.123.0.tmp");
        fs::write(&unfinished, "half").unwrap();
        fs::write(path.join("ckpt-007.safetensors"), "foreign").unwrap();
        let newest = manager.latest_checkpoint().unwrap().unwrap();
        let mut bytes = fs::read(&newest).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&newest, bytes).unwrap();

        let latest = manager.latest().unwrap().unwrap();
        assert_eq!(latest.step, 2);
        assert_eq!(latest.checkpoint.metadata::<u64>("step").unwrap(), 2);
        assert_eq!(latest.skipped.len(), 1);
        let told = latest.skipped[0].to_string();
        assert!(told.contains("ckpt-3") && told.contains("damaged"), "{told}");

        CheckpointManager::new(path, 5).unwrap();
        assert!(!unfinished.exists());

        for (_, path) in manager.checkpoints().unwrap() {
            fs::write(path, "").unwrap();
        }
        let error = manager.latest().unwrap_err();
        assert!(error.is_data());
        assert!(error.to_string().contains("no checkpoint in"), "{error}");
    }

    #[test]
    fn bad_arguments_are_errors() {
        let directory = tempfile::tempdir().unwrap();
        assert!(CheckpointManager::new(directory.path(), 0).unwrap_err().is_invalid_argument());
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(CheckpointManager::new(&file, 1).unwrap_err().is_io());
    }
}
