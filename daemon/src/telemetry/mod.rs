//! The daemon's own log: what an operator reads. What tasks log goes to the store instead.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, LogSection};

/// Starts logging to standard error. Called once, by the composition root.
///
/// # Errors
/// The filter is not one.
pub fn start(settings: &LogSection) -> Result<(), String> {
    let filter =
        EnvFilter::try_new(&settings.filter).map_err(|error| format!("[log] filter: {error}"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let started = match settings.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    started.map_err(|error| error.to_string())
}
