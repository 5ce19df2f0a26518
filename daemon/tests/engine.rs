//! The engine over real stores: what a run leaves behind, a crash in the middle, and many at once.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::expect_used,
    reason = "tests"
)]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use flowweaver::clock::{Clock, SystemClock};
use flowweaver::engine::{
    Engine, EngineHandle, Parts, RerunMode, RerunVersion, Settings, TriggerRequest,
};
use flowweaver::id::{Digest, OrganizationId, WorkflowId};
use flowweaver::run::failure::{Failure, FailureSource};
use flowweaver::run::status::{Status, Trigger};
use flowweaver::sandbox::invoke::{AttemptReport, Invocation, Invoke};
use flowweaver::store::lineage::EndOf;
use flowweaver::store::rows::VersionRow;
use flowweaver::store::{Durability, Store};
use flowweaver::workflow::environment::{
    Environment, ModuleDescription, ModuleFacts, WorkflowFacts,
};
use flowweaver::workflow::{Workflow, WorkflowSource, compile};
use serde_json::{Value, json};

#[path = "engine/control.rs"]
mod control;
#[path = "engine/cuts.rs"]
mod cuts;
#[path = "engine/family.rs"]
mod family;
#[path = "fresh/mod.rs"]
mod fresh;
#[path = "oracle/mod.rs"]
mod oracle;
#[path = "engine/proxy.rs"]
mod proxy;

use control::*;

use family::families_end_once_though_their_process_goes_away_in_the_middle;

/// One test a promise and store.
macro_rules! promises {
    ($($promise:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                crate::fresh::sqlite(crate::$promise).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                crate::fresh::postgres(crate::$promise).await;
            })*
        }
        mod mariadb {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                crate::fresh::mariadb(crate::$promise).await;
            })*
        }
    };
}

promises! {
    a_run_leaves_its_whole_history_in_the_store,
    a_rerun_reads_the_linked_outputs_of_the_run_it_continues,
    many_runs_at_once_share_commits_and_all_end,
    a_process_that_is_gone_in_the_middle_is_continued_from_its_last_recorded_task,
    commits_that_lose_their_connection_lose_nothing_and_repeat_nothing,
    families_end_once_though_their_process_goes_away_in_the_middle,
    never_more_than_the_limit_go_at_once_whichever_daemons_run_them,
    what_is_urgent_goes_first_and_nothing_new_overtakes_it,
    a_retry_delay_survives_the_daemon_and_is_neither_early_nor_lost,
    a_run_that_has_used_up_its_time_ends_also_after_a_restart,
    a_task_that_killed_three_daemons_is_a_dead_letter_and_is_redriven_once,
    an_at_most_once_task_is_not_begun_again_after_its_daemon_died,
    a_rerun_repeats_only_the_items_that_failed,
    daemons_that_are_given_the_same_key_at_once_begin_one_run,
}

/// One test a promise and server: what a file has instead of messages is in `engine::tests_points`.
macro_rules! on_servers {
    ($($promise:ident),* $(,)?) => {
        mod cut_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                crate::fresh::postgres(crate::cuts::$promise).await;
            })*
        }
        mod cut_mariadb {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                crate::fresh::mariadb(crate::cuts::$promise).await;
            })*
        }
    };
}

on_servers! {
    a_connection_that_is_cut_at_any_message_loses_nothing_and_repeats_nothing,
    a_process_that_dies_at_any_message_is_continued_by_the_next,
}

/// Gives back its input (or its `all`) with the task's name added; a task named `breaks` fails the first time.
struct Echo;

#[async_trait]
impl Invoke for Echo {
    async fn invoke(&self, invocation: Invocation) -> AttemptReport {
        let input: Value = serde_json::from_str(&invocation.input).unwrap();
        let mut value = input.get("all").cloned().unwrap_or(input);
        let task = invocation.identity.task.to_string();
        let first = value["again"] != json!(true);
        value[task.as_str()] = json!(1);
        let outcome = if task == "breaks" && first {
            Err(Failure::permanent(
                FailureSource::Task,
                "broken",
                "it broke",
            ))
        } else {
            Ok(value.to_string().into())
        };
        AttemptReport {
            outcome,
            cpu: Duration::ZERO,
            memory_peak_bytes: 0,
        }
    }
}

fn w1() -> String {
    let mut text = "flowweaver = 1\nname = \"w1\"\n".to_owned();
    let mut before = None;
    for job in ["a", "b", "c"] {
        text += &format!("[[job]]\nname = \"{job}\"\n");
        for task in 0..3 {
            let name = format!("{job}{task}");
            text += &format!("[[job.task]]\nname = \"{name}\"\nuses = \"work\"\n");
            if let Some(before) = before.replace(name) {
                text += &format!("with = {{ all = \"{{{{ tasks.{before} }}}}\" }}\n");
            }
        }
    }
    text
}

fn build(text: &str) -> Arc<Workflow> {
    build_with(text, &[])
}

fn build_with(text: &str, others: &[&Arc<Workflow>]) -> Arc<Workflow> {
    let facts = ModuleFacts {
        digest: Digest::of(b"work"),
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
        modules: [("work".parse().unwrap(), facts)].into(),
        workflows: others
            .iter()
            .map(|other| (other.name.clone(), WorkflowFacts::of(other)))
            .collect(),
        ..Environment::default()
    };
    let compiled = compile(&WorkflowSource::new("flows/w.toml", text), &environment);
    let remarks: Vec<_> = compiled
        .diagnostics
        .iter()
        .map(ToString::to_string)
        .collect();
    Arc::new(compiled.workflow.unwrap_or_else(|| panic!("{remarks:?}")))
}

struct World {
    store: Arc<dyn Store>,
    engine: EngineHandle,
    request: TriggerRequest,
}

async fn world(url: &str, text: &str) -> World {
    world_of(url, text, Arc::new(Echo), Settings::default()).await
}

async fn world_of(url: &str, text: &str, invoke: Arc<dyn Invoke>, settings: Settings) -> World {
    let store = flowweaver::store::open(url, Durability::Full)
        .await
        .unwrap();
    let workflow = build(text);
    let workflow_id = publish(&store, &workflow, text).await;
    let known = Arc::clone(&workflow);
    let parts = Parts {
        store: Arc::clone(&store),
        invoke,
        clock: Arc::new(SystemClock),
        versions: Arc::new(move |_| {
            let known = Arc::clone(&known);
            Box::pin(async move { Ok(known) })
        }),
        settings,
    };
    let request = request(&workflow, workflow_id);
    World {
        store,
        // As the daemon does.
        engine: Engine::new(parts).start_apart().unwrap(),
        request,
    }
}

fn request(workflow: &Arc<Workflow>, workflow_id: WorkflowId) -> TriggerRequest {
    TriggerRequest {
        workflow: Arc::clone(workflow),
        workflow_id,
        organization: OrganizationId::ROOT,
        inputs: json!({}),
        config: Value::Null,
        trigger: Trigger::Manual,
        idempotency_key: None,
        scheduled_at: None,
        priority: None,
        trace_id: None,
    }
}

async fn publish(store: &Arc<dyn Store>, workflow: &Workflow, text: &str) -> WorkflowId {
    publish_with(store, workflow, text, Vec::new()).await
}

async fn publish_with(
    store: &Arc<dyn Store>,
    workflow: &Workflow,
    text: &str,
    starts_after: Vec<EndOf>,
) -> WorkflowId {
    let row = VersionRow {
        version: workflow.version,
        organization_id: OrganizationId::ROOT,
        workflow_name: workflow.name.clone(),
        file: "flows/w.toml".into(),
        source: text.into(),
        vars: "{}".into(),
        ceilings: "{}".into(),
        modules: "{}".into(),
        workflows: "{}".into(),
        starts_after,
        created_at: SystemClock.now(),
    };
    store.publish(&row).await.unwrap()
}

async fn a_run_leaves_its_whole_history_in_the_store(url: String) {
    let world = world(&url, &w1()).await;
    let run = world
        .engine
        .trigger(world.request.clone())
        .await
        .unwrap()
        .run_id;
    assert_eq!(world.engine.wait(run).await.unwrap(), Status::Succeeded);
    let image = world.store.load_run(run).await.unwrap().unwrap();
    assert_eq!((image.run.status, image.run.number), (Status::Succeeded, 1));
    assert_eq!(
        (image.jobs.len(), image.tasks.len(), image.attempts.len()),
        (3, 9, 9)
    );
    let last = image
        .tasks
        .iter()
        .find(|task| task.task.as_str() == "c2")
        .unwrap();
    let output = image
        .io
        .iter()
        .find(|io| Some(io.io_id) == last.output_io_id)
        .unwrap();
    let output: Value = serde_json::from_str(&output.data).unwrap();
    assert_eq!(output.as_object().unwrap().len(), 9);
    let logs = world.store.logs(Some(run), 0, 1_000).await.unwrap();
    assert_eq!(logs.last().unwrap().kind, "run.finished");
    assert!(logs.windows(2).all(|two| two[0].event_id < two[1].event_id));
    let drained = world.engine.drain(Duration::from_secs(1)).await;
    assert_eq!((drained.released, drained.stopped), (0, 0));
}

async fn a_rerun_reads_the_linked_outputs_of_the_run_it_continues(url: String) {
    let text = "flowweaver = 1\nname = \"again\"\n[[job]]\nname = \"j\"\n\
        [[job.task]]\nname = \"good\"\nuses = \"work\"\n\
        [[job.task]]\nname = \"breaks\"\nuses = \"work\"\n\
        with = { again = \"{{ run.trigger == 'rerun' }}\", got = \"{{ tasks.good.good }}\" }\n";
    let world = world(&url, text).await;
    let run = world
        .engine
        .trigger(world.request.clone())
        .await
        .unwrap()
        .run_id;
    assert_eq!(world.engine.wait(run).await.unwrap(), Status::Failed);
    let again = world
        .engine
        .rerun(run, RerunMode::FromFailed, RerunVersion::Same)
        .await
        .unwrap();
    assert_eq!(
        world.engine.wait(again.run_id).await.unwrap(),
        Status::Succeeded
    );
    let image = world.store.load_run(again.run_id).await.unwrap().unwrap();
    assert_eq!((image.tasks.len(), image.attempts.len()), (2, 1));
    // A second rerun links through the first.
    let third = world
        .engine
        .rerun(again.run_id, RerunMode::FromFailed, RerunVersion::Same)
        .await;
    let third = third.unwrap().run_id;
    assert_eq!(world.engine.wait(third).await.unwrap(), Status::Succeeded);
    assert!(
        world
            .store
            .load_run(third)
            .await
            .unwrap()
            .unwrap()
            .attempts
            .is_empty()
    );
}

async fn many_runs_at_once_share_commits_and_all_end(url: String) {
    let world = Arc::new(world(&url, &w1()).await);
    let mut tasks = Vec::new();
    for _ in 0..32 {
        let world = Arc::clone(&world);
        tasks.push(tokio::spawn(async move {
            for _ in 0..10 {
                let run = world
                    .engine
                    .trigger(world.request.clone())
                    .await
                    .unwrap()
                    .run_id;
                assert_eq!(world.engine.wait(run).await.unwrap(), Status::Succeeded);
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert!(world.engine.active_runs().await.is_empty());
}

async fn a_process_that_is_gone_in_the_middle_is_continued_from_its_last_recorded_task(
    url: String,
) {
    let test = tokio::task::spawn_blocking(move || die_and_continue(&url));
    test.await.unwrap();
}

fn die_and_continue(url: &str) {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).enable_all().build().unwrap()
    };
    let first = runtime();
    let runs = first.block_on(async {
        let world = world(url, &w1()).await;
        let mut events = world.engine.events();
        let mut runs = Vec::new();
        for _ in 0..20 {
            runs.push(
                world
                    .engine
                    .trigger(world.request.clone())
                    .await
                    .unwrap()
                    .run_id,
            );
        }
        // Some commits later, somewhere in the middle, everything of this process is dropped.
        for _ in 0..5 {
            events.recv().await.unwrap();
        }
        runs
    });
    first.shutdown_background();
    runtime().block_on(async {
        let world = world(url, &w1()).await;
        for run in runs {
            assert_eq!(world.engine.wait(run).await.unwrap(), Status::Succeeded);
            let image = world.store.load_run(run).await.unwrap().unwrap();
            for task in &image.tasks {
                let attempts = image.attempts.iter();
                let done = attempts.filter(|attempt| {
                    attempt.task_run_id == task.task_run_id && attempt.status == Status::Succeeded
                });
                assert_eq!(done.count(), 1, "{} was recorded twice", task.task);
            }
        }
    });
}

async fn commits_that_lose_their_connection_lose_nothing_and_repeat_nothing(url: String) {
    let world = world(&url, &w1()).await;
    let mut events = world.engine.events();
    let mut runs = Vec::new();
    for _ in 0..10 {
        let accepted = world.engine.trigger(world.request.clone()).await;
        runs.push(accepted.unwrap().run_id);
    }
    for _ in 0..6 {
        events.recv().await.unwrap();
        fresh::cut(&url).await;
    }
    for run in runs {
        assert_eq!(world.engine.wait(run).await.unwrap(), Status::Succeeded);
        let image = world.store.load_run(run).await.unwrap().unwrap();
        let attempts = image.attempts.iter();
        let done = attempts.filter(|attempt| attempt.status == Status::Succeeded);
        assert_eq!((image.attempts.len(), done.count()), (9, 9));
    }
}
