//! `serve`: the daemon in the foreground, as systemd runs it.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::client::Client;
use super::exit::Exit;
use super::print;
use crate::config::Settings;
use crate::daemon::{Daemon, Extent, StartError, StateLock};
use crate::diagnostic::Diagnostic;
use crate::telemetry;

/// A client that does not read its answer keeps the daemon no longer than this.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// Commands have the state folder for less; who has it longer is another daemon, or hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts, serves until SIGTERM or SIGINT, drains, and says how it went.
pub async fn serve(
    settings: Settings,
    environment: BTreeMap<String, String>,
    warnings: &[Diagnostic],
) -> Exit {
    if let Err(error) = telemetry::start(&settings.log) {
        return Exit::Usage.because(error);
    }
    for warning in warnings {
        let (line, _) = warning.line_column();
        tracing::warn!(file = %warning.file, line, help = warning.help, "{}", warning.message);
    }
    let mut orders = match StopOrders::listen() {
        Ok(orders) => orders,
        Err(error) => return Exit::Unreachable.because(error),
    };
    let lock = tokio::select! {
        lock = lock(&settings) => lock,
        () = orders.received() => return Exit::Ok,
    };
    let daemon = match lock {
        Ok(lock) => Daemon::start(settings, environment, lock, Extent::Service).await,
        Err(error) => Err(error),
    };
    let daemon = match daemon {
        Ok(daemon) => daemon,
        Err(error) => return Exit::from(&error).because(error),
    };
    tokio::select! {
        () = daemon.settled() => {}
        () = orders.received() => {
            tracing::info!("stopping");
            daemon.stop().await;
            return Exit::Ok;
        }
    }
    match daemon.first_admin().await {
        Ok(None) => {}
        Ok(Some(first)) => print::first_admin(&first),
        Err(error) => tracing::error!(%error, "the first administrator could not be made"),
    }
    let mut serving = tokio::spawn(daemon.serve());
    let broken = tokio::select! {
        served = &mut serving => Some(served),
        () = orders.received() => None,
    };
    tracing::info!("stopping");
    daemon.stop().await;
    let served = match broken {
        Some(served) => served,
        None => match tokio::time::timeout(LAST_ANSWERS, serving).await {
            Ok(served) => served,
            Err(_) => {
                tracing::warn!("a client did not read its answer; it is cut off");
                return Exit::Ok;
            }
        },
    };
    match served.map_err(io::Error::other).and_then(|served| served) {
        Ok(()) => Exit::Ok,
        Err(error) => Exit::Unreachable.because(format!("the socket: {error}")),
    }
}

/// Takes the state folder. A command that is just looking at something there is waited for, another daemon is not.
async fn lock(settings: &Settings) -> Result<StateLock, StartError> {
    match Daemon::lock(settings, Duration::ZERO).await {
        Err(locked @ StartError::Locked { .. }) => {
            if Client::running(settings).await.is_some() {
                return Err(locked);
            }
            tracing::info!(%locked, "waiting");
            Daemon::lock(settings, PATIENCE).await
        }
        other => other,
    }
}

/// The signals that end the daemon.
struct StopOrders {
    terminate: Signal,
    interrupt: Signal,
}

impl StopOrders {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Returns when one of them comes.
    async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
