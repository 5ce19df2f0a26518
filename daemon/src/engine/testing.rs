//! An invoker that does as it is told, and an engine over it and a store in memory.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

pub use super::testing_store::{FakeStore, Fault, Tables};

use super::{Engine, EngineHandle, Parts, Settings, TriggerRequest, VersionError, Versions};
use crate::clock::{Clock, ManualClock, SystemClock, Timestamp};
use crate::id::{OrganizationId, RunId, WorkflowId};
use crate::run::failure::Failure;
use crate::run::status::{Status, Trigger};
use crate::sandbox::invoke::{AttemptReport, Invocation, Invoke};
use crate::store::Store;
use crate::store::lineage::EndOf;
use crate::store::rows::WorkflowRow;
use crate::workflow::model::{End, Workflow};

/// A guest that waits for the test to say how it ends.
pub struct Guest {
    pub invocation: Invocation,
    end: oneshot::Sender<Result<Arc<str>, Failure>>,
}

impl Guest {
    pub fn task(&self) -> &str {
        self.invocation.identity.task.as_str()
    }

    pub fn succeed(self, output: Value) {
        let _ = self.end.send(Ok(output.to_string().into()));
    }

    pub fn fail(self, failure: Failure) {
        let _ = self.end.send(Err(failure));
    }
}

pub type Script =
    Arc<dyn Fn(Invocation) -> BoxFuture<'static, Result<Arc<str>, Failure>> + Send + Sync>;

/// Run, task, item and attempt.
pub type Begun = (RunId, String, Option<u32>, u32);

/// Runs attempts by a script, and checks that each is durable before it begins.
pub struct FakeInvoke {
    store: Arc<FakeStore>,
    script: Script,
    /// Everything that began.
    pub begun: Mutex<Vec<Begun>>,
}

#[async_trait]
impl Invoke for FakeInvoke {
    async fn invoke(&self, invocation: Invocation) -> AttemptReport {
        let who = &invocation.identity;
        let key = (
            who.run_id,
            who.task.to_string(),
            who.item_index,
            who.attempt,
        );
        let item = who.item_index.map_or(-1, i64::from);
        let row = self.store.task(who.run_id, who.task.as_str(), item);
        let row = row.expect("a guest began before its task run was durable");
        let attempts = self.store.attempts(who.run_id, who.task.as_str());
        assert!(
            attempts.iter().any(|a| a.task_run_id == row.task_run_id
                && a.number == who.attempt
                && a.status == Status::Running),
            "a guest began before its attempt was durable"
        );
        {
            let mut begun = self.begun.lock().unwrap();
            assert!(!begun.contains(&key), "{key:?} began twice");
            begun.push(key);
        }
        let cancel = invocation.cancel.clone();
        let outcome = tokio::select! {
            outcome = (self.script)(invocation) => outcome,
            () = cancel.cancelled() => Err(Failure::cancelled("it was told to stop")),
        };
        AttemptReport {
            outcome,
            cpu: Duration::from_micros(7),
            memory_peak_bytes: 64,
        }
    }
}

/// An engine over the fakes.
pub struct World {
    pub store: Arc<FakeStore>,
    pub invoke: Arc<FakeInvoke>,
    pub engine: EngineHandle,
    pub clock: ManualClock,
    pub workflow: Arc<Workflow>,
    /// Guests that wait to be told how to end, unless a script ends them.
    pub guests: mpsc::UnboundedReceiver<Guest>,
}

pub fn settings() -> Settings {
    Settings {
        instance: "test".into(),
        ..Settings::default()
    }
}

/// Knows this workflow and the ones in `others`.
pub fn versions(workflow: &Arc<Workflow>, others: &[Arc<Workflow>]) -> Versions {
    let all: HashMap<_, _> = others
        .iter()
        .chain([workflow])
        .map(|workflow| (workflow.version, Arc::clone(workflow)))
        .collect();
    Arc::new(move |version| {
        let found = all.get(&version).cloned();
        let lost = move || VersionError::Lost(version.to_string());
        Box::pin(async move { found.ok_or_else(lost) })
    })
}

/// Guests end only when told.
pub fn by_hand() -> (Script, mpsc::UnboundedReceiver<Guest>) {
    let (door, guests) = mpsc::unbounded_channel();
    let script: Script = Arc::new(move |invocation| {
        let (end, ended) = oneshot::channel();
        let _ = door.send(Guest { invocation, end });
        Box::pin(async move {
            match ended.await {
                Ok(outcome) => outcome,
                Err(_) => std::future::pending().await,
            }
        })
    });
    (script, guests)
}

/// Every guest succeeds at once.
pub fn at_once() -> Script {
    Arc::new(|invocation| {
        let output = json!({ "from": invocation.identity.task.as_str() });
        Box::pin(async move { Ok(output.to_string().into()) })
    })
}

impl World {
    pub fn new(workflow: Arc<Workflow>) -> Self {
        Self::over(FakeStore::new(), workflow, settings())
    }

    pub fn over(store: Arc<FakeStore>, workflow: Arc<Workflow>, settings: Settings) -> Self {
        Self::with_others(store, workflow, &[], settings)
    }

    pub fn with_others(
        store: Arc<FakeStore>,
        workflow: Arc<Workflow>,
        others: &[Arc<Workflow>],
        settings: Settings,
    ) -> Self {
        let (script, guests) = by_hand();
        let clock = ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000));
        let versions = versions(&workflow, others);
        let time = Arc::new(clock.clone());
        let (engine, invoke) = launch_with(&store, versions, settings, script, time);
        Self {
            store,
            invoke,
            engine,
            clock,
            workflow,
            guests,
        }
    }

    pub fn request(&self) -> TriggerRequest {
        request(&self.workflow)
    }

    pub async fn trigger(&self) -> RunId {
        self.engine.trigger(self.request()).await.unwrap().run_id
    }

    pub async fn guest(&mut self) -> Guest {
        self.guests.recv().await.unwrap()
    }

    /// The next guest, which must be of this task, succeeds.
    pub async fn pass(&mut self, task: &str) {
        let guest = self.guest().await;
        assert_eq!(guest.task(), task);
        guest.succeed(json!({ "from": task }));
    }

    pub fn begun(&self) -> Vec<String> {
        let begun = self.invoke.begun.lock().unwrap();
        begun.iter().map(|(_, task, ..)| task.clone()).collect()
    }

    /// Waits until what is stored looks so.
    pub async fn until(&self, mut looks: impl FnMut(&Tables) -> bool) {
        let mut events = self.engine.events();
        while !looks(&self.store.tables()) {
            events.recv().await.unwrap();
        }
    }
}

/// Makes workflows known to the store, each by its active version.
pub fn publish(store: &FakeStore, workflows: &[Arc<Workflow>]) {
    for workflow in workflows {
        let workflow_id = WorkflowId::generate();
        let mut tables = store.tables();
        tables.workflows.push(WorkflowRow {
            workflow_id,
            organization_id: OrganizationId::ROOT,
            name: workflow.name.clone(),
            active_version: Some(workflow.version),
        });
        for after in workflow.starts_after() {
            for end in &after.ends {
                let status = match end {
                    End::Succeeded => Status::Succeeded,
                    End::Failed => Status::Failed,
                    End::Cancelled => Status::Cancelled,
                };
                let end = EndOf {
                    workflow: after.workflow.clone(),
                    status,
                };
                // As a real store has it: each end once.
                if !tables.triggers.contains(&(workflow_id, end.clone())) {
                    tables.triggers.push((workflow_id, end));
                }
            }
        }
    }
}

pub fn request(workflow: &Arc<Workflow>) -> TriggerRequest {
    TriggerRequest {
        workflow: Arc::clone(workflow),
        workflow_id: WorkflowId::generate(),
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

pub fn launch(
    store: &Arc<FakeStore>,
    workflow: &Arc<Workflow>,
    settings: Settings,
    script: Script,
    clock: Arc<dyn Clock>,
) -> (EngineHandle, Arc<FakeInvoke>) {
    launch_with(store, versions(workflow, &[]), settings, script, clock)
}

pub fn launch_with(
    store: &Arc<FakeStore>,
    versions: Versions,
    settings: Settings,
    script: Script,
    clock: Arc<dyn Clock>,
) -> (EngineHandle, Arc<FakeInvoke>) {
    let invoke = Arc::new(FakeInvoke {
        store: Arc::clone(store),
        script,
        begun: Mutex::default(),
    });
    let parts = Parts {
        store: Arc::clone(store) as Arc<dyn Store>,
        invoke: Arc::clone(&invoke) as Arc<dyn Invoke>,
        clock,
        versions,
        settings,
    };
    (Engine::new(parts).start(), invoke)
}

/// Small waits, for simulations on the machine's clock.
pub fn quick() -> (Settings, Arc<dyn Clock>) {
    let settings = Settings {
        claim: Duration::from_millis(5),
        heartbeat: Duration::from_millis(50),
        backoff: Duration::from_millis(2),
        ..settings()
    };
    (settings, Arc::new(SystemClock))
}

/// Failures to come, by task.
pub fn failing(failures: &[(&str, Failure)]) -> Script {
    let mut queue: HashMap<String, VecDeque<Failure>> = HashMap::new();
    for (task, failure) in failures {
        queue
            .entry((*task).to_owned())
            .or_default()
            .push_back(failure.clone());
    }
    let queue = Mutex::new(queue);
    Arc::new(move |invocation| {
        let task = invocation.identity.task.to_string();
        let failure = queue
            .lock()
            .unwrap()
            .get_mut(&task)
            .and_then(VecDeque::pop_front);
        Box::pin(async move {
            match failure {
                Some(failure) => Err(failure),
                None => Ok(json!({ "from": task }).to_string().into()),
            }
        })
    })
}
