//! Exit codes, each with one meaning.

use std::fmt;
use std::process::{ExitCode, Termination};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: it did what was asked; a run succeeded.
    Ok,
    /// 1: the run did not succeed, or the check found errors.
    Failed,
    /// 2: the arguments or `flowweaver.toml` are wrong.
    Usage,
    /// 3: no daemon answers and none could be started here.
    Unreachable,
    /// 4: the daemon refused: unknown workflow or run, input not accepted.
    Refused,
}

impl Exit {
    /// Says why on standard error, and stays this code.
    #[allow(clippy::print_stderr, reason = "the command line speaks there")]
    pub fn because(self, why: impl fmt::Display) -> Self {
        eprintln!("flowweaver: {why}");
        self
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::Refused => 4,
        })
    }
}

/// Why a command ended early.
#[derive(Debug)]
pub struct CliError {
    /// The code.
    pub exit: Exit,
    /// For the person.
    pub message: String,
}

impl CliError {
    /// With this code and text.
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self {
            exit,
            message: message.to_string(),
        }
    }
}
