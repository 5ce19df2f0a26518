//! The composition root: open, wire, start, wait, drain. Nothing is decided here.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::access::{Access, AccessError, FirstAdmin};
use crate::api::{self, ApiState, LocalApi};
use crate::broker::Broker;
use crate::broker::secret::Secrets;
use crate::catalog::Catalog;
use crate::clock::{Clock, SystemClock};
use crate::config::Settings;
use crate::engine::EngineHandle;
use crate::reload::{Reload, Versions};
use crate::schedule::{Keeper, ScheduleParts, Schedules};
use crate::store::{Store, StoreError};

mod lock;
mod wiring;
mod workbench;

pub use lock::StateLock;
pub use workbench::Workbench;

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another process works in the state folder.
    #[error("{} is in use by {}", path.display(), process(*holder))]
    Locked {
        /// The state folder.
        path: PathBuf,
        /// The process that works there, if it says so.
        holder: Option<u32>,
    },
    /// Another process works with the store's file.
    #[error(
        "{} is in use by {}: a store in a file serves one daemon; several share one in PostgreSQL or MariaDB",
        path.display(), process(*holder)
    )]
    StoreLocked {
        /// The store's file.
        path: PathBuf,
        /// The process that has it, if it says so.
        holder: Option<u32>,
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
    Store(#[from] StoreError),
    /// The port of the API cannot be had.
    #[error("[server] listen = \"{address}\": {cause}; choose another, or \"\" for none")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        cause: io::Error,
    },
    /// Users cannot be looked after.
    #[error("users: {0}")]
    Access(String),
    /// The engine has no thread.
    #[error("the engine's thread cannot be started: {0}")]
    Thread(io::Error),
    /// The sandbox cannot be made on this machine.
    #[error("the sandbox: {0}")]
    Sandbox(String),
}

impl StartError {
    /// Whether a setting is wrong, and not the machine or the moment.
    pub fn is_setting(&self) -> bool {
        // A store that refuses its address is one that nobody wrote rightly.
        matches!(
            self,
            Self::Setting(_) | Self::Store(StoreError::Rejected(_))
        )
    }
}

fn process(holder: Option<u32>) -> String {
    holder.map_or_else(
        || "another process".to_owned(),
        |pid| format!("process {pid}"),
    )
}

/// How much of a daemon is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of it: files are followed, schedules fire, and runs are carried out.
    Service,
    /// For one run: files are followed, and runs are carried out, but schedules are left for the daemon.
    Whole,
    /// Files are followed; runs are accepted, and left for the next daemon.
    Files,
    /// What is recorded, and nothing else: no file is looked at.
    Records,
}

/// A daemon whose parts are running.
pub struct Daemon {
    state: PathBuf,
    api: LocalApi,
    router: api::Router,
    listener: Mutex<Option<TcpListener>>,
    address: Option<SocketAddr>,
    connections: usize,
    access: Arc<Access>,
    engine: EngineHandle,
    stop: CancellationToken,
    reload: Option<JoinHandle<()>>,
    settled: watch::Receiver<bool>,
    /// What keeps schedules, how to stop it, and whether it has taken in what the files say.
    keeper: Option<Kept>,
    drain: Duration,
    /// Held to the end.
    _locks: (StateLock, Option<lock::StoreLock>),
}

impl Daemon {
    /// Takes the state folder, waiting for it as long as `patience`.
    ///
    /// # Errors
    /// When a folder of the settings is none, and when another process works there.
    pub async fn lock(settings: &Settings, patience: Duration) -> Result<StateLock, StartError> {
        folders(settings)?;
        StateLock::take(&settings.paths.state, patience).await
    }

    /// Opens everything and starts it, in the state folder that `lock` is of. Files are being looked at when it
    /// returns: see [`Daemon::settled`].
    pub async fn start(
        settings: Settings,
        environment: BTreeMap<String, String>,
        lock: StateLock,
        extent: Extent,
    ) -> Result<Self, StartError> {
        let state = settings.paths.state.clone();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store_lock = wiring::store_lock(&settings)?;
        let (listener, address) = wiring::listener(&settings, extent).await?;
        let (store, people) = wiring::store(&settings).await?;
        let access = wiring::access(&settings, Arc::clone(&people), Arc::clone(&clock)).await?;
        let kept = (&store, &clock);
        let (secrets, broker) = brokered(&settings, &environment, kept, address, extent).await?;
        let sandbox = Arc::new(wiring::sandbox(&settings, &state, broker)?);
        let versions = Arc::new(Versions::new(Arc::clone(&store), Arc::clone(&sandbox)));
        let catalog = Arc::new(ArcSwap::from_pointee(Catalog::default()));
        let stop = CancellationToken::new();
        let shared = (&store, &sandbox, &clock);
        let engine = wiring::engine(&settings, shared, &versions, extent)?;
        let (swapped, changed) = watch::channel(0);
        let (reload, settled) = Reload::new(wiring::reload(
            &settings,
            (&secrets, &people),
            shared,
            &engine,
            &versions,
            &catalog,
            swapped,
        ));
        let (schedules, keeper) = keep(
            extent,
            ScheduleParts {
                store: Arc::clone(&store),
                engine: engine.clone(),
                clock: Arc::clone(&clock),
                catalog: Arc::clone(&catalog),
                changed,
                per_workflow: settings.limits.schedules,
            },
        );
        let follows = extent != Extent::Records;
        let reload = follows.then(|| tokio::spawn(reload.run(stop.clone())));
        let router = api::router(ApiState {
            catalog,
            engine: engine.clone(),
            access: Arc::clone(&access),
            edge: Arc::new(wiring::edge(&settings)),
            flows: settings.paths.flows.clone(),
            store,
            versions,
            schedules,
            secrets,
            kv_quota: wiring::kv_quota(&settings),
            clock,
            stop: stop.clone(),
        });
        Ok(Self {
            api: LocalApi::new(api::owners(&router)),
            router,
            listener: Mutex::new(listener),
            address,
            connections: settings.server.connections.get() as usize,
            access,
            engine,
            stop,
            reload,
            settled,
            keeper,
            drain: settings.engine.drain.0,
            state,
            _locks: (lock, store_lock),
        })
    }

    /// The API, called in this process.
    pub fn api(&self) -> LocalApi {
        self.api.clone()
    }

    /// Returns once every file was looked at and compiled: what can be live is live. Where no files are followed,
    /// that is at once.
    pub async fn settled(&self) {
        if self.reload.is_none() {
            return;
        }
        // The loop that would say so ends only with the daemon.
        let _ = self.settled.clone().wait_for(|settled| *settled).await;
        if let Some((_, _, synced)) = &self.keeper {
            let _ = synced.clone().wait_for(|synced| *synced).await;
        }
    }

    /// Where the API listens, if it does.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Makes the first administrator where there is no user at all.
    ///
    /// # Errors
    /// When the store gives nothing.
    pub async fn first_admin(&self) -> Result<Option<FirstAdmin>, AccessError> {
        self.access.first_admin().await
    }

    /// Serves the socket and the port until one breaks or the daemon has stopped; requests under way are
    /// finished. The port is served the first time only.
    pub fn serve(&self) -> impl Future<Output = io::Result<()>> + Send + use<> {
        let (state, router, stop) = (self.state.clone(), self.router.clone(), self.stop.clone());
        let listener = self
            .listener
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let (connections, address) = (self.connections, self.address);
        async move {
            let owners = api::owners(&router);
            let socket = api::serve_socket(&state, owners, stop.clone());
            let Some(listener) = listener else {
                return socket.await;
            };
            if let Some(address) = address {
                tracing::info!(%address, "the API answers over TCP");
            }
            let network = api::serve_tcp(listener, router, connections, stop);
            let (served, ()) = tokio::join!(socket, network);
            served
        }
    }

    /// Takes no new work, lets running attempts finish within the drain time, and ends. Until the
    /// last attempt has ended the API still answers.
    pub async fn stop(self) {
        if let Some((keeper, stop, _)) = self.keeper {
            stop.cancel();
            if let Err(error) = keeper.await {
                tracing::error!(%error, "the loop of the schedules ended badly");
            }
        }
        let drained = self.engine.drain(self.drain).await;
        tracing::info!(
            released = drained.released,
            stopped = drained.stopped,
            "drained"
        );
        self.stop.cancel();
        if let Some(Err(error)) = futures_util::future::OptionFuture::from(self.reload).await {
            tracing::error!(%error, "the reload loop ended badly");
        }
    }
}

/// The secrets, read, and what tasks reach the world through.
async fn brokered(
    settings: &Settings,
    environment: &BTreeMap<String, String>,
    (store, clock): (&Arc<dyn Store>, &Arc<dyn Clock>),
    address: Option<SocketAddr>,
    extent: Extent,
) -> Result<(Arc<Secrets>, Arc<Broker>), StartError> {
    let secrets =
        wiring::secrets(settings, environment)?.with_table(Arc::clone(store), Arc::clone(clock));
    let secrets = Arc::new(secrets);
    secrets.refresh().await;
    let broker = wiring::broker(
        settings,
        Arc::clone(&secrets),
        Arc::clone(store),
        Arc::clone(clock),
        // Where nothing listens, nothing of ours is to be reached.
        address.iter().map(SocketAddr::port).collect(),
    )?;
    if matches!(extent, Extent::Service | Extent::Whole) {
        wiring::strangers(&broker).await?;
    }
    Ok((secrets, broker))
}

/// What keeps schedules under way: the task, its stop, and whether it has taken in what the files say.
type Kept = (JoinHandle<()>, CancellationToken, watch::Receiver<bool>);

/// Starts keeping schedules, where that is this process's business.
fn keep(extent: Extent, parts: ScheduleParts) -> (Schedules, Option<Kept>) {
    let (keeper, schedules, synced) = Keeper::new(parts, extent == Extent::Service);
    let kept = matches!(extent, Extent::Service | Extent::Files).then(|| {
        let stop = CancellationToken::new();
        (tokio::spawn(keeper.run(stop.clone())), stop, synced)
    });
    (schedules, kept)
}

/// Refuses folders that are something else: what would be looked for in them is never found.
///
/// # Errors
/// [`StartError::Setting`].
pub fn folders(settings: &Settings) -> Result<(), StartError> {
    let paths = &settings.paths;
    let named = [
        ("flows", &paths.flows),
        ("tasks", &paths.tasks),
        ("state", &paths.state),
    ];
    for (key, path) in named {
        if std::fs::metadata(path).is_ok_and(|found| !found.is_dir()) {
            return Err(StartError::Setting(format!(
                "[paths] {key} = {:?} is a file, and must be a folder",
                path.display().to_string()
            )));
        }
    }
    Ok(())
}
