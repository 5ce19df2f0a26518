//! Calls to the store that the conductor must not wait for. Each is a task that reports back.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::handle::Shared;
use super::intake::{Intake, Loaded};
use super::{Settings, VersionError};
use crate::id::{DaemonId, RunId};
use crate::store::rows::{CommandRow, RunChange, RunUpdate, Transition};
use crate::store::{CommitOutcome, StoreError};
use crate::workflow::model::Workflow;

/// Runs read at once: enough to use a pool of readers, not enough to drown it after an outage.
const READS_MAX: usize = 16;
/// The first wait after an error; each further one is twice as long.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);

/// Starts errands.
#[derive(Clone)]
pub(super) struct Errands {
    shared: Arc<Shared>,
    reads: Arc<Semaphore>,
    daemon: DaemonId,
    instance: Arc<str>,
    backoff_max: Duration,
}

impl Errands {
    pub(super) fn new(shared: Arc<Shared>, daemon: DaemonId, settings: &Settings) -> Self {
        Self {
            shared,
            reads: Arc::new(Semaphore::new(READS_MAX)),
            daemon,
            instance: settings.instance.as_str().into(),
            backoff_max: settings.backoff,
        }
    }

    /// A sign of life.
    pub(super) fn beat(&self) {
        let this = self.clone();
        self.spawn(async move {
            let result = this
                .shared
                .store
                .heartbeat(this.daemon, &this.instance)
                .await;
            this.tell(Intake::Beat(result));
        });
    }

    /// Claims up to `limit` runs and asks for orders.
    pub(super) fn claim(&self, limit: u32) {
        let this = self.clone();
        self.spawn(async move {
            let result = this.claim_now(limit).await;
            this.tell(Intake::Claimed(result));
        });
    }

    /// Counts the runs that wait in the store, up to `limit`.
    pub(super) fn count(&self, limit: u32) {
        let this = self.clone();
        tokio::spawn(async move {
            let result = this.shared.store.waiting(limit).await;
            this.tell(Intake::Counted(result));
        });
    }

    async fn claim_now(
        &self,
        limit: u32,
    ) -> Result<(Vec<crate::store::rows::ClaimedRun>, Vec<CommandRow>), StoreError> {
        let store = &self.shared.store;
        let claimed = match limit {
            0 => Vec::new(),
            limit => store.claim(self.daemon, limit).await?,
        };
        let mut wait = BACKOFF_FIRST;
        loop {
            match store.orders(self.daemon).await {
                Ok(orders) => return Ok((claimed, orders)),
                // What was claimed must not be forgotten, so the orders are asked for again.
                Err(_) if !claimed.is_empty() => wait = self.pause(wait).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads a run, and its workflow unless that is known, until the store answers.
    pub(super) fn read(&self, run: RunId, workflow: Option<Arc<Workflow>>) {
        let this = self.clone();
        self.spawn(async move {
            let mut wait = BACKOFF_FIRST;
            let loaded = loop {
                match this.read_now(run, workflow.clone()).await {
                    Ok(loaded) => break loaded,
                    Err(message) => {
                        this.tell(Intake::Unread { run, message });
                        wait = this.pause(wait).await;
                    }
                }
            };
            this.tell(Intake::Loaded { run, loaded });
        });
    }

    async fn read_now(
        &self,
        run: RunId,
        workflow: Option<Arc<Workflow>>,
    ) -> Result<Loaded, String> {
        let _permit = self
            .reads
            .acquire()
            .await
            .map_err(|error| error.to_string())?;
        let image = self.shared.store.load_run(run).await;
        let Some(image) = image.map_err(|error| error.to_string())? else {
            return Ok(Loaded::Absent);
        };
        let workflow = match workflow {
            Some(workflow) => Ok(workflow),
            None => (self.shared.versions)(image.run.version).await,
        };
        match workflow {
            Ok(workflow) => Ok(Loaded::Image(Box::new(image), workflow)),
            Err(VersionError::Lost(why)) => Ok(Loaded::VersionLost(Box::new(image), why)),
            Err(VersionError::Unavailable(why)) => Err(why),
        }
    }

    /// Removes an order for a run that had ended before it came.
    pub(super) fn discard(&self, order: CommandRow) {
        let this = self.clone();
        self.spawn(async move {
            // What fails here is found again by the next look for orders.
            if let Err(error) = this.discard_now(order).await {
                tracing::warn!(%error, "an order that came too late is still there");
            }
        });
    }

    async fn discard_now(&self, order: CommandRow) -> Result<Vec<CommitOutcome>, StoreError> {
        let store = &self.shared.store;
        let image = store.load_run(order.run_id).await?;
        let Some(run) = image
            .map(|image| image.run)
            .filter(|run| run.status.is_final())
        else {
            return Ok(Vec::new());
        };
        let same = RunChange::Update(RunUpdate {
            status: run.status,
            started_at: run.started_at,
            finished_at: run.finished_at,
            tolerated_failures: run.tolerated_failures,
            failure_code: run.failure_code,
            failure_message: run.failure_message,
        });
        let transition = Transition {
            consumed: vec![order.command_id],
            ..Transition::of_run(run.run_id, run.lease_epoch, run.revision, same)
        };
        store.commit([transition].into()).await
    }

    /// Gives runs back and says farewell.
    pub(super) fn leave(&self, runs: Vec<(RunId, i64)>) {
        let this = self.clone();
        self.spawn(async move {
            let store = &this.shared.store;
            if let Err(error) = store.release(&runs).await {
                // The farewell, or else the end of the lease, gives them back.
                tracing::warn!(%error, "the runs could not be released one by one");
            }
            if let Err(error) = store.farewell(this.daemon).await {
                tracing::warn!(%error, "nobody heard the farewell");
            }
            this.tell(Intake::Farewell);
        });
    }

    fn spawn(&self, errand: impl Future<Output = ()> + Send + 'static) {
        self.shared.runtime.spawn(errand);
    }

    async fn pause(&self, wait: Duration) -> Duration {
        let clock = &self.shared.clock;
        clock.wait_until(clock.now().after(wait)).await;
        (wait * 2).min(self.backoff_max)
    }

    fn tell(&self, intake: Intake) {
        // A conductor that has gone needs no news.
        let _ = self.shared.intake.send(intake);
    }
}
