//! `digits train --logdir`: what TensorBoard shows of a run.

use std::path::Path;

use serde_json::Value;
use tapeflow as tf;
use tf::Tensor;
use tf::summary::{Experiment, HParam, Status, Summary, SummaryWriter, create_file_writer};

use super::settings::Settings;
use super::sheet;
use super::trainer::{Outcome, Trainer};
use crate::cli::TrainOptions;
use crate::dataset::Split;
use crate::evaluate::{Evaluation, evaluate};
use crate::failure::Failure;
use crate::output;

/// Histograms are written at every so many of the steps whose numbers are.
const HISTOGRAMS_EVERY: u64 = 10;

/// Follows a run into a directory of event files. It reads what training computes and changes none
/// of it. That it can no longer write is told once, and no reason to stop training.
pub struct Board<'a> {
    /// None where the user named no directory, or it could not be written.
    open: Option<Open<'a>>,
}

struct Open<'a> {
    writer: SummaryWriter,
    dir: &'a Path,
    every: u64,
    train: usize,
    test: &'a Split,
    has_graph: bool,
}

impl<'a> Board<'a> {
    /// Opens the directory that the options name, before the first step.
    pub fn open(
        options: &'a TrainOptions,
        trainer: &Trainer,
        train: &Split,
        test: &'a Split,
    ) -> Result<Board<'a>, Failure> {
        let Some(dir) = &options.logdir else { return Ok(Board { open: None }) };
        let writer = create_file_writer(dir).map_err(Failure::input)?;
        let every = options.log_every;
        let (train, has_graph) = (train.len(), false);
        let mut board = Board { open: Some(Open { writer, dir, every, train, test, has_graph }) };
        board.attempt(|open| open.begin(trainer));
        Ok(board)
    }

    /// A step is done, on these images and labels.
    pub fn step(&mut self, trainer: &Trainer, outcome: &Outcome, batch: &(Tensor, Tensor)) {
        self.attempt(|open| open.step(trainer, outcome, batch));
    }

    /// The run has ended.
    pub fn end(&mut self, status: Status) {
        self.attempt(|open| {
            open.writer.session_end(status)?;
            open.writer.flush()
        });
    }

    fn attempt(&mut self, write: impl FnOnce(&mut Open<'a>) -> tf::Result<()>) {
        let Some(open) = &mut self.open else { return };
        if let Err(error) = write(open) {
            let dir = open.dir.display();
            output::say(format_args!("digits: no longer writing to --logdir {dir}: {error}"));
            self.open = None;
        }
    }
}

impl Open<'_> {
    fn begin(&self, trainer: &Trainer) -> tf::Result<()> {
        let settings = hparams(&trainer.settings);
        let experiment = settings
            .iter()
            .fold(Experiment::new(), |all, (name, value)| all.hparam(name, value))
            .metric("test/accuracy", "Test accuracy")
            .metric("test/loss", "Test loss");
        self.writer.session_start(trainer.step as i64)?;
        self.writer.hparams_config(&experiment)?;
        let borrowed: Vec<(&str, HParam)> =
            settings.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        self.writer.hparams(&borrowed)?;
        self.writer.text("settings", &table(&settings), trainer.step as i64)?;
        if trainer.step == 0 {
            self.histograms(trainer)?;
        }
        self.writer.flush()
    }

    fn step(
        &mut self,
        trainer: &Trainer,
        outcome: &Outcome,
        batch: &(Tensor, Tensor),
    ) -> tf::Result<()> {
        let settings = &trainer.settings;
        let steps = settings.steps(self.train);
        let epoch = |step: u64| {
            let images = step.saturating_mul(settings.batch_size as u64);
            images.min(settings.epochs.saturating_mul(self.train as u64)) / self.train as u64
        };
        let done = trainer.step;
        let ends_epoch = epoch(done) > epoch(done - 1);
        if !std::mem::replace(&mut self.has_graph, true) {
            self.writer.graph(&trainer.graph(batch)?)?;
        }
        if done == 1 || done.is_multiple_of(self.every) || done == steps {
            // Of the step that was done, counted from 0 as by the schedule.
            let rate = settings.schedule.learning_rate(settings.learning_rate, done - 1, steps);
            let accuracy = outcome.correct as f64 / outcome.images as f64;
            self.writer.scalar("train/loss", outcome.loss, done as i64)?;
            self.writer.scalar("train/accuracy", accuracy, done as i64)?;
            self.writer.scalar("train/learning_rate", rate, done as i64)?;
        }
        if ends_epoch || done.is_multiple_of(self.every.saturating_mul(HISTOGRAMS_EVERY)) {
            self.histograms(trainer)?;
        }
        if ends_epoch {
            self.epoch(done, &evaluate(&trainer.model, self.test)?)?;
        }
        Ok(())
    }

    fn histograms(&self, trainer: &Trainer) -> tf::Result<()> {
        trainer.model.variables().iter().try_for_each(|variable| {
            let name = format!("weights/{}", variable.name());
            self.writer.histogram(&name, variable, trainer.step as i64)
        })
    }

    /// What an epoch has come to, on the test images.
    fn epoch(&self, step: u64, evaluation: &Evaluation) -> tf::Result<()> {
        let step = step as i64;
        self.writer.scalar("test/accuracy", evaluation.confusion.accuracy(), step)?;
        self.writer.scalar("test/loss", evaluation.loss, step)?;
        let sheet = sheet::draw(self.test, &evaluation.misreadings())?;
        let about = "Test images that were read wrong, those first that the network was surest of: \
                     the digit, and what was read instead.";
        self.writer
            .write(Summary::image("test/misreadings", sheet, 1)?.with_description(about), step)?;
        self.writer.flush()
    }
}

/// The settings by name, those that are given.
fn hparams(settings: &Settings) -> Vec<(String, HParam)> {
    let Ok(Value::Object(settings)) = serde_json::to_value(settings) else { return Vec::new() };
    let known = settings.into_iter().filter_map(|(name, value)| {
        let value = match value {
            Value::Bool(value) => HParam::Bool(value),
            Value::Number(value) => HParam::Number(value.as_f64()?),
            Value::String(value) => HParam::Text(value),
            Value::Null | Value::Array(_) | Value::Object(_) => return None,
        };
        Some((name, value))
    });
    known.collect()
}

/// As a table of Markdown.
fn table(settings: &[(String, HParam)]) -> String {
    let mut text = String::from("| setting | value |\n|---|---|\n");
    for (name, value) in settings {
        let value = match value {
            HParam::Number(value) => value.to_string(),
            HParam::Bool(value) => value.to_string(),
            HParam::Text(value) => value.replace('|', "\\|"),
        };
        text += &format!("| {} | {value} |\n", name.replace('_', " "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_named_numbers_and_names() {
        let settings = serde_json::json!({
            "model": "fast", "optimizer": "quick-adam", "learning_rate": 0.01, "epochs": 2,
            "batch_size": 256, "seed": -1, "data": null,
        });
        let hparams = hparams(&serde_json::from_value(settings).unwrap());
        let find = |name: &str| hparams.iter().find(|(known, _)| known == name).map(|(_, v)| v);
        assert_eq!(find("learning_rate"), Some(&HParam::Number(0.01)));
        assert_eq!(find("model"), Some(&"fast".into()));
        assert_eq!(find("data"), None);
        assert!(table(&hparams).contains("| batch size | 256 |\n"));
    }
}
