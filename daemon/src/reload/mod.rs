//! Files become the catalog: watch → read → compile → prepare modules → publish → swap.
//!
//! In a store that daemons share one of them does so, and the others follow the store (`follow`).
//! Each file on its own: one that is broken keeps its last good version live and is reported.
//! Starting is reloading from nothing. What a file means is `workflow`'s business, what a module
//! may do `sandbox`'s; this module decides only what is live.

mod files;
mod flows;
mod follow;
mod letting_go;
mod modules;
mod order;
mod organizations;
mod publish;
mod scan;
mod versions;
mod watch;

pub use flows::compile;
pub use modules::{facts, module_name};
pub use order::sorted;
pub use organizations::is_organization;
pub use scan::{Found, folder, folders, read};
pub use versions::{VersionError, Versions};

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch as signal};
use tokio_util::sync::CancellationToken;

use crate::broker::secret::Secrets;
use crate::catalog::{Catalog, ProblemKind};
use crate::clock::{Clock, Timestamp};
use crate::engine::EngineHandle;
use crate::id::{DatabaseName, Digest, VariableName, WorkflowName};
use crate::sandbox::Sandbox;
use crate::store::{AccessStore, Store};
use crate::workflow::environment::{Ceilings, DatabaseFacts};
use files::{FlowFile, ModuleFile};
use modules::Prepared;
use watch::Watch;

/// Events are a hint; folders on network file systems send none. This often everything is looked
/// at, which costs one `stat` a file.
const SCAN_EVERY: Duration = Duration::from_secs(10);
/// While the store cannot be reached, publishing is tried again at this pace.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What reloading works with.
pub struct ReloadParts {
    /// Workflow files.
    pub flows: PathBuf,
    /// Task modules.
    pub tasks: PathBuf,
    /// How long a file must have vanished before its workflow goes.
    pub removal_grace: Duration,
    /// Whether files become versions here.
    pub publish: bool,
    /// Whether other daemons may use the store.
    pub shared: bool,
    /// The largest module file, in bytes.
    pub module_bytes_max: u64,
    /// What workflows may ask for.
    pub ceilings: Ceilings,
    /// Var overrides by workflow.
    pub vars: BTreeMap<WorkflowName, BTreeMap<VariableName, serde_json::Value>>,
    /// Configured databases.
    pub databases: BTreeMap<DatabaseName, DatabaseFacts>,
    /// The secrets there are, of which only names are asked.
    pub secrets: Arc<Secrets>,
    /// Where versions are kept.
    pub store: Arc<dyn Store>,
    /// Where organizations are.
    pub people: Arc<dyn AccessStore>,
    /// Where modules are compiled.
    pub sandbox: Arc<Sandbox>,
    /// What says that a run has ended.
    pub engine: EngineHandle,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Compiled workflows by version.
    pub versions: Arc<Versions>,
    /// What is swapped.
    pub catalog: Arc<ArcSwap<Catalog>>,
    /// Counts the swaps, and the first look even if there was nothing to swap.
    pub swapped: signal::Sender<u64>,
}

/// The reload loop's state: what is known of each file.
pub struct Reload {
    parts: ReloadParts,
    flows: BTreeMap<String, FlowFile>,
    modules: BTreeMap<String, ModuleFile>,
    /// The next catalog, built here and swapped when a pass changed it.
    draft: Catalog,
    prepared: (mpsc::Sender<Prepared>, mpsc::Receiver<Prepared>),
    retry_at: Option<Timestamp>,
    settled: signal::Sender<bool>,
    /// In a shared store: whether this daemon is the one that publishes, once that is known.
    leading: Option<bool>,
    /// How far the store's publications have been followed.
    followed: Option<i64>,
    /// The modules in use, and how often compiled code had been written, when it was last swept.
    swept: Option<(HashSet<Digest>, u64)>,
}

impl Reload {
    /// A loop that knows nothing yet; `settled` turns true when every file was looked at and no
    /// module is being compiled.
    pub fn new(parts: ReloadParts) -> (Self, signal::Receiver<bool>) {
        let (settled, receiver) = signal::channel(false);
        let reload = Self {
            parts,
            flows: BTreeMap::new(),
            modules: BTreeMap::new(),
            draft: Catalog::default(),
            // One at a time: who waits to hand over holds only the bytes it compiled anyway.
            prepared: mpsc::channel(1),
            retry_at: None,
            settled,
            leading: None,
            followed: None,
            swept: None,
        };
        (reload, receiver)
    }

    /// Follows the files until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let watch = Watch::start(&[&self.parts.flows, &self.parts.tasks]);
        if let Err(error) = &watch {
            tracing::warn!(%error, "no file events; changes are found by the periodic scan");
        }
        let mut watch = watch.ok();
        let mut ended = self.parts.engine.endings();
        let mut news = self.parts.store.news();
        let shared = self.parts.shared;
        self.warn_of_idle_files();
        self.restore().await;
        loop {
            let writing = watch.as_ref().map(Watch::writing).unwrap_or_default();
            self.pass(&writing).await;
            let due = self.next_look();
            let mut again = false;
            while !again {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = changed(&mut watch) => again = true,
                    Some(prepared) = self.prepared.1.recv() => {
                        self.module_prepared(prepared).await;
                        again = true;
                    }
                    () = letting_go::possible(&mut ended, &self.draft) => again = true,
                    () = self.parts.clock.wait_until(due) => again = true,
                    () = follow::elsewhere(&mut news, &self.parts.clock), if shared => {
                        again = self.look_elsewhere().await;
                    }
                }
            }
        }
    }

    /// Looks at everything once and swaps the catalog if it is another one now.
    async fn pass(&mut self, writing: &BTreeSet<PathBuf>) {
        self.retry_at = None;
        let mut changed = self.follow().await;
        if self.leads().await {
            let modules_changed = self.scan_modules(writing).await;
            self.scan_flows(writing).await;
            changed |= self.compile_flows(&modules_changed).await;
            self.remove_vanished().await;
        }
        let another = changed || !self.same_as_live();
        if another {
            self.parts.catalog.store(Arc::new(self.draft.clone()));
        }
        self.parts.swapped.send_if_modified(|swaps| {
            let news = another || *swaps == 0;
            *swaps += u64::from(news);
            news
        });
        let compiling = self
            .draft
            .problems
            .values()
            .any(|problem| matches!(problem.kind, ProblemKind::Compiling));
        self.settled.send_if_modified(|settled| {
            // Nothing was looked at before it is known who publishes.
            let known = !(self.parts.publish && self.parts.shared) || self.leading.is_some();
            let now = !compiling && known;
            std::mem::replace(settled, now) != now
        });
        self.let_go().await;
    }

    fn same_as_live(&self) -> bool {
        let live = self.parts.catalog.load();
        let problems = |catalog: &Catalog| -> Vec<_> {
            catalog
                .problems
                .iter()
                .map(|(file, problem)| (Arc::clone(file), problem.since))
                .collect()
        };
        live.workflows.len() == self.draft.workflows.len()
            && live
                .workflows
                .iter()
                .zip(&self.draft.workflows)
                .all(|(a, b)| a.0 == b.0 && Arc::ptr_eq(a.1, b.1))
            && live.modules.len() == self.draft.modules.len()
            && live
                .modules
                .iter()
                .zip(&self.draft.modules)
                .all(|(a, b)| a.0 == b.0 && Arc::ptr_eq(a.1, b.1))
            && problems(&live) == problems(&self.draft)
    }

    fn next_look(&self) -> Timestamp {
        let now = self.parts.clock.now();
        let graces = self.flows.values().filter_map(|file| file.vanished_at);
        let graces = graces.chain(self.modules.values().filter_map(|file| file.vanished_at));
        let first = graces
            .map(|at| at.after(self.parts.removal_grace))
            .chain(self.retry_at)
            .min();
        first
            .unwrap_or_else(|| now.after(SCAN_EVERY))
            .min(now.after(SCAN_EVERY))
    }

    fn retry_soon(&mut self) {
        self.retry_at = Some(self.parts.clock.now().after(RETRY_AFTER));
    }
}

async fn changed(watch: &mut Option<Watch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}
