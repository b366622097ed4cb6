//! When checkpoints are written, and how a run goes on from one.

use std::path::{Path, PathBuf};

use tapeflow::train::CheckpointManager;

use super::quoted;
use super::settings::Settings;
use super::trainer::Trainer;
use crate::cli::TrainOptions;
use crate::failure::Failure;
use crate::output;

pub struct Checkpoints {
    manager: CheckpointManager,
    /// Where the model goes in the end: a run that goes on must be told again.
    out: PathBuf,
    /// Steps between two of them; none where the user named no directory: then only Ctrl-C writes
    /// one.
    every: Option<u64>,
}

impl Checkpoints {
    pub fn new(options: &TrainOptions) -> Result<Checkpoints, Failure> {
        let default = || options.out.with_extension("checkpoints");
        let directory: PathBuf = options.checkpoint_dir.clone().unwrap_or_else(default);
        Ok(Checkpoints {
            manager: CheckpointManager::new(directory, options.keep).map_err(Failure::input)?,
            out: options.out.clone(),
            every: options.checkpoint_dir.is_some().then_some(options.checkpoint_every),
        })
    }

    /// A new run, or the one that `--resume` asks for.
    pub fn start(&self, options: &TrainOptions) -> Result<Trainer, Failure> {
        let directory = self.manager.directory().display();
        if !options.resume {
            let settings = Settings::new(options)?;
            if self.every.is_some() && self.manager.latest_checkpoint()?.is_some() {
                return Err(Failure::Input(format!(
                    "{directory} has checkpoints of an earlier run; add --resume to go on from \
                     them, or name another --checkpoint-dir"
                )));
            }
            return Ok(Trainer::new(settings)?);
        }
        match self.manager.latest().map_err(Failure::input)? {
            Some(latest) => {
                for error in &latest.skipped {
                    output::say(format_args!("digits: skipped a checkpoint: {error}"));
                }
                let refused = |failure| in_file(&latest.path, failure);
                Trainer::restore(&latest.checkpoint, options).map_err(refused)
            }
            None => {
                output::say(format_args!(
                    "digits: no checkpoint in {directory} yet, starting at the first step"
                ));
                Ok(Trainer::new(Settings::new(options)?)?)
            }
        }
    }

    /// Writes a checkpoint where one is due.
    pub fn after_step(&self, trainer: &Trainer) -> Result<(), Failure> {
        match self.every {
            Some(every) if trainer.step.is_multiple_of(every) => self.save(trainer),
            _ => Ok(()),
        }
    }

    /// Writes a checkpoint and tells how to go on.
    pub fn interrupted(&self, trainer: &Trainer) -> Result<Failure, Failure> {
        self.save(trainer)?;
        Ok(Failure::Interrupted(format!(
            "stopped after {} steps; go on with `digits train --resume --checkpoint-dir {} --out {}`",
            trainer.step,
            quoted(self.manager.directory()),
            quoted(&self.out)
        )))
    }

    fn save(&self, trainer: &Trainer) -> Result<(), Failure> {
        trainer.check_finite()?;
        self.manager.save(trainer.step, &trainer.checkpoint()?)?;
        Ok(())
    }
}

fn in_file(path: &Path, failure: Failure) -> Failure {
    match failure {
        Failure::Input(why) => Failure::Input(format!("{}: {why}", path.display())),
        other => other,
    }
}
