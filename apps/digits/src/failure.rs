//! Why a command ends early, and with which exit code.

use std::fmt;
use std::process::ExitCode;

/// A message for the user and the kind of exit it means.
#[derive(Debug)]
pub enum Failure {
    /// The options or the files given are at fault: exit code 2.
    Input(String),
    /// It was tried and did not work: exit code 1.
    Failed(String),
    /// Ctrl-C stopped it: exit code 130, as shells expect.
    Interrupted(String),
}

impl Failure {
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Input(_) => ExitCode::from(2),
            Failure::Failed(_) => ExitCode::from(1),
            Failure::Interrupted(_) => ExitCode::from(130),
        }
    }

    /// A file given by the user cannot be used. That it cannot be read at all counts as well: the
    /// path is theirs to mend.
    pub fn input(error: tapeflow::Error) -> Failure {
        Failure::Input(error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Input(message) | Failure::Failed(message) | Failure::Interrupted(message) => {
                f.write_str(message)
            }
        }
    }
}

impl From<tapeflow::Error> for Failure {
    fn from(error: tapeflow::Error) -> Failure {
        Failure::Failed(error.to_string())
    }
}
