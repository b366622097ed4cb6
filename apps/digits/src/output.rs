//! Where the program's words go. A closed pipe or a full disk behind them is no panic.

use std::fmt::Display;
use std::io::{self, Write};

use crate::failure::Failure;

/// Prints a line to standard output.
pub fn print(line: impl Display) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")
        .and_then(|()| stdout.flush())
        .map_err(|error| Failure::Failed(format!("writing to standard output: {error}")))
}

/// Says a line on standard error; that nobody can hear it is no reason to stop.
pub fn say(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}
