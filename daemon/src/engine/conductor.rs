//! The conductor: one task, the only place where active runs live in memory. It never waits for
//! the store or a guest; it takes messages in bursts, lets the runs that they concern make a step,
//! and hands what they want written to the store, as many batches at once as that takes.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::pin::Pin;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use tokio::runtime::Handle;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::active::{Active, Compiled};
use super::backlog::Waiting;
use super::errand::Errands;
use super::handle::{EngineHandle, Shared};
use super::intake::{Admission, Intake};
use super::outcome::Happening;
use super::step::Frame;
use super::{Accepted, Drained, EngineEvent, Health, Parts, Settings, TriggerError, news, writer};
use crate::clock::Timestamp;
use crate::id::{DaemonId, Digest, RunId};
use crate::run::status::Status;
use crate::sandbox::invoke::Invoke;
use crate::store::rows::{CommandRow, Transition};
use crate::workflow::model::Workflow;

/// Messages taken in before the runs make their steps: long enough to fill a commit, short enough
/// that none waits a noticeable time.
const BURST: usize = 1_024;
/// Events a slow follower may fall behind before it has to look for itself.
const EVENTS_KEPT: usize = 4_096;
/// The same of ends alone, of which there are fewer.
const ENDINGS_KEPT: usize = 1_024;
/// Workflows whose derived form is kept although no run needs it at the moment.
const COMPILED_KEPT: usize = 256;
/// How long past its deadline a stop waits for a store that does not answer.
pub(super) const LEAVE_AT_LAST: std::time::Duration = std::time::Duration::from_secs(5);

pub(super) type TriggerAnswer = oneshot::Sender<Result<Accepted, TriggerError>>;

/// A stop under way.
pub(super) struct Leaving {
    pub deadline: Timestamp,
    pub answer: oneshot::Sender<Drained>,
    pub drained: Drained,
    /// Whether attempts have been told to stop.
    pub cut: bool,
    /// Whether the runs are being given back.
    pub released: bool,
}

/// A run on its way into memory.
#[derive(Default)]
pub(super) struct Arrival {
    pub epoch: i64,
    pub orders: Vec<CommandRow>,
}

pub(super) struct Conductor {
    pub shared: Arc<Shared>,
    pub invoke: Arc<dyn Invoke>,
    pub settings: Settings,
    pub daemon: DaemonId,
    pub errands: Errands,
    pub runs: HashMap<RunId, Active>,
    pub arriving: HashMap<RunId, Arrival>,
    /// Who waits for an insert.
    pub answers: HashMap<RunId, TriggerAnswer>,
    /// Who waits for an end.
    pub waiters: HashMap<RunId, Vec<oneshot::Sender<Option<Status>>>>,
    pub outbox: VecDeque<Transition>,
    /// Commits that have no answer yet.
    pub writing: usize,
    /// Slots that are taken: by guests, by starts in flight, by credits.
    pub taken: usize,
    /// Runs that wait for a slot, first come first served, one slot a turn.
    pub hungry: VecDeque<RunId>,
    /// Runs that have something to take in.
    pub dirty: VecDeque<RunId>,
    /// Runs that wait for runs they have begun; these count as going, not they.
    pub parents: HashSet<RunId>,
    pub wakes: BTreeSet<(Timestamp, RunId)>,
    pub compiled: HashMap<Digest, Arc<Compiled>>,
    /// Whether the store knows this daemon, so that it may own runs.
    pub alive: bool,
    pub beating: bool,
    pub claiming: bool,
    /// Whether others told of work or orders while a claim was under way.
    pub heard: bool,
    /// Whether runs without an owner are known to wait in the store.
    pub backlog: bool,
    /// Runs that wait in the store.
    pub waiting: Waiting,
    pub beat_at: Timestamp,
    /// When an alarm last rang.
    pub looked_at: Timestamp,
    pub claim_at: Timestamp,
    pub flush_at: Option<Timestamp>,
    pub leaving: Option<Leaving>,
    pub gone: bool,
    pub store_health: Result<(), String>,
    pub health: watch::Sender<Health>,
}

/// The conductor and the way to it. Nothing happens until the future is polled. Its commits are tasks of the
/// runtime that polls it; errands and children are tasks of the one that is current now.
pub(super) fn new(
    parts: Parts,
    daemon: DaemonId,
) -> (EngineHandle, impl Future<Output = ()> + Send + 'static) {
    let (intake, messages) = mpsc::unbounded_channel();
    let (triggers, admissions) = mpsc::channel(parts.settings.queue.max(1));
    let (health, health_reader) = watch::channel(Health {
        store: Ok(()),
        draining: false,
        active_runs: 0,
        attempts: 0,
    });
    let now = parts.clock.now();
    let shared = Arc::new(Shared {
        daemon,
        store: parts.store,
        clock: parts.clock,
        versions: parts.versions,
        intake,
        triggers,
        waiting_triggers: AtomicUsize::new(0),
        identities: Mutex::default(),
        waiting_bytes: AtomicUsize::new(0),
        events: broadcast::Sender::new(EVENTS_KEPT),
        elsewhere: broadcast::Sender::new(EVENTS_KEPT),
        endings: broadcast::Sender::new(ENDINGS_KEPT),
        health: health_reader,
        runtime: Handle::current(),
    });
    let conductor = Conductor {
        errands: Errands::new(Arc::clone(&shared), daemon, &parts.settings),
        shared: Arc::clone(&shared),
        invoke: parts.invoke,
        settings: parts.settings,
        daemon,
        runs: HashMap::new(),
        arriving: HashMap::new(),
        answers: HashMap::new(),
        waiters: HashMap::new(),
        outbox: VecDeque::new(),
        writing: 0,
        taken: 0,
        hungry: VecDeque::new(),
        dirty: VecDeque::new(),
        parents: HashSet::new(),
        wakes: BTreeSet::new(),
        compiled: HashMap::new(),
        alive: false,
        beating: false,
        claiming: false,
        heard: false,
        backlog: true,
        waiting: Waiting::default(),
        beat_at: now,
        looked_at: now,
        claim_at: now,
        flush_at: None,
        leaving: None,
        gone: false,
        store_health: Ok(()),
        health,
    };
    if conductor.settings.active_runs > 0 {
        let deliver = super::deliver::run(Arc::clone(&shared));
        shared.runtime.spawn(deliver);
    }
    news::hear(&shared);
    (
        EngineHandle::new(shared),
        conductor.run(messages, admissions),
    )
}

type Alarm = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Conductor {
    async fn run(
        mut self,
        mut messages: mpsc::UnboundedReceiver<Intake>,
        mut admissions: mpsc::Receiver<Admission>,
    ) {
        let mut alarm: (Option<Timestamp>, Alarm) = (None, Box::pin(std::future::pending()));
        while !self.gone {
            let at = self.next_alarm();
            // Making a timer is dear compared with a message, and most messages change nothing.
            if alarm.0 != Some(at) {
                let clock = Arc::clone(&self.shared.clock);
                let span = at.since(clock.now());
                let wait = async move {
                    tokio::select! {
                        () = clock.wait_until(at) => {}
                        // A clock that was set back must not silence the daemon until it is as late again.
                        () = clock.pass(span) => {}
                    }
                };
                alarm = (Some(at), Box::pin(wait));
            }
            tokio::select! {
                biased;
                message = messages.recv() => match message {
                    Some(message) => self.take(message),
                    None => return,
                },
                () = &mut alarm.1 => {
                    alarm = (None, Box::pin(std::future::pending()));
                    self.on_alarm();
                }
                admission = admissions.recv(), if self.has_appetite() => match admission {
                    Some(admission) => self.admit(admission),
                    None => return,
                },
            }
            for _ in 0..BURST {
                match messages.try_recv() {
                    Ok(message) => self.take(message),
                    Err(_) => break,
                }
            }
            while self.has_appetite() {
                match admissions.try_recv() {
                    Ok(admission) => self.admit(admission),
                    Err(_) => break,
                }
            }
            self.settle();
            self.flush();
            self.leave_if_empty();
            self.publish_health();
        }
    }

    /// Whether new runs may be taken in: the store knows us and the next commit has room.
    fn has_appetite(&self) -> bool {
        (self.alive || self.leaving.is_some() || self.store_health.is_err())
            && self.outbox.len() + self.dirty.len() < self.settings.batch
    }

    pub(super) fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    pub(super) fn compile(&mut self, workflow: &Arc<Workflow>) -> Arc<Compiled> {
        if self.compiled.len() > COMPILED_KEPT {
            self.compiled
                .retain(|_, compiled| Arc::strong_count(compiled) > 1);
        }
        let compiled = self
            .compiled
            .entry(workflow.version)
            .or_insert_with(|| Arc::new(Compiled::new(Arc::clone(workflow))));
        Arc::clone(compiled)
    }

    /// Forgets the derived form of versions that no run has and that are not live: whoever keeps a
    /// version live holds its workflow, too.
    pub(super) fn let_go(&mut self) {
        self.compiled.retain(|_, compiled| {
            Arc::strong_count(compiled) > 1 || Arc::strong_count(compiled.graph.workflow()) > 1
        });
    }

    fn admit(&mut self, admission: Admission) {
        let Admission {
            run: mut admission,
            answer,
        } = admission;
        if self.leaving.is_some() {
            // A caller that has gone does not need the answer.
            let _ = answer.send(Err(TriggerError::Stopping));
            return;
        }
        let run = admission.row.run_id;
        if let (false, Err(message)) = (self.alive, &self.store_health) {
            let message = message.clone();
            let refused = TriggerError::Unavailable {
                run_id: run,
                message,
            };
            let _ = answer.send(Err(refused));
            return;
        }
        let compiled = self.compile(&admission.workflow);
        let now = self.now();
        let called_off = admission.called_off.take();
        let limited = admission.workflow.concurrency.is_some();
        // What ends with its insert needs neither room nor turn.
        let room = called_off.is_some() || (!limited && self.may_overtake() && self.room() > 0);
        if !room && self.is_backlog_full(&admission) {
            let _ = answer.send(Err(TriggerError::QueueFull));
            return;
        }
        self.answers.insert(run, answer);
        let owner = room.then_some(self.daemon);
        let mut active = Active::admit(admission, compiled, owner, now);
        if let Some(reason) = called_off {
            active.inbox.push(Happening::Cancel { reason });
        }
        if room {
            self.runs.insert(run, active);
            self.dirty.push_back(run);
        } else {
            if !limited {
                self.waiting.no_room();
            }
            self.outbox.push_back(active.insert_only(now));
        }
    }

    /// Gives free slots to those who wait and lets dirty runs make their steps, until both rest.
    fn settle(&mut self) {
        loop {
            self.feed();
            let Some(run) = self.dirty.pop_front() else {
                return;
            };
            self.step(run);
        }
    }

    fn feed(&mut self) {
        while self.taken < self.settings.slots && self.leaving.is_none() {
            let Some(run) = self.hungry.pop_front() else {
                return;
            };
            let Some(active) = self.runs.get_mut(&run) else {
                continue;
            };
            active.queued = false;
            if active.hunger() == 0 {
                continue;
            }
            active.credit += 1;
            self.taken += 1;
            if active.hunger() > 0 {
                active.queued = true;
                self.hungry.push_back(run);
            }
            self.dirty.push_back(run);
        }
    }

    fn step(&mut self, run: RunId) {
        let now = self.now();
        let leaving = self.leaving.is_some();
        let Some(active) = self.runs.get_mut(&run).filter(|active| active.is_idle()) else {
            return;
        };
        if active.inbox.is_empty() && active.credit == 0 && active.revision > 0 && !active.fresh {
            return;
        }
        active.fresh = false;
        // Whoever waits goes first; only if nobody does may a run take more than it was given.
        let free = match self.hungry.is_empty() {
            true => self.settings.slots.saturating_sub(self.taken),
            false => 0,
        };
        self.taken -= active.credit;
        let mut room = if leaving { 0 } else { active.credit + free };
        active.credit = 0;
        let before = room;
        let mut frame = Frame {
            daemon: self.daemon,
            now,
            room: &mut room,
        };
        let transition = active.step(&mut frame);
        self.taken += before - room;
        if active.hunger() > 0 && !active.queued && !leaving {
            active.queued = true;
            self.hungry.push_back(run);
        }
        if active.state.is_stopping() {
            active.live.values().for_each(|live| live.cancel.cancel());
        }
        let wanting = transition.is_none() && active.wants_number;
        if let Some(transition) = transition {
            self.outbox.push_back(transition);
        } else if wanting {
            self.reread(run, Vec::new());
        }
        self.set_wake(run);
    }

    pub(super) fn set_wake(&mut self, run: RunId) {
        let Some(active) = self.runs.get_mut(&run) else {
            return;
        };
        let wake = active.next_wake();
        if wake == active.wake {
            return;
        }
        if let Some(old) = std::mem::replace(&mut active.wake, wake) {
            self.wakes.remove(&(old, run));
        }
        if let Some(new) = wake {
            self.wakes.insert((new, run));
        }
    }

    fn flush(&mut self) {
        let at_once = self.shared.store.commits_at_once();
        while self.writing < at_once && !self.outbox.is_empty() {
            let many = self.outbox.len().min(self.settings.batch);
            let batch: Vec<_> = self.outbox.drain(..many).collect();
            writer::commit(&self.shared, batch);
            self.writing += 1;
        }
    }

    /// Takes a run out of memory with everything that points to it.
    pub(super) fn forget(&mut self, run: RunId) -> Option<Active> {
        let active = self.runs.remove(&run)?;
        self.parents.remove(&run);
        self.taken = self.taken.saturating_sub(active.credit);
        if let Some(wake) = active.wake {
            self.wakes.remove(&(wake, run));
        }
        Some(active)
    }

    fn next_alarm(&self) -> Timestamp {
        let mut at = self.beat_at;
        if self.leaving.is_none() {
            at = at.min(self.claim_at);
        }
        let leave = self.leaving.as_ref().map(|leaving| {
            if leaving.cut {
                leaving.deadline.after(LEAVE_AT_LAST)
            } else {
                leaving.deadline
            }
        });
        let wake = self.wakes.first().map(|(at, _)| *at);
        [leave, wake, self.flush_at]
            .into_iter()
            .flatten()
            .fold(at, Timestamp::min)
    }

    fn on_alarm(&mut self) {
        let now = self.now();
        if now < self.looked_at {
            tracing::warn!(back = ?self.looked_at.since(now), "the clock was set back");
            (self.beat_at, self.claim_at) = (now, now);
            self.flush_at = self.flush_at.map(|_| now);
        }
        self.looked_at = now;
        if self.beat_at <= now {
            self.beat_at = now.after(self.settings.heartbeat);
            // A store that hangs gets one call, not a heap of them.
            if !std::mem::replace(&mut self.beating, true) {
                self.errands.beat();
            }
        }
        if self.claim_at <= now {
            self.claim_at = now.after(self.settings.claim);
            self.claim(true);
            self.count_waiting();
        }
        while let Some((at, run)) = self.wakes.first().copied()
            && at <= now
        {
            self.wakes.pop_first();
            if let Some(active) = self.runs.get_mut(&run) {
                active.wake = None;
                active.inbox.push(Happening::Due);
                self.dirty.push_back(run);
            }
        }
        if self.flush_at.is_some_and(|at| at <= now) {
            self.flush_journals(now);
        }
        self.cut_at_deadline(now);
    }

    /// Asks for runs to claim if there is room, and for orders.
    pub(super) fn claim(&mut self, look: bool) {
        let room = self.room();
        let wanted = look || (self.backlog && room > 0);
        if !self.alive || self.claiming || self.leaving.is_some() || !wanted {
            return;
        }
        self.claiming = true;
        let limit = room.min(super::messages::CLAIM_MAX);
        self.waiting.ask(limit);
        self.errands.claim(u32::try_from(limit).unwrap_or(u32::MAX));
    }

    fn flush_journals(&mut self, now: Timestamp) {
        let mut any = false;
        for (run, active) in &mut self.runs {
            any |= active.live.values().any(|live| live.wait.is_none());
            // What is reported during a commit waits for the next flush.
            if !active.is_idle() {
                continue;
            }
            for (unit, live) in &active.live {
                let entries = live.journal.drain();
                if !entries.is_empty() {
                    active.inbox.push(Happening::Reported {
                        unit: *unit,
                        attempt: live.attempt,
                        entries: Arc::new(entries),
                    });
                }
            }
            if !active.inbox.is_empty() {
                self.dirty.push_back(*run);
            }
        }
        self.flush_at = any.then(|| now.after(self.settings.flush));
    }

    pub(super) fn tell(&self, event: EngineEvent) {
        // Nobody may be listening, to either.
        if let EngineEvent::Finished { .. } = event {
            let _ = self.shared.endings.send(event.clone());
        }
        let _ = self.shared.events.send(event);
    }

    fn publish_health(&mut self) {
        let (runs, attempts) = (self.runs.len(), self.taken);
        let (store, draining) = (&self.store_health, self.leaving.is_some());
        self.health.send_if_modified(|health| {
            let same = health.active_runs == runs
                && health.attempts == attempts
                && health.draining == draining
                && health.store == *store;
            if !same {
                *health = Health {
                    store: store.clone(),
                    draining,
                    active_runs: runs,
                    attempts,
                };
            }
            !same
        });
    }
}
