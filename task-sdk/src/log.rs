//! Structured log lines, kept with the attempt and shown live.
//!
//! ```
//! use flowweaver_task::log;
//!
//! log::info("page read", &[("page", &2), ("items", &40)]);
//! ```

use std::fmt::Display;

use crate::host;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Step-by-step detail.
    Trace,
    /// Detail for the task's author.
    Debug,
    /// What happened.
    Info,
    /// Unexpected, and handled.
    Warn,
    /// Something failed.
    Error,
}

/// Writes one line. `fields` are names with values, which are shown as text. Lines past the attempt's
/// limit are dropped, and their number is recorded.
pub fn write(level: Level, message: impl AsRef<str>, fields: &[(&str, &dyn Display)]) {
    let fields: Vec<(String, String)> = fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.to_string()))
        .collect();
    host::log::write(level, message.as_ref(), &fields);
}

/// Writes step-by-step detail.
pub fn trace(message: impl AsRef<str>, fields: &[(&str, &dyn Display)]) {
    write(Level::Trace, message, fields);
}

/// Writes detail for the task's author.
pub fn debug(message: impl AsRef<str>, fields: &[(&str, &dyn Display)]) {
    write(Level::Debug, message, fields);
}

/// Writes what happened.
pub fn info(message: impl AsRef<str>, fields: &[(&str, &dyn Display)]) {
    write(Level::Info, message, fields);
}

/// Writes something unexpected that was handled.
pub fn warn(message: impl AsRef<str>, fields: &[(&str, &dyn Display)]) {
    write(Level::Warn, message, fields);
}

/// Writes that something failed.
pub fn error(message: impl AsRef<str>, fields: &[(&str, &dyn Display)]) {
    write(Level::Error, message, fields);
}
