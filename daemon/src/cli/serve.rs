//! `serve`: the daemon in the foreground, as systemd runs it.

use std::collections::BTreeMap;

use tokio::signal::unix::{SignalKind, signal};

use super::exit::Exit;
use crate::config::Settings;
use crate::daemon::Daemon;
use crate::telemetry;

/// Starts, serves until SIGTERM or SIGINT, drains, and says how it went.
pub async fn serve(settings: Settings, environment: BTreeMap<String, String>) -> Exit {
    if let Err(error) = telemetry::start(&settings.log) {
        return Exit::Usage.because(error);
    }
    let (mut terminate, mut interrupt) = match (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) {
        (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
        (Err(error), _) | (_, Err(error)) => return Exit::Unreachable.because(error),
    };
    let daemon = match Daemon::start(settings, environment).await {
        Ok(daemon) => daemon,
        Err(error) => return Exit::Unreachable.because(error),
    };
    let stopped = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        // The socket answers to the end, so that one can see what is being waited for.
        daemon.drain().await;
    };
    let served = tokio::select! {
        served = daemon.serve() => served,
        () = stopped => Ok(()),
    };
    daemon.stop().await;
    match served {
        Ok(()) => Exit::Ok,
        Err(error) => Exit::Unreachable.because(error),
    }
}
