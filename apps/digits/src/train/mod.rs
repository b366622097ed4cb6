//! `digits train`.

mod augment;
mod board;
mod checkpoints;
mod report;
mod schedule;
mod settings;
mod sheet;
mod trainer;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use tapeflow as tf;
use tf::summary::Status;

use self::board::Board;
use self::checkpoints::Checkpoints;
use self::report::Report;
pub use self::schedule::Schedule;
use self::trainer::Trainer;
use crate::cli::TrainOptions;
use crate::dataset::{self, Split};
use crate::evaluate::evaluate;
use crate::failure::Failure;
use crate::{model_file, output};

/// Thousands of threads would do nothing but wait for each other.
const MOST_THREADS: usize = 256;

/// Set by Ctrl-C; the step under way is finished first.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

pub fn run(options: &TrainOptions) -> Result<(), Failure> {
    check(options)?;
    if let Some(threads) = options.threads {
        tf::config::threading::set_intra_op_parallelism_threads(threads)?;
    }
    let checkpoints = Checkpoints::new(options)?;
    let mut trainer = checkpoints.start(options)?;
    let (train, test) = dataset::load(trainer.settings.data.as_deref())?;
    watch_for_interrupts()?;
    let mut board = Board::open(options, &trainer, &train, &test)?;
    let outcome = train_all(&mut trainer, &train, &checkpoints, &mut board, options);
    board.end(if outcome.is_ok() { Status::Success } else { Status::Failure });
    let seconds = outcome?;
    model_file::save(&options.out, &trainer.model, options.weights.dtype())?;
    conclude(&trainer, &test, seconds, options)
}

/// Refuses what would only fail after minutes of training.
fn check(options: &TrainOptions) -> Result<(), Failure> {
    let refuse = |why: String| Err(Failure::Input(why));
    if options.checkpoint_every == 0 || options.keep == 0 {
        return refuse("--checkpoint-every and --keep must be at least 1".into());
    }
    if options.log_every == 0 {
        return refuse("--log-every must be at least 1".into());
    }
    if options.threads.is_some_and(|threads| !(1..=MOST_THREADS).contains(&threads)) {
        return refuse(format!("--threads must be 1 to {MOST_THREADS}"));
    }
    if options.data.as_ref().is_some_and(|data| data.to_str().is_none()) {
        return refuse("--data: a checkpoint holds only names in UTF-8; rename the folder".into());
    }
    output::check_file("--out", &options.out)
}

fn watch_for_interrupts() -> Result<(), Failure> {
    let handler = || {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            // Asked twice: the user does not want to wait for the checkpoint.
            std::process::exit(130);
        }
    };
    ctrlc::set_handler(handler).map_err(|error| Failure::Failed(format!("Ctrl-C: {error}")))
}

/// Runs the steps that are left; returns the seconds they took.
fn train_all(
    trainer: &mut Trainer,
    train: &Split,
    checkpoints: &Checkpoints,
    board: &mut Board<'_>,
    options: &TrainOptions,
) -> Result<f64, Failure> {
    let steps = trainer.settings.steps(train.len());
    let mut report = Report::new(options.json, trainer.step, steps);
    for batch in &trainer.batches(train)? {
        let batch = batch?;
        trainer.set_learning_rate(steps);
        let outcome = trainer.step(&batch.0, &batch.1).inspect_err(|_| report.finish())?;
        report.step(trainer.step, &outcome)?;
        board.step(trainer, &outcome, &batch);
        if INTERRUPTED.load(Ordering::Relaxed) {
            report.finish();
            return Err(checkpoints.interrupted(trainer)?);
        }
        checkpoints.after_step(trainer).inspect_err(|_| report.finish())?;
    }
    report.finish();
    trainer.check_finite()?;
    Ok(report.seconds())
}

fn conclude(
    trainer: &Trainer,
    test: &Split,
    seconds: f64,
    options: &TrainOptions,
) -> Result<(), Failure> {
    let evaluation = evaluate(&trainer.model, test)?;
    let accuracy = evaluation.confusion.accuracy();
    if options.json {
        return output::print(json!({
            "event": "result",
            "model": options.out.to_string_lossy(),
            "architecture": trainer.settings.model.name(),
            "steps": trainer.step,
            "seconds": seconds,
            "images": evaluation.confusion.total(),
            "test_accuracy": accuracy,
            "test_loss": evaluation.loss,
            "confusion": evaluation.confusion.rows(),
        }));
    }
    output::print(format_args!(
        "\n{}\ntest accuracy {accuracy:.4} after {seconds:.1} s of training\n\
         model written to {}\n\nnext:\n{}",
        evaluation.confusion,
        options.out.display(),
        next_steps(options),
    ))
}

/// Commands that show what came of the training.
fn next_steps(options: &TrainOptions) -> String {
    let model = quoted(&options.out);
    let data = options.data.as_deref().map(|data| format!(" --data {}", quoted(data)));
    let data = data.unwrap_or_default();
    let mut lines = vec![
        format!("  digits evaluate {model}{data} --report report.html    its mistakes, as a page"),
        format!("  digits predict photo.png --model {model}"),
    ];
    match &options.logdir {
        Some(dir) => lines.push(format!("  tensorboard --logdir {}", quoted(dir))),
        None => lines.push("  digits train --logdir runs/1    for TensorBoard".into()),
    }
    lines.join("\n")
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+,:@%".contains(c);
    if path.chars().all(plain) { path } else { format!("'{}'", path.replace('\'', r"'\''")) }
}
