//! The sections of `flowweaver.toml`, one type each, with their defaults and the reason for them.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::hosts::{HostKey, HostSection};
use super::server::{AuthSection, ServerSection};
use crate::id::{DatabaseName, OrganizationId, SecretName, VariableName, WorkflowName};
use crate::store::LEASE;
use crate::units::{Size, Span};
use crate::workflow::environment::Ceilings;

/// Everything the operator decides.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where the API listens.
    pub server: ServerSection,
    /// How long browsers stay logged in.
    pub auth: AuthSection,
    /// Where files are.
    pub paths: PathsSection,
    /// Where records are.
    pub store: StoreSection,
    /// Ceilings over what workflows ask for.
    pub limits: LimitsSection,
    /// How much runs at once.
    pub engine: EngineSection,
    /// Databases for the SQL broker, by the name that grants use.
    pub databases: BTreeMap<DatabaseName, DatabaseSection>,
    /// What the HTTP broker may dial.
    pub network: NetworkSection,
    /// How often it asks single hosts.
    pub hosts: BTreeMap<HostKey, HostSection>,
    /// Where secrets come from.
    pub secrets: SecretsSection,
    /// Settings of single workflows.
    pub workflows: BTreeMap<WorkflowName, WorkflowSection>,
    /// The daemon's own log.
    pub log: LogSection,
    /// How file changes become versions.
    pub reload: ReloadSection,
}

impl Settings {
    /// Makes every relative path one below `base`.
    pub(super) fn rebase(&mut self, base: &Path) {
        let paths = &mut self.paths;
        for path in [&mut paths.flows, &mut paths.tasks, &mut paths.state]
            .into_iter()
            .chain(&mut self.secrets.folder)
            .chain(&mut self.secrets.key_file)
        {
            *path = base.join(&path);
        }
        let databases = self.databases.values_mut().map(|section| &mut section.url);
        for url in databases.chain([&mut self.store.url]) {
            if let Some(path) = sqlite_path(url) {
                *url = format!("{SQLITE}{}", base.join(path).display());
            }
        }
    }
}

/// How the URL of a database in a file begins.
const SQLITE: &str = "sqlite:";

/// The file behind `sqlite:PATH` or `sqlite://PATH`; none for a database of another kind.
pub fn sqlite_path(url: &str) -> Option<&Path> {
    let path = url.strip_prefix(SQLITE)?;
    Some(Path::new(path.strip_prefix("//").unwrap_or(path)))
}

/// `[paths]`: relative ones are relative to the file's folder.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PathsSection {
    /// Workflow files.
    pub flows: PathBuf,
    /// Task modules.
    pub tasks: PathBuf,
    /// What the daemon keeps: the default store, compiled code, the socket, the lock. Mode 0700.
    pub state: PathBuf,
}

impl Default for PathsSection {
    fn default() -> Self {
        Self {
            flows: "flows".into(),
            tasks: "tasks".into(),
            state: "state".into(),
        }
    }
}

/// `[store]`.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreSection {
    /// `sqlite:PATH`, `postgres://…` or `mariadb://…`; empty: SQLite in the state folder.
    pub url: String,
    /// Whether a commit waits for the disk.
    pub durability: Durability,
}

/// What "accepted" survives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Power loss: every commit waits for the disk.
    #[default]
    Full,
    /// A crash of the daemon, but not of the machine.
    Normal,
}

/// `[limits]`: a workflow asks, the operator caps; what is in force is the smaller of both.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsSection {
    /// The longest `timeout` of a task.
    pub timeout: Span,
    /// The `timeout` of a task that names none.
    pub default_timeout: Span,
    /// The largest CPU budget of an attempt.
    pub cpu: Span,
    /// The CPU budget of a task that names none.
    pub default_cpu: Span,
    /// The most memory an attempt may hold.
    pub memory: Size,
    /// The memory of a task that names none.
    pub default_memory: Size,
    /// The largest output.
    pub output: Size,
    /// Items of one `for_each` at once, at most.
    pub max_parallel: u32,
    /// Items of a `for_each` that names no `max_parallel`.
    pub default_max_parallel: u32,
    /// Attempts of one task, at most.
    pub attempts: u32,
    /// The longest wait between two attempts.
    pub retry_delay: Span,
    /// The longest `timeout` of a run.
    pub run_timeout: Span,
    /// Tasks of one workflow.
    pub tasks: usize,
    /// Schedules of one workflow.
    pub schedules: usize,
    /// The largest module file.
    pub module: Size,
    /// CPU time of one module's compilation, in whole seconds; by the clock it may take four times as long.
    pub compile_time: Span,
    /// Memory of one module's compilation. Two modules may be compiled at once.
    pub compile_memory: Size,
    /// Brokered HTTP: the largest request body that is held in memory.
    pub http_request: Size,
    /// Brokered HTTP: the streamed request bodies of an attempt together.
    pub http_upload: Size,
    /// Brokered HTTP: the largest response body.
    pub http_response: Size,
    /// Brokered SQL: calls of one attempt.
    pub sql_calls: u32,
    /// Brokered SQL: queries being read and transactions of one attempt, at one time.
    pub sql_concurrent: NonZeroU32,
    /// Brokered SQL: rows a query may return.
    pub sql_rows: u64,
    /// Brokered SQL: bytes a query may return.
    pub sql_bytes: Size,
    /// Brokered SQL: bytes of one call's parameters.
    pub sql_parameters: Size,
    /// Brokered SQL: how long a transaction waits for its task.
    pub sql_idle: Span,
    /// Key-value state: keys of one workflow.
    pub kv_keys: u64,
    /// Key-value state: keys and values of one workflow together.
    pub kv_bytes: Size,
}

impl Default for LimitsSection {
    fn default() -> Self {
        let ceilings = Ceilings::default();
        Self {
            timeout: Span(ceilings.timeout),
            default_timeout: Span(ceilings.default_timeout),
            cpu: Span(ceilings.cpu),
            default_cpu: Span(ceilings.default_cpu),
            memory: Size(ceilings.memory_bytes),
            default_memory: Size(ceilings.default_memory_bytes),
            output: Size(ceilings.output_bytes),
            max_parallel: ceilings.max_parallel,
            default_max_parallel: ceilings.default_max_parallel,
            attempts: ceilings.attempts,
            retry_delay: Span(ceilings.retry_delay),
            run_timeout: Span(ceilings.run_timeout),
            tasks: ceilings.tasks,
            schedules: ceilings.schedules,
            // A JavaScript or Python component carries its interpreter.
            module: Size(64 << 20),
            // Room for a component with an interpreter; the reasons are at `CompileLimits`.
            compile_time: Span(Duration::from_secs(120)),
            compile_memory: Size(2 << 30),
            http_request: Size(16 << 20),
            // Written in portions, so this bounds traffic and not memory.
            http_upload: Size(256 << 20),
            // Read in portions, so this bounds traffic and not memory.
            http_response: Size(64 << 20),
            sql_calls: 1_000,
            // Each is a connection.
            sql_concurrent: NonZeroU32::MIN.saturating_add(3),
            sql_rows: 100_000,
            // Read in portions, like a response.
            sql_bytes: Size(64 << 20),
            // Held at once, like a request.
            sql_parameters: Size(16 << 20),
            // Others wait for what a transaction has locked.
            sql_idle: Span(Duration::from_secs(30)),
            // A year of a feed with 270 items a day, each marked as seen, at 640 bytes each.
            kv_keys: 100_000,
            kv_bytes: Size(64 << 20),
        }
    }
}

/// `[engine]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineSection {
    /// Attempts at once. Guests wait for the network most of their time, so more than cores.
    pub slots: u32,
    /// Triggers that wait for their commit; more are refused with `queue.full`.
    pub queue: u32,
    /// Accepted runs that wait in the store; more are refused with `queue.full`.
    pub backlog: u32,
    /// How long running attempts may finish after SIGTERM.
    pub drain: Span,
    /// How long the daemon counts as alive after its last sign of life, of which it gives six in that time.
    /// Others take its runs over afterwards.
    pub lease: Span,
}

impl Default for EngineSection {
    fn default() -> Self {
        Self {
            slots: 64,
            // A script's burst fits; each is some kilobytes while it waits.
            queue: 100_000,
            // About a GiB of store.
            backlog: 1_000_000,
            drain: Span(Duration::from_secs(60)),
            lease: Span(LEASE),
        }
    }
}

/// `[databases.NAME]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseSection {
    /// `sqlite:PATH`.
    pub url: String,
    /// The most that a grant may ask for.
    #[serde(default)]
    pub mode: DatabaseMode,
    /// The tables that grants may name; absent: any.
    #[serde(default)]
    pub tables: Option<Vec<String>>,
    /// How long it may compute for one call.
    #[serde(default = "database_timeout")]
    pub timeout: Span,
    /// Connections at one time, of all tasks together.
    #[serde(default = "database_connections")]
    pub connections: NonZeroU32,
}

fn database_timeout() -> Span {
    Span(Duration::from_secs(10))
}

/// A few busy tasks, and a server's hundred is shared by others.
fn database_connections() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(15)
}

/// What may be done with a database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DatabaseMode {
    /// Queries.
    #[default]
    Read,
    /// Queries and changes of rows.
    ReadWrite,
}

/// `[network]`.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkSection {
    /// Private addresses that may be dialled: `"127.0.0.1:9000"`, `"10.0.0.0/8:443"`. None by default.
    pub allow: Vec<String>,
}

/// `[secrets]`: besides `FLOWWEAVER_SECRET_<NAME>` and systemd's credentials folder.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct SecretsSection {
    /// A folder with one file a secret.
    pub folder: Option<PathBuf>,
    /// A file with the keys of the store's table of secrets: the first encrypts, all decrypt.
    pub key_file: Option<PathBuf>,
    /// The organizations that may use a secret of the environment or a file; one not named here is the root's.
    pub organizations: BTreeMap<SecretName, BTreeSet<OrganizationId>>,
}

/// `[workflows.NAME]`.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkflowSection {
    /// Values over the file's `[vars]`.
    pub vars: BTreeMap<VariableName, Value>,
}

/// `[log]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSection {
    /// A filter such as `info` or `flowweaver=debug`.
    pub filter: String,
    /// How lines look.
    pub format: LogFormat,
}

impl Default for LogSection {
    fn default() -> Self {
        Self {
            filter: "info".to_owned(),
            format: LogFormat::Text,
        }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// `[reload]`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReloadSection {
    /// How long a file must have vanished before its workflow is removed. Editors delete and rename.
    pub removal_grace: Span,
    /// Whether files become versions here, or the store is followed; absent: if the store is a file.
    pub publish: Option<bool>,
}

impl Default for ReloadSection {
    fn default() -> Self {
        Self {
            removal_grace: Span(Duration::from_secs(2)),
            publish: None,
        }
    }
}
