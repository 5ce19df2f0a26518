//! Reruns, and stops after which another engine goes on.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::testing::{World, settings};
use super::{Drained, RerunError, RerunMode, RerunVersion, TriggerError};
use crate::id::RunId;
use crate::run::failure::{Failure, FailureSource};
use crate::run::status::Status;
use crate::run::testing::draft;
use crate::workflow::model::{OnInterrupt, Workflow};

fn broken() -> Failure {
    Failure::permanent(FailureSource::Task, "broken", "it broke")
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

async fn ended(world: &World, run: RunId) -> Status {
    world.engine.wait(run).await.unwrap()
}

#[tokio::test]
async fn a_rerun_from_the_failure_links_what_succeeded() {
    let mut world = World::new(three());
    let run = world.trigger().await;
    let first_key = {
        let guest = world.guest().await;
        let key = guest.invocation.identity.idempotency_key.clone();
        guest.succeed(json!({ "v": 1 }));
        key
    };
    world.guest().await.fail(broken());
    assert_eq!(ended(&world, run).await, Status::Failed);
    let again = world
        .engine
        .rerun(run, RerunMode::FromFailed, RerunVersion::Same)
        .await
        .unwrap();
    let guest = world.guest().await;
    assert_eq!(guest.task(), "two");
    assert_ne!(guest.invocation.identity.idempotency_key, first_key);
    guest.succeed(json!({}));
    world.pass("three").await;
    assert_eq!(ended(&world, again.run_id).await, Status::Succeeded);
    let row = world.store.run(again.run_id);
    assert_eq!((row.rerun_of, row.origin_run_id), (Some(run), run));
    assert_eq!(world.store.output(again.run_id, "one"), json!({ "v": 1 }));
    assert_eq!(world.store.attempts(again.run_id, "one").len(), 0);
}

#[tokio::test]
async fn a_rerun_from_a_task_repeats_it_and_what_follows_with_the_same_keys() {
    let mut world = World::new(three());
    let run = world.trigger().await;
    let mut keys = Vec::new();
    for _ in 0..3 {
        let guest = world.guest().await;
        keys.push(guest.invocation.identity.idempotency_key.clone());
        guest.succeed(json!({}));
    }
    assert_eq!(ended(&world, run).await, Status::Succeeded);
    let mode = RerunMode::FromTask("two".parse().unwrap());
    let again = world
        .engine
        .rerun(run, mode, RerunVersion::Same)
        .await
        .unwrap()
        .run_id;
    for (task, key) in [("two", &keys[1]), ("three", &keys[2])] {
        let guest = world.guest().await;
        assert_eq!(
            (guest.task(), &guest.invocation.identity.idempotency_key),
            (task, key)
        );
        guest.succeed(json!({}));
    }
    assert_eq!(ended(&world, again).await, Status::Succeeded);
}

#[tokio::test]
async fn a_rerun_from_the_start_repeats_everything_under_new_keys() {
    let mut world = World::new(draft().job("a").task("one").build());
    let run = world.trigger().await;
    let guest = world.guest().await;
    let key = guest.invocation.identity.idempotency_key.clone();
    let early = world
        .engine
        .rerun(run, RerunMode::FromStart, RerunVersion::Same)
        .await;
    assert!(matches!(early, Err(RerunError::NotFinal(_))));
    guest.succeed(json!({}));
    assert_eq!(ended(&world, run).await, Status::Succeeded);
    let newest = RerunVersion::Newest(Arc::clone(&world.workflow));
    let again = world
        .engine
        .rerun(run, RerunMode::FromStart, newest)
        .await
        .unwrap()
        .run_id;
    let guest = world.guest().await;
    assert_ne!(guest.invocation.identity.idempotency_key, key);
    guest.succeed(json!({}));
    assert_eq!(ended(&world, again).await, Status::Succeeded);
    assert_eq!(world.store.run(again).origin_run_id, again);
    let unknown = RerunMode::FromTask("nothing".parse().unwrap());
    let unknown = world.engine.rerun(run, unknown, RerunVersion::Same).await;
    assert!(matches!(unknown, Err(RerunError::UnknownTask(_))));
}

#[tokio::test]
async fn a_stop_lets_attempts_finish_and_the_next_owner_goes_on() {
    let mut world = World::new(three());
    let run = world.trigger().await;
    let guest = world.guest().await;
    let engine = world.engine.clone();
    let stop = tokio::spawn(async move { engine.drain(Duration::from_secs(60)).await });
    let mut health = world.engine.health();
    health.wait_for(|health| health.draining).await.unwrap();
    let refused = world.engine.trigger(world.request()).await;
    assert_eq!(refused, Err(TriggerError::Stopping));
    guest.succeed(json!({}));
    assert_eq!(
        stop.await.unwrap(),
        Drained {
            released: 1,
            stopped: 0
        }
    );
    assert_eq!(world.store.run(run).owner, None);
    assert_eq!(
        world.begun(),
        ["one"],
        "something new began during the stop"
    );
    let mut next = World::over(Arc::clone(&world.store), three(), settings());
    next.pass("two").await;
    next.pass("three").await;
    assert_eq!(ended(&next, run).await, Status::Succeeded);
}

#[tokio::test]
async fn a_stop_cuts_attempts_off_at_its_deadline_without_spending_one() {
    let mut world = World::new(draft().job("a").task("one").build());
    let run = world.trigger().await;
    world.guest().await;
    let engine = world.engine.clone();
    let stop = tokio::spawn(async move { engine.drain(Duration::from_secs(60)).await });
    world
        .engine
        .health()
        .wait_for(|health| health.draining)
        .await
        .unwrap();
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(
        stop.await.unwrap(),
        Drained {
            released: 1,
            stopped: 1
        }
    );
    let task = world.store.task(run, "one", -1).unwrap();
    assert_eq!((task.status, task.interrupts), (Status::Interrupted, 0));
    let mut next = World::over(
        Arc::clone(&world.store),
        Arc::clone(&world.workflow),
        settings(),
    );
    next.pass("one").await;
    assert_eq!(ended(&next, run).await, Status::Succeeded);
}

#[tokio::test]
async fn an_at_most_once_task_that_a_stop_cut_off_is_not_begun_again() {
    let workflow = draft()
        .job("a")
        .task_with("one", |t| t.on_interrupt = OnInterrupt::Fail)
        .build();
    let mut world = World::new(workflow);
    let run = world.trigger().await;
    world.guest().await;
    world.engine.drain(Duration::ZERO).await;
    let row = world.store.run(run);
    assert_eq!(
        (row.status, row.failure_code.as_deref()),
        (Status::Failed, Some("interrupted"))
    );
}
