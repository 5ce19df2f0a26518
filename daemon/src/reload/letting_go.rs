//! Letting go: modules that no file, no version in use and no unfinished run needs leave memory, and
//! their compiled code the disk. What is let go by mistake would only be compiled again.

use std::collections::HashSet;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::Reload;
use crate::catalog::Catalog;
use crate::engine::EngineEvent;
use crate::id::Digest;
use crate::run::status::Status;
use crate::store::StoreError;
use crate::store::rows::RunFilter;

/// With more unfinished runs than this, nobody has the time to look what they need; the disk waits.
const RUNS_LOOKED_AT: u32 = 1_000;

/// Returns when a run has ended whose version is not live: perhaps it was the last that held its modules.
pub(super) async fn possible(ended: &mut Receiver<EngineEvent>, live: &Catalog) {
    loop {
        match ended.recv().await {
            Ok(EngineEvent::Finished {
                organization,
                workflow,
                version,
                ..
            }) => {
                let live = live.workflow(organization, &workflow);
                if live.is_none_or(|live| live.workflow.version != version) {
                    return;
                }
            }
            Ok(EngineEvent::Changed(_)) => {}
            // One of them may have been missed.
            Err(RecvError::Lagged(_)) => return,
            // The engine outlives this loop; without it, nothing ends.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

impl Reload {
    /// Unloads what nothing uses. Where that has changed, sweeps the disk.
    pub(super) async fn let_go(&mut self) {
        self.parts.engine.let_go().await;
        let files = self.modules.values().flat_map(|file| {
            let live = file.facts.as_ref().map(|facts| facts.digest);
            [live, file.digest, file.read].into_iter().flatten()
        });
        let used = self.parts.versions.unload_except(files);
        // What is still compiled has no place yet, and files that cannot be seen may be there all the same.
        let seen = *self.settled.borrow() && !self.draft.problems.contains_key("tasks");
        let now = (used, self.parts.sandbox.compiled());
        if !seen || self.swept.as_ref() == Some(&now) {
            return;
        }
        let mut keep = now.0.clone();
        match self.needed_later().await {
            Ok(Some(later)) => keep.extend(later),
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%error, "compiled code is swept when the store answers");
                return;
            }
        }
        match self.parts.sandbox.sweep_except(keep).await {
            Ok(0) => {}
            Ok(files) => tracing::info!(files, "compiled code that nothing uses was removed"),
            Err(error) => {
                tracing::warn!(%error, "compiled code that nothing uses could not be removed");
            }
        }
        self.swept = Some(now);
    }

    /// The modules of active versions and of unfinished runs in the store, which need not be in memory. None
    /// if there are too many runs to look at.
    async fn needed_later(&self) -> Result<Option<HashSet<Digest>>, StoreError> {
        let unfinished = RunFilter {
            status: Status::UNFINISHED.to_vec(),
            limit: RUNS_LOOKED_AT,
            ..RunFilter::default()
        };
        let runs = self.parts.store.runs(&unfinished).await?;
        if runs.len() >= RUNS_LOOKED_AT as usize {
            return Ok(None);
        }
        let mut versions: HashSet<Digest> = runs.iter().map(|run| run.version).collect();
        let workflows = self.parts.store.workflows().await?;
        versions.extend(workflows.iter().filter_map(|row| row.active_version));
        let mut modules = HashSet::new();
        for version in versions {
            modules.extend(self.parts.versions.modules(&version).await?);
        }
        Ok(Some(modules))
    }
}
