//! Any workflow, any order of events, a crash at any point: what must always hold.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::event::{Ending, Event, Unit};
use super::failure::{Failure, FailureSource};
use super::graph::Graph;
use super::state::{RunState, Stop};
use super::status::Status;
use super::testing::{Draft, Player, draft, for_each, records};
use crate::workflow::model::{JobIndex, OnFailure, OnInterrupt, RunOn, TaskIndex};

#[derive(Debug, Clone)]
struct TaskPlan {
    needs: Vec<bool>,
    items: Option<(usize, u32)>,
    attempts: u32,
    tolerated: bool,
    fragile: bool,
}

#[derive(Debug, Clone)]
struct JobPlan {
    needs: Vec<bool>,
    run_on: u8,
    tasks: Vec<TaskPlan>,
}

fn plan() -> impl Strategy<Value = Vec<JobPlan>> {
    let task = (
        prop::collection::vec(any::<bool>(), 4),
        prop::option::weighted(0.2, (0..5_usize, 1..3_u32)),
        1..3_u32,
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.2),
    )
        .prop_map(|(needs, items, attempts, tolerated, fragile)| TaskPlan {
            needs,
            items,
            attempts,
            tolerated,
            fragile,
        });
    let job = (
        prop::collection::vec(any::<bool>(), 4),
        0..4_u8,
        prop::collection::vec(task, 0..4),
    )
        .prop_map(|(needs, run_on, tasks)| JobPlan {
            needs,
            run_on,
            tasks,
        });
    prop::collection::vec(job, 0..5)
}

fn build(plan: &[JobPlan]) -> Draft {
    let mut draft = draft();
    for (at, job) in plan.iter().enumerate() {
        draft = draft.job_with(&format!("j{at}"), |spec| {
            spec.needs = (0..at)
                .filter(|b| job.needs.get(*b) == Some(&true))
                .map(|b| JobIndex(b as u32))
                .collect();
            spec.run_on = match job.run_on {
                0 => RunOn::Failure,
                1 => RunOn::Always,
                _ => RunOn::Success,
            };
        });
        let first = draft.0.tasks.len();
        for (t, task) in job.tasks.iter().enumerate() {
            draft = draft.task_with(&format!("t{at}-{t}"), |spec| {
                spec.needs = (0..t)
                    .filter(|b| task.needs.get(*b) == Some(&true))
                    .map(|b| TaskIndex((first + b) as u32))
                    .collect();
                spec.for_each = task.items.and_then(|(n, parallel)| for_each(n, parallel));
                spec.retry.attempts = task.attempts;
                if task.tolerated {
                    spec.on_failure = OnFailure::Continue;
                }
                if task.fragile {
                    spec.on_interrupt = OnInterrupt::Fail;
                }
            });
        }
    }
    draft
}

/// One act of the world: which attempt ends how, or what else happens.
#[derive(Debug, Clone, Copy)]
struct Act {
    what: u8,
    which: usize,
    room: usize,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = (any::<u8>(), any::<usize>(), 0..4_usize).prop_map(|(what, which, room)| Act {
        what,
        which,
        room,
    });
    prop::collection::vec(act, 0..60)
}

fn broken() -> Failure {
    Failure::retryable(FailureSource::Task, "broken", "it broke")
}

fn act(player: &mut Player, act: Act) {
    let running: Vec<Unit> = player.state.running().collect();
    let unit = running.get(act.which % running.len().max(1)).copied();
    let ending = match act.what {
        0..=120 => Ending::Succeeded,
        121..=180 => Ending::Failed(broken()),
        181..=200 => Ending::Interrupted,
        201..=215 => Ending::Released,
        216..=245 => {
            player.now = player.now.after(Duration::from_secs(1));
            player.apply(Event::TimerDue);
            return player.go(act.room);
        }
        246..=249 => {
            player.apply(Event::Cancel {
                reason: "enough".into(),
            });
            return player.go(act.room);
        }
        250 => {
            player.apply(Event::TimedOut);
            return player.go(act.room);
        }
        _ => {
            crash(player);
            return player.go(act.room);
        }
    };
    if let Some(unit) = unit {
        let attempt = player.state.unit(unit).attempts();
        let event = Event::Ended {
            unit,
            attempt,
            ending,
            draw: 0.5,
        };
        assert!(player.apply(event.clone()));
        assert!(!player.apply(event), "an attempt ended twice");
    }
    player.go(act.room);
}

/// The owner dies; another restores the run from its records.
fn crash(player: &mut Player) {
    if player.state.record().status.is_final() {
        return;
    }
    let stop = player.state.stop.clone();
    let graph = Arc::clone(player.state.graph());
    player.state = RunState::restore(graph, records(&player.state), player.now);
    // The order to stop is still there: it is consumed by the step that ends the run.
    match stop {
        Some(Stop::Cancelled(reason)) => player.apply(Event::Cancel { reason }),
        Some(Stop::TimedOut) => player.apply(Event::TimedOut),
        None => false,
    };
    let running: Vec<Unit> = player.state.running().collect();
    for unit in running {
        let attempt = player.state.unit(unit).attempts();
        let ending = Ending::Interrupted;
        assert!(player.apply(Event::Ended {
            unit,
            attempt,
            ending,
            draw: 0.5
        }));
    }
}

fn finish(player: &mut Player) {
    for _ in 0..10_000 {
        player.go(usize::MAX);
        if let Some(unit) = player.first_running() {
            player.end(unit, Ending::Succeeded);
        } else if let Some(at) = player.state.next_retry() {
            player.now = at;
            player.apply(Event::TimerDue);
        } else {
            return;
        }
    }
    panic!("the run does not end");
}

/// What of a state decides its future, and nothing else.
fn future(state: &RunState) -> String {
    if state.run.status.is_final() {
        return format!("{:?}", state.run);
    }
    let jobs: Vec<_> = state
        .jobs
        .iter()
        .filter(|job| !job.record.status.is_final())
        .map(|job| (job.record, job.unmet, job.tainted, job.open, job.stopped))
        .collect();
    let tasks: Vec<_> = state
        .tasks
        .iter()
        .filter(|task| !task.record.status.is_final())
        .map(|task| {
            let record = &task.record;
            let each = task.each.as_ref();
            // A run that is being stopped begins no items, however many there are.
            let going = state.stop.is_none();
            let each = each.map(|each| {
                let total = each.total.filter(|_| going);
                (total, each.in_play, each.failed.is_some())
            });
            (
                record.status,
                record.attempts,
                record.failures,
                task.unmet,
                each,
            )
        })
        .collect();
    format!(
        "{:?} {jobs:?} {tasks:?} {:?} {:?} {:?} {:?} {} {}",
        state.run,
        state.undecided,
        state.ready,
        state.retries,
        state.running,
        state.open_jobs,
        state.stop.is_some(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_run_ends_and_nothing_starts_twice_or_too_early(plan in plan(), acts in acts()) {
        let mut player = build(&plan).start();
        for one in acts {
            act(&mut player, one);
        }
        finish(&mut player);
        let state = &player.state;
        prop_assert!(state.record().status.is_final(), "{}", future(state));
        let mut seen = HashSet::new();
        for start in &player.started {
            prop_assert!(seen.insert(*start), "{start:?} began twice");
        }
        let workflow = state.graph().workflow();
        for (at, task) in workflow.tasks.iter().enumerate() {
            let unit = Unit::whole(TaskIndex(at as u32));
            let record = state.unit(unit).record();
            prop_assert!(record.status.is_final(), "{} is {}", task.name, record.status);
            if let (Some(began), true) = (record.started_at, record.status == Status::Succeeded) {
                for need in &task.needs {
                    let need = state.unit(Unit::whole(*need)).record();
                    prop_assert!(need.finished_at.is_some_and(|ended| ended <= began));
                }
            }
        }
        let failed = state.jobs.iter().any(|job| job.record.status == Status::Failed);
        if state.stop.is_none() {
            prop_assert_eq!(failed, state.record().status == Status::Failed);
        }
    }

    #[test]
    fn a_state_restored_from_its_records_has_the_same_future(plan in plan(), acts in acts()) {
        let mut player = build(&plan).start();
        player.go(2);
        for one in acts {
            act(&mut player, one);
            // Answer what needs no room, as an owner does before it commits.
            player.go(0);
            let graph = Arc::clone(player.state.graph());
            let mut other = Player::new(graph);
            other.now = player.now;
            other.state = RunState::restore(Arc::clone(player.state.graph()), records(&player.state), player.now);
            match player.state.stop.clone() {
                Some(Stop::Cancelled(reason)) => other.apply(Event::Cancel { reason }),
                Some(Stop::TimedOut) => other.apply(Event::TimedOut),
                None => false,
            };
            other.go(0);
            prop_assert_eq!(future(&other.state), future(&player.state));
        }
    }

    #[test]
    fn the_same_events_give_the_same_run(plan in plan(), acts in acts()) {
        let graph = Arc::new(Graph::new(build(&plan).build()));
        let mut one = Player::new(Arc::clone(&graph));
        let mut two = Player::new(graph);
        for a in acts {
            act(&mut one, a);
            act(&mut two, a);
            prop_assert_eq!(future(&one.state), future(&two.state));
        }
        prop_assert_eq!(one.started, two.started);
    }
}
