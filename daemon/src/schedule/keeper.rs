//! The loop: sleeps until the next time or the next change, and records what becomes of the times that have come.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use super::edit::{fire, not_wanted};
use super::handle::Shared;
use super::plan::{
    Admission, Plan, Progress, SET_BACK, Standing, Verdict, admit, delay, next_look, plan,
};
use super::{ScheduleParts, Schedules, meaning};
use crate::clock::Timestamp;
use crate::engine::{EngineEvent, EngineHandle};
use crate::id::ScheduleId;
use crate::store::StoreError;
use crate::store::schedule::{
    FireCause, FireOutcome, FireRow, FireSeen, ScheduleRow, ScheduleStep, Stepped,
};
use crate::workflow::schedule::{Schedule, Times};

/// Schedules whose times are decided in one transaction: it stays in the tens of milliseconds.
const BATCH: usize = 256;
/// What other daemons changed or left behind, and a clock that was set back, is seen after this time.
const LOOK: Duration = Duration::from_secs(30);
/// The same while times wait for runs that another daemon may have.
const LOOK_WAITING: Duration = Duration::from_secs(1);
/// A store that does not answer is asked again after this time.
const RETRY: Duration = Duration::from_secs(1);

/// A schedule that fires.
pub(super) struct Kept {
    pub row: ScheduleRow,
    pub schedule: Schedule,
    pub times: Times,
    pub delay: Duration,
    /// When it is looked at next, as it stands in `due`.
    next: Option<Timestamp>,
}

/// Follows schedules. Made before the engine takes runs, run until the daemon stops.
pub struct Keeper {
    pub(super) shared: Arc<Shared>,
    pub(super) engine: EngineHandle,
    changed: watch::Receiver<u64>,
    /// Whether it fires, or only takes the schedules of files into the store.
    fires: bool,
    pub(super) kept: HashMap<ScheduleId, Kept>,
    due: BTreeSet<(Timestamp, ScheduleId)>,
    /// The count of edits that `kept` is the result of.
    pub(super) seen: Option<u64>,
    /// Schedules with times that wait for their turn.
    pub(super) waiting: HashSet<ScheduleId>,
    retry_at: Option<Timestamp>,
    synced: watch::Sender<bool>,
    /// Whether what an earlier process left was taken up. Before that, the files have the first word: what they say now
    /// counts from now on, not from when the daemon stopped.
    begun: bool,
}

/// Why the loop goes on.
enum Wake {
    Stop,
    Catalog,
    Edited,
    Time,
    Look,
    Ended(Option<EngineEvent>),
}

impl Keeper {
    /// The loop and the way to it; the receiver turns true when the schedules of all live files are in the store.
    pub fn new(parts: ScheduleParts, fires: bool) -> (Self, Schedules, watch::Receiver<bool>) {
        let (synced, settled) = watch::channel(false);
        let shared = Arc::new(Shared {
            store: parts.store,
            clock: parts.clock,
            catalog: parts.catalog,
            edited: tokio::sync::Notify::new(),
            per_workflow: parts.per_workflow,
        });
        let keeper = Self {
            shared: Arc::clone(&shared),
            engine: parts.engine,
            changed: parts.changed,
            fires,
            kept: HashMap::new(),
            due: BTreeSet::new(),
            seen: None,
            waiting: HashSet::new(),
            retry_at: None,
            synced,
            begun: false,
        };
        (keeper, Schedules(shared), settled)
    }

    /// Follows schedules until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut ended = self.engine.events();
        tokio::select! {
            () = stop.cancelled() => return,
            // The sender lives as long as the reload loop.
            _ = self.changed.wait_for(|generation| *generation > 0) => {}
        }
        let mut wake = Wake::Catalog;
        loop {
            let done = match wake {
                Wake::Stop => return,
                wake => self.turn(wake).await,
            };
            self.retry_at = done.err().map(|error| {
                tracing::warn!(%error, "schedules: the store does not answer; it is asked again");
                self.now().after(RETRY)
            });
            wake = self.next_wake(&stop, &mut ended).await;
        }
    }

    async fn turn(&mut self, wake: Wake) -> Result<(), StoreError> {
        match wake {
            Wake::Catalog => self.take_catalog().await?,
            Wake::Look => self.look().await?,
            Wake::Edited => self.edited().await?,
            Wake::Ended(event) if self.fires => self.run_ended(event).await?,
            Wake::Time | Wake::Ended(_) | Wake::Stop => {}
        }
        if !self.fires {
            return Ok(());
        }
        if !self.begun {
            self.recover().await?;
            self.rewind().await?;
            self.begun = true;
        }
        self.decide_due().await
    }

    async fn next_wake(
        &mut self,
        stop: &CancellationToken,
        ended: &mut broadcast::Receiver<EngineEvent>,
    ) -> Wake {
        let clock = Arc::clone(&self.shared.clock);
        let next = match self.retry_at {
            Some(at) => Some(at),
            None => self.due.first().map(|(at, _)| *at).filter(|_| self.fires),
        };
        let retrying = self.retry_at.is_some();
        let waits = !self.waiting.is_empty();
        let look = if waits { LOOK_WAITING } else { LOOK };
        let time = async {
            match next {
                Some(at) => clock.wait_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => Wake::Stop,
            // Without the reload loop no catalog comes any more.
            changed = self.changed.changed() => match changed {
                Ok(()) => Wake::Catalog,
                Err(_) => Wake::Stop,
            },
            () = self.shared.edited.notified() => Wake::Edited,
            () = time => match retrying {
                true => Wake::Look,
                false => Wake::Time,
            },
            event = ended.recv(), if waits => Wake::Ended(match event {
                Ok(event) => Some(event),
                Err(RecvError::Lagged(_)) => None,
                Err(RecvError::Closed) => return Wake::Stop,
            }),
            () = clock.pass(look) => Wake::Look,
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// Times that have come are decided by the schedules as they were; then those of the new files count.
    async fn take_catalog(&mut self) -> Result<(), StoreError> {
        self.refresh_if_edited().await?;
        if self.fires && self.begun {
            self.decide_due().await?;
        }
        self.sync().await?;
        self.refresh_if_edited().await?;
        // Workflows may have come or gone without an edit of a schedule.
        self.set_all();
        self.synced.send_replace(true);
        Ok(())
    }

    /// The API changed something, or asked for times of the past.
    async fn edited(&mut self) -> Result<(), StoreError> {
        self.refresh_if_edited().await?;
        match self.fires && self.begun {
            true => self.recover().await,
            false => Ok(()),
        }
    }

    /// What others changed and left behind, and a clock that went back.
    async fn look(&mut self) -> Result<(), StoreError> {
        let changes = self.shared.store.schedule_changes().await?;
        if self.seen != Some(changes) || !*self.synced.borrow() {
            self.take_catalog().await?;
        }
        self.set_all();
        if !self.fires || !self.begun {
            return Ok(());
        }
        self.rewind().await?;
        self.recover().await
    }

    /// Under a clock that was set back, times come that seemed to have passed: their progress begins anew there.
    async fn rewind(&mut self) -> Result<(), StoreError> {
        let now = self.now();
        let ahead = self
            .kept
            .values()
            .filter(|kept| kept.next.is_some() && now.after(SET_BACK) < kept.row.looked_at);
        let ahead: Vec<ScheduleId> = ahead.map(|kept| kept.row.schedule_id).collect();
        for part in ahead.chunks(BATCH) {
            self.decide(part, now).await?;
        }
        Ok(())
    }

    async fn refresh_if_edited(&mut self) -> Result<(), StoreError> {
        let changes = self.shared.store.schedule_changes().await?;
        match self.seen == Some(changes) {
            true => Ok(()),
            false => self.refresh().await,
        }
    }

    /// Reads the schedules.
    pub(super) async fn refresh(&mut self) -> Result<(), StoreError> {
        let (changes, rows) = self.shared.store.schedules().await?;
        let mut before = std::mem::take(&mut self.kept);
        for row in rows {
            let known = before
                .remove(&row.schedule_id)
                .filter(|kept| kept.row.revision == row.revision);
            let read = match known {
                Some(kept) => Some((kept.schedule, kept.times, kept.delay)),
                None => meaning(&row).map(|(schedule, times)| {
                    let delay = delay(&row.workflow_name, &schedule);
                    (schedule, times, delay)
                }),
            };
            if let Some((schedule, times, delay)) = read {
                let kept = Kept {
                    row,
                    schedule,
                    times,
                    delay,
                    next: None,
                };
                self.kept.insert(kept.row.schedule_id, kept);
            }
        }
        self.seen = Some(changes);
        self.set_all();
        Ok(())
    }

    /// Winds every schedule up anew.
    fn set_all(&mut self) {
        self.due.clear();
        let ids: Vec<ScheduleId> = self.kept.keys().copied().collect();
        for id in ids {
            self.set(id);
        }
    }

    /// Winds a schedule up: when is it looked at next?
    fn set(&mut self, id: ScheduleId) {
        let catalog = self.shared.catalog.load();
        let Some(kept) = self.kept.get_mut(&id) else {
            self.due.retain(|(_, other)| *other != id);
            return;
        };
        if let Some(next) = kept.next.take() {
            self.due.remove(&(next, id));
        }
        let row = &kept.row;
        let live = catalog
            .workflow(row.organization_id, &row.workflow_name)
            .is_some_and(|live| live.workflow_id == row.workflow_id);
        if !live || row.retired_at.is_some() || !kept.schedule.enabled {
            return;
        }
        kept.next = next_look(&kept.times, kept.delay, kept.row.decided_until);
        if let Some(next) = kept.next {
            self.due.insert((next, id));
        }
    }

    /// Decides about every time that has come.
    pub(super) async fn decide_due(&mut self) -> Result<(), StoreError> {
        loop {
            let now = self.now();
            let come: Vec<ScheduleId> = self
                .due
                .iter()
                .take_while(|(at, _)| *at <= now)
                .take(BATCH)
                .map(|(_, id)| *id)
                .collect();
            if come.is_empty() {
                return Ok(());
            }
            self.decide(&come, now).await?;
        }
    }

    async fn decide(&mut self, come: &[ScheduleId], now: Timestamp) -> Result<(), StoreError> {
        let open = self.shared.store.fires_open(come).await?;
        let mut by_schedule: HashMap<ScheduleId, Vec<FireSeen>> = HashMap::new();
        for seen in open {
            by_schedule
                .entry(seen.fire.schedule_id)
                .or_default()
                .push(seen);
        }
        let mut steps = Vec::with_capacity(come.len());
        for id in come {
            let open = by_schedule.remove(id).unwrap_or_default();
            match self.kept.get(id) {
                Some(kept) => steps.push(step(kept, &open, now)),
                None => self.set(*id),
            }
        }
        let outcomes = self.shared.store.schedule_decide(&steps).await?;
        let mut starts = Vec::new();
        for (step, outcome) in steps.into_iter().zip(outcomes) {
            match outcome {
                Stepped::Decided(new) => {
                    if let Some(kept) = self.kept.get_mut(&step.schedule_id) {
                        kept.row.turn += 1;
                        kept.row.decided_until = step.decided_until;
                        kept.row.looked_at = step.looked_at;
                    }
                    let new = step.fires.into_iter().zip(new).filter(|(_, new)| *new);
                    starts.extend(new.map(|(fire, _)| fire));
                }
                Stepped::Conflict => self.read_again(step.schedule_id).await?,
            }
            self.set(step.schedule_id);
        }
        let waits = |fire: &&FireRow| fire.outcome == FireOutcome::Waiting;
        self.waiting
            .extend(starts.iter().filter(waits).map(|fire| fire.schedule_id));
        starts.retain(|fire| fire.outcome == FireOutcome::Due);
        self.start(starts).await
    }

    /// Somebody else decided about it or edited it.
    async fn read_again(&mut self, id: ScheduleId) -> Result<(), StoreError> {
        let row = self.shared.store.schedule(id).await?;
        let Some(row) = row else {
            if let Some(next) = self.kept.remove(&id).and_then(|kept| kept.next) {
                self.due.remove(&(next, id));
            }
            return Ok(());
        };
        match self.kept.get_mut(&id) {
            Some(kept) if kept.row.revision == row.revision => {
                kept.row = row;
                Ok(())
            }
            _ => self.refresh().await,
        }
    }
}

/// What is decided about one schedule.
fn step(kept: &Kept, open: &[FireSeen], now: Timestamp) -> ScheduleStep {
    let row = &kept.row;
    let progress = Progress {
        decided_until: row.decided_until,
        looked_at: row.looked_at,
    };
    let Plan {
        verdicts, progress, ..
    } = plan(&kept.schedule, &kept.times, kept.delay, progress, now);
    let mut standing = standing(open, false);
    let mut fires = Vec::with_capacity(verdicts.len());
    for verdict in &verdicts {
        let mut fire = fire(row, verdict, now);
        let caught_up = match verdict {
            Verdict::Missed(_) => {
                fires.push(fire);
                continue;
            }
            Verdict::CaughtUp(_) => true,
            Verdict::Due(_) => false,
        };
        match admit(kept.schedule.overlap, caught_up, standing) {
            Admission::Run | Admission::RunInstead => standing.active += 1,
            Admission::Wait => {
                fire.outcome = FireOutcome::Waiting;
                standing.waiting += 1;
            }
            Admission::Skip(reason) => not_wanted(&mut fire, FireOutcome::Skipped, reason),
        }
        fires.push(fire);
    }
    ScheduleStep {
        schedule_id: row.schedule_id,
        revision: row.revision,
        turn: row.turn,
        decided_until: progress.decided_until,
        looked_at: progress.looked_at,
        closed: open
            .iter()
            .filter(|seen| ended(seen))
            .map(|seen| seen.fire.fire_id)
            .collect(),
        fires,
    }
}

/// Whether a fire's run has ended; one whose run is gone has.
pub(super) fn ended(seen: &FireSeen) -> bool {
    seen.fire.outcome == FireOutcome::Started
        && seen
            .run_status
            .is_none_or(crate::run::status::Status::is_final)
}

/// What is under way, of backfills or of all else: neither waits for the other.
pub(super) fn standing(open: &[FireSeen], backfill: bool) -> Standing {
    let mut standing = Standing::default();
    for seen in open {
        if (seen.fire.cause == FireCause::Backfill) != backfill || ended(seen) {
            continue;
        }
        match seen.fire.outcome {
            FireOutcome::Waiting => standing.waiting += 1,
            _ => standing.active += 1,
        }
    }
    standing
}
