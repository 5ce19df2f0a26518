//! What a durable task step costs the engine and the SQLite store, without guests and without HTTP: runs of W1 whose
//! tasks end at once.
//!
//! Instructions are counted by `valgrind`, which runs this program again; the figure hardly moves with what else the
//! machine does, so it shows in review what a change costs. Times are beside it for scale.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark stops at the first surprise and prints what it found"
)]

mod counted;
#[path = "../whole/flows.rs"]
#[allow(dead_code, reason = "shared with the whole")]
mod flows;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use flowweaver::clock::SystemClock;
use flowweaver::engine::{Engine, EngineHandle, Parts, Settings, TriggerRequest, VersionError};
use flowweaver::id::{Digest, OrganizationId, WorkflowId};
use flowweaver::run::status::{Status, Trigger};
use flowweaver::sandbox::invoke::{AttemptReport, Invocation, Invoke};
use flowweaver::store::rows::VersionRow;
use flowweaver::store::sqlite::SqliteStore;
use flowweaver::store::{Durability, Store};
use flowweaver::workflow::environment::ModuleFacts;
use flowweaver::workflow::{Environment, Workflow, WorkflowSource, compile};
use serde_json::{Value, json};

/// Runs at once: one, and what the aim names.
const WIDTHS: [usize; 2] = [1, 32];
/// Runs that are timed.
const TIMED: usize = 640;
/// Runs that are counted; the same beginning is in the shorter and the longer count, and their difference is the rest.
const COUNTED: [usize; 2] = [64, 256];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "--carry-out", runs, width] => {
            carry_out(runs.parse().unwrap(), width.parse().unwrap());
        }
        // `cargo test` runs this with `--test` and must not wait for it.
        _ if arguments.iter().any(|argument| argument == "--test") => {}
        _ => measure(),
    }
}

fn measure() {
    println!(
        "| a durable task step of W1, tasks that end at once | one run at a time | 32 runs at a time |"
    );
    println!("|---|---:|---:|");
    let took = WIDTHS.map(|width| {
        carry_out(TIMED / 10, width);
        let (begun, cpu) = (Instant::now(), cpu_time());
        carry_out(TIMED, width);
        (begun.elapsed(), cpu_time().saturating_sub(cpu))
    });
    let tasks = TIMED as f64 * flows::W1_TASKS;
    let us = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1e6 / tasks);
    let [one, many] = &took;
    println!("| time (us) | {} | {} |", us(one.0), us(many.0));
    println!("| processor time (us) | {} | {} |", us(one.1), us(many.1));
    let counts = WIDTHS.map(|width| {
        let [short, long] = COUNTED.map(|runs| counted::instructions(runs, width));
        let steps = (COUNTED[1] - COUNTED[0]) as f64 * flows::W1_TASKS;
        let each = long
            .zip(short)
            .map(|(long, short)| (long - short) as f64 / steps);
        each.map_or("not counted: there is no valgrind".to_owned(), |each| {
            format!("{each:.0}")
        })
    });
    let [one, many] = &counts;
    println!("| instructions | {one} | {many} |");
}

/// Processor time of this process so far.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap(),
    )
}

/// Carries out so many runs on an empty store, so many of them at a time.
fn carry_out(runs: usize, width: usize) {
    // One thread besides the store's own: counts do not depend on who wakes whom.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = folder.path().join("store.db");
        let store = SqliteStore::open(&path, Durability::Full).await.unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        let workflow = Arc::new(w1());
        let workflow_id = publish(&store, &workflow).await;
        let engine = start(store, &workflow);
        for _ in 0..runs / width {
            let wave = (0..width).map(|_| whole_run(&engine, &workflow, workflow_id));
            futures_util::future::join_all(wave).await;
        }
        engine.drain(Duration::from_secs(1)).await;
    });
}

async fn whole_run(engine: &EngineHandle, workflow: &Arc<Workflow>, workflow_id: WorkflowId) {
    let request = TriggerRequest {
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
    };
    let run = engine.trigger(request).await.unwrap().run_id;
    assert_eq!(engine.wait(run).await.unwrap(), Status::Succeeded);
}

fn start(store: Arc<dyn Store>, workflow: &Arc<Workflow>) -> EngineHandle {
    let known = Arc::clone(workflow);
    Engine::new(Parts {
        store,
        invoke: Arc::new(AtOnce),
        clock: Arc::new(SystemClock),
        versions: Arc::new(move |version: Digest| {
            let found = (version == known.version).then(|| Arc::clone(&known));
            Box::pin(async move { found.ok_or(VersionError::Lost(version.to_string())) })
        }),
        settings: Settings::default(),
    })
    .start()
}

/// Ends every attempt at once, with an output as large as W1's grow.
struct AtOnce;

#[async_trait]
impl Invoke for AtOnce {
    async fn invoke(&self, _: Invocation) -> AttemptReport {
        AttemptReport {
            outcome: Ok(r#"{"object":{"t0":0,"t1":1,"t2":2,"t3":0,"t4":1}}"#.into()),
            cpu: Duration::from_micros(30),
            memory_peak_bytes: 1_114_112,
        }
    }
}

fn w1() -> Workflow {
    let facts = ModuleFacts {
        digest: Digest::of(b"add-field"),
        description: serde_json::from_value(json!({
            "name": "add-field",
            "input": {
                "type": "object",
                "properties": { "object": { "type": "object" }, "field": { "type": "string" }, "value": {} },
                "required": ["field", "value"]
            },
            "output": {
                "type": "object",
                "properties": { "object": { "type": "object" } },
                "required": ["object"]
            }
        }))
        .unwrap(),
        imports: Vec::new(),
    };
    let environment = Environment {
        modules: [("add-field".parse().unwrap(), facts)].into(),
        ..Environment::default()
    };
    let source = WorkflowSource {
        file: "flows/w1.toml".into(),
        text: flows::w1().into(),
    };
    let compiled = compile(&source, &environment);
    compiled
        .workflow
        .unwrap_or_else(|| panic!("{:?}", compiled.diagnostics))
}

async fn publish(store: &Arc<dyn Store>, workflow: &Workflow) -> WorkflowId {
    let row = VersionRow {
        version: workflow.version,
        organization_id: OrganizationId::ROOT,
        workflow_name: workflow.name.clone(),
        file: "flows/w1.toml".into(),
        source: "".into(),
        vars: "{}".into(),
        ceilings: "{}".into(),
        modules: "{}".into(),
        workflows: "{}".into(),
        starts_after: Vec::new(),
        created_at: flowweaver::clock::Clock::now(&SystemClock),
    };
    store.publish(&row).await.unwrap()
}
