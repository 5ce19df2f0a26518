//! The engine's promises in foul weather: lost commits, dead processes, zombies, refused data.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use super::testing::{
    FakeInvoke, FakeStore, Fault, World, at_once, failing, launch, quick, request, settings,
};
use super::{EngineHandle, TriggerError};
use crate::id::RunId;
use crate::run::failure::{Failure, FailureSource};
use crate::run::status::Status;
use crate::run::testing::{draft, for_each};
use crate::store::Store;
use crate::workflow::model::{OnFailure, OnInterrupt, Workflow};

fn flaky() -> Failure {
    Failure::retryable(FailureSource::Task, "flaky", "try again")
}

/// Everything that writes: a retry, items, a tolerated failure, parallel tasks, two jobs.
fn everything() -> Arc<Workflow> {
    draft()
        .job("a")
        .task_with("shaky", |t| {
            t.retry.attempts = 3;
            t.retry.delay = Duration::from_millis(1);
        })
        .task_with("each", |t| t.for_each = for_each(3, 2))
        .task_with("odd", |t| t.on_failure = OnFailure::Continue)
        .job("b")
        .task("left")
        .task_with("right", |t| t.needs.clear())
        .task("last")
        .build()
}

fn troubles() -> Vec<(&'static str, Failure)> {
    let odd = Failure::permanent(FailureSource::Task, "odd", "always");
    vec![("shaky", flaky()), ("odd", odd)]
}

fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

fn check(store: &FakeStore, run: RunId) {
    let row = store.run(run);
    assert_eq!(row.status, Status::Succeeded, "{:?}", row.failure_message);
    assert_eq!(row.tolerated_failures, 1);
    assert_eq!(store.output(run, "each").as_array().unwrap().len(), 3);
    let tables = store.tables();
    let mut outputs = HashSet::new();
    for io in tables
        .io
        .values()
        .filter(|io| io.kind == crate::store::rows::IoKind::Output)
    {
        assert!(
            outputs.insert(io.task_run_id),
            "two outputs of one task run"
        );
    }
    for attempt in tables.attempts.values() {
        let status = attempt.status;
        assert!(
            status.is_final() || status == Status::Interrupted,
            "attempt left {status}"
        );
    }
    for task in tables.tasks.values() {
        let mut done = tables
            .attempts
            .values()
            .filter(|a| a.task_run_id == task.task_run_id && a.status == Status::Succeeded);
        assert!(
            done.next().is_none() || done.next().is_none(),
            "{} ran twice",
            task.task
        );
    }
}

async fn finish(engine: &EngineHandle, run: RunId) -> Status {
    let wait = tokio::time::timeout(Duration::from_secs(20), engine.wait(run));
    wait.await.expect("the run does not end").unwrap()
}

#[test]
fn a_commit_lost_at_any_point_loses_nothing_and_repeats_nothing() {
    for fault in [Fault::Before, Fault::AfterButError] {
        for at in 1..14 {
            runtime().block_on(async {
                let (store, workflow) = (FakeStore::new(), everything());
                store.fail(at, fault);
                let (settings, clock) = quick();
                let script = failing(&troubles());
                let (engine, invoke) = launch(&store, &workflow, settings, script, clock);
                let run = engine.trigger(request(&workflow)).await.unwrap().run_id;
                assert_eq!(
                    finish(&engine, run).await,
                    Status::Succeeded,
                    "{fault:?} at {at}"
                );
                check(&store, run);
                // Nothing was cut off, so nothing may have run more often than it failed.
                assert_eq!(invoke.begun.lock().unwrap().len(), 9, "{fault:?} at {at}");
            });
        }
    }
}

#[test]
fn a_process_that_dies_at_any_commit_is_continued_by_the_next() {
    for fault in [Fault::HangBefore, Fault::HangAfter] {
        for at in 0..14 {
            let (store, workflow) = (FakeStore::new(), everything());
            store.fail(at, fault);
            let first = runtime();
            let run = first.block_on(die(&store, &workflow, at));
            first.shutdown_background();
            runtime().block_on(async {
                let (settings, clock) = quick();
                let script = failing(&[troubles().remove(1)]);
                let (engine, _) = launch(&store, &workflow, settings, script, clock);
                let stored = store.tables().runs.keys().next().copied();
                let Some(stored) = stored else {
                    assert_eq!((fault, at, run), (Fault::HangBefore, 0, None));
                    return;
                };
                assert!(run.is_none_or(|run| run == stored));
                assert_eq!(
                    finish(&engine, stored).await,
                    Status::Succeeded,
                    "{fault:?} at {at}"
                );
                check(&store, stored);
            });
        }
    }
}

/// Runs until the commit that never answers.
async fn die(store: &Arc<FakeStore>, workflow: &Arc<Workflow>, at: usize) -> Option<RunId> {
    let (settings, clock) = quick();
    let (engine, _) = launch(store, workflow, settings, failing(&troubles()), clock);
    let mut sealed = store.sealed.subscribe();
    let accepted = Arc::new(Mutex::new(None));
    let (told, wanted) = (Arc::clone(&accepted), request(workflow));
    let trigger = engine.clone();
    tokio::spawn(async move {
        if let Ok(answer) = trigger.trigger(wanted).await {
            *told.lock().unwrap() = Some(answer.run_id);
        }
    });
    let over = |sealed: &usize| {
        *sealed > at
            || store
                .tables()
                .runs
                .values()
                .any(|run| run.status.is_final())
    };
    sealed.wait_for(over).await.unwrap();
    *accepted.lock().unwrap()
}

#[tokio::test]
async fn an_insert_whose_outcome_was_lost_is_looked_up() {
    let mut world = World::new(draft().job("a").task("one").build());
    world.store.fail_next(Fault::AfterButError);
    let run = world.trigger().await;
    world.pass("one").await;
    assert_eq!(world.engine.wait(run).await.unwrap(), Status::Succeeded);
    world.store.fail_next(Fault::Before);
    let lost = world.engine.trigger(world.request()).await;
    assert!(matches!(lost, Err(TriggerError::Unavailable { .. })));
    assert_eq!(world.store.tables().runs.len(), 1);
    assert!(world.engine.active_runs().await.is_empty());
}

#[tokio::test]
async fn a_store_that_is_down_refuses_triggers_and_runs_go_on_when_it_is_back() {
    let mut world = World::new(draft().job("a").task("one").task("two").build());
    let run = world.trigger().await;
    let guest = world.guest().await;
    world.store.tables().down = true;
    let refused = world.engine.trigger(world.request()).await;
    assert!(matches!(refused, Err(TriggerError::Unavailable { .. })));
    guest.succeed(json!({}));
    let mut health = world.engine.health();
    health
        .wait_for(|health| health.store.is_err())
        .await
        .unwrap();
    world.store.tables().down = false;
    let two = loop {
        tokio::select! {
            guest = world.guests.recv() => break guest.unwrap(),
            () = tokio::task::yield_now() => world.clock.advance(Duration::from_millis(50)),
        }
    };
    assert_eq!(two.task(), "two");
    two.succeed(json!({}));
    assert_eq!(world.engine.wait(run).await.unwrap(), Status::Succeeded);
    assert_eq!(world.begun(), ["one", "two"]);
}

#[tokio::test]
async fn a_zombie_records_nothing() {
    let mut world = World::new(draft().job("a").task("one").task("two").build());
    let run = world.trigger().await;
    let guest = world.guest().await;
    // Another daemon takes the run over while this one is not looking.
    let other = crate::id::DaemonId::generate();
    world.store.heartbeat(other, "elsewhere").await.unwrap();
    {
        let mut tables = world.store.tables();
        let row = tables.runs.get_mut(&run).unwrap();
        row.owner = Some(other);
        row.lease_epoch += 1;
    }
    guest.succeed(json!({ "from": "a ghost" }));
    let mut health = world.engine.health();
    health
        .wait_for(|health| health.active_runs == 0)
        .await
        .unwrap();
    assert_eq!(
        world.store.task(run, "one", -1).unwrap().status,
        Status::Running
    );
    assert_eq!(world.begun(), ["one"]);
}

#[tokio::test]
async fn an_outcome_of_an_earlier_lease_leaves_the_run_alone_that_was_claimed_anew() {
    let mut world = World::new(draft().job("a").task("one").task("two").build());
    let run = world.trigger().await;
    let guest = world.guest().await;
    world.store.hold.send_replace(true);
    let mut begun = world.store.begun.subscribe();
    begun.mark_unchanged();
    guest.succeed(json!({}));
    begun.changed().await.unwrap();
    // While that commit is on its way, another daemon has had the run and has given it back.
    {
        let mut tables = world.store.tables();
        let row = tables.runs.get_mut(&run).unwrap();
        row.owner = None;
        row.lease_epoch += 1;
    }
    let claimed = async {
        while world.store.run(run).lease_epoch != 3 {
            world.clock.advance(Duration::from_millis(50));
            tokio::task::yield_now().await;
        }
        // The claim is heard, and what it asks for is read.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    };
    claimed.await;
    world.store.hold.send_replace(false);
    let rest = async {
        world.pass("one").await;
        world.pass("two").await;
        world.engine.wait(run).await.unwrap()
    };
    let rest = tokio::time::timeout(Duration::from_secs(20), rest).await;
    assert_eq!(rest.expect("the run lies there"), Status::Succeeded);
    assert_eq!(world.store.attempts(run, "one").len(), 2);
}

#[tokio::test]
async fn an_at_most_once_attempt_that_died_with_its_daemon_is_not_begun_again() {
    let workflow = draft()
        .job("a")
        .task_with("one", |t| t.on_interrupt = OnInterrupt::Fail)
        .build();
    let mut world = World::new(Arc::clone(&workflow));
    let run = world.trigger().await;
    let _guest = world.guest().await;
    let next = World::over(Arc::clone(&world.store), workflow, settings());
    assert_eq!(next.engine.wait(run).await.unwrap(), Status::Failed);
    assert_eq!(
        world.store.run(run).failure_code.as_deref(),
        Some("interrupted")
    );
    assert!(next.begun().is_empty());
}

#[tokio::test]
async fn a_task_that_kills_three_daemons_is_poison() {
    let workflow = draft().job("a").task("one").build();
    let mut world = World::new(Arc::clone(&workflow));
    let run = world.trigger().await;
    let mut guests = vec![world.guest().await];
    for _ in 0..2 {
        let mut next = World::over(Arc::clone(&world.store), Arc::clone(&workflow), settings());
        guests.push(next.guest().await);
    }
    let last = World::over(Arc::clone(&world.store), workflow, settings());
    assert_eq!(last.engine.wait(run).await.unwrap(), Status::Failed);
    assert_eq!(world.store.run(run).failure_code.as_deref(), Some("poison"));
    let task = world.store.task(run, "one", -1).unwrap();
    assert_eq!((task.attempts, task.interrupts), (3, 3));
}

#[tokio::test]
async fn a_cancel_that_was_ordered_before_a_crash_is_carried_out_after_it() {
    let workflow = draft().job("a").task("one").task("two").build();
    let mut world = World::new(Arc::clone(&workflow));
    let run = world.trigger().await;
    let guest = world.guest().await;
    // From here on the first process writes nothing any more.
    world.store.fail_next(Fault::HangBefore);
    world.engine.cancel(run, "enough").await.unwrap();
    guest.invocation.cancel.cancelled().await;
    let next = World::over(Arc::clone(&world.store), workflow, settings());
    assert_eq!(next.engine.wait(run).await.unwrap(), Status::Cancelled);
    assert!(next.begun().is_empty());
    assert!(world.store.tables().orders.is_empty());
}

#[tokio::test]
async fn an_output_that_the_store_refuses_fails_its_task_and_not_its_neighbours() {
    let mut world = World::new(draft().job("a").task("one").build());
    let run = world.trigger().await;
    let other = world.trigger().await;
    let (first, second) = (world.guest().await, world.guest().await);
    world.store.fail_next(Fault::Reject);
    first.succeed(json!({}));
    assert_eq!(world.engine.wait(run).await.unwrap(), Status::Failed);
    assert_eq!(
        world.store.run(run).failure_code.as_deref(),
        Some("store.rejected")
    );
    second.succeed(json!({}));
    assert_eq!(world.engine.wait(other).await.unwrap(), Status::Succeeded);
}

#[test]
fn many_runs_in_a_storm_of_lost_commits_all_end_once() {
    runtime().block_on(async {
        let (store, workflow) = (FakeStore::new(), everything());
        for at in (3..400).step_by(3) {
            let fault = if at % 2 == 0 {
                Fault::Before
            } else {
                Fault::AfterButError
            };
            store.fail(at, fault);
        }
        let (mut settings, clock) = quick();
        settings.slots = 5;
        settings.active_runs = 7;
        let (engine, invoke): (_, Arc<FakeInvoke>) =
            launch(&store, &workflow, settings, at_once(), clock);
        let mut runs = Vec::new();
        for _ in 0..30 {
            match engine.trigger(request(&workflow)).await {
                Ok(accepted) => runs.push(accepted.run_id),
                Err(TriggerError::Unavailable { run_id, .. }) => {
                    let stored = store.tables().runs.contains_key(&run_id);
                    assert!(!stored, "a stored run was reported as lost");
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        for run in &runs {
            assert_eq!(finish(&engine, *run).await, Status::Succeeded);
        }
        assert_eq!(store.tables().runs.len(), runs.len());
        // FakeInvoke refuses a second start of any attempt; here none was even repeated.
        assert_eq!(invoke.begun.lock().unwrap().len(), runs.len() * 8);
    });
}

#[test]
fn a_cancel_at_any_moment_ends_the_run_whatever_commit_is_lost() {
    for fault in [Fault::Before, Fault::AfterButError] {
        for moment in 1..8 {
            for at in moment..moment + 3 {
                runtime().block_on(async {
                    let (store, workflow) = (FakeStore::new(), everything());
                    store.fail(at, fault);
                    let (settings, clock) = quick();
                    let script = failing(&troubles());
                    let (engine, _) = launch(&store, &workflow, settings, script, clock);
                    let run = engine.trigger(request(&workflow)).await.unwrap().run_id;
                    let mut sealed = store.sealed.subscribe();
                    sealed.wait_for(|commits| *commits >= moment).await.unwrap();
                    engine.cancel(run, "enough").await.unwrap();
                    let status = finish(&engine, run).await;
                    assert!(matches!(status, Status::Cancelled | Status::Succeeded));
                    let tables = store.tables();
                    for task in tables.tasks.values() {
                        assert!(task.status.is_final(), "{} is {}", task.task, task.status);
                    }
                    for attempt in tables.attempts.values() {
                        assert!(
                            attempt.status.is_final(),
                            "an attempt is {}",
                            attempt.status
                        );
                    }
                });
            }
        }
    }
}

#[tokio::test]
async fn a_stop_without_a_store_leaves_at_last_and_the_next_owner_goes_on() {
    let workflow = draft().job("a").task("one").build();
    let mut world = World::new(Arc::clone(&workflow));
    let run = world.trigger().await;
    let guest = world.guest().await;
    world.store.tables().down = true;
    let engine = world.engine.clone();
    let stop = tokio::spawn(async move { engine.drain(Duration::ZERO).await });
    guest.invocation.cancel.cancelled().await;
    let mut health = world.engine.health();
    health
        .wait_for(|health| health.store.is_err())
        .await
        .unwrap();
    world.clock.advance(Duration::from_secs(5));
    assert_eq!(stop.await.unwrap().stopped, 1);
    world.store.tables().down = false;
    let mut next = World::over(Arc::clone(&world.store), workflow, settings());
    next.pass("one").await;
    assert_eq!(next.engine.wait(run).await.unwrap(), Status::Succeeded);
}

#[tokio::test]
async fn a_store_that_is_down_from_the_start_refuses_triggers_until_it_answers() {
    let store = FakeStore::new();
    store.tables().down = true;
    let workflow = draft().job("a").task("one").build();
    let mut world = World::over(store, workflow, settings());
    let refused = world.engine.trigger(world.request()).await;
    assert!(matches!(refused, Err(TriggerError::Unavailable { .. })));
    world.store.tables().down = false;
    world.clock.advance(Duration::from_secs(5));
    let mut health = world.engine.health();
    health
        .wait_for(|health| health.store.is_ok())
        .await
        .unwrap();
    let run = world.trigger().await;
    world.pass("one").await;
    assert_eq!(world.engine.wait(run).await.unwrap(), Status::Succeeded);
}

#[tokio::test]
async fn a_clock_that_is_set_back_does_not_silence_the_daemon() {
    let mut world = World::new(draft().job("a").task("one").build());
    let run = world.trigger().await;
    let beats = |world: &World| world.store.tables().beats;
    let before = crate::clock::Clock::now(&world.clock);
    let hour = Duration::from_secs(3_600).as_micros() as i64;
    let back = crate::clock::Timestamp::from_micros(before.as_micros() - hour);
    world.clock.set(back);
    for wanted in 1..4 {
        while beats(&world) < wanted {
            world.clock.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
    }
    assert!(crate::clock::Clock::now(&world.clock) < before);
    world.pass("one").await;
    assert_eq!(world.engine.wait(run).await.unwrap(), Status::Succeeded);
}
