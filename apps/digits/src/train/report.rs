//! Telling how the training goes: a progress bar, lines where there is no terminal, or JSON.

use std::io::IsTerminal;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::trainer::Outcome;

/// Steps between two lines where no bar can be drawn.
const LINE_EVERY: u64 = 100;
/// Weight of the past in the running means of loss and accuracy.
const SMOOTHING: f64 = 0.95;

/// Follows a run from its first step on.
pub struct Report {
    form: Form,
    steps: u64,
    started: Instant,
    images: usize,
    /// Running means, once there is a step.
    means: Option<(f64, f64)>,
}

enum Form {
    Bar(ProgressBar),
    Lines,
    Json,
}

impl Report {
    /// A report of steps `done..steps`.
    pub fn new(json: bool, done: u64, steps: u64) -> Report {
        let form = match (json, std::io::stderr().is_terminal()) {
            (true, _) => Form::Json,
            (false, true) => Form::Bar(bar(done, steps)),
            (false, false) => Form::Lines,
        };
        Report { form, steps, started: Instant::now(), images: 0, means: None }
    }

    /// Step number `step` is done.
    pub fn step(&mut self, step: u64, outcome: &Outcome) {
        self.images += outcome.images;
        let now = (outcome.loss, outcome.correct as f64 / outcome.images as f64);
        let (loss, accuracy) = self.means.map_or(now, |(loss, accuracy)| {
            let mean = |past: f64, now: f64| SMOOTHING * past + (1.0 - SMOOTHING) * now;
            (mean(loss, now.0), mean(accuracy, now.1))
        });
        self.means = Some((loss, accuracy));
        let rate = self.images as f64 / self.started.elapsed().as_secs_f64();
        match &self.form {
            Form::Bar(bar) => {
                bar.set_position(step);
                bar.set_message(format!(
                    "loss {loss:.3}  accuracy {accuracy:.3}  {rate:.0} images/s"
                ));
            }
            Form::Lines if step.is_multiple_of(LINE_EVERY) || step == self.steps => eprintln!(
                "step {step}/{}  loss {loss:.3}  accuracy {accuracy:.3}  {rate:.0} images/s",
                self.steps
            ),
            Form::Lines => {}
            Form::Json => println!(
                "{}",
                json!({
                    "event": "step",
                    "step": step,
                    "steps": self.steps,
                    "loss": outcome.loss,
                    "accuracy": now.1,
                    "images_per_second": rate,
                })
            ),
        }
    }

    /// Seconds since the first step began.
    pub fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Leaves the bar as it stands.
    pub fn finish(&self) {
        if let Form::Bar(bar) = &self.form {
            bar.abandon();
        }
    }
}

fn bar(done: u64, steps: u64) -> ProgressBar {
    let template = "{bar:30} {pos}/{len}  {msg}  {eta} left";
    let style = ProgressStyle::with_template(template).expect("the template is well formed");
    ProgressBar::new(steps).with_position(done).with_style(style.progress_chars("█▉▊▋▌▍▎▏ "))
}
