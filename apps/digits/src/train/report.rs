//! Telling how the training goes: a progress bar, lines where there is no terminal, or JSON.

use std::io::IsTerminal;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::trainer::Outcome;
use crate::failure::Failure;
use crate::output;

/// Steps between two lines where no bar can be drawn.
const LINE_EVERY: u64 = 100;
/// Weight of the past in the running means of loss and accuracy.
const SMOOTHING: f64 = 0.95;

/// Follows a run, or what is left of it.
pub struct Report {
    form: Form,
    /// Steps done before this run, and steps of the whole.
    done: u64,
    steps: u64,
    started: Instant,
    images: usize,
    /// Running means of loss and accuracy, once there is a step.
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
            (false, true) => Form::Bar(bar(steps)),
            (false, false) => Form::Lines,
        };
        Report { form, done, steps, started: Instant::now(), images: 0, means: None }
    }

    /// Step number `step` is done.
    pub fn step(&mut self, step: u64, outcome: &Outcome) -> Result<(), Failure> {
        self.images += outcome.images;
        let now = (outcome.loss, outcome.correct as f64 / outcome.images as f64);
        let (loss, accuracy) = self.means.map_or(now, |(loss, accuracy)| {
            let mean = |past: f64, now: f64| SMOOTHING * past + (1.0 - SMOOTHING) * now;
            (mean(loss, now.0), mean(accuracy, now.1))
        });
        self.means = Some((loss, accuracy));
        let seconds = self.seconds();
        let rate = self.images as f64 / seconds;
        let seconds_a_step = seconds / (step - self.done) as f64;
        let left = clock(self.steps.saturating_sub(step) as f64 * seconds_a_step);
        let means = format!("loss {loss:.3}  accuracy {accuracy:.3}  {rate:.0} images/s");
        match &self.form {
            Form::Bar(bar) => {
                bar.set_prefix(left);
                bar.set_message(means);
                bar.set_position(step);
            }
            Form::Lines if step.is_multiple_of(LINE_EVERY) || step == self.steps => {
                output::say(format_args!("step {step}/{}  {means}  {left} left", self.steps));
            }
            Form::Lines => {}
            Form::Json => output::print(json!({
                "event": "step",
                "step": step,
                "steps": self.steps,
                "loss": outcome.loss,
                "accuracy": now.1,
                "images_per_second": rate,
            }))?,
        }
        Ok(())
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

/// Two lines, so that a narrow terminal shows all of it.
fn bar(steps: u64) -> ProgressBar {
    let template = "{wide_bar} {pos}/{len}  {prefix} left\n{msg}";
    let style = ProgressStyle::with_template(template).expect("the template is well formed");
    ProgressBar::new(steps).with_style(style.progress_chars("█▉▊▋▌▍▎▏ "))
}

/// Minutes and seconds, with hours where there are any.
fn clock(seconds: f64) -> String {
    let seconds = seconds.ceil() as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_at_a_glance() {
        assert_eq!(clock(0.0), "0:00");
        assert_eq!(clock(64.2), "1:05");
        assert_eq!(clock(3661.0), "1:01:01");
        assert!(clock(f64::INFINITY).ends_with(":15"), "no panic");
    }
}
