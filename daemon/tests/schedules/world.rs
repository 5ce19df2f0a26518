//! Daemons over one store and one clock, whose guests end when the test says so, or at once.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use flowweaver::catalog::{Catalog, LiveWorkflow};
use flowweaver::clock::{Clock, ManualClock, Timestamp};
use flowweaver::engine::{Engine, EngineHandle, Parts, Settings};
use flowweaver::id::{Digest, OrganizationId, ScheduleId, WorkflowId};
use flowweaver::run::failure::Failure;
use flowweaver::run::status::Trigger;
use flowweaver::sandbox::invoke::{AttemptReport, Invocation, Invoke};
use flowweaver::schedule::{Keeper, ScheduleParts, Schedules};
use flowweaver::store::rows::{RunFilter, RunRow, VersionRow};
use flowweaver::store::schedule::{FireRow, FireSeen, ScheduleRow};
use flowweaver::store::{Durability, Store};
use flowweaver::workflow::environment::{Environment, ModuleDescription, ModuleFacts};
use flowweaver::workflow::schedule::Schedule;
use flowweaver::workflow::{Workflow, WorkflowSource, compile};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Nothing in these tests takes this long on a loaded machine unless it is broken.
const PATIENCE: Duration = Duration::from_secs(120);

pub fn at(text: &str) -> Timestamp {
    text.parse::<DateTime<Utc>>().unwrap().into()
}

/// Ends when the gate is open, or when it is told to stop.
struct Gated(watch::Receiver<bool>);

#[async_trait]
impl Invoke for Gated {
    async fn invoke(&self, invocation: Invocation) -> AttemptReport {
        let mut gate = self.0.clone();
        let outcome = tokio::select! {
            _ = gate.wait_for(|open| *open) => Ok(invocation.input.clone()),
            () = invocation.cancel.cancelled() => Err(Failure::cancelled("it was told to stop")),
        };
        AttemptReport {
            outcome,
            cpu: Duration::ZERO,
            memory_peak_bytes: 0,
        }
    }
}

/// A workflow with these schedules.
pub fn file(schedules: &str) -> String {
    format!(
        "flowweaver = 1\nname = \"w\"\n[inputs.who]\ntype = \"string\"\ndefault = \"nobody\"\n{schedules}\n\
        [[job]]\nname = \"j\"\n[[job.task]]\nname = \"t\"\nuses = \"work\"\nwith = {{ who = \"{{{{ inputs.who }}}}\" }}\n"
    )
}

pub fn schedule(name: &str, cron: &str, more: &str) -> String {
    format!("[[schedule]]\nname = \"{name}\"\ncron = \"{cron}\"\ntimezone = \"UTC\"\n{more}\n")
}

pub fn every_second() -> String {
    file(&schedule("s", "* * * * * *", "overlap = \"allow\""))
}

pub fn api_schedule(name: &str, cron: &str) -> Schedule {
    serde_json::from_value(json!({ "name": name, "cron": cron, "timezone": "UTC" })).unwrap()
}

fn build(text: &str) -> Arc<Workflow> {
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
        ..Environment::default()
    };
    let compiled = compile(&WorkflowSource::new("flows/w.toml", text), &environment);
    Arc::new(
        compiled
            .workflow
            .unwrap_or_else(|| panic!("{:?}", compiled.diagnostics)),
    )
}

/// The store, the clock and the gate that all daemons share.
pub struct World {
    pub url: String,
    pub store: Arc<dyn Store>,
    pub clock: ManualClock,
    gate: watch::Sender<bool>,
}

pub struct Daemon {
    pub engine: EngineHandle,
    pub schedules: Schedules,
    catalog: Arc<ArcSwap<Catalog>>,
    swapped: watch::Sender<u64>,
    stop: CancellationToken,
    keeper: JoinHandle<()>,
    synced: watch::Receiver<bool>,
    clock: ManualClock,
}

/// How long an end may take before time goes on, as a real clock does by itself: what waits to ask again is then woken.
const STUCK: Duration = Duration::from_millis(500);

impl World {
    pub async fn new(url: String, start: &str) -> Self {
        let store = flowweaver::store::open(&url, Durability::Normal)
            .await
            .unwrap();
        Self {
            url,
            store,
            clock: ManualClock::new(at(start)),
            gate: watch::Sender::new(true),
        }
    }

    /// From now on, guests end when told.
    pub fn close_gate(&self) {
        self.gate.send_replace(false);
    }

    pub fn open_gate(&self) {
        self.gate.send_replace(true);
    }

    pub async fn publish(&self, text: &str) -> (Arc<Workflow>, WorkflowId) {
        let workflow = build(text);
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
            starts_after: Vec::new(),
            created_at: self.clock.now(),
        };
        let id = self.store.publish(&row).await.unwrap();
        (workflow, id)
    }

    /// A daemon that has taken in what the file says.
    pub async fn daemon(&self, text: &str) -> Daemon {
        let (workflow, id) = self.publish(text).await;
        let daemon = self.idle(&workflow).await;
        daemon.take(&workflow, id);
        daemon
            .synced
            .clone()
            .wait_for(|synced| *synced)
            .await
            .unwrap();
        daemon
    }

    /// A daemon that has not looked at its files yet.
    async fn idle(&self, workflow: &Arc<Workflow>) -> Daemon {
        let store = flowweaver::store::open(&self.url, Durability::Normal)
            .await
            .unwrap();
        let known = Arc::clone(workflow);
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        let engine = Engine::new(Parts {
            store: Arc::clone(&store),
            invoke: Arc::new(Gated(self.gate.subscribe())),
            clock: Arc::clone(&clock),
            versions: Arc::new(move |_| {
                let known = Arc::clone(&known);
                Box::pin(async move { Ok(known) })
            }),
            settings: Settings {
                instance: flowweaver::id::RunId::generate().to_string(),
                ..Settings::default()
            },
        })
        .start();
        let catalog = Arc::new(ArcSwap::from_pointee(Catalog::default()));
        let (swapped, changed) = watch::channel(0);
        let parts = ScheduleParts {
            store,
            engine: engine.clone(),
            clock,
            catalog: Arc::clone(&catalog),
            changed,
            per_workflow: 100,
        };
        let (keeper, schedules, synced) = Keeper::new(parts, true);
        let stop = CancellationToken::new();
        Daemon {
            engine,
            schedules,
            catalog,
            swapped,
            keeper: tokio::spawn(keeper.run(stop.clone())),
            stop,
            synced,
            clock: self.clock.clone(),
        }
    }

    pub async fn row(&self, name: &str) -> ScheduleRow {
        let (_, rows) = self.store.schedules().await.unwrap();
        rows.into_iter()
            .find(|row| row.name.as_str() == name)
            .unwrap()
    }

    /// The history of a schedule, oldest first.
    pub async fn fires(&self, id: ScheduleId) -> Vec<FireSeen> {
        let mut fires = self.store.fires(id, None, 1_000).await.unwrap();
        fires.reverse();
        fires
    }

    /// Time and outcome of each, with the reason if there is one.
    pub async fn story(&self, name: &str) -> Vec<String> {
        let id = self.row(name).await.schedule_id;
        let fires = self.fires(id).await;
        fires.iter().map(|seen| line(&seen.fire)).collect()
    }

    /// Waits until the history of a schedule satisfies `wanted`.
    pub async fn until(&self, name: &str, wanted: impl Fn(&[String]) -> bool) -> Vec<String> {
        let mut last = Vec::new();
        let look = async {
            loop {
                last = self.story(name).await;
                if wanted(&last) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, look).await;
        assert!(found.is_ok(), "the story goes {last:#?}");
        last
    }

    /// Waits until something holds.
    pub async fn holds<F: Future<Output = bool>>(&self, what: &str, wanted: impl Fn() -> F) {
        let look = async {
            while !wanted().await {
                tokio::task::yield_now().await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, look).await;
        assert!(found.is_ok(), "{what}");
    }

    /// The scheduled runs, oldest first.
    pub async fn runs(&self) -> Vec<RunRow> {
        let filter = RunFilter {
            trigger: Some(Trigger::Schedule),
            limit: 1_000,
            ..RunFilter::default()
        };
        let mut runs = self.store.runs(&filter).await.unwrap();
        runs.sort_by_key(|run| run.scheduled_at);
        runs
    }
}

pub fn line(fire: &FireRow) -> String {
    let time = DateTime::<Utc>::from(fire.nominal_at).format("%d %H:%M:%S");
    let times = match fire.is_span {
        true => format!(" x{}", fire.times),
        false => String::new(),
    };
    let reason = fire
        .reason_code
        .as_ref()
        .map_or_else(String::new, |code| format!(" {code}"));
    let cause = match fire.cause.as_str() {
        "time" => "",
        "catch-up" => " late",
        _ => " backfill",
    };
    format!("{time}{times}{cause} {}{reason}", fire.outcome.as_str())
}

impl Daemon {
    /// What is live from now on.
    pub fn take(&self, workflow: &Arc<Workflow>, id: WorkflowId) {
        let live = LiveWorkflow {
            workflow_id: id,
            organization_id: OrganizationId::ROOT,
            workflow: Arc::clone(workflow),
            file: "flows/w.toml".into(),
            live_since: Timestamp::from_micros(0),
            warnings: Vec::new(),
        };
        let key = (OrganizationId::ROOT, workflow.name.clone());
        let catalog = Catalog {
            workflows: [(key, Arc::new(live))].into(),
            ..Catalog::default()
        };
        self.catalog.store(Arc::new(catalog));
        self.swapped.send_modify(|swaps| *swaps += 1);
    }

    pub fn live(&self) -> Arc<LiveWorkflow> {
        let catalog = self.catalog.load();
        Arc::clone(catalog.workflows.values().next().unwrap())
    }

    /// Ends the loop between two of its steps.
    pub async fn stop(self) {
        self.stop.cancel();
        let end = async {
            self.keeper.await.unwrap();
            self.engine.drain(Duration::ZERO).await;
        };
        tokio::pin!(end);
        while tokio::time::timeout(STUCK, &mut end).await.is_err() {
            self.clock.advance(Duration::from_secs(1));
        }
    }

    /// Ends everything wherever it is, as a kill does.
    pub async fn kill(self) {
        self.keeper.abort();
        let _ = self.keeper.await;
    }
}
