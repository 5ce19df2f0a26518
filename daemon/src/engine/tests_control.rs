//! Limits and dead letters over a store in memory: what is refused, what waits, what is left on the list.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::testing::{FakeStore, World, request, settings, versions};
use super::{RerunVersion, Settings, TriggerError};
use crate::id::{Digest, RunId};
use crate::run::failure::{Failure, FailureSource};
use crate::run::status::{Status, Trigger};
use crate::run::testing::{draft, for_each};
use crate::store::control::{DeadLetterRow, LetterState};
use crate::workflow::model::{Concurrency, OnFailure, Workflow};

fn broken() -> Failure {
    Failure::permanent(FailureSource::Task, "broken", "it broke")
}

fn one() -> Arc<Workflow> {
    draft().job("a").task("one").build()
}

fn limited(max: u32) -> Arc<Workflow> {
    let mut built = draft();
    built.0.concurrency = Some(Concurrency { key: None, max });
    built.0.version = Digest::of(b"limited");
    built.job("a").task("one").build()
}

fn letters(world: &World) -> Vec<DeadLetterRow> {
    world.store.tables().turns.letters.clone()
}

async fn ended(world: &World, run: RunId) -> Status {
    world.engine.wait(run).await.unwrap()
}

#[tokio::test]
async fn a_full_backlog_refuses_more_and_takes_them_again_when_it_has_room() {
    let few = Settings {
        active_runs: 1,
        backlog: 2,
        ..settings()
    };
    let mut world = World::over(FakeStore::new(), one(), few);
    let mut runs = vec![world.trigger().await];
    let guest = world.guest().await;
    runs.push(world.trigger().await);
    runs.push(world.trigger().await);
    let full = world.engine.trigger(world.request()).await;
    assert_eq!(full, Err(TriggerError::QueueFull));
    assert_eq!(full.unwrap_err().code(), "queue.full");
    assert_eq!(world.store.tables().runs.len(), 3);
    // What an accepted run needs in order to end is not refused.
    let mut child = world.request();
    child.trigger = Trigger::Workflow;
    runs.push(world.engine.trigger(child).await.unwrap().run_id);
    guest.succeed(json!({}));
    world.guest().await.succeed(json!({}));
    world.guest().await.succeed(json!({}));
    let guest = world.guest().await;
    runs.push(world.trigger().await);
    guest.succeed(json!({}));
    world.guest().await.succeed(json!({}));
    for run in runs {
        assert_eq!(ended(&world, run).await, Status::Succeeded);
    }
}

#[tokio::test]
async fn the_backlog_is_counted_in_the_store_where_others_put_runs_too() {
    let store = FakeStore::new();
    let none = Settings {
        active_runs: 0,
        instance: "other".into(),
        ..settings()
    };
    let other = World::over(Arc::clone(&store), one(), none.clone());
    for _ in 0..3 {
        other.trigger().await;
    }
    let few = Settings {
        backlog: 3,
        instance: "mine".into(),
        ..none
    };
    let world = World::over(store, one(), few);
    // It has put one there itself, so it looks how many there are.
    world.trigger().await;
    let mut health = world.engine.health();
    loop {
        world.clock.advance(Duration::from_secs(1));
        match world.engine.trigger(world.request()).await {
            Err(TriggerError::QueueFull) => break,
            Ok(_) => assert!(world.store.tables().runs.len() < 20, "nobody counted"),
            Err(other) => panic!("{other}"),
        }
        health.borrow_and_update();
        world.engine.active_runs().await;
    }
}

#[tokio::test]
async fn inputs_of_waiting_triggers_may_not_fill_the_memory() {
    let world = World::new(one());
    world.store.hold.send_replace(true);
    let mut waiting = Vec::new();
    let mut refused = 0;
    for _ in 0..40 {
        let mut heavy = world.request();
        heavy.inputs = json!({ "text": "x".repeat(8 << 20) });
        let engine = world.engine.clone();
        waiting.push(tokio::spawn(async move { engine.trigger(heavy).await }));
        tokio::task::yield_now().await;
    }
    world.store.hold.send_replace(false);
    for answer in waiting {
        refused += usize::from(answer.await.unwrap() == Err(TriggerError::QueueFull));
    }
    // 256 MiB are 31 of them.
    assert_eq!(refused, 9);
}

#[tokio::test]
async fn a_limited_workflow_lets_no_more_go_than_its_limit() {
    let mut world = World::new(limited(2));
    let request = world.request();
    let mut runs = Vec::new();
    for _ in 0..5 {
        runs.push(world.engine.trigger(request.clone()).await.unwrap().run_id);
    }
    for _ in 0..4 {
        let guests = (world.guest().await, world.store.tables().turns.runs.len());
        let held = world.store.tables();
        let held = held.runs.values().filter(|run| run.status == Status::Held);
        assert!(held.count() + 2 >= guests.1.min(3));
        guests.0.succeed(json!({}));
    }
    world.guest().await.succeed(json!({}));
    for run in runs {
        assert_eq!(ended(&world, run).await, Status::Succeeded);
    }
    assert!(world.store.tables().turns.runs.is_empty());
}

#[tokio::test]
async fn a_run_whose_version_is_lost_leaves_its_lane_and_a_dead_letter() {
    let store = FakeStore::new();
    let away = Settings {
        active_runs: 0,
        ..settings()
    };
    let flow = limited(1);
    let first = World::over(Arc::clone(&store), Arc::clone(&flow), away);
    let request = request(&flow);
    let lost = first.engine.trigger(request.clone()).await.unwrap().run_id;
    let next = first.engine.trigger(request).await.unwrap().run_id;
    assert_eq!(store.run(next).status, Status::Held);
    // A daemon that cannot read the version any more.
    let other = World::over(Arc::clone(&store), one(), settings());
    let known = versions(&one(), &[]);
    assert!(known(flow.version).await.is_err());
    for run in [lost, next] {
        assert_eq!(ended(&other, run).await, Status::Failed);
    }
    let codes: Vec<_> = letters(&other).into_iter().map(|l| l.code).collect();
    assert_eq!(codes, ["version.lost", "version.lost"]);
    assert!(store.tables().turns.runs.is_empty());
}

#[tokio::test]
async fn a_failed_run_leaves_a_letter_for_each_thing_that_failed_for_good() {
    let workflow = draft()
        .job("a")
        .task_with("fine", |t| t.on_failure = OnFailure::Continue)
        .task_with("each", |t| t.for_each = for_each(3, 3))
        .build();
    let mut world = World::new(workflow);
    let run = world.trigger().await;
    world.guest().await.fail(broken());
    for _ in 0..3 {
        let guest = world.guest().await;
        match guest.invocation.identity.item_index {
            Some(1) => guest.succeed(json!({})),
            _ => guest.fail(broken()),
        }
    }
    assert_eq!(ended(&world, run).await, Status::Failed);
    // What was tolerated is no dead letter, nor is the whole of the items.
    let mut found: Vec<_> = letters(&world)
        .into_iter()
        .map(|l| {
            (
                l.task.unwrap().to_string(),
                l.item_index,
                l.code,
                l.attempts,
            )
        })
        .collect();
    found.sort();
    let each = |item| ("each".to_owned(), item, "broken".to_owned(), 1);
    assert_eq!(found, [each(0), each(2)]);
}

#[tokio::test]
async fn a_run_that_was_cancelled_or_succeeded_leaves_none() {
    let mut world = World::new(one());
    let run = world.trigger().await;
    world.guest().await;
    world.engine.cancel(run, "enough").await.unwrap();
    assert_eq!(ended(&world, run).await, Status::Cancelled);
    let run = world.trigger().await;
    world.pass("one").await;
    assert_eq!(ended(&world, run).await, Status::Succeeded);
    assert!(letters(&world).is_empty());
}

#[tokio::test]
async fn a_redrive_is_begun_once_a_round_and_settles_the_letter() {
    let mut world = World::new(one());
    let run = world.trigger().await;
    world.guest().await.fail(broken());
    assert_eq!(ended(&world, run).await, Status::Failed);
    assert_eq!(letters(&world)[0].state, LetterState::Open);
    let redrive = async |round| world.engine.redrive(run, round, RerunVersion::Same).await;
    let first = redrive(0).await.unwrap();
    let again = redrive(0).await.unwrap();
    assert_eq!((first.run_id, first.duplicate), (again.run_id, false));
    assert!(again.duplicate);
    let letter = letters(&world).remove(0);
    assert_eq!(
        (letter.state, letter.redrives, letter.redrive_run_id),
        (LetterState::Redriven, 1, Some(first.run_id))
    );
    // Someone stops it: the letter is open again, and its next round is another run.
    world.engine.cancel(first.run_id, "not now").await.unwrap();
    assert_eq!(ended(&world, first.run_id).await, Status::Cancelled);
    assert_eq!(letters(&world)[0].state, LetterState::Open);
    let second = redrive(1).await.unwrap();
    assert_ne!(second.run_id, first.run_id);
    loop {
        let guest = world.guest().await;
        if guest.invocation.identity.run_id == second.run_id {
            guest.succeed(json!({}));
            break;
        }
    }
    assert_eq!(ended(&world, second.run_id).await, Status::Succeeded);
    let letter = letters(&world).remove(0);
    assert_eq!((letter.state, letter.redrives), (LetterState::Resolved, 2));
}
