//! What ends of runs start, and what comes of it where it is not to be or cannot be.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::testing::{FakeStore, World, publish, settings};
use super::tests_flow::workflow;
use crate::id::RunId;
use crate::run::failure::{Failure, FailureSource};
use crate::run::status::{Status, Trigger};
use crate::store::lineage::{DeliveryRow, DeliveryState};
use crate::store::rows::RunRow;
use crate::workflow::Workflow;

const SOURCE: &str = r#"
flowweaver = 1
name = "source"
[inputs.who]
type = "string"
default = "ann"
[[job]]
name = "s"
[[job.task]]
name = "make"
uses = "work"
"#;

fn listener(trigger: &str) -> String {
    format!(
        r#"
flowweaver = 1
name = "listener"
[inputs.text]
type = "string"
max_length = 20
default = "nothing"
[vars]
greeting = "to"
[[on]]
workflow = "source"
{trigger}
[[job]]
name = "l"
[[job.task]]
name = "tell"
uses = "work"
with = {{ text = "{{{{ inputs.text }}}}" }}
"#
    )
}

fn world(trigger: &str) -> World {
    let source = workflow(SOURCE, &[]);
    let listener = workflow(&listener(trigger), &[&source]);
    let store = FakeStore::new();
    publish(&store, &[Arc::clone(&source), Arc::clone(&listener)]);
    World::with_others(store, source, &[listener], settings())
}

impl World {
    /// Ends a run of the source, and moves the clock until what its end came to is known.
    async fn end(&mut self, failure: Option<Failure>) -> (RunId, Option<DeliveryRow>) {
        let mut request = self.request();
        request.inputs = json!({ "who": "ann" });
        let run = self.engine.trigger(request).await.unwrap().run_id;
        let guest = self.guest().await;
        assert_eq!(guest.task(), "make");
        match failure {
            None => guest.succeed(json!({ "text": "done" })),
            Some(failure) => guest.fail(failure),
        }
        self.engine.wait(run).await.unwrap();
        (run, self.settled(run).await)
    }

    async fn settled(&self, run: RunId) -> Option<DeliveryRow> {
        loop {
            let of = |row: &&DeliveryRow| row.id.source == run;
            let row = self.store.tables().deliveries.values().find(of).cloned();
            match row {
                Some(row) if row.settled_at.is_some() || row.reason_code.is_some() => {
                    return Some(row);
                }
                None => return None,
                Some(_) => self.clock.advance(Duration::from_millis(10)),
            }
            tokio::task::yield_now().await;
        }
    }

    fn remove(&self, workflow: &str) {
        let mut tables = self.store.tables();
        let of = |name: &crate::id::WorkflowName| name.as_str() == workflow;
        let row = tables.workflows.iter_mut().find(|row| of(&row.name));
        row.unwrap().active_version = None;
    }
}

fn broken() -> Failure {
    Failure::permanent(FailureSource::Task, "broken", "it broke")
}

fn reason(row: &DeliveryRow) -> (DeliveryState, &str) {
    (row.state, row.reason_code.as_deref().unwrap_or_default())
}

#[tokio::test]
async fn an_end_of_another_kind_starts_nothing_and_notes_nothing() {
    let mut world = world("status = [\"failed\"]");
    let (_, row) = world.end(None).await;
    assert_eq!(row, None);
    assert_eq!(world.store.tables().runs.len(), 1);
}

#[tokio::test]
async fn an_end_starts_the_workflow_with_inputs_made_of_the_run_that_ended() {
    let text = "{{ tasks.make.text }} {{ vars.greeting }} {{ inputs.who }}";
    let mut world = world(&format!("inputs = {{ text = \"{text}\" }}"));
    let (source, row) = world.end(None).await;
    let row = row.unwrap();
    assert_eq!(row.state, DeliveryState::Started);
    let started = world.store.run(row.run_id.unwrap());
    assert_eq!(started.trigger, Trigger::Workflow);
    assert_eq!(started.lineage.triggered_by, Some(source));
    assert_eq!(
        (started.lineage.root_run_id, started.lineage.depth),
        (Some(source), 1)
    );
    assert_eq!(started.trace_id, world.store.run(source).trace_id);
    let tell = world.guest().await;
    assert_eq!(
        super::tests_flow::input(&tell),
        json!({ "text": "done to ann" })
    );
}

#[tokio::test]
async fn a_failure_is_told_with_its_cause() {
    let trigger =
        "outcome = \"failure\"\ninputs = { text = \"{{ run.status }} {{ run.failure.code }}\" }";
    let mut world = world(trigger);
    let (_, row) = world.end(Some(broken())).await;
    assert_eq!(row.unwrap().state, DeliveryState::Started);
    let tell = world.guest().await;
    let input = super::tests_flow::input(&tell);
    assert_eq!(input, json!({ "text": "failed broken" }));
}

#[tokio::test]
async fn a_condition_that_is_false_skips_the_start_and_the_next_trigger_may_fit() {
    let never = "when = \"{{ inputs.who == 'bob' }}\"";
    let mut first = world(never);
    let (_, row) = first.end(None).await;
    let row = row.unwrap();
    assert_eq!(reason(&row), (DeliveryState::Skipped, "when"));
    let two = format!("{never}\n[[on]]\nworkflow = \"source\"\ninputs = {{ text = \"second\" }}");
    let mut world = world(&two);
    world.end(None).await;
    let tell = world.guest().await;
    let input = super::tests_flow::input(&tell);
    assert_eq!(input, json!({ "text": "second" }));
}

#[tokio::test]
async fn inputs_that_cannot_be_made_or_are_not_taken_are_recorded_and_start_nothing() {
    for (text, code) in [
        ("{{ tasks.make.nothing }}", "input.invalid"),
        (
            "{{ tasks.make.text }} and much more than is taken",
            "input.invalid",
        ),
    ] {
        let mut world = world(&format!("inputs = {{ text = \"{text}\" }}"));
        let (_, row) = world.end(None).await;
        let row = row.unwrap();
        assert_eq!(reason(&row), (DeliveryState::Failed, code));
        assert!(row.reason_message.is_some());
        assert_eq!(world.store.tables().runs.len(), 1);
    }
    let failed = "outcome = \"failure\"\ninputs = { text = \"{{ tasks.make.text }}\" }";
    let mut world = world(failed);
    let (_, row) = world.end(Some(broken())).await;
    let row = row.unwrap();
    assert_eq!(reason(&row), (DeliveryState::Failed, "input.missing"));
}

#[tokio::test]
async fn a_workflow_that_was_removed_before_its_delivery_is_skipped_with_a_record() {
    let mut world = world("");
    world.remove("listener");
    let (_, row) = world.end(None).await;
    let row = row.unwrap();
    assert_eq!(reason(&row), (DeliveryState::Skipped, "workflow.removed"));
    assert_eq!(world.store.tables().runs.len(), 1);
}

/// Two workflows, each of which starts after the other.
fn circle() -> World {
    let text = |name: &str, other: &str| {
        format!(
            "flowweaver = 1\nname = \"{name}\"\n[[on]]\nworkflow = \"{other}\"\n\
             [[job]]\nname = \"j\"\n[[job.task]]\nname = \"make\"\nuses = \"work\"\n"
        )
    };
    let source = workflow(&text("source", "back"), &[]);
    let back = workflow(&text("back", "source"), &[&source]);
    let store = FakeStore::new();
    publish(&store, &[Arc::clone(&source), Arc::clone(&back)]);
    World::with_others(store, source, &[back], settings())
}

fn deepest(runs: &[RunRow]) -> u32 {
    runs.iter().map(|run| run.lineage.depth).max().unwrap_or(0)
}

#[tokio::test]
async fn workflows_that_start_each_other_stop_at_the_limit_of_depth() {
    let mut world = circle();
    let (mut run, _) = world.end(None).await;
    loop {
        let row = world.settled(run).await.unwrap();
        match row.state {
            DeliveryState::Started => run = row.run_id.unwrap(),
            DeliveryState::Pending => {
                assert_eq!(row.reason_code.as_deref(), Some("trigger.rate"));
                world.clock.advance(Duration::from_secs(61));
                tokio::task::yield_now().await;
                continue;
            }
            _ => {
                assert_eq!(reason(&row), (DeliveryState::Skipped, "trigger.depth"));
                break;
            }
        }
        world.pass("make").await;
        assert_eq!(world.engine.wait(run).await.unwrap(), Status::Succeeded);
    }
    let runs: Vec<RunRow> = world.store.tables().runs.values().cloned().collect();
    assert_eq!((runs.len(), deepest(&runs)), (17, 16));
}

/// The source starts ever more of the same.
fn fan(store: &Arc<FakeStore>) -> Vec<Arc<Workflow>> {
    let text = |name: &str, other: &str| {
        format!(
            "flowweaver = 1\nname = \"{name}\"\n[[on]]\nworkflow = \"{other}\"\n\
             [[job]]\nname = \"j\"\n[[job.task]]\nname = \"make\"\nuses = \"work\"\n"
        )
    };
    let source = workflow(
        &format!("{}[[on]]\nworkflow = \"c\"\n", text("source", "b")),
        &[],
    );
    let (b, c) = (
        workflow(&text("b", "source"), &[&source]),
        workflow(&text("c", "source"), &[&source]),
    );
    let all = vec![source, b, c];
    publish(store, &all);
    all
}

#[tokio::test]
async fn a_circle_that_doubles_itself_is_held_to_a_rate() {
    let store = FakeStore::new();
    let all = fan(&store);
    let mut world = World::with_others(store, Arc::clone(&all[0]), &all[1..], settings());
    let first = world.trigger().await;
    let mut ended = 0;
    // Without a rate there would be twice as many with each step; the clock moves by milliseconds only.
    for _ in 0..2_000 {
        while let Ok(guest) = world.guests.try_recv() {
            guest.succeed(json!({}));
            ended += 1;
        }
        world.clock.advance(Duration::from_millis(5));
        tokio::task::yield_now().await;
    }
    let tables = world.store.tables();
    let held = tables
        .deliveries
        .values()
        .filter(|row| row.reason_code.as_deref() == Some("trigger.rate"))
        .count();
    assert!(held > 0, "{ended} runs ended");
    for name in ["source", "b", "c"] {
        let of = |run: &&RunRow| run.workflow_name.as_str() == name && run.run_id != first;
        let many = tables.runs.values().filter(of).count();
        assert!(many <= 10, "{name} was started {many} times in 10 s");
    }
}
