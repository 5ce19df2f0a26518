//! The engine in a storm that a seed draws: several daemons over one store and one clock, each alive only
//! while it is driven.
//!
//! A daemon is a runtime of its own that does nothing by itself: it is polled a few times in turn, killed
//! between two polls (a power cut), left alone for longer than its lease (SIGSTOP, a long pause), drained,
//! or started again. Time is a clock that the storm moves. The store fails before a commit, or after it
//! with the answer lost, is full, or is away for a while. Then the weather clears, and an oracle looks at
//! what is left: every run that was acknowledged has ended, and nothing was recorded twice.

mod drawing;
mod judge;
mod jumps;
mod kin;
mod redrive;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use super::testing::{FakeStore, Fault, Tables, publish, request, settings, versions};
use super::{Engine, EngineHandle, Parts, Settings};
use crate::clock::{Clock, ManualClock, Timestamp};
use crate::id::{Digest, RunId, WorkflowId};
use crate::run::failure::{Failure, FailureSource};
use crate::run::status::Status;
use crate::sandbox::invoke::{AttemptReport, Invocation, Invoke};
use crate::store::rows::{AttemptRow, RunRow, TaskRunRow};
use crate::store::{LEASE, Store};
use crate::workflow::model::Workflow;

/// Rounds of storm, and of fair weather until everything must have ended: with these steps, hours.
const STORM: usize = 250;
const CALM: usize = 20_000;
/// Rounds of fair weather before time goes faster.
const BRISK: usize = 1_000;
const RUNS: usize = 12;
const DAEMONS: usize = 3;

/// What may happen, in percent of the rounds.
struct Weather {
    trigger: u32,
    cancel: u32,
    kill: u32,
    freeze: u32,
    drain: u32,
    store_away: u32,
    /// In percent of the commits.
    fault: u32,
}

impl Weather {
    fn drawn(rng: &mut StdRng) -> Self {
        // A third of the storms have one kind of trouble alone, some none, the rest everything.
        let mut weather = Self {
            trigger: 25,
            cancel: rng.random_range(0..6),
            kill: rng.random_range(0..6),
            freeze: rng.random_range(0..9),
            drain: rng.random_range(0..3),
            store_away: rng.random_range(0..4),
            fault: rng.random_range(0..25),
        };
        let only = rng.random_range(0..12);
        for (at, kind) in [
            &mut weather.cancel,
            &mut weather.kill,
            &mut weather.freeze,
            &mut weather.drain,
            &mut weather.store_away,
            &mut weather.fault,
        ]
        .into_iter()
        .enumerate()
        {
            // 0..6: that kind alone; 6: none of them.
            if only < 6 && only != at || only == 6 {
                *kind = 0;
            }
        }
        weather
    }

    fn is_fair(&self) -> bool {
        self.cancel + self.kill + self.freeze + self.drain + self.store_away + self.fault == 0
    }
}

/// How the guests of a task behave.
#[derive(Clone, Copy)]
struct Habit {
    /// Attempts that fail before one succeeds.
    failures: u32,
    /// How long one takes at most.
    millis: u64,
}

/// What guests did; one for all daemons, as the outside world is.
#[derive(Default)]
struct Outside {
    begun: HashSet<(RunId, String, Option<u32>, u32)>,
    /// By idempotency key.
    effects: HashMap<String, u32>,
    complaints: Vec<String>,
}

struct Guests {
    store: Arc<FakeStore>,
    clock: ManualClock,
    habits: Arc<HashMap<String, Habit>>,
    workflows: Arc<BTreeMap<Digest, Arc<Workflow>>>,
    outside: Arc<Mutex<Outside>>,
    draws: Mutex<StdRng>,
}

impl Guests {
    /// Looks whether this attempt may begin now, and remembers that it did.
    fn begin(&self, invocation: &Invocation) {
        let who = &invocation.identity;
        let task = who.task.to_string();
        let tables = self.store.tables();
        let mut complaints = Vec::new();
        match attempt_row(&tables, invocation) {
            None => complaints.push("began before its attempt was durable".to_owned()),
            // An attempt that another daemon has taken over may still begin here, as a zombie's.
            Some(row) if row.status == Status::Succeeded => {
                complaints.push("began although it had succeeded".to_owned());
            }
            Some(_) => {}
        }
        let run = &tables.runs[&who.run_id];
        let workflow = &self.workflows[&run.version];
        let index = workflow.task_named(&task).unwrap();
        for need in &workflow.task(index).needs {
            let name = workflow.task(*need).name.as_str();
            let done = whole(&tables, who.run_id, name).is_some_and(|row| row.status.is_final());
            if !done {
                complaints.push(format!("began before {name} had ended"));
            }
        }
        if let Some(limit) = &workflow.concurrency {
            let going = tables.runs.values().filter(|other| {
                let begun = other.started_at.is_some() && !other.status.is_final();
                begun && other.workflow_id == run.workflow_id
            });
            let going = going.count();
            if going > limit.max as usize {
                complaints.push(format!("{going} runs go at once where {} may", limit.max));
            }
        }
        drop(tables);
        let mut outside = self.outside.lock().unwrap();
        let key = (who.run_id, task.clone(), who.item_index, who.attempt);
        if !outside.begun.insert(key) {
            complaints.push("began twice".to_owned());
        }
        *outside
            .effects
            .entry(who.idempotency_key.clone())
            .or_default() += 1;
        let named = complaints.into_iter().map(|what| {
            format!(
                "{} {task} {:?} attempt {}: {what}",
                who.run_id, who.item_index, who.attempt
            )
        });
        outside.complaints.extend(named);
    }
}

#[async_trait]
impl Invoke for Guests {
    async fn invoke(&self, invocation: Invocation) -> AttemptReport {
        self.begin(&invocation);
        let habit = self.habits[invocation.identity.task.as_str()];
        let millis = self.draws.lock().unwrap().random_range(0..=habit.millis);
        let end = self.clock.now().after(Duration::from_millis(millis));
        let outcome = tokio::select! {
            biased;
            () = invocation.cancel.cancelled() => Err(Failure::cancelled("it was told to stop")),
            () = self.clock.wait_until(end) => match invocation.identity.attempt > habit.failures {
                true => Ok(json!({ "from": invocation.identity.task.as_str() }).to_string().into()),
                false => Err(Failure::retryable(FailureSource::Task, "flaky", "try again")),
            },
        };
        AttemptReport {
            outcome,
            cpu: Duration::from_micros(7),
            memory_peak_bytes: 64,
        }
    }
}

fn attempt_row<'t>(tables: &'t Tables, invocation: &Invocation) -> Option<&'t AttemptRow> {
    let who = &invocation.identity;
    let item = who.item_index.map_or(-1, i64::from);
    tables.attempts.values().find(|row| {
        let task = &tables.tasks[&row.task_run_id];
        row.run_id == who.run_id
            && row.number == who.attempt
            && task.item_index == item
            && task.task == who.task
    })
}

fn whole<'t>(tables: &'t Tables, run: RunId, task: &str) -> Option<&'t TaskRunRow> {
    let mut rows = tables.tasks.values();
    rows.find(|row| row.run_id == run && row.item_index == -1 && row.task.as_str() == task)
}

/// A process: what it does, it does while it is driven.
struct Daemon {
    runtime: Runtime,
    engine: EngineHandle,
    instance: usize,
    frozen_until: Option<Timestamp>,
}

struct World {
    seed: u64,
    rng: StdRng,
    /// Draws what came later, so that a seed's storm stays what it was.
    aside: StdRng,
    weather: Weather,
    store: Arc<FakeStore>,
    clock: ManualClock,
    guests: Arc<Guests>,
    workflows: Vec<Arc<Workflow>>,
    workflow_ids: Vec<WorkflowId>,
    daemons: Vec<Daemon>,
    acknowledged: Arc<Mutex<Vec<RunId>>>,
    triggers: usize,
    /// Whether nothing is to be killed, frozen, lost or cancelled.
    calm: bool,
    /// Where the clock is set back and forward, draws of its own, so that a seed's storm is the same without.
    jumps: Option<StdRng>,
    /// How often it may still be set back: what waits for a time waits an hour longer each.
    backs: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut aside = StdRng::seed_from_u64(!seed);
        let weather = Weather::drawn(&mut rng);
        let mut habits = HashMap::new();
        let mut workflows: Vec<_> = (0..3)
            .map(|number| drawing::workflow(&mut rng, &mut aside, number, &mut habits))
            .collect();
        kin::add(&mut rng, &mut workflows, &mut habits);
        let clock = ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000));
        let store = FakeStore::on(clock.clone());
        publish(&store, &workflows);
        let by_version = workflows
            .iter()
            .map(|workflow| (workflow.version, Arc::clone(workflow)))
            .collect();
        let guests = Arc::new(Guests {
            store: Arc::clone(&store),
            clock: clock.clone(),
            habits: Arc::new(habits),
            workflows: Arc::new(by_version),
            outside: Arc::default(),
            draws: Mutex::new(StdRng::seed_from_u64(rng.random())),
        });
        let mut world = Self {
            seed,
            calm: weather.is_fair(),
            rng,
            aside,
            weather,
            store,
            clock,
            guests,
            workflow_ids: workflows.iter().map(|_| WorkflowId::generate()).collect(),
            workflows,
            daemons: Vec::new(),
            acknowledged: Arc::default(),
            triggers: 0,
            jumps: None,
            backs: 2,
        };
        for instance in 0..world.rng.random_range(1..=DAEMONS) {
            world.start(instance);
        }
        world
    }

    fn start(&mut self, instance: usize) {
        let runtime = Builder::new_current_thread().build().unwrap();
        let parts = Parts {
            store: Arc::clone(&self.store) as Arc<dyn Store>,
            invoke: Arc::clone(&self.guests) as Arc<dyn Invoke>,
            clock: Arc::new(self.clock.clone()),
            versions: versions(&self.workflows[0], &self.workflows[1..]),
            settings: Settings {
                instance: format!("instance-{instance}"),
                slots: self.rng.random_range(1..9),
                active_runs: self.rng.random_range(1..9),
                batch: self.rng.random_range(1..9),
                ..settings()
            },
        };
        let engine = runtime.block_on(async { Engine::new(parts).start() });
        self.daemons.push(Daemon {
            runtime,
            engine,
            instance,
            frozen_until: None,
        });
    }

    fn any(&mut self) -> Option<usize> {
        let many = self.daemons.len();
        (many > 0).then(|| self.rng.random_range(0..many))
    }

    fn happens(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    /// Polls a daemon's tasks that many times.
    fn drive(&mut self, at: usize, polls: usize) {
        let now = self.clock.now();
        let daemon = &mut self.daemons[at];
        if daemon.frozen_until.is_some_and(|until| until > now) {
            return;
        }
        daemon.frozen_until = None;
        daemon.runtime.block_on(async {
            for _ in 0..polls {
                tokio::task::yield_now().await;
            }
        });
    }

    fn trigger(&mut self) {
        let Some(at) = self.any() else { return };
        self.triggers += 1;
        let which = self.rng.random_range(0..self.workflows.len());
        let mut wanted = request(&self.workflows[which]);
        wanted.workflow_id = self.workflow_ids[which];
        wanted.priority = Some(self.aside.random_range(-1..2));
        // Some callers try again with the same key.
        wanted.idempotency_key =
            (self.rng.random_range(0..3) == 0).then(|| format!("key {}", self.triggers / 2));
        let (engine, acknowledged) = (
            self.daemons[at].engine.clone(),
            Arc::clone(&self.acknowledged),
        );
        self.daemons[at].runtime.spawn(async move {
            if let Ok(accepted) = engine.trigger(wanted).await {
                acknowledged.lock().unwrap().push(accepted.run_id);
            }
        });
    }

    fn cancel(&mut self) {
        let runs: Vec<_> = self.store.tables().runs.keys().copied().collect();
        if let (Some(at), false) = (self.any(), runs.is_empty()) {
            let run = runs[self.rng.random_range(0..runs.len())];
            let engine = self.daemons[at].engine.clone();
            self.daemons[at].runtime.spawn(async move {
                // Whether it was ordered shows in how the run ends.
                let _ = engine.cancel(run, "the storm").await;
            });
        }
    }

    fn storm(&mut self) {
        self.jump();
        if self.aside.random_range(0..20) == 0 {
            self.redrive();
        }
        if self.triggers < RUNS && self.happens(self.weather.trigger) {
            self.trigger();
        }
        if self.happens(self.weather.cancel) {
            self.cancel();
        }
        if self.happens(self.weather.kill)
            && let Some(at) = self.any()
        {
            let dead = self.daemons.swap_remove(at);
            let instance = dead.instance;
            drop(dead);
            if self.rng.random_range(0..3) > 0 {
                self.start(instance);
            }
        }
        if self.happens(self.weather.freeze)
            && let Some(at) = self.any()
        {
            let seconds = [1, 20, 45, 90][self.rng.random_range(0..4)];
            let until = self.clock.now().after(Duration::from_secs(seconds));
            self.daemons[at].frozen_until = Some(until);
        }
        if self.happens(self.weather.drain)
            && let Some(at) = self.any()
        {
            let engine = self.daemons[at].engine.clone();
            let grace = Duration::from_millis(self.rng.random_range(0..3_000));
            self.daemons[at].runtime.spawn(async move {
                engine.drain(grace).await;
            });
        }
        if self.happens(self.weather.store_away) {
            let away = self.rng.random_range(0..3) == 0;
            self.store.tables().down = away;
        }
        let fault = match self.happens(self.weather.fault) {
            true => [
                Some(Fault::Before),
                Some(Fault::AfterButError),
                Some(Fault::Full),
            ][self.rng.random_range(0..3)],
            false => None,
        };
        if let Some(fault) = fault {
            self.store.fail_next(fault);
        }
    }

    fn run(mut self) {
        for _ in 0..STORM {
            self.storm();
            if let Some(at) = self.any() {
                let polls = self.rng.random_range(1..30);
                self.drive(at, polls);
            }
            let by = [0, 0, 1, 30, 700, 4_000][self.rng.random_range(0..6)];
            self.clock.advance(Duration::from_millis(by));
        }
        self.clear();
        let wrong = self.judged();
        assert!(
            wrong.is_empty(),
            "seed {}: {} faults:\n{}",
            self.seed,
            wrong.len(),
            wrong.join("\n")
        );
    }

    /// The weather clears: everything that was acknowledged must come to its end.
    fn clear(&mut self) {
        self.store.tables().down = false;
        self.start(DAEMONS);
        for round in 0..CALM {
            for at in 0..self.daemons.len() {
                self.daemons[at].frozen_until = None;
                self.drive(at, 40);
            }
            if self.has_ended() {
                return;
            }
            // After a clock that was set back, what is due is hours away.
            let by = if round < BRISK { 500 } else { 10_000 };
            self.clock.advance(Duration::from_millis(by));
        }
        let is_open = |run: &&RunRow| !run.status.is_final();
        let open: Vec<_> = {
            let tables = self.store.tables();
            let open = tables.runs.values().filter(is_open);
            open.map(|run| (run.run_id, run.status, run.owner, run.lease_epoch))
                .collect()
        };
        panic!("seed {}: these runs do not end: {open:?}", self.seed);
    }

    fn has_ended(&self) -> bool {
        let acknowledged = self.acknowledged.lock().unwrap();
        let tables = self.store.tables();
        let ended = |run: &RunId| {
            tables
                .runs
                .get(run)
                .is_some_and(|row| row.status.is_final())
        };
        acknowledged.iter().all(ended)
            && tables.runs.values().all(|row| row.status.is_final())
            && kin::all_delivered(&tables)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_storm_every_acknowledged_run_ends_and_nothing_is_recorded_twice(seed in any::<u64>()) {
        World::new(seed).run();
    }

    #[test]
    fn whatever_becomes_of_the_clock_every_acknowledged_run_ends_and_nothing_is_recorded_twice(seed in any::<u64>()) {
        World::new(seed).with_jumps().run();
    }
}

/// Seeds that found something once: outcomes and readings of an earlier lease, heard after the run had been
/// claimed anew, took the new one out of memory.
#[test]
fn storms_that_once_lost_a_run_or_counted_an_attempt_twice_are_weathered() {
    for seed in [
        2_870_079_976_023_557_941,
        2_705_678_528_456_048_458,
        13_481_261_137_890_216_173,
    ] {
        World::new(seed).run();
    }
}

/// What the storms of some seeds came to.
fn storms(seeds: u64, lax: bool) -> (usize, usize, usize, usize) {
    let (mut runs, mut fenced, mut interrupted, mut faults) = (0, 0, 0, 0);
    for seed in 0..seeds {
        let world = World::new(seed);
        let store = Arc::clone(&world.store);
        store.tables().lax = lax;
        let judged = std::panic::catch_unwind(AssertUnwindSafe(|| world.run()));
        faults += usize::from(judged.is_err());
        if lax && faults > 0 {
            // One is enough to see that it is seen.
            break;
        }
        let tables = store.tables();
        runs += tables.runs.len();
        fenced += tables.fenced;
        let cut = |attempt: &&AttemptRow| attempt.status == Status::Interrupted;
        interrupted += tables.attempts.values().filter(cut).count();
    }
    (runs, fenced, interrupted, faults)
}

#[test]
fn the_storms_cut_attempts_off_and_wake_zombies() {
    let (runs, fenced, interrupted, faults) = storms(60, false);
    assert!(
        runs > 200 && fenced > 0 && interrupted > 20,
        "{runs} {fenced} {interrupted}"
    );
    assert_eq!(faults, 0);
}

#[test]
fn the_judge_sees_that_a_store_without_lanes_lets_too_many_go() {
    let faults = (0..60).filter(|seed| {
        let world = World::new(*seed);
        world.store.tables().turns.lax = true;
        std::panic::catch_unwind(AssertUnwindSafe(|| world.run())).is_err()
    });
    assert!(faults.count() > 0);
}

#[test]
fn the_judge_sees_what_zombies_do_to_a_store_without_a_fence() {
    let (_, _, _, faults) = storms(60, true);
    assert!(faults > 0);
}

#[test]
fn the_lease_of_the_simulated_store_is_that_of_the_real_ones() {
    // A frozen daemon of the storm must sometimes lose its runs and sometimes keep them.
    assert!(LEASE > Duration::from_secs(20) && LEASE < Duration::from_secs(45));
}
