//! The daemon's own log: what an operator reads. What tasks log goes to the store instead.

use std::any::Any;
use std::io::IsTerminal;
use std::panic::PanicHookInfo;

use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, LogSection};

/// Starts logging to standard error, panics included. Called once, by the daemon's start; a command
/// that is not the daemon leaves a panic to the runtime, which prints it.
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
    started.map_err(|error| error.to_string())?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// A panic fails what it happened in (an attempt, a request) and is one line of the log.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string);
    let thread = std::thread::current();
    tracing::error!(
        place,
        thread = thread.name(),
        "panic: {}",
        message(panic.payload())
    );
}

fn message(payload: &dyn Any) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
