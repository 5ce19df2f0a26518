//! Data through a run: conditions, items, absent outputs, the run's number, child workflows.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Cancelled;
use super::testing::{FakeStore, Guest, World, publish, settings};
use crate::id::Digest;
use crate::run::status::{Status, Trigger};
use crate::workflow::environment::{Environment, ModuleDescription, ModuleFacts, WorkflowFacts};
use crate::workflow::{Workflow, WorkflowSource, compile};

pub(super) fn workflow(text: &str, children: &[&Workflow]) -> Arc<Workflow> {
    let anything = ModuleFacts {
        digest: Digest::of(b"module"),
        description: ModuleDescription {
            name: "work".into(),
            version: String::new(),
            summary: String::new(),
            requires: Vec::new(),
            input: Value::Bool(true),
            output: Value::Bool(true),
            defaults: serde_json::Map::new(),
        },
        imports: Vec::new(),
    };
    let environment = Environment {
        modules: [("work".parse().unwrap(), anything)].into(),
        workflows: children
            .iter()
            .map(|child| (child.name.clone(), WorkflowFacts::of(child)))
            .collect(),
        ..Environment::default()
    };
    let compiled = compile(&WorkflowSource::new("flows/test.toml", text), &environment);
    let remarks: Vec<_> = compiled
        .diagnostics
        .iter()
        .map(ToString::to_string)
        .collect();
    Arc::new(compiled.workflow.unwrap_or_else(|| panic!("{remarks:#?}")))
}

pub(super) fn input(guest: &Guest) -> Value {
    serde_json::from_str(&guest.invocation.input).unwrap()
}

const FLOW: &str = r#"
flowweaver = 1
name = "flow"
[inputs.wanted]
type = "boolean"
default = false
[[job]]
name = "a"
[[job.task]]
name = "first"
uses = "work"
with = { number = "{{ run.number }}", id = "{{ run.id }}" }
[[job.task]]
name = "maybe"
uses = "work"
when = "{{ inputs.wanted }}"
[[job.task]]
name = "reader"
uses = "work"
with = { value = "{{ tasks.maybe.value }}" }
[[job.task]]
name = "tolerant"
uses = "work"
with = { value = "{{ tasks.maybe.value | default('none') }}" }
[[job.task]]
name = "each"
uses = "work"
for_each = "{{ tasks.first.list }}"
with = { item = "{{ item }}", at = "{{ index }}" }
[[job.task]]
name = "sum"
uses = "work"
with = { all = "{{ tasks.each }}" }
"#;

#[tokio::test]
async fn data_flows_through_conditions_absent_outputs_items_and_the_runs_number() {
    let mut world = World::new(workflow(FLOW, &[]));
    let mut request = world.request();
    request.inputs = json!({ "wanted": false });
    let run = world.engine.trigger(request).await.unwrap().run_id;
    let first = world.guest().await;
    assert_eq!(input(&first), json!({ "number": 1, "id": run.to_string() }));
    first.succeed(json!({ "list": ["x", "y"] }));
    let tolerant = world.guest().await;
    assert_eq!(
        (tolerant.task(), input(&tolerant)),
        ("tolerant", json!({ "value": "none" }))
    );
    tolerant.succeed(json!({}));
    for _ in 0..2 {
        let item = world.guest().await;
        let value = input(&item);
        item.succeed(value);
    }
    let sum = world.guest().await;
    let all = json!([{ "item": "x", "at": 0 }, { "item": "y", "at": 1 }]);
    assert_eq!(input(&sum), json!({ "all": all }));
    sum.succeed(json!({}));
    assert_eq!(world.engine.wait(run).await.unwrap(), Status::Succeeded);
    let reason = |task| {
        world
            .store
            .task(run, task, -1)
            .unwrap()
            .reason_code
            .unwrap()
    };
    assert_eq!(
        (reason("maybe").as_str(), reason("reader").as_str()),
        ("when", "input.missing")
    );
}

#[tokio::test]
async fn items_are_the_same_after_a_crash_in_the_middle() {
    let flow = workflow(FLOW, &[]);
    let mut world = World::new(Arc::clone(&flow));
    let mut request = world.request();
    request.inputs = json!({ "wanted": false });
    let run = world.engine.trigger(request).await.unwrap().run_id;
    world.guest().await.succeed(json!({ "list": [1, 2, 3] }));
    world.guest().await.succeed(json!({}));
    let guest = world.guest().await;
    let done = guest.invocation.identity.item_index.unwrap();
    guest.succeed(json!({ "done": done }));
    world
        .until(|t| {
            t.tasks
                .values()
                .any(|row| row.item_index == i64::from(done) && row.status == Status::Succeeded)
        })
        .await;
    let mut next = World::over(Arc::clone(&world.store), flow, settings());
    loop {
        let guest = next.guest().await;
        if guest.task() == "sum" {
            guest.succeed(json!({}));
            break;
        }
        let item = guest.invocation.identity.item_index.unwrap();
        assert_ne!(item, done, "a completed item ran again");
        guest.succeed(json!({ "done": item }));
    }
    assert_eq!(next.engine.wait(run).await.unwrap(), Status::Succeeded);
    let all = json!([{ "done": 0 }, { "done": 1 }, { "done": 2 }]);
    assert_eq!(world.store.output(run, "each"), all);
}

#[tokio::test]
async fn an_input_that_cannot_be_made_fails_its_task_without_an_attempt() {
    let text = FLOW.replace(
        "for_each = \"{{ tasks.first.list }}\"",
        "for_each = \"{{ tasks.first.nothing }}\"",
    );
    let mut world = World::new(workflow(&text, &[]));
    let mut request = world.request();
    request.inputs = json!({ "wanted": false });
    let run = world.engine.trigger(request).await.unwrap().run_id;
    world.guest().await.succeed(json!({}));
    world.guest().await.succeed(json!({}));
    assert_eq!(world.engine.wait(run).await.unwrap(), Status::Failed);
    assert_eq!(
        world.store.run(run).failure_code.as_deref(),
        Some("input.invalid")
    );
    assert!(world.store.attempts(run, "each").is_empty());
}

const CHILD: &str = r#"
flowweaver = 1
name = "child"
[[job]]
name = "c"
[[job.task]]
name = "inner"
uses = "work"
"#;

const PARENT: &str = r#"
flowweaver = 1
name = "parent"
[[job]]
name = "p"
[[job.task]]
name = "outer"
uses = "workflow:child"
[[job.task]]
name = "after"
uses = "work"
with = { got = "{{ tasks.outer.tasks.inner.v }}" }
"#;

fn family() -> World {
    let child = workflow(CHILD, &[]);
    let parent = workflow(PARENT, &[&child]);
    let store = FakeStore::new();
    publish(&store, &[Arc::clone(&child)]);
    // One slot: a parent that waits must not keep it from its child.
    let one = super::Settings {
        slots: 1,
        ..settings()
    };
    World::with_others(store, parent, &[child], one)
}

#[tokio::test]
async fn a_workflow_used_as_a_task_runs_as_a_run_of_its_own() {
    let mut world = family();
    let run = world.trigger().await;
    let inner = world.guest().await;
    let child = inner.invocation.identity.run_id;
    assert_ne!(child, run);
    assert_eq!(world.store.run(child).trigger, Trigger::Workflow);
    inner.succeed(json!({ "v": 7 }));
    let after = world.guest().await;
    assert_eq!(input(&after), json!({ "got": 7 }));
    after.succeed(json!({}));
    assert_eq!(world.engine.wait(run).await.unwrap(), Status::Succeeded);
}

#[tokio::test]
async fn a_cancel_of_the_parent_cancels_the_child() {
    let mut world = family();
    let run = world.trigger().await;
    let inner = world.guest().await;
    let child = inner.invocation.identity.run_id;
    assert_eq!(
        world.engine.cancel(run, "enough").await.unwrap(),
        Cancelled::Ordered
    );
    inner.invocation.cancel.cancelled().await;
    assert_eq!(world.engine.wait(child).await.unwrap(), Status::Cancelled);
    assert_eq!(world.engine.wait(run).await.unwrap(), Status::Cancelled);
}

const TURNS: &str = r#"
flowweaver = 1
name = "turns"
concurrency = { key = "{{ inputs.who }}", max = 1 }
[inputs.who]
type = "string"
[[job]]
name = "a"
[[job.task]]
name = "one"
uses = "work"
"#;

#[tokio::test]
async fn runs_with_the_same_key_take_turns_and_others_do_not_wait() {
    let flow = workflow(TURNS, &[]);
    let mut world = World::new(Arc::clone(&flow));
    let mut runs = Vec::new();
    let mut request = world.request();
    for who in ["ann", "ann", "bob", "ann"] {
        request.inputs = json!({ "who": who });
        runs.push(world.engine.trigger(request.clone()).await.unwrap().run_id);
    }
    let (ann, bob) = (world.guest().await, world.guest().await);
    assert_eq!(ann.invocation.identity.run_id, runs[0]);
    assert_eq!(bob.invocation.identity.run_id, runs[2]);
    world.engine.active_runs().await;
    assert!(world.guests.try_recv().is_err(), "two of one key at once");
    assert_eq!(world.store.run(runs[1]).status, Status::Held);
    // One that waits can be cancelled; the next in line follows.
    world.engine.cancel(runs[1], "no longer").await.unwrap();
    assert_eq!(world.engine.wait(runs[1]).await.unwrap(), Status::Cancelled);
    ann.succeed(json!({}));
    let next = world.guest().await;
    assert_eq!(next.invocation.identity.run_id, runs[3]);
    // After a crash both that had begun go on.
    let mut after = World::over(Arc::clone(&world.store), flow, settings());
    let mut begun = Vec::new();
    for _ in 0..2 {
        let guest = after.guest().await;
        begun.push(guest.invocation.identity.run_id);
        guest.succeed(json!({}));
    }
    begun.sort();
    let mut expected = [runs[2], runs[3]];
    expected.sort();
    assert_eq!(begun, expected);
    assert_eq!(after.engine.wait(runs[3]).await.unwrap(), Status::Succeeded);
}
