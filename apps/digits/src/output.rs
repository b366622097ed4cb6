//! Where the program's words go. A closed pipe or a full disk behind them is no panic.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;

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

/// Refuses a file that `option` names and that could not be written in the end.
pub fn check_file(option: &str, path: &Path) -> Result<(), Failure> {
    let refuse = |why: String| Err(Failure::Input(format!("{option} {}: {why}", path.display())));
    if path.is_dir() {
        return refuse("is a directory".into());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    if !parent.is_dir() {
        return refuse(format!("there is no directory {}", parent.display()));
    }
    Ok(())
}
