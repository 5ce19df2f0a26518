//! The engine over a store in a file that fails at every statement of every transaction, and after every commit: the
//! same promises as on servers, whose messages are cut in `tests/engine`.
//!
//! `make test` takes some of the points; `FLOWWEAVER_EVERY_POINT=1` takes them all.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use super::testing::{quick, request, versions};
use super::{Engine, EngineHandle, Parts, TriggerError};
use crate::clock::{Clock as _, SystemClock};
use crate::id::{OrganizationId, RunId};
use crate::run::failure::{Failure, FailureSource};
use crate::run::status::Status;
use crate::run::testing::{draft, for_each};
use crate::sandbox::invoke::{AttemptReport, Invocation, Invoke};
use crate::store::rows::{IoKind, RunFilter, VersionRow};
use crate::store::sqlite::failpoint::{Point, arm, disarm};
use crate::store::{Durability, Store};
use crate::workflow::model::{OnFailure, Workflow};

/// Points are taken so far apart where not all are: prime, so that no rhythm of the protocol is always missed.
const STRIDE: usize = 11;

/// Effects by idempotency key; `shaky` fails the first time, `odd` always.
#[derive(Default)]
struct Guests {
    effects: Mutex<HashMap<String, u32>>,
}

#[async_trait]
impl Invoke for Guests {
    async fn invoke(&self, invocation: Invocation) -> AttemptReport {
        let who = &invocation.identity;
        let first = {
            let mut effects = self.effects.lock().unwrap();
            let count = effects.entry(who.idempotency_key.clone()).or_default();
            *count += 1;
            *count == 1
        };
        let outcome = match who.task.as_str() {
            "shaky" if first => Err(Failure::retryable(FailureSource::Task, "flaky", "again")),
            "odd" => Err(Failure::permanent(FailureSource::Task, "odd", "always")),
            task => Ok(json!({ "from": task }).to_string().into()),
        };
        AttemptReport {
            outcome,
            cpu: Duration::ZERO,
            memory_peak_bytes: 0,
        }
    }
}

/// Everything that writes: a retry, items, a tolerated failure, parallel tasks, two jobs.
fn everything() -> Arc<Workflow> {
    draft()
        .job("a")
        .task_with("shaky", |t| {
            t.retry.attempts = 5;
            t.retry.delay = Duration::from_millis(1);
        })
        .task_with("each", |t| t.for_each = for_each(3, 2))
        .task_with("odd", |t| t.on_failure = OnFailure::Continue)
        .job("b")
        .task("left")
        .task_with("right", |t| t.needs.clear())
        .build()
}

fn runtime() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().unwrap()
}

async fn open(file: &Path) -> Arc<dyn Store> {
    let url = format!("sqlite:{}", file.display());
    crate::store::open(&url, Durability::Normal).await.unwrap()
}

fn start(store: &Arc<dyn Store>, workflow: &Arc<Workflow>, guests: &Arc<Guests>) -> EngineHandle {
    let (settings, clock) = quick();
    Engine::new(Parts {
        store: Arc::clone(store),
        invoke: Arc::clone(guests) as Arc<dyn Invoke>,
        clock,
        versions: versions(workflow, &[]),
        settings,
    })
    .start()
}

async fn publish(store: &Arc<dyn Store>, workflow: &Workflow) -> crate::id::WorkflowId {
    let row = VersionRow {
        version: workflow.version,
        organization_id: OrganizationId::ROOT,
        workflow_name: workflow.name.clone(),
        file: "flows/w.toml".into(),
        source: "".into(),
        vars: "{}".into(),
        ceilings: "{}".into(),
        modules: "{}".into(),
        workflows: "{}".into(),
        starts_after: Vec::new(),
        created_at: SystemClock.now(),
    };
    store.publish(&row).await.unwrap()
}

async fn ends(engine: &EngineHandle, run: RunId) -> Status {
    let wait = async {
        loop {
            // Reading may hit the point, too.
            if let Ok(status) = engine.wait(run).await {
                return status;
            }
            tokio::task::yield_now().await;
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(30), wait).await;
    ended.expect("the run does not end")
}

/// One run with this point; answers whether that was reached.
fn one(file: &Path, workflow: &Arc<Workflow>, point: Point, dies: bool) -> bool {
    let guests = Arc::new(Guests::default());
    let first = runtime();
    first.block_on(async {
        let store = open(file).await;
        let workflow_id = publish(&store, workflow).await;
        let engine = start(&store, workflow, &guests);
        arm(file, point);
        let mut wanted = request(workflow);
        wanted.workflow_id = workflow_id;
        match engine.trigger(wanted).await {
            Ok(accepted) if !dies => {
                assert_eq!(ends(&engine, accepted.run_id).await, Status::Succeeded);
            }
            // Somewhere in the middle everything of this process is dropped.
            Ok(accepted) => {
                let mut health = engine.health();
                tokio::select! {
                    _ = health.wait_for(|health| health.store.is_err()) => {}
                    _ = ends(&engine, accepted.run_id) => {}
                }
            }
            Err(TriggerError::Unavailable { .. }) => {}
            Err(other) => panic!("{other:?}"),
        }
    });
    first.shutdown_background();
    let hit = disarm(file);
    runtime().block_on(settle(file, workflow, &guests, point, dies));
    hit
}

async fn settle(
    file: &Path,
    workflow: &Arc<Workflow>,
    guests: &Arc<Guests>,
    point: Point,
    dies: bool,
) {
    let store = open(file).await;
    let engine = start(&store, workflow, guests);
    let all = RunFilter {
        limit: 1_000,
        ..RunFilter::default()
    };
    for run in store.runs(&all).await.unwrap() {
        ends(&engine, run.run_id).await;
    }
    engine.drain(Duration::from_secs(5)).await;
    let newest = store
        .runs(&RunFilter {
            limit: 1,
            ..RunFilter::default()
        })
        .await
        .unwrap();
    for run in newest {
        let image = store.load_run(run.run_id).await.unwrap().unwrap();
        assert_eq!(image.run.status, Status::Succeeded, "{point:?}");
        assert_eq!(image.run.tolerated_failures, 1, "{point:?}");
        let io = store.io(run.run_id).await.unwrap();
        for task in &image.tasks {
            let mut attempts: Vec<_> = image
                .attempts
                .iter()
                .filter(|attempt| attempt.task_run_id == task.task_run_id)
                .collect();
            attempts.sort_by_key(|attempt| attempt.number);
            let outputs = io
                .iter()
                .filter(|io| io.kind == IoKind::Output && io.task_run_id == task.task_run_id);
            let done = attempts.iter().filter(|a| a.status == Status::Succeeded);
            let what = format!("{point:?}: {}[{}]", task.task, task.item_index);
            assert!(task.status.is_final(), "{what}");
            assert_eq!(
                outputs.count(),
                usize::from(task.status == Status::Succeeded),
                "{what}"
            );
            assert!(done.count() <= 1, "{what}");
            for (position, attempt) in attempts.iter().enumerate() {
                assert_eq!(attempt.number as usize, position + 1, "{what}");
                let ended = attempt.status.is_final() || attempt.status == Status::Interrupted;
                assert!(ended, "{what}");
            }
            assert!(
                attempts.is_sorted_by_key(|attempt| attempt.lease_epoch),
                "{what}"
            );
        }
        // Seven tasks and items, one of them twice by its own fault.
        let effects: u32 = guests.effects.lock().unwrap().values().sum();
        assert!(
            effects == 8 || (dies && effects > 8),
            "{point:?}: {effects} effects"
        );
    }
}

fn every(point: fn(usize) -> Point, dies: bool, least: usize) {
    let all = std::env::var_os("FLOWWEAVER_EVERY_POINT").is_some();
    let stride = if all { 1 } else { STRIDE };
    let (workflow, folder) = (everything(), tempfile::tempdir().unwrap());
    let (mut points, mut at) = (0, 0);
    loop {
        // A file of its own, so that effects and runs belong to one point.
        let file = folder.path().join(format!("{at}.db"));
        let hit = one(&file, &workflow, point(at), dies);
        if !hit {
            break;
        }
        points += 1;
        at += stride;
    }
    println!(
        "sqlite: {points} points like {:?} (every {stride}), process dies: {dies}",
        point(0)
    );
    assert!(points >= least, "only {points} points were reached");
}

#[test]
fn a_failure_before_any_statement_loses_nothing_and_repeats_nothing() {
    every(Point::Statement, false, 8);
}

#[test]
fn an_answer_that_is_lost_after_any_commit_loses_nothing_and_repeats_nothing() {
    every(Point::Commit, false, 1);
}

#[test]
fn a_process_that_dies_at_any_statement_or_after_any_commit_is_continued_by_the_next() {
    every(Point::Statement, true, 8);
    every(Point::Commit, true, 1);
}
