//! What a training run is made of, and so what a checkpoint must agree with.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tapeflow as tf;
use tf::optimizers::{Adam, Optimizer, SGD};

use super::schedule::Schedule;
use crate::cli::{ModelName, OptimizerName, TrainOptions};
use crate::failure::Failure;

/// The options that decide the weights. Two runs with the same settings end with the same bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    pub model: ModelName,
    pub optimizer: OptimizerName,
    pub learning_rate: f64,
    /// Constant where a checkpoint does not say.
    #[serde(default)]
    pub schedule: Schedule,
    pub epochs: u64,
    pub batch_size: usize,
    /// Whether the images are distorted; not, where a checkpoint does not say.
    #[serde(default)]
    pub augment: bool,
    pub seed: i64,
    pub data: Option<PathBuf>,
}

impl Settings {
    /// The options given, with defaults for the others.
    pub fn new(options: &TrainOptions) -> Result<Settings, Failure> {
        let model = options.model.unwrap_or(ModelName::Lesson);
        let (optimizer, schedule, batch_size, epochs) = match model {
            ModelName::Lesson | ModelName::AllConv => {
                (OptimizerName::Sgd, Schedule::Constant, 128, 2)
            }
            ModelName::Fast => (OptimizerName::QuickAdam, Schedule::OneCycle, 256, 2),
            ModelName::Best => (OptimizerName::Adam, Schedule::OneCycle, 256, 28),
        };
        let optimizer = options.optimizer.unwrap_or(optimizer);
        let learning_rate = options.learning_rate.unwrap_or(match optimizer {
            OptimizerName::Adam if model == ModelName::Best => 0.003,
            OptimizerName::Sgd | OptimizerName::Adam => 0.001,
            // A velocity of 0.9 adds up to ten times the step.
            OptimizerName::Momentum | OptimizerName::Nesterov => 0.0001,
            OptimizerName::QuickAdam => 0.01,
        });
        let settings = Settings {
            model,
            optimizer,
            learning_rate,
            schedule: options.schedule.unwrap_or(schedule),
            epochs: options.epochs.unwrap_or(epochs),
            batch_size: options.batch_size.unwrap_or(batch_size),
            augment: options.augment || model == ModelName::Best,
            seed: options.seed.unwrap_or(0),
            data: options.data.clone(),
        };
        settings.check()?;
        Ok(settings)
    }

    /// These settings, from a checkpoint, where `options` ask for nothing else.
    pub fn resumed(self, options: &TrainOptions) -> Result<Settings, Failure> {
        let asked = Settings {
            model: options.model.unwrap_or(self.model),
            optimizer: options.optimizer.unwrap_or(self.optimizer),
            learning_rate: options.learning_rate.unwrap_or(self.learning_rate),
            schedule: options.schedule.unwrap_or(self.schedule),
            epochs: options.epochs.unwrap_or(self.epochs),
            batch_size: options.batch_size.unwrap_or(self.batch_size),
            augment: options.augment || self.augment,
            seed: options.seed.unwrap_or(self.seed),
            data: options.data.clone().or_else(|| self.data.clone()),
        };
        if asked != self {
            return Err(Failure::Input(format!(
                "the checkpoint was made with other options\n  checkpoint: {self}\n  asked for:  \
                 {asked}\nleave them out to go on, or name another --checkpoint-dir"
            )));
        }
        self.check()?;
        Ok(self)
    }

    fn check(&self) -> Result<(), Failure> {
        let refuse = |why: &str| Err(Failure::Input(why.into()));
        if self.batch_size == 0 {
            return refuse("--batch-size 0: a step needs at least one image");
        }
        if self.epochs == 0 {
            return refuse("--epochs 0: there is nothing to train");
        }
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            return refuse("--learning-rate must be a positive number");
        }
        Ok(())
    }

    /// Steps of the whole run over `images` training images; the last one may be smaller.
    pub fn steps(&self, images: usize) -> u64 {
        (images as u64).saturating_mul(self.epochs).div_ceil(self.batch_size as u64)
    }

    pub fn optimizer(&self) -> Arc<dyn Optimizer> {
        let sgd = SGD::new(self.learning_rate);
        match self.optimizer {
            OptimizerName::Sgd => Arc::new(sgd),
            OptimizerName::Momentum => Arc::new(sgd.momentum(0.9)),
            OptimizerName::Nesterov => Arc::new(sgd.momentum(0.9).nesterov(true)),
            OptimizerName::Adam => Arc::new(Adam::new(self.learning_rate)),
            OptimizerName::QuickAdam => Arc::new(Adam::new(self.learning_rate).betas(0.7, 0.9)),
        }
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_learning_rate_comes_back_from_a_checkpoint() {
        for i in 1..2000 {
            let settings = Settings {
                model: ModelName::Lesson,
                optimizer: OptimizerName::Sgd,
                learning_rate: 1.0 / (7.3 * f64::from(i)),
                schedule: Schedule::OneCycle,
                epochs: 1,
                batch_size: 1,
                augment: false,
                seed: -1,
                data: None,
            };
            let read: Settings = serde_json::from_str(&settings.to_string()).unwrap();
            assert_eq!(read, settings);
        }
    }
}
