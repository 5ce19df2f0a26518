//! What upper layers call. Every method may be called from anywhere and dropped at any time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::intake::{Admission, Answer, Intake, NewRun};
use super::{
    Accepted, ActiveRun, Cancelled, Drained, EngineEvent, Health, RerunError, RerunMode,
    RerunVersion, TriggerError, TriggerRequest, Versions, WaitError,
};
use crate::clock::Clock;
use crate::id::{CommandId, DaemonId, OrganizationId, RunId, WorkflowId, WorkflowName};
use crate::run::key::redrive_key;
use crate::run::status::Status;
use crate::store::rows::{CommandKind, CommandRow};
use crate::store::{Store, StoreError};

/// What the inputs of waiting triggers may weigh together, in bytes: as many triggers as are allowed, with large
/// inputs, would fill the memory.
const WEIGHT_MAX: usize = 256 << 20;

/// A waiting trigger's share of [`WEIGHT_MAX`].
struct Weight<'s> {
    shared: &'s Shared,
    bytes: usize,
}

impl<'s> Weight<'s> {
    fn of(shared: &'s Shared, run: &NewRun) -> Result<Self, TriggerError> {
        let bytes = run.row.inputs.len() + run.row.config.len();
        let before = shared.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let weight = Self { shared, bytes };
        // One alone is always taken: what it may weigh is limited where it comes in.
        match before == 0 || before.saturating_add(bytes) <= WEIGHT_MAX {
            true => Ok(weight),
            false => Err(TriggerError::QueueFull),
        }
    }
}

impl Drop for Weight<'_> {
    fn drop(&mut self) {
        self.shared
            .waiting_bytes
            .fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// How often a run of another owner is looked at while someone waits for it.
const FOREIGN_LOOK: Duration = Duration::from_secs(1);

/// A running engine. Clones are the same engine.
#[derive(Clone)]
pub struct EngineHandle(Arc<Shared>);

pub(super) struct Shared {
    pub daemon: DaemonId,
    pub store: Arc<dyn Store>,
    pub clock: Arc<dyn Clock>,
    pub versions: Versions,
    pub intake: mpsc::UnboundedSender<Intake>,
    pub triggers: mpsc::Sender<Admission>,
    pub waiting_triggers: AtomicUsize,
    /// Which workflow a name is: that never changes.
    pub identities: Mutex<HashMap<(OrganizationId, WorkflowName), WorkflowId>>,
    pub waiting_bytes: AtomicUsize,
    pub events: broadcast::Sender<EngineEvent>,
    /// Runs that ended at another owner, as far as that was told.
    pub elsewhere: broadcast::Sender<RunId>,
    /// The ends of runs alone: whoever needs no more is not woken by every commit.
    pub endings: broadcast::Sender<EngineEvent>,
    pub health: watch::Receiver<Health>,
    /// Where everything runs that the conductor does not do itself.
    pub runtime: Handle,
}

impl Shared {
    /// The workflow of this name, also if it has been removed.
    pub(super) async fn workflow_id(
        &self,
        organization: OrganizationId,
        name: &WorkflowName,
    ) -> Result<Option<WorkflowId>, StoreError> {
        let wanted = (organization, name.clone());
        let known = || {
            self.identities
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(id) = known().get(&wanted) {
            return Ok(Some(*id));
        }
        let rows = self.store.workflows().await?;
        let mut known = known();
        known.extend(
            rows.into_iter()
                .map(|row| ((row.organization_id, row.name), row.workflow_id)),
        );
        Ok(known.get(&wanted).copied())
    }
}

impl EngineHandle {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// The id under which it owns runs.
    pub fn daemon_id(&self) -> DaemonId {
        self.0.daemon
    }

    /// Accepts a run. Returns after its commit; dropping the call does not undo it.
    pub async fn trigger(&self, request: TriggerRequest) -> Result<Accepted, TriggerError> {
        self.admit(Admission::new(request, self.0.clock.now()))
            .await
    }

    async fn admit(
        &self,
        (admission, answer): (Admission, oneshot::Receiver<Result<Accepted, TriggerError>>),
    ) -> Result<Accepted, TriggerError> {
        let _weight = Weight::of(&self.0, &admission.run)?;
        self.0
            .triggers
            .try_send(admission)
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => TriggerError::QueueFull,
                mpsc::error::TrySendError::Closed(_) => TriggerError::Stopping,
            })?;
        self.0.waiting_triggers.fetch_add(1, Ordering::Relaxed);
        let outcome = answer.await.unwrap_or(Err(TriggerError::Stopping));
        self.0.waiting_triggers.fetch_sub(1, Ordering::Relaxed);
        outcome
    }

    /// Accepts a run like [`EngineHandle::trigger`], but waits where the queue is full.
    pub(super) async fn admit_in_turn(
        &self,
        (admission, answer): (Admission, Answer),
    ) -> Result<Accepted, TriggerError> {
        let sent = self.0.triggers.send(admission).await;
        sent.map_err(|_| TriggerError::Stopping)?;
        answer.await.unwrap_or(Err(TriggerError::Stopping))
    }

    /// Orders a run's owner to stop it. Durable when it returns; a guest of this engine is told at
    /// once.
    pub async fn cancel(&self, run: RunId, reason: &str) -> Result<Cancelled, StoreError> {
        let organization_id = match self.organization_of(run).await {
            Some(organization) => organization,
            None => match self.0.store.run(run).await? {
                None => return Ok(Cancelled::NotFound),
                Some(row) if row.status.is_final() => {
                    return Ok(Cancelled::AlreadyFinal(row.status));
                }
                Some(row) => row.organization_id,
            },
        };
        let command = CommandRow {
            command_id: CommandId::generate(),
            run_id: run,
            organization_id,
            kind: CommandKind::Cancel,
            reason: reason.to_owned(),
            created_at: self.0.clock.now(),
        };
        self.0.store.order(&command).await?;
        self.tell(Intake::Orders(vec![command]));
        Ok(Cancelled::Ordered)
    }

    /// Begins a new run that repeats or continues one that has ended.
    pub async fn rerun(
        &self,
        run: RunId,
        mode: RerunMode,
        version: RerunVersion,
    ) -> Result<Accepted, RerunError> {
        self.repeat(run, mode, version, None).await
    }

    /// Repeats a dead letter's run from its failure. The same letter in the same round (how often it was redriven
    /// before) gives one run, whoever asks and however often.
    pub async fn redrive(
        &self,
        run: RunId,
        round: u32,
        version: RerunVersion,
    ) -> Result<Accepted, RerunError> {
        let key = redrive_key(run, round);
        self.repeat(run, RerunMode::FromFailed, version, Some(key))
            .await
    }

    async fn repeat(
        &self,
        run: RunId,
        mode: RerunMode,
        version: RerunVersion,
        key: Option<String>,
    ) -> Result<Accepted, RerunError> {
        let image = self.0.store.load_run(run).await?;
        let image = image.ok_or(RerunError::NotFound(run))?;
        if !image.run.status.is_final() {
            return Err(RerunError::NotFinal(run));
        }
        let (workflow, same) = match version {
            RerunVersion::Same => ((self.0.versions)(image.run.version).await?, true),
            RerunVersion::Newest(workflow) => {
                let same = workflow.version == image.run.version;
                (workflow, same)
            }
        };
        let now = self.0.clock.now();
        let admission = super::rerun::admission(image, &workflow, &mode, same, key, now)?;
        Ok(self.admit(admission).await?)
    }

    /// Waits for the end of a run and says how it ended.
    pub async fn wait(&self, run: RunId) -> Result<Status, WaitError> {
        let mut events = self.endings();
        let mut elsewhere = self.0.elsewhere.subscribe();
        loop {
            let (answer, status) = oneshot::channel();
            self.tell(Intake::Wait { run, answer });
            match status.await {
                Ok(Some(status)) => return Ok(status),
                // Dropped without an answer: the run left this engine's memory unfinished.
                Err(_) if self.0.intake.is_closed() => return Err(WaitError::Stopping),
                Ok(None) | Err(_) => {}
            }
            match self.0.store.run(run).await? {
                None => return Err(WaitError::NotFound(run)),
                Some(row) if row.status.is_final() => return Ok(row.status),
                Some(_) => {}
            }
            if let Some(status) = self.finish_of(run, &mut events, &mut elsewhere).await {
                return Ok(status);
            }
        }
    }

    /// Waits for news of a run that is not in memory: it is claimed and ends here, its owner tells that it
    /// has ended, or enough time passes to look again.
    async fn finish_of(
        &self,
        run: RunId,
        events: &mut broadcast::Receiver<EngineEvent>,
        elsewhere: &mut broadcast::Receiver<RunId>,
    ) -> Option<Status> {
        let look = self.0.clock.now().after(FOREIGN_LOOK);
        let timer = self.0.clock.wait_until(look);
        tokio::pin!(timer);
        loop {
            tokio::select! {
                () = &mut timer => return None,
                ended = elsewhere.recv() => if ended.map_or(true, |ended| ended == run) {
                    return None;
                },
                event = events.recv() => match event {
                    Ok(EngineEvent::Finished { run_id, status, .. }) if run_id == run => {
                        return Some(status);
                    }
                    Ok(_) => {}
                    // Something was missed, perhaps this.
                    Err(_) => return None,
                },
            }
        }
    }

    /// What is committed from now on. A receiver that lags loses wake-ups, not data.
    pub fn events(&self) -> broadcast::Receiver<EngineEvent> {
        self.0.events.subscribe()
    }

    /// The [`EngineEvent::Finished`] among them, under the same condition.
    pub fn endings(&self) -> broadcast::Receiver<EngineEvent> {
        self.0.endings.subscribe()
    }

    /// The runs in this engine's memory.
    pub async fn active_runs(&self) -> Vec<ActiveRun> {
        let (answer, runs) = oneshot::channel();
        self.tell(Intake::Active { answer });
        runs.await.unwrap_or_default()
    }

    /// Lets go of versions that no run in memory has and nobody else holds. Returns when that is done.
    pub async fn let_go(&self) {
        let (answer, done) = oneshot::channel();
        self.tell(Intake::LetGo { answer });
        // An engine that has gone holds nothing.
        let _ = done.await;
    }

    /// How the engine is, now and from now on.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.0.health.clone()
    }

    /// Triggers that wait for their commit.
    pub fn waiting_triggers(&self) -> usize {
        self.0.waiting_triggers.load(Ordering::Relaxed)
    }

    /// Stops: claims nothing more, lets attempts finish for `grace`, then stops them without
    /// spending an attempt, gives all runs back and says farewell. The engine is gone afterwards.
    pub async fn drain(&self, grace: Duration) -> Drained {
        let (answer, drained) = oneshot::channel();
        let deadline = self.0.clock.now().after(grace);
        self.tell(Intake::Drain { deadline, answer });
        drained.await.unwrap_or(Drained {
            released: 0,
            stopped: 0,
        })
    }

    async fn organization_of(&self, run: RunId) -> Option<OrganizationId> {
        let (answer, organization) = oneshot::channel();
        self.tell(Intake::Organization { run, answer });
        organization.await.ok().flatten()
    }

    fn tell(&self, intake: Intake) {
        // A closed intake drops the message and with it the answer's sender, which the caller sees.
        let _ = self.0.intake.send(intake);
    }
}
