//! The composition root: open, wire, start, wait, drain. Nothing is decided here.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustix::fs::FlockOperation;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::api::{self, ApiState, LocalApi};
use crate::catalog::Catalog;
use crate::clock::{Clock, SystemClock};
use crate::config::Settings;
use crate::engine::EngineHandle;
use crate::reload::{Reload, Versions};

mod wiring;
mod workbench;

pub use workbench::Workbench;

/// The file whose lock says that somebody works in the state folder.
const LOCK_NAME: &str = "lock";

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another process works in the state folder.
    #[error("{} is in use by another process", path.display())]
    Locked {
        /// The state folder.
        path: PathBuf,
    },
    /// The state folder cannot be made or used.
    #[error("{}: {cause}", path.display())]
    State {
        /// What.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A setting asks for something that cannot be.
    #[error("flowweaver.toml: {0}")]
    Setting(String),
    /// The store cannot be opened.
    #[error("the store cannot be opened: {0}")]
    Store(#[from] crate::store::StoreError),
    /// The sandbox cannot be made on this machine.
    #[error("the sandbox: {0}")]
    Sandbox(String),
}

/// A daemon whose parts are running.
pub struct Daemon {
    state: PathBuf,
    api: LocalApi,
    router: api::Router,
    engine: EngineHandle,
    stop: CancellationToken,
    reload: JoinHandle<()>,
    drain: std::time::Duration,
    /// Held to the end.
    _lock: File,
}

impl Daemon {
    /// Opens everything and starts it; returns once every file was looked at, so that what can be
    /// live is live.
    pub async fn start(
        settings: Settings,
        environment: BTreeMap<String, String>,
    ) -> Result<Self, StartError> {
        let state = settings.paths.state.clone();
        let lock = lock(&state)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = wiring::store(&settings).await?;
        let secrets = wiring::secrets(&settings, &environment)?;
        let names = wiring::names(&secrets);
        let broker = wiring::broker(&settings, secrets, Arc::clone(&store), Arc::clone(&clock))?;
        let sandbox = Arc::new(wiring::sandbox(&settings, &state, broker)?);
        let versions = Arc::new(Versions::new(Arc::clone(&store), Arc::clone(&sandbox)));
        let catalog = Arc::new(ArcSwap::from_pointee(Catalog::default()));
        let stop = CancellationToken::new();
        let shared = (&store, &sandbox, &clock);
        let engine = wiring::engine(&settings, shared, &versions);
        let (reload, mut settled) = Reload::new(wiring::reload(
            &settings, names, shared, &versions, &catalog,
        ));
        let reload = tokio::spawn(reload.run(stop.clone()));
        // The loop that would say so ends only with the daemon.
        let _ = settled.wait_for(|settled| *settled).await;
        let router = api::router(ApiState {
            catalog,
            engine: engine.clone(),
            store,
            versions,
            clock,
        });
        Ok(Self {
            api: LocalApi::new(router.clone()),
            router,
            engine,
            stop,
            reload,
            drain: settings.engine.drain.0,
            state,
            _lock: lock,
        })
    }

    /// The API, called in this process.
    pub fn api(&self) -> LocalApi {
        self.api.clone()
    }

    /// Serves the socket until it breaks or the future is dropped.
    pub async fn serve(&self) -> io::Result<()> {
        api::serve_socket(&self.state, self.router.clone(), self.stop.clone()).await
    }

    /// Takes no new work and lets running attempts finish within the drain time; what has not
    /// finished then is given back without spending an attempt.
    pub async fn drain(&self) {
        let drained = self.engine.drain(self.drain).await;
        tracing::info!(
            released = drained.released,
            stopped = drained.stopped,
            "drained"
        );
    }

    /// Ends what [`Daemon::drain`] left: the socket and the reload loop.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.reload.await {
            tracing::error!(%error, "the reload loop ended badly");
        }
        match fs::remove_file(self.state.join(api::SOCKET_NAME)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "the socket stays behind")
            }
            _ => {}
        }
    }
}

/// Makes the state folder (0700) and takes its lock.
fn lock(state: &Path) -> Result<File, StartError> {
    let failed = |cause: io::Error| StartError::State {
        path: state.to_owned(),
        cause,
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state)
        .map_err(failed)?;
    fs::set_permissions(state, fs::Permissions::from_mode(0o700)).map_err(failed)?;
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(state.join(LOCK_NAME))
        .map_err(failed)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StartError::Locked {
            path: state.to_owned(),
        }),
        Err(error) => Err(failed(error.into())),
    }
}
