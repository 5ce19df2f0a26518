//! Following the store: what it says is active is live, whoever published it.
//!
//! A store that daemons share is the truth. One of those with `[reload] publish` has the duty to turn files into
//! versions and removals; the others, and those without, take versions and modules from the store. News make
//! that quick where the database carries them; a look each second makes it certain.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::files::FlowFile;
use super::{Reload, VersionError};
use crate::catalog::{LiveModule, LiveWorkflow, ProblemKind};
use crate::clock::Clock;
use crate::id::{Digest, ModuleName};
use crate::store::news::News;
use crate::store::rows::{VersionRow, WorkflowRow};
use crate::store::{Duty, StoreError};
use crate::workflow::model::Uses;

/// Between two looks at the store's counter of publications: a version that was published elsewhere is live
/// here within a second and the time that its modules take.
const LOOK: Duration = Duration::from_secs(1);
/// Before the duty is asked for again by a daemon that has not yet given a sign of life.
const SOON: Duration = Duration::from_millis(50);

/// Why an active version is not live here.
#[derive(Debug, thiserror::Error)]
enum NotHere {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Version(#[from] VersionError),
}

/// Returns when it is time to look at the store: somebody tells of versions, or a second has passed.
pub(super) async fn elsewhere(news: &mut Option<Receiver<News>>, clock: &Arc<dyn Clock>) {
    let timer = clock.wait_until(clock.now().after(LOOK));
    tokio::pin!(timer);
    loop {
        let told = async {
            match news {
                Some(news) => news.recv().await,
                None => std::future::pending().await,
            }
        };
        let heard = tokio::select! {
            () = &mut timer => return,
            heard = told => heard,
        };
        match heard {
            Ok(heard) if !heard.versions => {}
            Ok(_) | Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => *news = None,
        }
    }
}

impl Reload {
    /// Whether this daemon turns files into versions now.
    pub(super) async fn leads(&mut self) -> bool {
        if !self.parts.publish || !self.parts.shared {
            return self.parts.publish;
        }
        let daemon = self.parts.engine.daemon_id();
        match self.parts.store.take_duty(daemon, Duty::Publish).await {
            Ok(leads) => {
                let before = self.leading.replace(leads);
                if leads && before != Some(true) {
                    // Those that are live are named by their files from now on.
                    self.draft.modules.clear();
                }
                match (before, leads) {
                    (Some(false), true) => self.take_over().await,
                    (Some(true), false) => self.step_back(),
                    (None, false) => {
                        tracing::info!("another daemon publishes; its versions are followed");
                    }
                    _ => {}
                }
                leads
            }
            // Not yet known as alive: the first sign of life is under way.
            Err(StoreError::Rejected(_)) => {
                self.retry_at = Some(self.parts.clock.now().after(SOON));
                false
            }
            Err(error) => {
                tracing::warn!(%error, "whether this daemon publishes is not known");
                self.retry_soon();
                false
            }
        }
    }

    /// The one who published is gone. Only what stands in files here is looked after: a daemon with other files
    /// removes nothing.
    async fn take_over(&mut self) {
        tracing::info!("this daemon publishes from now on");
        self.restore().await;
        let folder = self.parts.flows.clone();
        self.flows.retain(|name, _| folder.join(name).exists());
    }

    /// Somebody else publishes: what was known of files means nothing any more.
    fn step_back(&mut self) {
        tracing::warn!("another daemon publishes now; its versions are followed");
        self.flows.clear();
        self.modules.clear();
        self.draft.problems.clear();
        self.followed = None;
    }

    /// Looks at the store between two passes; answers whether a pass is due.
    pub(super) async fn look_elsewhere(&mut self) -> bool {
        let before = self.leading;
        let changed = self.follow().await;
        if self.parts.publish {
            self.leads().await;
        }
        changed || before != self.leading
    }

    /// Makes live what is active in a store that others write to, too; answers whether the catalog changed.
    pub(super) async fn follow(&mut self) -> bool {
        if !self.parts.shared {
            return false;
        }
        let found = async {
            let revision = self.parts.store.catalog_revision().await?;
            if self.followed == Some(revision) {
                return Ok(None);
            }
            let rows = self.parts.store.workflows().await?;
            Ok::<_, StoreError>(Some((revision, rows)))
        };
        let (revision, rows) = match found.await {
            Ok(Some(found)) => found,
            Ok(None) => return false,
            Err(error) => {
                tracing::warn!(%error, "the active versions cannot be read");
                self.retry_soon();
                return false;
            }
        };
        let first = self.followed.is_none();
        let (mut changed, mut whole) = (false, true);
        for row in rows {
            match self.follow_one(&row).await {
                Ok(one) => changed |= one,
                Err(error) => {
                    whole = false;
                    self.not_here(&row, &error);
                }
            }
        }
        if whole {
            self.followed = Some(revision);
        } else {
            self.retry_soon();
        }
        if (changed || first) && self.leading != Some(true) {
            self.name_modules().await;
        }
        changed
    }

    async fn follow_one(&mut self, row: &WorkflowRow) -> Result<bool, NotHere> {
        let key = (row.organization_id, row.name.clone());
        let live = self.draft.workflows.get(&key);
        let live = live.map(|live| live.workflow.version);
        if live == row.active_version {
            return Ok(false);
        }
        let Some(version) = row.active_version else {
            tracing::info!(workflow = %row.name, "the workflow was removed; it starts no more runs");
            self.draft.workflows.remove(&key);
            return Ok(true);
        };
        let Some(stored) = self.parts.store.version(&version).await? else {
            return Err(VersionError::Missing(format!("version {version}")).into());
        };
        let live = self.alive(row, &stored).await?;
        tracing::info!(workflow = %row.name, version = version.short(), "the workflow is live");
        self.no_problem(&stored.file);
        self.draft.workflows.insert(key, Arc::new(live));
        Ok(true)
    }

    fn not_here(&mut self, row: &WorkflowRow, error: &NotHere) {
        let key = (row.organization_id, row.name.clone());
        let live = self.draft.workflows.get(&key);
        let last_good = live.map(|live| live.workflow.version);
        let file = live.map_or_else(
            || format!("flows/{}.toml", row.name).into(),
            |live| Arc::clone(&live.file),
        );
        let why = format!("the active version cannot be had from the store: {error}");
        self.problem(&file, ProblemKind::Unreachable(why), last_good);
    }

    async fn alive(
        &self,
        row: &WorkflowRow,
        stored: &VersionRow,
    ) -> Result<LiveWorkflow, VersionError> {
        let workflow = self.parts.versions.ready(&stored.version).await?;
        Ok(LiveWorkflow {
            workflow_id: row.workflow_id,
            organization_id: row.organization_id,
            workflow,
            file: stored.file.as_str().into(),
            live_since: stored.created_at,
            warnings: Vec::new(),
        })
    }

    /// Names the modules of live workflows: where no files are looked at, these are the ones there are.
    async fn name_modules(&mut self) {
        let mut used: BTreeMap<ModuleName, Digest> = BTreeMap::new();
        for live in self.draft.workflows.values() {
            used.extend(
                live.workflow
                    .tasks
                    .iter()
                    .filter_map(|task| match &task.uses {
                        Uses::Module { name, digest } => Some((name.clone(), *digest)),
                        Uses::Workflow { .. } => None,
                    }),
            );
        }
        let mut modules = BTreeMap::new();
        for (name, digest) in used {
            if let Some(known) = self.draft.modules.get(&name)
                && known.digest == digest
            {
                modules.insert(name, Arc::clone(known));
                continue;
            }
            // Its workflow is live, so it is there; a list without it is whole again at the next change.
            if let Ok(Some(row)) = self.parts.store.module(&digest).await {
                let live = LiveModule {
                    name: name.clone(),
                    digest,
                    file: format!("tasks/{name}.wasm").into(),
                    size_bytes: u64::try_from(row.size_bytes).unwrap_or_default(),
                    live_since: row.created_at,
                };
                modules.insert(name, Arc::new(live));
            }
        }
        self.draft.modules = modules;
    }

    /// Makes live what the store says was live, so that a file that is broken now keeps its last
    /// good version across a restart. What its file says today is looked at right afterwards.
    pub(super) async fn restore(&mut self) {
        let workflows = match self.parts.store.workflows().await {
            Ok(workflows) => workflows,
            Err(error) => {
                tracing::warn!(%error, "the last good versions cannot be read");
                return;
            }
        };
        for row in workflows {
            let Some(version) = row.active_version else {
                continue;
            };
            let stored = match self.parts.store.version(&version).await {
                Ok(Some(stored)) => stored,
                Ok(None) => continue,
                Err(error) => {
                    tracing::warn!(workflow = %row.name, %error, "its last good version cannot be read");
                    continue;
                }
            };
            let name = stored.file.strip_prefix("flows/").unwrap_or(&stored.file);
            match self.alive(&row, &stored).await {
                Ok(live) => {
                    let file = self.flows.entry(name.to_owned());
                    let owner = row.organization_id;
                    file.or_insert_with(|| FlowFile::new(owner)).live = Some(row.name.clone());
                    let key = (row.organization_id, row.name);
                    self.draft.workflows.insert(key, Arc::new(live));
                }
                Err(error) => {
                    tracing::warn!(workflow = %row.name, %error, "its last good version cannot be restored")
                }
            }
        }
    }

    /// Says once that files here are not published.
    pub(super) fn warn_of_idle_files(&self) {
        if self.parts.publish {
            return;
        }
        let found = super::scan::folder(&self.parts.flows, "toml");
        let files = found.map_or(0, |found| found.len());
        if files > 0 {
            tracing::warn!(
                files,
                "the files in flows/ are not published here: `[reload] publish = true` on one daemon makes them versions"
            );
        }
    }
}
