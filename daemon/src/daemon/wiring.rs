//! From settings to parts: each part gets its numbers and nothing else.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::lock::StoreLock;
use super::{Extent, StartError};
use crate::access::{Access, AccessError, AccessSettings};
use crate::api::Edge;
use crate::broker::Broker;
use crate::broker::http::address::Network;
use crate::broker::http::{HostLimit, HttpLimits, Rate};
use crate::broker::kv::KvQuota;
use crate::broker::secret::{SecretSources, Secrets};
use crate::broker::settings::BrokerSettings;
use crate::broker::sql::{DatabaseSettings, Own, SqlLimits};
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::config::{self, DatabaseMode, HostKey, HostSection, LimitsSection, Settings};
use crate::engine::{self, Engine, EngineHandle, Parts};
use crate::reload::{self, ReloadParts, Versions};
use crate::sandbox::compiler::CompileLimits;
use crate::sandbox::{Sandbox, SandboxOptions};
use crate::store::{self, AccessStore, Durability, Store};
use crate::workflow::environment::{Ceilings, DatabaseFacts, NameCase};
use crate::workflow::grant::SqlMode;

/// The default store's file in the state folder.
const STORE_NAME: &str = "flowweaver.db";
/// The file in the state folder that names the installation.
const INSTANCE_NAME: &str = "instance";
/// The folder of compiled modules in the state folder.
const COMPILED_NAME: &str = "compiled";

/// The store's URL: the configured one, or SQLite in the state folder.
fn store_url(settings: &Settings) -> String {
    if settings.store.url.is_empty() {
        format!("sqlite:{}", settings.paths.state.join(STORE_NAME).display())
    } else {
        settings.store.url.clone()
    }
}

/// Opens the store.
pub(super) async fn store(
    settings: &Settings,
) -> Result<(Arc<dyn Store>, Arc<dyn AccessStore>), StartError> {
    let durability = match settings.store.durability {
        config::Durability::Full => Durability::Full,
        config::Durability::Normal => Durability::Normal,
    };
    let lease = settings.engine.lease.0;
    Ok(store::open_all(&store_url(settings), durability, lease).await?)
}

/// Takes the port of the API, if it is to listen on one.
pub(super) async fn listener(
    settings: &Settings,
    extent: Extent,
) -> Result<(Option<TcpListener>, Option<SocketAddr>), StartError> {
    let Some(address) = settings
        .server
        .listen
        .0
        .filter(|_| extent == Extent::Service)
    else {
        return Ok((None, None));
    };
    let taken = async {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok((Some(listener), Some(address)))
    };
    taken
        .await
        .map_err(|cause| StartError::Listen { address, cause })
}

/// Who may do what.
pub(super) async fn access(
    settings: &Settings,
    store: Arc<dyn AccessStore>,
    clock: Arc<dyn Clock>,
) -> Result<Arc<Access>, StartError> {
    let numbers = AccessSettings {
        session_idle: settings.auth.session_idle.0,
        session_life: settings.auth.session_life.0,
    };
    match Access::open(store, clock, numbers).await {
        Ok(access) => Ok(Arc::new(access)),
        Err(AccessError::Store(error)) => Err(error.into()),
        Err(error) => Err(StartError::Access(error.to_string())),
    }
}

/// How the daemon looks from where browsers are.
pub(super) fn edge(settings: &Settings) -> Edge {
    let server = &settings.server;
    let origin = server.public_url.as_ref();
    Edge {
        public_origin: origin.map(|url| url.origin().to_owned()),
        trusted_proxies: server
            .trusted_proxies
            .iter()
            .map(|address| address.to_canonical())
            .collect(),
        session_life: settings.auth.session_life.0,
    }
}

/// Takes the store's file for this process, where the store is one.
pub(super) fn store_lock(settings: &Settings) -> Result<Option<StoreLock>, StartError> {
    match config::sqlite_path(&store_url(settings)) {
        Some(file) => StoreLock::take(file, &settings.paths.state),
        None => Ok(None),
    }
}

/// Whether this daemon turns files into versions. With a store in a file there is no other who could.
fn publishes(settings: &Settings) -> bool {
    let is_file = config::sqlite_path(&store_url(settings)).is_some();
    settings.reload.publish.unwrap_or(is_file)
}

/// Reads the secrets from everywhere they may be.
pub(super) fn secrets(
    settings: &Settings,
    environment: &BTreeMap<String, String>,
) -> Result<Secrets, StartError> {
    let sources = SecretSources {
        environment: environment
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect(),
        directory: settings.secrets.folder.clone(),
        credentials: environment.get("CREDENTIALS_DIRECTORY").map(PathBuf::from),
        key_file: settings.secrets.key_file.clone(),
        organizations: settings.secrets.organizations.clone(),
    };
    Secrets::load(sources).map_err(|error| StartError::Setting(error.to_string()))
}

/// The brokers, with what the operator allows.
pub(super) fn broker(
    settings: &Settings,
    secrets: Arc<Secrets>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    own_ports: Vec<u16>,
) -> Result<Arc<Broker>, StartError> {
    let mut allow = Vec::new();
    for text in &settings.network.allow {
        let entry = text.parse().map_err(|error| {
            StartError::Setting(format!("[network] allow = \"{text}\": {error}"))
        })?;
        allow.push(entry);
    }
    let url = store_url(settings);
    let own = Own {
        files: config::sqlite_path(&url)
            .map(Path::to_owned)
            .into_iter()
            .collect(),
        url: Some(url.into()),
    };
    let databases = settings
        .databases
        .iter()
        .map(|(name, section)| DatabaseSettings {
            name: name.clone(),
            url: section.url.clone().into(),
            mode: mode(section.mode),
            tables: section.tables.clone(),
            timeout: section.timeout.0,
            connections: section.connections.get() as usize,
            organizations: None,
        })
        .collect();
    let broker = BrokerSettings {
        network: Network { allow, own_ports },
        host_limits: host_limits(settings),
        http: HttpLimits {
            request_bytes: settings.limits.http_request.0,
            upload_bytes: settings.limits.http_upload.0,
            response_bytes: settings.limits.http_response.0,
            ..HttpLimits::default()
        },
        databases,
        sql: sql_limits(&settings.limits),
        kv: kv_quota(settings),
        own,
        ..BrokerSettings::default()
    };
    Broker::new(broker, secrets, store, clock)
        .map_err(|error| StartError::Setting(error.to_string()))
}

/// What the key-value entries of a workflow may take.
pub(super) fn kv_quota(settings: &Settings) -> KvQuota {
    KvQuota {
        keys: settings.limits.kv_keys,
        bytes: settings.limits.kv_bytes.0,
    }
}

fn host_limits(settings: &Settings) -> Vec<HostLimit> {
    let limit = |(key, section): (&HostKey, &HostSection)| HostLimit {
        host: key.pattern(),
        rate: section.rate.map(|rate| Rate {
            calls: rate.calls,
            per: rate.per,
            burst: section.burst,
        }),
        concurrent: section.concurrent,
    };
    settings.hosts.iter().map(limit).collect()
}

/// Asks the tasks' database servers whether one of them is the store.
pub(super) async fn strangers(broker: &Broker) -> Result<(), StartError> {
    let asked = broker.check().await;
    asked.map_err(|error| StartError::Setting(error.to_string()))
}

fn sql_limits(limits: &LimitsSection) -> SqlLimits {
    SqlLimits {
        calls: limits.sql_calls,
        concurrent: limits.sql_concurrent.get(),
        rows: limits.sql_rows,
        bytes: limits.sql_bytes.0,
        parameters: limits.sql_parameters.0,
        idle: limits.sql_idle.0,
    }
}

fn mode(mode: DatabaseMode) -> SqlMode {
    match mode {
        DatabaseMode::Read => SqlMode::Read,
        DatabaseMode::ReadWrite => SqlMode::ReadWrite,
    }
}

/// The sandbox over these brokers, with compiled code kept in `state`.
pub(super) fn sandbox(
    settings: &Settings,
    state: &Path,
    broker: Arc<Broker>,
) -> Result<Sandbox, StartError> {
    let mut options = SandboxOptions::new(state.join(COMPILED_NAME));
    options.module_bytes_max = usize::try_from(settings.limits.module.0).unwrap_or(usize::MAX);
    options.compile_limits = CompileLimits {
        time: settings.limits.compile_time.0,
        memory_bytes: settings.limits.compile_memory.0,
    };
    Sandbox::open(options, broker).map_err(|error| StartError::Sandbox(error.to_string()))
}

/// The ceilings over what workflows ask for.
pub(super) fn ceilings(settings: &Settings) -> Ceilings {
    let limits = &settings.limits;
    Ceilings {
        timeout: limits.timeout.0,
        default_timeout: limits.default_timeout.0,
        cpu: limits.cpu.0,
        default_cpu: limits.default_cpu.0,
        memory_bytes: limits.memory.0,
        default_memory_bytes: limits.default_memory.0,
        output_bytes: limits.output.0,
        max_parallel: limits.max_parallel,
        default_max_parallel: limits.default_max_parallel,
        attempts: limits.attempts,
        retry_delay: limits.retry_delay.0,
        run_timeout: limits.run_timeout.0,
        tasks: limits.tasks,
        schedules: limits.schedules,
    }
}

/// The configured databases as the compiler knows them.
pub(super) fn databases(settings: &Settings) -> BTreeMap<crate::id::DatabaseName, DatabaseFacts> {
    let facts = settings.databases.iter().map(|(name, section)| {
        (
            name.clone(),
            DatabaseFacts {
                mode: mode(section.mode),
                tables: section.tables.clone(),
                case: match section.url.split_once("://").map(|(scheme, _)| scheme) {
                    Some("mariadb" | "mysql") => NameCase::Counts,
                    Some("postgres" | "postgresql") => NameCase::Quoted,
                    _ => NameCase::Ignored,
                },
            },
        )
    });
    facts.collect()
}

/// What reloading works with.
pub(super) fn reload(
    settings: &Settings,
    (secrets, people): (&Arc<Secrets>, &Arc<dyn AccessStore>),
    shared: (&Arc<dyn Store>, &Arc<Sandbox>, &Arc<dyn Clock>),
    engine: &EngineHandle,
    versions: &Arc<Versions>,
    catalog: &Arc<ArcSwap<Catalog>>,
    swapped: watch::Sender<u64>,
) -> ReloadParts {
    let (store, sandbox, clock) = shared;
    ReloadParts {
        flows: settings.paths.flows.clone(),
        tasks: settings.paths.tasks.clone(),
        removal_grace: settings.reload.removal_grace.0,
        publish: publishes(settings),
        shared: config::sqlite_path(&store_url(settings)).is_none(),
        module_bytes_max: settings.limits.module.0,
        ceilings: ceilings(settings),
        vars: settings
            .workflows
            .iter()
            .map(|(name, section)| (name.clone(), section.vars.clone()))
            .collect(),
        databases: databases(settings),
        secrets: Arc::clone(secrets),
        store: Arc::clone(store),
        people: Arc::clone(people),
        sandbox: Arc::clone(sandbox),
        engine: engine.clone(),
        clock: Arc::clone(clock),
        versions: Arc::clone(versions),
        catalog: Arc::clone(catalog),
        swapped,
    }
}

/// The engine, started.
pub(super) fn engine(
    settings: &Settings,
    shared: (&Arc<dyn Store>, &Arc<Sandbox>, &Arc<dyn Clock>),
    versions: &Arc<Versions>,
    extent: Extent,
) -> Result<EngineHandle, StartError> {
    let (store, sandbox, clock) = shared;
    let numbers = engine::Settings::default();
    let numbers = engine::Settings {
        // Without room for a run, none is claimed, and a new one is kept for the next daemon.
        active_runs: match extent {
            Extent::Service | Extent::Whole => numbers.active_runs,
            Extent::Files | Extent::Records => 0,
        },
        instance: instance(&settings.paths.state),
        heartbeat: settings.engine.lease.0 / engine::BEATS_A_LEASE,
        slots: usize::try_from(settings.engine.slots).unwrap_or(usize::MAX),
        queue: usize::try_from(settings.engine.queue).unwrap_or(usize::MAX),
        backlog: settings.engine.backlog,
        ..numbers
    };
    let versions = Arc::clone(versions);
    Engine::new(Parts {
        store: Arc::clone(store),
        invoke: Arc::clone(sandbox) as _,
        clock: Arc::clone(clock),
        versions: Arc::new(move |version| {
            let versions = Arc::clone(&versions);
            async move { versions.ready(&version).await.map_err(lost_or_late) }.boxed()
        }),
        settings: numbers,
    })
    .start_apart()
    .map_err(StartError::Thread)
}

/// The state folder is what makes an installation: whoever holds its lock is its only process. It has a name of
/// its own, because machines made from one image have the same paths, and the host's, because they may have the
/// same files, too.
fn instance(state: &Path) -> String {
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    match instance_name(&state.join(INSTANCE_NAME)) {
        Ok(name) => format!("{host}:{name}"),
        Err(error) => {
            tracing::warn!(%error, "the state folder's name cannot be kept; its path is used");
            let path = std::fs::canonicalize(state).unwrap_or_else(|_| state.to_owned());
            format!("{host}:{}", path.display())
        }
    }
}

/// The name in the file, which is made at the first start.
fn instance_name(file: &Path) -> std::io::Result<String> {
    match std::fs::read_to_string(file) {
        Ok(name) if !name.trim().is_empty() => return Ok(name.trim().to_owned()),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        Ok(_) | Err(_) => {}
    }
    let name = format!("{:016x}", rand::random::<u64>());
    let beside = file.with_extension("new");
    std::fs::write(&beside, format!("{name}\n"))?;
    std::fs::rename(beside, file)?;
    Ok(name)
}

fn lost_or_late(error: reload::VersionError) -> engine::VersionError {
    match error {
        late @ (reload::VersionError::Store(_) | reload::VersionError::Unprepared(_)) => {
            engine::VersionError::Unavailable(late.to_string())
        }
        lost => engine::VersionError::Lost(lost.to_string()),
    }
}
