//! Runs that are tasks of other runs: waits that outlive daemons, what is continued, what is stopped with what.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use super::testing::{
    FakeStore, Fault, World, at_once, launch_with, publish, quick, request, settings, versions,
};
use super::tests_flow::{input, workflow};
use super::{EngineHandle, RerunMode, RerunVersion, Settings};
use crate::id::RunId;
use crate::run::failure::{Failure, FailureSource};
use crate::run::status::{Status, Trigger};
use crate::store::lineage::DeliveryState;
use crate::store::rows::RunRow;
use crate::workflow::Workflow;

const CHILD: &str = r#"
flowweaver = 1
name = "child"
[inputs.n]
type = "integer"
default = 7
[[job]]
name = "c"
[[job.task]]
name = "first"
uses = "work"
with = { n = "{{ inputs.n }}" }
[[job.task]]
name = "second"
uses = "work"
"#;

fn parent(task: &str) -> String {
    format!(
        r#"
flowweaver = 1
name = "parent"
[[job]]
name = "p"
[[job.task]]
name = "outer"
uses = "workflow:child"
{task}
[[job.task]]
name = "after"
uses = "work"
with = {{ got = "{{{{ tasks.outer }}}}" }}
"#
    )
}

fn family(task: &str) -> World {
    family_on(FakeStore::new(), task)
}

fn family_on(store: Arc<FakeStore>, task: &str) -> World {
    let child = workflow(CHILD, &[]);
    let parent = workflow(&parent(task), &[&child]);
    if store.tables().workflows.is_empty() {
        publish(&store, &[Arc::clone(&child), Arc::clone(&parent)]);
    }
    World::with_others(store, parent, &[child], settings())
}

/// In the order in which they were begun.
fn children(store: &FakeStore, run: RunId) -> Vec<RunRow> {
    let tables = store.tables();
    let of = |row: &&RunRow| row.lineage.parent_run_id == Some(run);
    let mut found: Vec<RunRow> = tables.runs.values().filter(of).cloned().collect();
    found.sort_by_key(|row| row.number);
    found
}

fn broken() -> Failure {
    Failure::permanent(FailureSource::Task, "broken", "it broke")
}

#[tokio::test]
async fn a_child_gets_defaults_and_its_place_in_the_family() {
    let mut world = family("");
    let run = world.trigger().await;
    let first = world.guest().await;
    assert_eq!(input(&first), json!({ "n": 7 }));
    let child = world.store.run(first.invocation.identity.run_id);
    assert_eq!(child.trigger, Trigger::Workflow);
    let lineage = child.lineage;
    assert_eq!(
        (lineage.parent_run_id, lineage.root_run_id, lineage.depth),
        (Some(run), Some(run), 1)
    );
    let outer = world.store.task(run, "outer", -1).unwrap();
    assert_eq!(lineage.parent_task_run_id, Some(outer.task_run_id));
    assert_eq!(child.trace_id, world.store.run(run).trace_id);
}

#[tokio::test]
async fn a_chain_ten_deep_ends_with_one_slot_and_room_for_one_run() {
    let mut all: Vec<Arc<Workflow>> = vec![workflow(&CHILD.replace("\"child\"", "\"w0\""), &[])];
    for level in 1..=10 {
        let below = Arc::clone(all.last().unwrap());
        let text = format!(
            "flowweaver = 1\nname = \"w{level}\"\n[[job]]\nname = \"j\"\n[[job.task]]\nname = \"t\"\n\
             uses = \"workflow:w{}\"\nfor_each = [1, 2]\n",
            level - 1
        );
        // Two at each of the two lowest levels.
        let text = match level {
            1 | 2 => text,
            _ => text.replace("for_each = [1, 2]\n", ""),
        };
        all.push(workflow(&text, &[&below]));
    }
    let store = FakeStore::new();
    publish(&store, &all);
    let top = all.pop().unwrap();
    let small = Settings {
        slots: 1,
        active_runs: 1,
        ..quick().0
    };
    let known = versions(&top, &all);
    let (engine, _) = launch_with(&store, known, small, at_once(), quick().1);
    let run = engine.trigger(request(&top)).await.unwrap().run_id;
    assert_eq!(finish(&engine, run).await, Status::Succeeded);
    let deepest = store
        .tables()
        .runs
        .values()
        .map(|run| run.lineage.depth)
        .max();
    assert_eq!(deepest, Some(10));
    assert_eq!(store.tables().runs.len(), 9 + 2 + 4);
}

#[tokio::test]
async fn a_run_at_the_deepest_place_begins_no_child() {
    let mut world = family("");
    let run = world.trigger().await;
    let _first = world.guest().await;
    // As if the parent itself stood there; whoever takes it over looks again.
    world
        .store
        .tables()
        .runs
        .get_mut(&run)
        .unwrap()
        .lineage
        .depth = 16;
    let next = family_on(Arc::clone(&world.store), "");
    assert_eq!(next.engine.wait(run).await.unwrap(), Status::Failed);
    let row = world.store.run(run);
    assert_eq!(row.failure_code.as_deref(), Some("workflow.depth"));
}

#[tokio::test]
async fn a_wait_goes_on_with_the_next_owner_as_the_same_attempt_of_the_same_child() {
    let mut world = family("on_interrupt = \"fail\"");
    let run = world.trigger().await;
    let child = world.guest().await.invocation.identity.run_id;
    for _ in 0..4 {
        // Each of these would count as an interruption, and four are poison.
        world = family_on(Arc::clone(&world.store), "on_interrupt = \"fail\"");
        let again = world.guest().await;
        assert_eq!(again.invocation.identity.run_id, child);
        if again.invocation.identity.attempt == 3 {
            again.succeed(json!({}));
            break;
        }
    }
    world.pass("second").await;
    world.pass("after").await;
    assert_eq!(world.engine.wait(run).await.unwrap(), Status::Succeeded);
    assert_eq!(children(&world.store, run).len(), 1);
    let attempts = world.store.attempts(run, "outer");
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0].status, Status::Succeeded);
}

#[tokio::test]
async fn a_drain_does_not_wait_for_a_wait() {
    let mut world = family("");
    let run = world.trigger().await;
    let first = world.guest().await;
    let engine = world.engine.clone();
    let stop = tokio::spawn(async move { engine.drain(Duration::from_secs(3_600)).await });
    let mut health = world.engine.health();
    health.wait_for(|health| health.draining).await.unwrap();
    first.succeed(json!({}));
    // Both runs are given back; the wait was no attempt to be stopped.
    let drained = stop.await.unwrap();
    assert_eq!((drained.released, drained.stopped), (2, 0));
    let outer = world.store.task(run, "outer", -1).unwrap();
    assert_eq!(outer.status, Status::Running);
    let mut next = family_on(Arc::clone(&world.store), "");
    next.pass("second").await;
    next.pass("after").await;
    assert_eq!(next.engine.wait(run).await.unwrap(), Status::Succeeded);
}

#[tokio::test]
async fn a_cancel_whose_daemon_died_before_it_told_the_child_stops_the_child_all_the_same() {
    let mut world = family("");
    let run = world.trigger().await;
    let child = world.guest().await.invocation.identity.run_id;
    // From here on the first process writes no step any more.
    world.store.fail_next(Fault::HangBefore);
    world.engine.cancel(run, "enough").await.unwrap();
    // It tells the child at once; as if it had died just before, that is taken back.
    while world.store.tables().orders.len() < 2 {
        tokio::task::yield_now().await;
    }
    let mine = |order: &crate::store::rows::CommandRow| order.run_id == run;
    world.store.tables().orders.retain(mine);
    let store = Arc::clone(&world.store);
    let next = family_on(store, "");
    assert_eq!(next.engine.wait(run).await.unwrap(), Status::Cancelled);
    assert_eq!(next.engine.wait(child).await.unwrap(), Status::Cancelled);
}

#[tokio::test]
async fn a_failed_child_fails_its_task_with_its_run_and_cause() {
    let mut world = family("");
    let run = world.trigger().await;
    let first = world.guest().await;
    let child = first.invocation.identity.run_id;
    first.fail(broken());
    assert_eq!(world.engine.wait(run).await.unwrap(), Status::Failed);
    let row = world.store.run(run);
    assert_eq!(row.failure_code.as_deref(), Some("workflow.failed"));
    let why = row.failure_message.unwrap();
    assert!(
        why.contains(&child.to_string()) && why.contains("it broke"),
        "{why}"
    );
    let attempts = world.store.attempts(run, "outer");
    let failure: Failure = serde_json::from_str(attempts[0].failure.as_ref().unwrap()).unwrap();
    assert_eq!(failure.details["run_id"], child.to_string());
    assert_eq!(failure.details["code"], "broken");
}

#[tokio::test]
async fn a_retry_continues_the_child_that_failed() {
    let mut world = family("retry = { attempts = 2, delay = \"0s\" }");
    let run = world.trigger().await;
    world.pass("first").await;
    world.guest().await.fail(broken());
    // The retry is due at once; what had succeeded is not repeated.
    let second = world.guest().await;
    assert_eq!(second.task(), "second");
    second.succeed(json!({ "v": 2 }));
    let after = world.guest().await;
    assert_eq!(
        input(&after)["got"]["tasks"]["first"],
        json!({ "from": "first" })
    );
    after.succeed(json!({}));
    assert_eq!(world.engine.wait(run).await.unwrap(), Status::Succeeded);
    let rounds = children(&world.store, run);
    assert_eq!(rounds.len(), 2);
    assert_eq!(rounds[1].rerun_of, Some(rounds[0].run_id));
    assert_eq!(rounds[1].origin_run_id, rounds[0].run_id);
    assert_eq!(rounds[1].trigger, Trigger::Workflow);
}

#[tokio::test]
async fn a_child_that_someone_cancelled_is_not_begun_again() {
    let mut world = family("retry = { attempts = 3, delay = \"0s\" }");
    let run = world.trigger().await;
    let child = world.guest().await.invocation.identity.run_id;
    world.engine.cancel(child, "not this one").await.unwrap();
    assert_eq!(world.engine.wait(run).await.unwrap(), Status::Failed);
    let row = world.store.run(run);
    assert_eq!(row.failure_code.as_deref(), Some("workflow.cancelled"));
    assert_eq!(children(&world.store, run).len(), 1);
}

#[tokio::test]
async fn the_time_of_the_task_is_that_of_the_wait_and_stops_the_child() {
    let mut world = family("timeout = \"90s\"");
    let run = world.trigger().await;
    let guest = world.guest().await;
    let child = guest.invocation.identity.run_id;
    world.clock.advance(Duration::from_secs(60));
    // A daemon that takes over grants no more time.
    world = {
        let clock = world.clock.clone();
        let next = family_on(Arc::clone(&world.store), "timeout = \"90s\"");
        next.clock.advance(clock_ahead(&clock));
        next
    };
    let _guest = world.guest().await;
    world.clock.advance(Duration::from_secs(31));
    assert_eq!(world.engine.wait(run).await.unwrap(), Status::Failed);
    assert_eq!(
        world.store.run(run).failure_code.as_deref(),
        Some("timeout")
    );
    assert_eq!(world.store.run(child).status, Status::Cancelled);
}

/// How far a clock of these tests is past their beginning.
fn clock_ahead(clock: &crate::clock::ManualClock) -> Duration {
    use crate::clock::{Clock as _, Timestamp};
    clock
        .now()
        .since(Timestamp::from_micros(1_700_000_000_000_000))
}

#[tokio::test]
async fn a_rerun_of_the_parent_from_its_failure_continues_the_failed_child() {
    let mut world = family("");
    let run = world.trigger().await;
    world.pass("first").await;
    world.guest().await.fail(broken());
    assert_eq!(world.engine.wait(run).await.unwrap(), Status::Failed);
    let mode = RerunMode::FromFailed;
    let again = world.engine.rerun(run, mode, RerunVersion::Same).await;
    let again = again.unwrap().run_id;
    // Not "first": that had succeeded.
    world.pass("second").await;
    world.pass("after").await;
    assert_eq!(world.engine.wait(again).await.unwrap(), Status::Succeeded);
    let (old, new) = (children(&world.store, run), children(&world.store, again));
    assert_eq!((old.len(), new.len()), (1, 1));
    assert_eq!(new[0].rerun_of, Some(old[0].run_id));
    // From the start everything is new.
    let mode = RerunMode::FromStart;
    let whole = world.engine.rerun(run, mode, RerunVersion::Same).await;
    let whole = whole.unwrap().run_id;
    world.pass("first").await;
    world.pass("second").await;
    world.pass("after").await;
    assert_eq!(world.engine.wait(whole).await.unwrap(), Status::Succeeded);
    assert_eq!(children(&world.store, whole)[0].rerun_of, None);
}

#[tokio::test]
async fn items_that_are_workflows_run_so_many_at_once_each_with_its_input() {
    let task = "for_each = [1, 2, 3]\nmax_parallel = 2\nwith = { n = \"{{ item }}\" }";
    let mut world = family(task);
    let run = world.trigger().await;
    let (a, b) = (world.guest().await, world.guest().await);
    world.engine.active_runs().await;
    assert!(world.guests.try_recv().is_err(), "three at once");
    assert_eq!(children(&world.store, run).len(), 2);
    let mut seen = Vec::new();
    let mut todo = vec![a, b];
    while let Some(guest) = todo.pop() {
        if guest.task() == "after" {
            assert_eq!(input(&guest)["got"].as_array().unwrap().len(), 3);
            guest.succeed(json!({}));
            break;
        }
        if guest.task() == "first" {
            seen.push(input(&guest)["n"].as_i64().unwrap());
        }
        guest.succeed(json!({}));
        if todo.is_empty() {
            todo.push(world.guest().await);
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, [1, 2, 3]);
    assert_eq!(world.engine.wait(run).await.unwrap(), Status::Succeeded);
}

#[tokio::test]
async fn outputs_larger_than_the_task_allows_fail_it() {
    let mut world = family("output = \"64 B\"");
    let run = world.trigger().await;
    world
        .guest()
        .await
        .succeed(json!({ "text": "x".repeat(100) }));
    world.pass("second").await;
    assert_eq!(world.engine.wait(run).await.unwrap(), Status::Failed);
    let row = world.store.run(run);
    assert_eq!(row.failure_code.as_deref(), Some("limit.output"));
}

const NOTIFY: &str = r#"
flowweaver = 1
name = "notify"
[inputs.what]
type = "string"
[[on]]
workflow = "parent"
inputs = { what = "{{ tasks.after.from }}" }
[[job]]
name = "n"
[[job.task]]
name = "tell"
uses = "work"
"#;

fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

async fn finish(engine: &EngineHandle, run: RunId) -> Status {
    let wait = tokio::time::timeout(Duration::from_secs(30), engine.wait(run));
    wait.await.expect("the run does not end").unwrap()
}

/// A parent that tries twice, its child, and who starts after the parent.
fn three() -> (Arc<FakeStore>, Arc<Workflow>, Vec<Arc<Workflow>>) {
    let child = workflow(CHILD, &[]);
    let task = "retry = { attempts = 2, delay = \"1ms\" }";
    let parent = workflow(&parent(task), &[&child]);
    let notify = workflow(NOTIFY, &[&parent]);
    let store = FakeStore::new();
    let all = vec![child, Arc::clone(&parent), notify];
    publish(&store, &all);
    (store, parent, all)
}

/// The child's second task breaks the first time.
fn breaks_once() -> super::testing::Script {
    let broke: Arc<Mutex<HashMap<RunId, u32>>> = Arc::default();
    Arc::new(move |invocation| {
        let task = invocation.identity.task.to_string();
        let mut broke = broke.lock().unwrap();
        let breaks = task == "second" && broke.is_empty();
        if breaks {
            broke.insert(invocation.identity.run_id, 1);
        }
        let outcome = match breaks {
            true => Err(broken()),
            false => Ok(json!({ "from": task }).to_string().into()),
        };
        Box::pin(async move { outcome })
    })
}

/// Waits until the parent has ended and everything that follows.
async fn all_ended(engine: &EngineHandle, store: &FakeStore, run: RunId) {
    assert_eq!(finish(engine, run).await, Status::Succeeded);
    let mut events = engine.events();
    let told = async {
        loop {
            let told = |row: &&RunRow| row.workflow_name.as_str() == "notify";
            let row = store.tables().runs.values().find(told).cloned();
            let settled = |store: &FakeStore| {
                let tables = store.tables();
                let mut deliveries = tables.deliveries.values();
                deliveries.all(|row| row.state == DeliveryState::Started)
            };
            if row.is_some_and(|row| row.status.is_final()) && settled(store) {
                return;
            }
            // News, or a moment: settling a delivery is told to nobody.
            let moment = Duration::from_millis(20);
            let _ = tokio::time::timeout(moment, events.recv()).await;
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(30), told);
    told.await.expect("nobody was told");
}

fn check(store: &FakeStore, run: RunId, what: &str) {
    let rounds = children(store, run);
    let last = rounds.last().unwrap();
    assert_eq!(last.status, Status::Succeeded, "{what}");
    // A failure that died with its daemon was none, so there may be one round only.
    if let [first, second] = rounds.as_slice() {
        assert_eq!(first.status, Status::Failed, "{what}");
        assert_eq!(second.rerun_of, Some(first.run_id), "{what}");
    }
    assert!(rounds.len() <= 2, "{what}");
    let tables = store.tables();
    let told: Vec<_> = tables
        .runs
        .values()
        .filter(|row| row.lineage.triggered_by == Some(run))
        .collect();
    assert_eq!(told.len(), 1, "{what}");
    let inputs: Value = serde_json::from_str(&told[0].inputs).unwrap();
    assert_eq!(inputs, json!({ "what": "after" }), "{what}");
    assert_eq!(tables.runs.len(), rounds.len() + 2, "{what}");
    assert_eq!(tables.deliveries.len(), 1, "{what}");
}

/// The commits of such a family, with some to spare.
const COMMITS: usize = 24;

#[test]
fn a_commit_lost_at_any_point_neither_loses_nor_doubles_a_child_or_what_an_end_starts() {
    for fault in [Fault::Before, Fault::AfterButError] {
        for at in 1..COMMITS {
            runtime().block_on(async {
                let (store, parent, all) = three();
                store.fail(at, fault);
                let (settings, clock) = quick();
                let known = versions(&parent, &all);
                let (engine, _) = launch_with(&store, known, settings, breaks_once(), clock);
                let run = engine.trigger(request(&parent)).await.unwrap().run_id;
                all_ended(&engine, &store, run).await;
                check(&store, run, &format!("{fault:?} at {at}"));
            });
        }
    }
}

#[test]
fn a_process_that_dies_at_any_commit_neither_loses_nor_doubles_a_child_or_what_an_end_starts() {
    for fault in [Fault::HangBefore, Fault::HangAfter] {
        for at in 1..COMMITS {
            let (store, parent, all) = three();
            store.fail(at, fault);
            let script = breaks_once();
            let first = runtime();
            let run = first.block_on(async {
                let (settings, clock) = quick();
                let known = versions(&parent, &all);
                let (engine, _) = launch_with(&store, known, settings, Arc::clone(&script), clock);
                let run = engine.trigger(request(&parent)).await.unwrap().run_id;
                let mut sealed = store.sealed.subscribe();
                let over = |sealed: &usize| *sealed > at;
                // Fewer commits than that: everything ends.
                tokio::select! {
                    _ = sealed.wait_for(over) => {}
                    () = all_ended(&engine, &store, run) => {}
                }
                run
            });
            first.shutdown_background();
            runtime().block_on(async {
                let (settings, clock) = quick();
                let known = versions(&parent, &all);
                let (engine, _) = launch_with(&store, known, settings, script, clock);
                all_ended(&engine, &store, run).await;
                check(&store, run, &format!("{fault:?} at {at}"));
            });
        }
    }
}
