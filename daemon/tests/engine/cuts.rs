//! The engine on real servers, cut off from them at every message it sends: nothing that was acknowledged is lost,
//! nothing is recorded twice, and a process that dies there is continued by the next.
//!
//! `make test` takes some of the points; `FLOWWEAVER_EVERY_POINT=1` takes them all.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use flowweaver::clock::{Clock as _, SystemClock};
use flowweaver::engine::{Engine, EngineHandle, Parts, Settings, TriggerError, TriggerRequest};
use flowweaver::id::{OrganizationId, RunId};
use flowweaver::run::status::{Status, Trigger};
use flowweaver::sandbox::invoke::{AttemptReport, Invocation, Invoke};
use flowweaver::store::{Durability, Store};
use flowweaver::workflow::Workflow;
use serde_json::{Value, json};

use crate::oracle::judge;
use crate::proxy::{Proxy, Side};

/// Points are taken so far apart where not all are: prime, so that no rhythm of the protocol is always missed.
const STRIDE: usize = 13;
/// A run that takes this long does not end.
const PATIENCE: Duration = Duration::from_secs(60);

/// The world outside: effects by key, and starts that must not come twice.
#[derive(Default)]
struct Outside {
    effects: Mutex<HashMap<String, u32>>,
    begun: Mutex<BTreeSet<(RunId, String, u32)>>,
    twice: Mutex<Vec<String>>,
}

struct Guests(Arc<Outside>);

#[async_trait]
impl Invoke for Guests {
    async fn invoke(&self, invocation: Invocation) -> AttemptReport {
        let who = &invocation.identity;
        let start = (who.run_id, who.task.to_string(), who.attempt);
        let said = format!("{start:?} began twice");
        if !self.0.begun.lock().unwrap().insert(start) {
            self.0.twice.lock().unwrap().push(said);
        }
        let mut effects = self.0.effects.lock().unwrap();
        *effects.entry(who.idempotency_key.clone()).or_default() += 1;
        AttemptReport {
            outcome: Ok(invocation.input),
            cpu: Duration::ZERO,
            memory_peak_bytes: 0,
        }
    }
}

const CHAIN: [&str; 3] = ["one", "two", "three"];

fn text() -> String {
    let mut text = "flowweaver = 1\nname = \"cut\"\n".to_owned();
    for task in CHAIN {
        text += &format!(
            "[[job]]\nname = \"{task}\"\n[[job.task]]\nname = \"{task}\"\nuses = \"work\"\n"
        );
    }
    text
}

fn engine(
    store: &Arc<dyn Store>,
    workflow: &Arc<Workflow>,
    outside: &Arc<Outside>,
) -> EngineHandle {
    let known = Arc::clone(workflow);
    let parts = Parts {
        store: Arc::clone(store),
        invoke: Arc::new(Guests(Arc::clone(outside))),
        clock: Arc::new(SystemClock),
        versions: Arc::new(move |_| {
            let known = Arc::clone(&known);
            Box::pin(async move { Ok(known) })
        }),
        settings: Settings {
            claim: Duration::from_millis(20),
            heartbeat: Duration::from_millis(100),
            backoff: Duration::from_millis(50),
            ..Settings::default()
        },
    };
    Engine::new(parts).start()
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap()
}

async fn ends(engine: &EngineHandle, run: RunId) -> Status {
    let wait = async {
        loop {
            // The store may be away while somebody waits.
            if let Ok(status) = engine.wait(run).await {
                return status;
            }
            SystemClock.pass(Duration::from_millis(20)).await;
        }
    };
    let ended = tokio::time::timeout(PATIENCE, wait).await;
    ended.expect("the run does not end")
}

/// One run with the cut at message `at`; answers whether that was reached. `dies`: the process ends there.
fn cut_at(
    url: &str,
    at: usize,
    side: Side,
    dies: bool,
    outside: &Arc<Outside>,
) -> (bool, Vec<RunId>) {
    let workflow = crate::build(&text());
    let first = runtime();
    let (hit, told) = first.block_on(async {
        let proxy = Proxy::open(url, at, side).await;
        let store = flowweaver::store::open(&proxy.url, Durability::Full)
            .await
            .unwrap();
        let workflow_id = crate::publish(&store, &workflow, &text()).await;
        let engine = engine(&store, &workflow, outside);
        let request = TriggerRequest {
            workflow: Arc::clone(&workflow),
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
        let warm = engine.trigger(request.clone()).await.unwrap().run_id;
        assert_eq!(ends(&engine, warm).await, Status::Succeeded);
        let mut hit = proxy.hit();
        proxy.arm();
        let running = async {
            let (run, acknowledged) = match engine.trigger(request).await {
                Ok(accepted) => (accepted.run_id, true),
                Err(TriggerError::Unavailable { run_id, .. }) => (run_id, false),
                Err(other) => panic!("{other:?}"),
            };
            if acknowledged {
                assert_eq!(ends(&engine, run).await, Status::Succeeded);
            }
            acknowledged.then_some(run)
        };
        let mut told = vec![warm];
        if dies {
            tokio::select! {
                run = running => told.extend(run),
                _ = hit.wait_for(|hit| *hit) => {}
            }
        } else {
            told.extend(running.await);
            engine.drain(Duration::from_secs(5)).await;
        }
        (*hit.borrow(), told)
    });
    first.shutdown_background();
    (hit, told)
}

/// Every run that is in the store ends, at the hands of the next process, and the records are whole.
fn settle(url: &str, told: &[RunId], outside: &Arc<Outside>, what: &str) {
    let workflow = crate::build(&text());
    runtime().block_on(async {
        let store = flowweaver::store::open(url, Durability::Full)
            .await
            .unwrap();
        let engine = engine(&store, &workflow, outside);
        let filter = flowweaver::store::rows::RunFilter {
            status: Status::UNFINISHED.to_vec(),
            limit: 100,
            ..Default::default()
        };
        for run in store.runs(&filter).await.unwrap() {
            ends(&engine, run.run_id).await;
        }
        engine.drain(Duration::from_secs(5)).await;
        let mut verdict = judge(&*store, &told.iter().copied().collect(), &CHAIN).await;
        verdict
            .wrong
            .extend(outside.twice.lock().unwrap().drain(..));
        assert!(verdict.wrong.is_empty(), "{what}: {:#?}", verdict.wrong);
    });
}

/// Takes the points in order until a run is through before its point comes.
fn every_message(url: &str, side: Side, dies: bool) {
    let all = std::env::var_os("FLOWWEAVER_EVERY_POINT").is_some();
    let (stride, outside) = (if all { 1 } else { STRIDE }, Arc::new(Outside::default()));
    let (mut points, mut at) = (0, 0);
    loop {
        let before = outside.effects.lock().unwrap().len();
        let (hit, told) = cut_at(url, at, side, dies, &outside);
        settle(url, &told, &outside, &format!("cut {side:?} message {at}"));
        let effects = outside.effects.lock().unwrap();
        let made = effects.len() - before;
        assert!(made == 3 || made == 6, "{made} effects");
        // A cut connection ends no guest: only a process that dies repeats an effect.
        assert!(
            dies || effects.values().all(|count| *count == 1),
            "message {at}: {effects:?}"
        );
        if !hit {
            break;
        }
        points += 1;
        at += stride;
    }
    let scheme = url.split(':').next().unwrap_or_default();
    println!("{scheme}: cut {side:?} {points} messages (every {stride}), process dies: {dies}");
    assert!(points > 0, "no point was reached");
}

pub async fn a_connection_that_is_cut_at_any_message_loses_nothing_and_repeats_nothing(
    url: String,
) {
    let test = tokio::task::spawn_blocking(move || {
        for side in [Side::Before, Side::After] {
            every_message(&url, side, false);
        }
    });
    test.await.unwrap();
}

pub async fn a_process_that_dies_at_any_message_is_continued_by_the_next(url: String) {
    let test = tokio::task::spawn_blocking(move || {
        for side in [Side::Before, Side::After] {
            every_message(&url, side, true);
        }
    });
    test.await.unwrap();
}
