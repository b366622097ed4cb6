//! `digits`: trains, evaluates and applies a recognizer of handwritten digits.

#![forbid(unsafe_code)]

mod calibration;
mod cli;
mod confusion;
mod dataset;
mod evaluate;
mod failure;
mod model;
mod model_file;
mod output;
mod predict;
mod reading;
mod report;
mod serve;
mod train;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Train(options) => train::run(&options),
        Command::Evaluate(options) => evaluate::run(&options),
        Command::Predict(options) => predict::run(&options),
        Command::Serve(options) => serve::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::say(format_args!("digits: {failure}"));
            failure.exit_code()
        }
    }
}
