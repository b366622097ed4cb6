//! What our programs share, as `peers/timing.py` does for the peers': arguments, the clock, rows.
//!
//! A row is one line of JSON: `{"what", "peer", "version", "unit", "values": [...]}`.

use std::time::Instant;

pub struct Arguments {
    /// Calls to time.
    pub steps: usize,
    /// Calls before the first that is timed.
    pub warm_up: usize,
}

impl Arguments {
    /// `--steps N` and `--warm-up N` of the command line.
    pub fn parse(steps: usize) -> Arguments {
        Arguments { steps: number("--steps", steps), warm_up: number("--warm-up", 10) }
    }
}

fn number(name: &str, default: usize) -> usize {
    let mut args = std::env::args().skip_while(|arg| arg != name).skip(1);
    args.next().and_then(|number| number.parse().ok()).unwrap_or(default)
}

/// Milliseconds of each call of `step`.
#[allow(dead_code, reason = "one of the programs that share this file does something before each")]
pub fn measure<E>(args: &Arguments, step: impl FnMut() -> Result<(), E>) -> Result<Vec<f64>, E> {
    measure_after(args, || (), step)
}

/// Milliseconds of each call of `step`, not those of `before`, which is called before each.
pub fn measure_after<E>(
    args: &Arguments,
    mut before: impl FnMut(),
    mut step: impl FnMut() -> Result<(), E>,
) -> Result<Vec<f64>, E> {
    let mut milliseconds = Vec::with_capacity(args.steps);
    for i in 0..args.warm_up + args.steps {
        before();
        let start = Instant::now();
        step()?;
        if i >= args.warm_up {
            milliseconds.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok(milliseconds)
}

/// Prints a row of ours.
pub fn report(what: &str, unit: &str, values: &[f64]) {
    report_of("tapeflow", what, unit, values);
}

/// Prints a row.
pub fn report_of(peer: &str, what: &str, unit: &str, values: &[f64]) {
    let version = env!("CARGO_PKG_VERSION");
    println!(
        r#"{{"what": "{what}", "peer": "{peer}", "version": "{version}", "unit": "{unit}", "values": {values:?}}}"#
    );
}
