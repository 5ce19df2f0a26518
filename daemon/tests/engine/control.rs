//! Control over real stores: limits, priorities, timers, time limits, poison, dead letters and keys hold across
//! daemons and their deaths.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use flowweaver::engine::{RerunMode, RerunVersion, Settings};
use flowweaver::id::RunId;
use flowweaver::run::failure::{Failure, FailureSource};
use flowweaver::run::key::schedule_key;
use flowweaver::run::status::Status;
use flowweaver::sandbox::invoke::{AttemptReport, Invocation, Invoke};
use flowweaver::store::control::{LetterFilter, LetterState};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::{World, world_of};

fn report(outcome: Result<Arc<str>, Failure>) -> AttemptReport {
    AttemptReport {
        outcome,
        cpu: Duration::ZERO,
        memory_peak_bytes: 0,
    }
}

fn settings(instance: &str) -> Settings {
    Settings {
        instance: instance.to_owned(),
        // Daemons find each other's runs quickly, so that a test of several is not slow.
        claim: Duration::from_millis(50),
        ..Settings::default()
    }
}

async fn ended(world: &World, run: RunId) -> Status {
    world.engine.wait(run).await.unwrap()
}

/// How many runs of each key go at once, and the most there ever were.
#[derive(Default)]
struct Gauge {
    now: Mutex<HashMap<String, HashMap<RunId, usize>>>,
    most: AtomicUsize,
}

#[async_trait]
impl Invoke for Gauge {
    async fn invoke(&self, invocation: Invocation) -> AttemptReport {
        let input: Value = serde_json::from_str(&invocation.input).unwrap();
        let key = input["key"].as_str().unwrap().to_owned();
        let run = invocation.identity.run_id;
        {
            let mut now = self.now.lock().unwrap();
            let runs = now.entry(key.clone()).or_default();
            *runs.entry(run).or_default() += 1;
            self.most.fetch_max(runs.len(), Ordering::Relaxed);
        }
        // Others get their chance to begin meanwhile.
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        let mut now = self.now.lock().unwrap();
        now.get_mut(&key).unwrap().remove(&run);
        report(Ok("{}".into()))
    }
}

const LIMITED: &str = "flowweaver = 1\nname = \"limited\"\n\
    concurrency = { key = \"{{ inputs.key }}\", max = 2 }\n[inputs.key]\ntype = \"string\"\n\
    [[job]]\nname = \"j\"\n[[job.task]]\nname = \"one\"\nuses = \"work\"\nwith = { key = \"{{ inputs.key }}\" }\n\
    [[job.task]]\nname = \"two\"\nuses = \"work\"\nwith = { key = \"{{ inputs.key }}\" }\n";

pub async fn never_more_than_the_limit_go_at_once_whichever_daemons_run_them(url: String) {
    const RUNS: usize = 10;
    let gauge = Arc::new(Gauge::default());
    let mut worlds = Vec::new();
    for name in ["a", "b", "c"] {
        let invoke = Arc::clone(&gauge) as Arc<dyn Invoke>;
        worlds.push(world_of(&url, LIMITED, invoke, settings(name)).await);
    }
    let mut runs = Vec::new();
    for at in 0..RUNS {
        for (world, key) in worlds.iter().zip(["x", "y", "x"]) {
            let mut request = world.request.clone();
            request.inputs = json!({ "key": key });
            request.priority = Some(i32::try_from(at).unwrap());
            runs.push(world.engine.trigger(request).await.unwrap().run_id);
        }
    }
    for run in runs {
        assert_eq!(ended(&worlds[0], run).await, Status::Succeeded);
    }
    let most = gauge.most.load(Ordering::Relaxed);
    assert!((1..=2).contains(&most), "{most} at once");
}

pub async fn what_is_urgent_goes_first_and_nothing_new_overtakes_it(url: String) {
    let order = Arc::new(Order::default());
    let one = Settings {
        active_runs: 1,
        ..settings("a")
    };
    let text = "flowweaver = 1\nname = \"urgent\"\n[[job]]\nname = \"j\"\n\
        [[job.task]]\nname = \"one\"\nuses = \"work\"\n";
    let world = world_of(&url, text, Arc::clone(&order) as _, one).await;
    let mut runs = Vec::new();
    for priority in [0, 0, 7, -7, 7] {
        let mut request = world.request.clone();
        request.priority = Some(priority);
        runs.push(world.engine.trigger(request).await.unwrap().run_id);
        if runs.len() == 1 {
            order.first.notified().await;
        }
    }
    order.go.notify_one();
    for run in &runs {
        assert_eq!(ended(&world, *run).await, Status::Succeeded);
    }
    // Of the same priority the older, which is the one with the smaller id.
    let mut expected = runs.clone();
    expected[1..].sort_by_key(|run| {
        let at = runs.iter().position(|other| other == run).unwrap();
        (-[0, 0, 7, -7, 7][at], *run)
    });
    assert_eq!(*order.begun.lock().unwrap(), expected);
}

/// Remembers in which order runs began; the first waits.
#[derive(Default)]
struct Order {
    begun: Mutex<Vec<RunId>>,
    first: Notify,
    go: Notify,
}

#[async_trait]
impl Invoke for Order {
    async fn invoke(&self, invocation: Invocation) -> AttemptReport {
        let first = {
            let mut begun = self.begun.lock().unwrap();
            begun.push(invocation.identity.run_id);
            begun.len() == 1
        };
        if first {
            self.first.notify_one();
            self.go.notified().await;
        }
        report(Ok("{}".into()))
    }
}

/// What an attempt does, by its number.
#[derive(Clone, Copy, PartialEq)]
enum Deed {
    Succeed,
    Fail,
    /// Until it is told to stop.
    Hang,
}

struct Deeds {
    deed: fn(&Invocation) -> Deed,
    begun: Notify,
}

impl Deeds {
    fn new(deed: fn(&Invocation) -> Deed) -> Arc<Self> {
        Arc::new(Self {
            deed,
            begun: Notify::new(),
        })
    }
}

#[async_trait]
impl Invoke for Deeds {
    async fn invoke(&self, invocation: Invocation) -> AttemptReport {
        self.begun.notify_one();
        report(match (self.deed)(&invocation) {
            Deed::Succeed => Ok("{\"ok\":true}".into()),
            Deed::Fail => Err(Failure::retryable(FailureSource::Task, "flaky", "again")),
            Deed::Hang => {
                invocation.cancel.cancelled().await;
                Err(Failure::cancelled("it was told to stop"))
            }
        })
    }
}

/// A process that ends all at once with everything that it does, as a kill does; what it answers survives it.
async fn process<T: Send + 'static>(life: impl Future<Output = T> + Send + 'static) -> T {
    let life = tokio::task::spawn_blocking(move || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).enable_all().build().unwrap();
        let answer = runtime.block_on(life);
        runtime.shutdown_background();
        answer
    });
    life.await.unwrap()
}

fn one_task(head: &str, task: &str) -> String {
    format!(
        "flowweaver = 1\nname = \"one\"\n{head}\n[[job]]\nname = \"j\"\n\
        [[job.task]]\nname = \"one\"\nuses = \"work\"\n{task}\n"
    )
}

pub async fn a_retry_delay_survives_the_daemon_and_is_neither_early_nor_lost(url: String) {
    let retry = "retry = { attempts = 2, delay = \"1500ms\", jitter = false }";
    let text = one_task("", retry);
    let deed: fn(&Invocation) -> Deed = |invocation| match invocation.identity.attempt {
        1 => Deed::Fail,
        _ => Deed::Succeed,
    };
    let (first, flow) = (url.clone(), text.clone());
    let run = process(async move {
        let world = world_of(&first, &flow, Deeds::new(deed), settings("a")).await;
        let mut events = world.engine.events();
        let run = world.engine.trigger(world.request.clone()).await;
        let run = run.unwrap().run_id;
        loop {
            let image = world.store.load_run(run).await.unwrap().unwrap();
            if image
                .tasks
                .iter()
                .any(|task| task.status == Status::Waiting)
            {
                return run;
            }
            events.recv().await.unwrap();
        }
    })
    .await;
    let world = world_of(&url, &text, Deeds::new(deed), settings("a")).await;
    let due = {
        let image = world.store.load_run(run).await.unwrap().unwrap();
        image.tasks[0].retry_at.unwrap()
    };
    assert_eq!(ended(&world, run).await, Status::Succeeded);
    let image = world.store.load_run(run).await.unwrap().unwrap();
    let second = image.attempts.iter().find(|a| a.number == 2).unwrap();
    assert!(second.started_at >= due, "early");
    assert!(
        second.started_at.since(due) < Duration::from_secs(20),
        "late"
    );
    assert_eq!(image.attempts.len(), 2);
}

pub async fn a_run_that_has_used_up_its_time_ends_also_after_a_restart(url: String) {
    let text = one_task("timeout = \"1200ms\"", "");
    let hang: fn(&Invocation) -> Deed = |_| Deed::Hang;
    let (first, flow) = (url.clone(), text.clone());
    let run = process(async move {
        let deeds = Deeds::new(hang);
        let world = world_of(&first, &flow, Arc::clone(&deeds) as _, settings("a")).await;
        let run = world.engine.trigger(world.request.clone()).await;
        deeds.begun.notified().await;
        run.unwrap().run_id
    })
    .await;
    let world = world_of(&url, &text, Deeds::new(hang), settings("a")).await;
    assert_eq!(ended(&world, run).await, Status::Failed);
    let row = world.store.load_run(run).await.unwrap().unwrap().run;
    assert_eq!(row.failure_code.as_deref(), Some("run.timeout"));
    let took = row.finished_at.unwrap().since(row.started_at.unwrap());
    assert!(took >= Duration::from_millis(1200), "{took:?}");
    let letters = open(&world).await;
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (letters[0].task.as_ref(), letters[0].code.as_str()),
        (None, "run.timeout")
    );
}

async fn open(world: &World) -> Vec<flowweaver::store::control::DeadLetterRow> {
    let filter = LetterFilter::in_state(LetterState::Open, 50);
    world.store.dead_letters(&filter).await.unwrap()
}

/// Kills that many daemons in the middle of the run's task.
async fn killed(url: &str, text: &str, times: usize) -> RunId {
    let mut run = None;
    for _ in 0..times {
        let (url, text) = (url.to_owned(), text.to_owned());
        run = Some(
            process(async move {
                let deeds = Deeds::new(|_| Deed::Hang);
                let world = world_of(&url, &text, Arc::clone(&deeds) as _, settings("a")).await;
                let run = match run {
                    Some(run) => run,
                    None => {
                        let accepted = world.engine.trigger(world.request.clone()).await;
                        accepted.unwrap().run_id
                    }
                };
                deeds.begun.notified().await;
                run
            })
            .await,
        );
    }
    run.unwrap()
}

pub async fn a_task_that_killed_three_daemons_is_a_dead_letter_and_is_redriven_once(url: String) {
    let text = one_task("", "");
    let run = killed(&url, &text, 3).await;
    let world = world_of(&url, &text, Deeds::new(|_| Deed::Succeed), settings("a")).await;
    assert_eq!(ended(&world, run).await, Status::Failed);
    let letters = open(&world).await;
    assert_eq!(letters.len(), 1);
    let letter = &letters[0];
    assert_eq!(
        (
            letter.run_id,
            letter.code.as_str(),
            letter.attempts,
            letter.interrupts
        ),
        (run, "poison", 3, 3)
    );
    // Two daemons that redrive it at once begin one run.
    let other = world_of(&url, &text, Deeds::new(|_| Deed::Succeed), settings("b")).await;
    let (a, b) = tokio::join!(
        world.engine.redrive(run, 0, RerunVersion::Same),
        other.engine.redrive(run, 0, RerunVersion::Same)
    );
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_eq!(a.run_id, b.run_id);
    assert!(a.duplicate != b.duplicate);
    assert_eq!(ended(&world, a.run_id).await, Status::Succeeded);
    assert!(open(&world).await.is_empty());
    let resolved = LetterFilter::in_state(LetterState::Resolved, 50);
    let resolved = world.store.dead_letters(&resolved).await.unwrap();
    assert_eq!(resolved[0].redrive_run_id, Some(a.run_id));
    let again = world.store.load_run(a.run_id).await.unwrap().unwrap().run;
    assert_eq!((again.rerun_of, again.origin_run_id), (Some(run), run));
}

pub async fn an_at_most_once_task_is_not_begun_again_after_its_daemon_died(url: String) {
    let text = one_task("", "on_interrupt = \"fail\"");
    let run = killed(&url, &text, 1).await;
    let world = world_of(&url, &text, Deeds::new(|_| Deed::Succeed), settings("a")).await;
    assert_eq!(ended(&world, run).await, Status::Failed);
    let image = world.store.load_run(run).await.unwrap().unwrap();
    assert_eq!(image.attempts.len(), 1);
    assert_eq!(open(&world).await[0].code, "interrupted");
}

pub async fn a_rerun_repeats_only_the_items_that_failed(url: String) {
    let each = "for_each = \"{{ [0, 1, 2, 3, 4] }}\"\nmax_parallel = 5\n\
        with = { at = \"{{ item }}\", trigger = \"{{ run.trigger }}\" }";
    let text = one_task("", each);
    let odd: fn(&Invocation) -> Deed = |invocation| {
        let input: Value = serde_json::from_str(&invocation.input).unwrap();
        match input["at"].as_u64().unwrap() % 2 == 1 && input["trigger"] != "rerun" {
            true => Deed::Fail,
            false => Deed::Succeed,
        }
    };
    let world = world_of(&url, &text, Deeds::new(odd), settings("a")).await;
    let run = world.engine.trigger(world.request.clone()).await;
    let run = run.unwrap().run_id;
    assert_eq!(ended(&world, run).await, Status::Failed);
    let mut letters: Vec<_> = open(&world).await.iter().map(|l| l.item_index).collect();
    letters.sort_unstable();
    assert_eq!(letters, [1, 3]);
    let again = world
        .engine
        .rerun(run, RerunMode::FromFailed, RerunVersion::Same)
        .await;
    let again = again.unwrap().run_id;
    assert_eq!(ended(&world, again).await, Status::Succeeded);
    let image = world.store.load_run(again).await.unwrap().unwrap();
    let items: Vec<_> = image
        .attempts
        .iter()
        .map(|attempt| {
            let task = image
                .tasks
                .iter()
                .find(|t| t.task_run_id == attempt.task_run_id);
            task.unwrap().item_index
        })
        .collect();
    let sorted = {
        let mut items = items;
        items.sort_unstable();
        items
    };
    assert_eq!(sorted, [1, 3], "items that ran");
    let whole = image.tasks.iter().find(|task| task.item_index < 0).unwrap();
    let output = image
        .io
        .iter()
        .find(|io| Some(io.io_id) == whole.output_io_id);
    let output: Value = serde_json::from_str(&output.unwrap().data).unwrap();
    assert_eq!(output, json!(vec![json!({ "ok": true }); 5]));
    assert!(open(&world).await.is_empty());
}

pub async fn daemons_that_are_given_the_same_key_at_once_begin_one_run(url: String) {
    const ROUNDS: usize = 10;
    let text = one_task("", "");
    let mut worlds = Vec::new();
    for name in ["a", "b", "c"] {
        worlds.push(world_of(&url, &text, Deeds::new(|_| Deed::Succeed), settings(name)).await);
    }
    for round in 0..ROUNDS {
        let nominal = flowweaver::clock::Timestamp::from_micros(round as i64 * 60_000_000);
        let mut asked = Vec::new();
        for world in &worlds {
            let mut request = world.request.clone();
            request.idempotency_key = Some(schedule_key("daily", nominal));
            let engine = world.engine.clone();
            asked.push(tokio::spawn(async move { engine.trigger(request).await }));
        }
        let mut given = Vec::new();
        for answer in asked {
            given.push(answer.await.unwrap().unwrap());
        }
        assert!(given.iter().all(|one| one.run_id == given[0].run_id));
        assert_eq!(given.iter().filter(|one| !one.duplicate).count(), 1);
        assert_eq!(ended(&worlds[0], given[0].run_id).await, Status::Succeeded);
    }
}
