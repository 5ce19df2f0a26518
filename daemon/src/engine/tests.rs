//! The engine's promises in fair weather: order, cancel, retries, limits.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::testing::{FakeStore, Fault, World, settings};
use super::{Cancelled, EngineEvent, Settings, TriggerError};
use crate::broker::journal::{HostCall, Line};
use crate::id::RunId;
use crate::run::failure::{Failure, FailureSource};
use crate::run::status::{Level, Status};
use crate::run::testing::{draft, for_each};
use crate::store::rows::IoKind;
use crate::workflow::expression::Template;
use crate::workflow::model::{OnFailure, RunOn, Workflow};

fn broken() -> Failure {
    Failure::permanent(FailureSource::Task, "broken", "it broke")
}

fn flaky() -> Failure {
    Failure::retryable(FailureSource::Task, "flaky", "try again")
}

fn three() -> Arc<Workflow> {
    draft()
        .job("a")
        .task("one")
        .task("two")
        .job("b")
        .task("three")
        .build()
}

fn retrying() -> Arc<Workflow> {
    draft()
        .job("a")
        .task_with("one", |t| t.retry.attempts = 3)
        .build()
}

async fn ended(world: &World, run: RunId) -> Status {
    world.engine.wait(run).await.unwrap()
}

#[tokio::test]
async fn a_trigger_answers_only_after_its_commit() {
    let mut world = World::new(three());
    world.store.hold.send_replace(true);
    let request = world.request();
    let engine = world.engine.clone();
    let trigger = tokio::spawn(async move { engine.trigger(request).await });
    let mut begun = world.store.begun.subscribe();
    begun.wait_for(|commits| *commits == 1).await.unwrap();
    assert!(!trigger.is_finished());
    assert!(
        world.guests.try_recv().is_err(),
        "a guest began before the commit"
    );
    world.store.hold.send_replace(false);
    let run = trigger.await.unwrap().unwrap().run_id;
    assert_eq!(world.store.run(run).status, Status::Running);
    world.pass("one").await;
}

#[tokio::test]
async fn nine_tasks_in_a_row_cost_ten_commits() {
    let mut spec = draft();
    for job in ["a", "b", "c"] {
        spec = spec.job(job);
        for task in 0..3 {
            spec = spec.task(&format!("{job}{task}"));
        }
    }
    let mut world = World::new(spec.build());
    let run = world.trigger().await;
    for job in ["a", "b", "c"] {
        for task in 0..3 {
            world.pass(&format!("{job}{task}")).await;
        }
    }
    assert_eq!(ended(&world, run).await, Status::Succeeded);
    assert_eq!(world.store.tables().commits, 10);
    let kinds = world.store.kinds(run);
    assert_eq!(
        kinds[..4],
        ["run.accepted", "run.started", "job.started", "task.started"]
    );
    assert_eq!(kinds.last(), Some(&"run.finished"));
}

#[tokio::test]
async fn what_arrives_during_a_commit_shares_the_next_one() {
    let mut world = World::new(draft().job("a").task("one").build());
    world.trigger().await;
    world.guest().await;
    world.store.hold.send_replace(true);
    let before = *world.store.begun.borrow();
    let mut triggers = Vec::new();
    for _ in 0..40 {
        let (engine, request) = (world.engine.clone(), world.request());
        triggers.push(tokio::spawn(async move { engine.trigger(request).await }));
        tokio::task::yield_now().await;
    }
    let mut begun = world.store.begun.subscribe();
    begun.wait_for(|commits| *commits > before).await.unwrap();
    while world.engine.waiting_triggers() < 40 {
        tokio::task::yield_now().await;
    }
    // A question that is answered shows that everything sent before it was taken in.
    world.engine.active_runs().await;
    world.store.hold.send_replace(false);
    for trigger in triggers {
        trigger.await.unwrap().unwrap();
    }
    assert!(*world.store.begun.borrow() <= before + 3);
    assert!(world.store.tables().largest_batch >= 20);
}

#[tokio::test]
async fn an_attempt_is_kept_with_its_input_output_logs_and_calls() {
    let workflow = draft()
        .job("a")
        .task_with("one", |t| {
            t.with = Template::Literal(json!({ "a": 1, "b": 2 }));
            t.defaults = json!({ "a": 0, "c": 3 });
        })
        .build();
    let mut world = World::new(workflow);
    let mut request = world.request();
    request.config = json!({ "one": { "b": 5 } });
    let run = world.engine.trigger(request).await.unwrap().run_id;
    let guest = world.guest().await;
    let input: serde_json::Value = serde_json::from_str(&guest.invocation.input).unwrap();
    assert_eq!(input, json!({ "a": 1, "b": 5, "c": 3 }));
    let at = guest.invocation.identity.scheduled_at;
    let line = Line {
        at,
        level: Level::Warn,
        message: "hello".into(),
        fields: vec![("k".into(), "v".into())],
    };
    guest.invocation.journal.line(line);
    guest.invocation.journal.call(HostCall {
        kind: "http",
        target: "https://example.com/".into(),
        verb: "GET".into(),
        outcome: "200".into(),
        sent_bytes: 1,
        received_bytes: 2,
        started_at: at,
        duration_us: 3,
    });
    guest.succeed(json!({ "x": 1 }));
    assert_eq!(ended(&world, run).await, Status::Succeeded);
    let attempt = world.store.attempts(run, "one").remove(0);
    assert_eq!((attempt.status, attempt.cpu_us), (Status::Succeeded, 7));
    assert_eq!(world.store.output(run, "one"), json!({ "x": 1 }));
    let tables = world.store.tables();
    assert_eq!(tables.calls[0].attempt_id, attempt.attempt_id);
    let log = tables
        .logs
        .iter()
        .find(|(_, log)| log.kind == "log")
        .unwrap();
    assert_eq!(
        (log.1.message.as_str(), log.1.fields.as_deref()),
        ("hello", Some(r#"{"k":"v"}"#))
    );
    let input = tables
        .io
        .values()
        .find(|row| row.kind == IoKind::Input)
        .unwrap();
    let origins: serde_json::Value = serde_json::from_str(input.origins.as_ref().unwrap()).unwrap();
    assert_eq!(
        origins,
        json!({ "a": "workflow", "b": "run", "c": "module" })
    );
}

#[tokio::test]
async fn what_a_long_attempt_reports_is_stored_while_it_runs() {
    let mut world = World::new(draft().job("a").task("one").build());
    let run = world.trigger().await;
    let guest = world.guest().await;
    let at = guest.invocation.identity.scheduled_at;
    let line = Line {
        at,
        level: Level::Info,
        message: "early".into(),
        fields: Vec::new(),
    };
    guest.invocation.journal.line(line);
    world.clock.advance(Duration::from_millis(250));
    world
        .until(|tables| tables.logs.iter().any(|(_, log)| log.message == "early"))
        .await;
    guest.succeed(json!({}));
    assert_eq!(ended(&world, run).await, Status::Succeeded);
    let tables = world.store.tables();
    assert_eq!(
        tables
            .logs
            .iter()
            .filter(|(_, log)| log.message == "early")
            .count(),
        1
    );
}

#[tokio::test]
async fn the_same_idempotency_key_gives_the_same_run() {
    let mut world = World::new(draft().job("a").task("one").build());
    let mut request = world.request();
    request.idempotency_key = Some("k".into());
    let first = world.engine.trigger(request.clone()).await.unwrap();
    let second = world.engine.trigger(request).await.unwrap();
    assert!(!first.duplicate && second.duplicate);
    assert_eq!(first.run_id, second.run_id);
    world.pass("one").await;
    assert_eq!(ended(&world, first.run_id).await, Status::Succeeded);
    assert_eq!(world.begun(), ["one"]);
    assert!(world.engine.active_runs().await.is_empty());
}

#[tokio::test]
async fn a_full_queue_refuses_and_a_run_without_room_waits_in_the_store() {
    let small = Settings {
        active_runs: 1,
        queue: 1,
        ..settings()
    };
    let mut world = World::over(
        FakeStore::new(),
        draft().job("a").task("one").build(),
        small,
    );
    let first = world.trigger().await;
    let second = world.trigger().await;
    assert_eq!(world.store.run(second).status, Status::Queued);
    assert_eq!(world.store.run(second).owner, None);
    world.pass("one").await;
    assert_eq!(ended(&world, first).await, Status::Succeeded);
    world.pass("one").await;
    assert_eq!(ended(&world, second).await, Status::Succeeded);
    // The store is silent: one trigger is in its hands, one waits, the next is refused.
    world.store.tables().down = true;
    world.store.hold.send_replace(true);
    let mut refused = 0;
    let mut waiting = Vec::new();
    for _ in 0..1_500 {
        let mut call = Box::pin(world.engine.trigger(world.request()));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match call.as_mut().poll(&mut context) {
            std::task::Poll::Ready(Err(TriggerError::QueueFull)) => refused += 1,
            std::task::Poll::Ready(other) => panic!("{other:?}"),
            std::task::Poll::Pending => waiting.push(call),
        }
    }
    assert!(refused > 0);
}

#[tokio::test]
async fn a_failed_attempt_is_tried_again_when_its_wait_is_over_and_not_before() {
    let mut world = World::new(retrying());
    let run = world.trigger().await;
    world.guest().await.fail(flaky());
    world
        .until(|t| t.tasks.values().any(|row| row.status == Status::Waiting))
        .await;
    world.clock.advance(Duration::from_millis(999));
    world.engine.active_runs().await;
    assert!(world.guests.try_recv().is_err());
    world.clock.advance(Duration::from_millis(1));
    let retry_after = Failure {
        retry_after_ms: Some(30_000),
        ..flaky()
    };
    world.guest().await.fail(retry_after);
    world
        .until(|t| t.tasks.values().any(|row| row.status == Status::Waiting))
        .await;
    world.clock.advance(Duration::from_secs(29));
    world.engine.active_runs().await;
    assert!(
        world.guests.try_recv().is_err(),
        "retry-after was not honoured"
    );
    world.clock.advance(Duration::from_secs(1));
    world.guest().await.succeed(json!({}));
    assert_eq!(ended(&world, run).await, Status::Succeeded);
    let statuses: Vec<_> = world
        .store
        .attempts(run, "one")
        .iter()
        .map(|a| a.status)
        .collect();
    assert_eq!(
        statuses,
        [Status::Failed, Status::Failed, Status::Succeeded]
    );
}

#[tokio::test]
async fn a_failure_that_is_not_tolerated_fails_the_run_and_says_why() {
    let mut world = World::new(three());
    let run = world.trigger().await;
    world.guest().await.fail(broken());
    assert_eq!(ended(&world, run).await, Status::Failed);
    let row = world.store.run(run);
    assert_eq!(row.failure_code.as_deref(), Some("broken"));
    assert_eq!(
        row.failure_message.as_deref(),
        Some("task `one` failed: it broke")
    );
    assert_eq!(
        world.store.task(run, "two", -1).unwrap().status,
        Status::Skipped
    );
    assert_eq!(world.begun(), ["one"]);
}

#[tokio::test]
async fn a_tolerated_failure_is_counted_and_the_run_succeeds() {
    let workflow = draft()
        .job("a")
        .task_with("one", |t| t.on_failure = OnFailure::Continue)
        .task("two")
        .job_with("b", |j| j.run_on = RunOn::Failure)
        .task("three")
        .build();
    let mut world = World::new(workflow);
    let run = world.trigger().await;
    world.guest().await.fail(broken());
    world.pass("two").await;
    assert_eq!(ended(&world, run).await, Status::Succeeded);
    assert_eq!(world.store.run(run).tolerated_failures, 1);
    assert_eq!(
        world.store.task(run, "three", -1).unwrap().status,
        Status::Skipped
    );
}

#[tokio::test]
async fn items_respect_their_limit_and_give_one_array_in_order() {
    let workflow = draft()
        .job("a")
        .task_with("each", |t| t.for_each = for_each(5, 2))
        .build();
    let mut world = World::new(workflow);
    let run = world.trigger().await;
    let (first, second) = (world.guest().await, world.guest().await);
    world.engine.active_runs().await;
    assert!(world.guests.try_recv().is_err(), "more than two at once");
    second.succeed(json!({ "i": 1 }));
    first.succeed(json!({ "i": 0 }));
    for _ in 2..5 {
        let guest = world.guest().await;
        let item = guest.invocation.identity.item_index;
        guest.succeed(json!({ "i": item }));
    }
    assert_eq!(ended(&world, run).await, Status::Succeeded);
    let expected = json!([{ "i": 0 }, { "i": 1 }, { "i": 2 }, { "i": 3 }, { "i": 4 }]);
    assert_eq!(world.store.output(run, "each"), expected);
}

#[tokio::test]
async fn a_for_each_over_nothing_gives_an_empty_array() {
    let workflow = draft()
        .job("a")
        .task_with("each", |t| t.for_each = for_each(0, 2))
        .build();
    let world = World::new(workflow);
    let run = world.trigger().await;
    assert_eq!(ended(&world, run).await, Status::Succeeded);
    assert_eq!(world.store.output(run, "each"), json!([]));
}

#[tokio::test]
async fn slots_are_shared_in_turns() {
    let few = Settings {
        slots: 1,
        ..settings()
    };
    let workflow = draft()
        .job("a")
        .task("one")
        .task_with("two", |t| t.needs.clear())
        .task_with("three", |t| t.needs.clear())
        .build();
    let mut world = World::over(FakeStore::new(), workflow, few);
    let first = world.trigger().await;
    let second = world.trigger().await;
    let mut turns = Vec::new();
    for _ in 0..6 {
        let guest = world.guest().await;
        assert!(world.guests.try_recv().is_err(), "two at once");
        turns.push(guest.invocation.identity.run_id);
        guest.succeed(json!({}));
    }
    assert_eq!(ended(&world, first).await, Status::Succeeded);
    assert_eq!(ended(&world, second).await, Status::Succeeded);
    // The first run had begun before the second came; from then on they take turns.
    assert_eq!(turns[1..5], [first, second, first, second]);
}

#[tokio::test]
async fn a_cancel_reaches_a_running_guest_and_ends_the_run() {
    let mut world = World::new(three());
    let run = world.trigger().await;
    let guest = world.guest().await;
    assert_eq!(
        world.engine.cancel(run, "enough").await.unwrap(),
        Cancelled::Ordered
    );
    guest.invocation.cancel.cancelled().await;
    assert_eq!(ended(&world, run).await, Status::Cancelled);
    for task in ["one", "two", "three"] {
        assert_eq!(
            world.store.task(run, task, -1).unwrap().status,
            Status::Cancelled
        );
    }
    assert_eq!(
        world.store.attempts(run, "one")[0].status,
        Status::Cancelled
    );
    assert!(
        world.store.tables().orders.is_empty(),
        "the order was not consumed"
    );
    let again = world.engine.cancel(run, "again").await.unwrap();
    assert_eq!(again, Cancelled::AlreadyFinal(Status::Cancelled));
    let nobody = world.engine.cancel(RunId::generate(), "x").await.unwrap();
    assert_eq!(nobody, Cancelled::NotFound);
}

#[tokio::test]
async fn a_cancel_ends_a_run_that_waits_for_a_retry() {
    let mut world = World::new(retrying());
    let run = world.trigger().await;
    world.guest().await.fail(flaky());
    world
        .until(|t| t.tasks.values().any(|row| row.status == Status::Waiting))
        .await;
    world.engine.cancel(run, "enough").await.unwrap();
    assert_eq!(ended(&world, run).await, Status::Cancelled);
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(world.begun(), ["one"]);
}

#[tokio::test]
async fn a_cancel_during_a_commit_keeps_the_next_guest_from_beginning() {
    let mut world = World::new(three());
    let run = world.trigger().await;
    let guest = world.guest().await;
    world.store.hold.send_replace(true);
    let before = *world.store.begun.borrow();
    guest.succeed(json!({}));
    let mut begun = world.store.begun.subscribe();
    begun.wait_for(|commits| *commits > before).await.unwrap();
    world.engine.cancel(run, "enough").await.unwrap();
    world.store.hold.send_replace(false);
    assert_eq!(ended(&world, run).await, Status::Cancelled);
    assert_eq!(world.begun(), ["one"]);
    assert_eq!(
        world.store.task(run, "one", -1).unwrap().status,
        Status::Succeeded
    );
    assert_eq!(
        world.store.attempts(run, "two")[0].status,
        Status::Cancelled
    );
}

#[tokio::test]
async fn a_cancel_ends_a_run_that_nobody_has_begun() {
    let small = Settings {
        active_runs: 1,
        ..settings()
    };
    let mut world = World::over(FakeStore::new(), three(), small);
    let first = world.trigger().await;
    let second = world.trigger().await;
    world.engine.cancel(second, "never mind").await.unwrap();
    world.engine.cancel(first, "enough").await.unwrap();
    world.guest().await;
    assert_eq!(ended(&world, first).await, Status::Cancelled);
    assert_eq!(ended(&world, second).await, Status::Cancelled);
    assert_eq!(world.begun(), ["one"]);
}

#[tokio::test]
async fn a_run_that_used_up_its_time_is_stopped_and_fails() {
    let mut spec = draft().job("a").task("one");
    spec.0.timeout = Some(Duration::from_secs(10));
    let mut world = World::new(spec.build());
    let run = world.trigger().await;
    let guest = world.guest().await;
    world.clock.advance(Duration::from_secs(10));
    guest.invocation.cancel.cancelled().await;
    assert_eq!(ended(&world, run).await, Status::Failed);
    assert_eq!(
        world.store.run(run).failure_code.as_deref(),
        Some("run.timeout")
    );
}

#[tokio::test]
async fn followers_hear_of_every_commit_and_end() {
    let mut world = World::new(draft().job("a").task("one").build());
    let mut events = world.engine.events();
    let run = world.trigger().await;
    assert_eq!(
        events.recv().await.unwrap(),
        EngineEvent::Changed([run].into())
    );
    world.pass("one").await;
    // The end is told before the batch it was in, or after: both belong to one commit.
    let two = [events.recv().await.unwrap(), events.recv().await.unwrap()];
    assert!(two.contains(&EngineEvent::Changed([run].into())));
    assert!(two.iter().any(|event| matches!(
        event,
        EngineEvent::Finished { run_id, status: Status::Succeeded, .. } if *run_id == run
    )));
}

#[tokio::test]
async fn a_full_disk_refuses_the_trigger_and_nothing_is_acknowledged() {
    let world = World::new(three());
    world.store.fail_next(Fault::Full);
    let refused = world.engine.trigger(world.request()).await;
    assert!(matches!(refused, Err(TriggerError::Full(_))));
    assert!(world.store.tables().runs.is_empty());
    assert!(world.engine.active_runs().await.is_empty());
}
