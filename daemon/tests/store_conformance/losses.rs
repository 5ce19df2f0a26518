//! Answers that never arrive, callers that go away, readers that follow while others write.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};

use flowweaver::run::status::Status;
use flowweaver::store::CommitOutcome::{Committed, Conflict};
use flowweaver::store::StoreError;

use crate::world::{World, insert, line, new_run, step, update};

pub async fn a_commit_whose_answer_was_lost_is_seen_as_conflict(world: World) {
    let owner = world.daemon("a").await;
    let run = new_run(world.workflow("flow").await, "flow", Some(owner));
    let lose = |outcomes: Vec<_>| {
        assert_eq!(outcomes, [Committed]);
        Err::<(), _>(StoreError::Unavailable("the answer was lost".into()))
    };
    let batch = [insert(&run)];
    assert!(lose(world.commit(&batch).await).is_err());
    assert_eq!(world.commit(&batch).await, [Conflict]);
    let batch = [step(&run, 1, 1)];
    assert!(lose(world.commit(&batch).await).is_err());
    assert_eq!(world.commit(&batch).await, [Conflict]);
    let image = world.store.load_run(run.run_id).await.unwrap().unwrap();
    assert_eq!(image.run.revision, 2);
    assert_eq!(image.tasks, batch[0].tasks);
    assert_eq!(world.rows_of(run.run_id).await, 7);
}

/// Polls a future so many times, giving way in between, and drops it.
async fn poll_and_drop(future: impl Future, polls: usize) {
    let mut future = Box::pin(future);
    for _ in 0..polls {
        if future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready()
        {
            return;
        }
        tokio::task::yield_now().await;
    }
}

pub async fn dropped_commits_leave_no_transaction_open_and_no_half_writes(world: World) {
    let owner = world.daemon("a").await;
    let mut runs = Vec::new();
    for round in 0..60 {
        let run = world.run("flow", Some(owner)).await;
        let batch = [step(&run, 1, 1)];
        poll_and_drop(world.store.commit(batch.as_slice().into()), round % 12).await;
        runs.push(run);
    }
    // The next commit answers, so nothing before it is still in the way.
    let last = world.run("flow", Some(owner)).await;
    world.commit_one(step(&last, 1, 1)).await;
    for run in runs {
        // A commit that was dropped may still be on its way; the run's own fence settles which it is.
        let outcome = world
            .commit(&[update(run.run_id, 1, 1, Status::Running)])
            .await;
        let rows = world.rows_of(run.run_id).await;
        let expected = if outcome == [Committed] { 0 } else { 7 };
        assert_eq!(rows, expected, "{outcome:?}");
    }
}

pub async fn dropped_reads_harm_nobody(world: World) {
    let owner = world.daemon("a").await;
    let run = world.run("flow", Some(owner)).await;
    world.commit_one(step(&run, 1, 1)).await;
    for round in 0..60 {
        poll_and_drop(world.store.load_run(run.run_id), round % 8).await;
        poll_and_drop(world.store.claim(owner, 1), round % 8).await;
    }
    for _ in 0..10 {
        assert!(world.store.load_run(run.run_id).await.unwrap().is_some());
    }
    world
        .commit_one(update(run.run_id, 1, 2, Status::Running))
        .await;
}

pub async fn event_ids_only_grow_and_a_follower_misses_none(world: World) {
    const WRITERS: i64 = 4;
    const BATCHES: i64 = 12;
    const LINES: i64 = 3;
    let owner = world.daemon("a").await;
    let done = Arc::new(AtomicBool::new(false));
    let follower = {
        let (world, done) = (world.clone(), done.clone());
        tokio::spawn(async move {
            let mut seen: Vec<i64> = Vec::new();
            loop {
                // Asked before reading: what was committed by then is in the page or behind it.
                let ended = done.load(Ordering::SeqCst);
                let after = seen.last().copied().unwrap_or(0);
                let page = world.store.logs(None, after, 7).await.unwrap();
                if page.is_empty() && ended {
                    return seen;
                }
                seen.extend(page.iter().map(|line| line.event_id));
                tokio::task::yield_now().await;
            }
        })
    };
    let mut writers = Vec::new();
    for _ in 0..WRITERS {
        let run = world.run("flow", Some(owner)).await;
        let world = world.clone();
        writers.push(tokio::spawn(async move {
            for revision in 1..=BATCHES {
                let mut transition = update(run.run_id, 1, revision, Status::Running);
                transition.logs = (0..LINES).map(|n| line(&n.to_string())).collect();
                world.commit_one(transition).await;
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    done.store(true, Ordering::SeqCst);
    let total = WRITERS * BATCHES * LINES;
    assert_eq!(follower.await.unwrap(), (1..=total).collect::<Vec<_>>());
}
