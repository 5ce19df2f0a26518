//! The composition root: open, wire, start, wait, drain. Nothing is decided here.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustix::fs::FlockOperation;
use tokio::sync::watch;
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
    settled: watch::Receiver<bool>,
    drain: std::time::Duration,
    /// Held to the end.
    _lock: File,
}

impl Daemon {
    /// Opens everything and starts it. Files are being looked at when it returns: see
    /// [`Daemon::settled`].
    pub async fn start(
        settings: Settings,
        environment: BTreeMap<String, String>,
    ) -> Result<Self, StartError> {
        let state = settings.paths.state.clone();
        let lock = lock(&state)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = wiring::store(&settings).await?;
        let secrets = wiring::secrets(&settings, &environment)?
            .with_table(Arc::clone(&store), Arc::clone(&clock));
        let secrets = Arc::new(secrets);
        secrets.refresh().await;
        let broker = wiring::broker(
            &settings,
            Arc::clone(&secrets),
            Arc::clone(&store),
            Arc::clone(&clock),
        )?;
        wiring::strangers(&broker).await?;
        let sandbox = Arc::new(wiring::sandbox(&settings, &state, broker)?);
        let versions = Arc::new(Versions::new(Arc::clone(&store), Arc::clone(&sandbox)));
        let catalog = Arc::new(ArcSwap::from_pointee(Catalog::default()));
        let stop = CancellationToken::new();
        let shared = (&store, &sandbox, &clock);
        let engine = wiring::engine(&settings, shared, &versions);
        let (reload, settled) = Reload::new(wiring::reload(
            &settings, &secrets, shared, &engine, &versions, &catalog,
        ));
        let reload = tokio::spawn(reload.run(stop.clone()));
        let router = api::router(ApiState {
            catalog,
            engine: engine.clone(),
            store,
            versions,
            secrets,
            kv_quota: wiring::kv_quota(&settings),
            clock,
            stop: stop.clone(),
        });
        Ok(Self {
            api: LocalApi::new(router.clone()),
            router,
            engine,
            stop,
            reload,
            settled,
            drain: settings.engine.drain.0,
            state,
            _lock: lock,
        })
    }

    /// The API, called in this process.
    pub fn api(&self) -> LocalApi {
        self.api.clone()
    }

    /// Returns once every file was looked at and compiled: what can be live is live.
    pub async fn settled(&self) {
        // The loop that would say so ends only with the daemon.
        let _ = self.settled.clone().wait_for(|settled| *settled).await;
    }

    /// Serves the socket until it breaks or the daemon has stopped; requests under way are finished.
    pub fn serve(&self) -> impl Future<Output = io::Result<()>> + Send + use<> {
        let (state, router, stop) = (self.state.clone(), self.router.clone(), self.stop.clone());
        async move { api::serve_socket(&state, router, stop).await }
    }

    /// Takes no new work, lets running attempts finish within the drain time, and ends. Until the
    /// last attempt has ended the API still answers.
    pub async fn stop(self) {
        let drained = self.engine.drain(self.drain).await;
        tracing::info!(
            released = drained.released,
            stopped = drained.stopped,
            "drained"
        );
        self.stop.cancel();
        if let Err(error) = self.reload.await {
            tracing::error!(%error, "the reload loop ended badly");
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
