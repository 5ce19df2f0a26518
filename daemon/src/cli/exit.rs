//! Exit codes, each with one meaning.

use std::fmt;
use std::process::{ExitCode, Termination};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::daemon::StartError;

/// Whether errors are for a program: a fact of the process, known before its arguments are understood.
static JSON: AtomicBool = AtomicBool::new(false);

/// From now on, errors and remarks are printed as JSON.
pub fn speak_json() {
    JSON.store(true, Ordering::Relaxed);
}

/// Prints to standard error: `text` as it stands, or as the field `key` of a JSON object that has also `more`.
#[allow(clippy::print_stderr, reason = "the command line speaks there")]
pub(super) fn say(key: &str, text: &str, more: Value) {
    if !JSON.load(Ordering::Relaxed) {
        eprintln!("{text}");
        return;
    }
    let mut object = json!({ key: text });
    if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
        object.extend(more);
    }
    eprintln!("{object}");
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: it did what was asked; a run succeeded.
    Ok,
    /// 1: the run did not succeed, or the check found errors.
    Failed,
    /// 2: the arguments or the settings are wrong.
    Usage,
    /// 3: no daemon answers and none could be started here.
    Unreachable,
    /// 4: the daemon refused: unknown workflow or run, input not accepted.
    Refused,
    /// 5: the daemon does not know who asks, or they may not: no token, a wrong or expired one, out of its scope.
    Denied,
}

impl Exit {
    /// Says why on standard error, and stays this code.
    pub fn because(self, why: impl fmt::Display) -> Self {
        self.with(&why.to_string(), Value::Null)
    }

    /// The same, with what a program may want to know besides.
    fn with(self, why: &str, problem: Value) -> Self {
        let more = json!({ "exit": self.code(), "problem": problem });
        match JSON.load(Ordering::Relaxed) {
            true => say("error", why, more),
            false => say("error", &format!("flowweaver: {why}"), more),
        }
        self
    }

    fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::Refused => 4,
            Self::Denied => 5,
        }
    }
}

impl From<&StartError> for Exit {
    fn from(error: &StartError) -> Self {
        match error.is_setting() {
            true => Self::Usage,
            false => Self::Unreachable,
        }
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self.code())
    }
}

/// Why a command ended early.
#[derive(Debug)]
pub struct CliError {
    /// The code.
    pub exit: Exit,
    /// For the person.
    pub message: String,
    /// What the API said, for a program; null where it said nothing.
    pub problem: Value,
}

impl CliError {
    /// With this code and text.
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self {
            exit,
            message: message.to_string(),
            problem: Value::Null,
        }
    }

    /// Says it, and gives its code.
    pub fn report(self) -> Exit {
        self.exit.with(&self.message, self.problem)
    }
}
