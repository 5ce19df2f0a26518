//! Several daemons on one store, a load on them, and the oracle that judges what is left.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use flowweaver::id::RunId;
use flowweaver::store::{self, Durability};
use serde_json::{Value, json};

use super::databases::{Database, Kind};
use super::effects::Effects;
use super::oracle::{Verdict, judge};
use super::rig::{PATIENCE, Rig, root};

/// The tasks of the workflow [`work`], in their order.
pub const CHAIN: &[&str] = &["first", "effect", "last"];

/// Short, so that nobody waits half a minute for a rescue; long enough for a loaded machine to beat in time.
const LEASE: &str = "2s";

/// Of a caller's load, after each fourth run.
const PACE: Duration = Duration::from_millis(10);

/// Where the store of a fleet is.
pub enum Home {
    /// A file: one daemon.
    Sqlite,
    /// A database of the test's own on a server that all tests share, or on one of its own.
    Server(Database),
    /// A database on a server that the test started.
    Own(String),
}

impl Home {
    /// A database of this kind; none where no server answers, said in the output.
    pub fn on(kind: Kind) -> Option<Self> {
        Database::make(kind, &[]).map(Self::Server)
    }

    fn url(&self, rig: &Rig) -> String {
        match self {
            Self::Sqlite => format!("sqlite:{}", rig.path("state/flowweaver.db").display()),
            Self::Server(database) => database.url(),
            Self::Own(url) => url.clone(),
        }
    }
}

/// Daemons on one store. The first has the files; the others have none, and follow the store.
pub struct Fleet {
    /// The daemons, by their place.
    pub daemons: Vec<Rig>,
    /// What they call.
    pub effects: Effects,
    url: String,
    /// Dropped after the daemons.
    _home: Home,
}

/// Three tasks in a row; the second calls the world outside.
pub fn work(base: &str) -> String {
    format!(
        "flowweaver = 1\nname = \"work\"\n\n[[job]]\nname = \"only\"\n
[[job.task]]\nname = \"first\"\nuses = \"add-field\"\nwith = {{ field = \"n\", value = 1 }}\n
[[job.task]]\nname = \"effect\"\nuses = \"http-request\"\nretry = {{ attempts = 5, delay = \"50ms\" }}
with = {{ url = \"http://{base}/effect/{{{{ run.id }}}}\", method = \"POST\" }}\n
[[job.task.http]]\nurl = \"http://{base}/effect/*\"\nmethods = [\"POST\"]\nidempotency_key = true\n
[[job.task]]\nname = \"last\"\nuses = \"add-field\"
with = {{ object = \"{{{{ tasks.first.object }}}}\", field = \"m\", value = 2 }}\n"
    )
}

impl Fleet {
    /// So many daemons, started. None where the modules are not built, said in the output.
    pub fn start(home: Home, many: usize) -> Option<Self> {
        let mut fleet = Self::prepare(home, many)?;
        for daemon in &mut fleet.daemons {
            daemon.start();
        }
        for daemon in &fleet.daemons {
            daemon.until("the workflow is live", || daemon.version("work"));
        }
        Some(fleet)
    }

    /// The same, not started.
    pub fn prepare(home: Home, many: usize) -> Option<Self> {
        let module = root().join("tasks/http-request.wasm");
        if !module.exists() {
            println!("skipped: tasks/*.wasm are not built; `make tasks` builds them");
            return None;
        }
        let effects = Effects::start();
        let mut daemons = Vec::new();
        for place in 0..many {
            let mut rig = if place == 0 {
                let rig = Rig::with_add_field();
                std::fs::copy(&module, rig.path("tasks/http-request.wasm")).unwrap();
                rig.write("flows/work.toml", work(effects.address()));
                rig
            } else {
                Rig::new()
            };
            let url = home.url(&rig);
            // The rig's settings end with the section `reload`.
            rig.settings(&format!(
                "publish = {}\n\n[store]\nurl = \"{url}\"\n\n[engine]\nlease = \"{LEASE}\"\ndrain = \"5s\"\n\n\
                 [network]\nallow = [\"{}\"]\n\n[log]\nfilter = \"info\"\n",
                place == 0,
                effects.address()
            ));
            daemons.push(rig);
        }
        let url = home.url(&daemons[0]);
        Some(Self {
            daemons,
            effects,
            url,
            _home: home,
        })
    }

    /// Says that the store is elsewhere than its home.
    pub fn store_at(&mut self, url: &str) {
        url.clone_into(&mut self.url);
    }

    /// Waits until every run has ended, as the store has it.
    pub fn until_all_have_ended(&self) {
        let unfinished = "/v0/workflow-runs?status=queued,running,waiting,interrupted&limit=1";
        let daemon = &self.daemons[0];
        daemon.until("every run has ended", || {
            let (status, page) = daemon.call("GET", unfinished, &Value::Null);
            let none = page["data"]["data"].as_array().is_some_and(Vec::is_empty);
            (status == 200 && none).then_some(())
        });
    }

    /// Judges the records alone, in a copy of the store's file: whoever closes a file last removes the log beside it,
    /// also one that was put there meanwhile.
    pub fn records(&self, copy: &Path, acknowledged: &BTreeSet<RunId>) -> Verdict {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let url = format!("sqlite:{}", copy.display());
            let store = store::open(&url, Durability::Full).await.unwrap();
            judge(&*store, acknowledged, CHAIN).await
        })
    }

    /// Judges the records, and the effects: at least one a run, one where no attempt was cut off, all with one key.
    pub fn judged(&self, acknowledged: &BTreeSet<RunId>) -> Verdict {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let store = store::open(&self.url, Durability::Full).await.unwrap();
            let mut verdict = judge(&*store, acknowledged, CHAIN).await;
            for run in acknowledged {
                let Some(image) = store.load_run(*run).await.unwrap() else {
                    continue;
                };
                let task = image
                    .tasks
                    .iter()
                    .find(|task| task.task.as_str() == "effect");
                let Some(task) = task.filter(|task| task.output_io_id.is_some()) else {
                    continue;
                };
                let keys = self.effects.of(&format!("/effect/{run}"));
                let count: u32 = keys.values().sum();
                let fits = keys.len() == 1
                    && !keys.contains_key("")
                    && count >= 1
                    && (task.attempts > 1 || count == 1);
                if !fits {
                    let attempts = task.attempts;
                    verdict.doubled += usize::from(attempts == 1 && count > 1);
                    let what = format!("{run}: effects {keys:?} of {attempts} attempts");
                    verdict.wrong.push(what);
                }
            }
            verdict
        })
    }
}

/// One request on a daemon's socket that may fail, as all do while the daemon is being killed.
pub fn ask(state: &Path, key: &str, path: &str) -> io::Result<(u16, Value)> {
    let mut stream = UnixStream::connect(state.join("daemon.sock"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nidempotency-key: {key}\r\n\
         content-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let cut = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(cut)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let body = serde_json::from_str(body).map_err(io::Error::other)?;
    Ok((status.ok_or_else(cut)?, body))
}

/// Callers that start runs until they are told to stop, and remember which of them were acknowledged.
pub struct Load {
    states: Vec<PathBuf>,
    stop: AtomicBool,
    asked: AtomicUsize,
    /// The run of each key that was acknowledged.
    accepted: Mutex<HashMap<String, RunId>>,
    grown: Condvar,
}

impl Load {
    /// On these daemons.
    pub fn on(fleet: &Fleet) -> Self {
        Self {
            states: fleet.daemons.iter().map(|rig| rig.path("state")).collect(),
            stop: AtomicBool::new(false),
            asked: AtomicUsize::new(0),
            accepted: Mutex::default(),
            grown: Condvar::new(),
        }
    }

    /// One caller: asks one daemon after another. What was not answered is asked again with its key.
    pub fn call(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            let number = self.asked.fetch_add(1, Ordering::Relaxed);
            let key = format!("key-{number}");
            for try_ in 0.. {
                let state = &self.states[(number + try_) % self.states.len()];
                if let Ok((202, body)) = ask(state, &key, "/v0/workflows/work/run") {
                    let run = body["data"]["runId"].as_str().unwrap().parse().unwrap();
                    let before = self.accepted.lock().unwrap().insert(key, run);
                    assert_eq!(before, None);
                    self.grown.notify_all();
                    break;
                }
                if self.stop.load(Ordering::Relaxed) {
                    return;
                }
                // A daemon that is away refuses at once; the next look may find another.
                std::thread::yield_now();
            }
            // So many at once that the store is busy, not so many that the judge is waited for.
            if number.is_multiple_of(4) {
                passes(PACE);
            }
        }
    }

    /// Waits until so many more runs were acknowledged.
    pub fn more(&self, many: usize) {
        let accepted = self.accepted.lock().unwrap();
        let wanted = accepted.len() + many;
        let (accepted, over) = self
            .grown
            .wait_timeout_while(accepted, PATIENCE, |accepted| accepted.len() < wanted)
            .unwrap();
        assert!(
            !over.timed_out(),
            "{} of {wanted} were accepted",
            accepted.len()
        );
    }

    /// Tells the callers to stop.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// The runs that were acknowledged. No two keys have one run.
    pub fn acknowledged(&self) -> BTreeSet<RunId> {
        let accepted = self.accepted.lock().unwrap();
        let runs: BTreeSet<RunId> = accepted.values().copied().collect();
        assert_eq!(runs.len(), accepted.len(), "two keys have one run");
        runs
    }

    /// How many keys were used: at most so many runs may there be.
    pub fn keys(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

/// Lets `callers` start runs while `happens` happens, then waits for the end of all, and judges.
pub fn under_load(
    fleet: &mut Fleet,
    callers: usize,
    happens: impl FnOnce(&mut Fleet, &Load),
) -> Verdict {
    let load = Load::on(fleet);
    std::thread::scope(|scope| {
        for _ in 0..callers {
            scope.spawn(|| load.call());
        }
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| happens(fleet, &load)));
        // Also when it fails, so that the callers end.
        load.stop();
        if let Err(cause) = done {
            std::panic::resume_unwind(cause);
        }
    });
    fleet.until_all_have_ended();
    let verdict = fleet.judged(&load.acknowledged());
    assert!(
        verdict.runs <= load.keys(),
        "{} runs of {} keys",
        verdict.runs,
        load.keys()
    );
    verdict
}

/// Time passes by itself: a load keeps its pace, a lease ends, a server of others comes up. Nothing tells of these.
pub fn passes(span: Duration) {
    std::thread::sleep(span);
}

/// How often something is done: the variable says, or a few times.
pub fn times(variable: &str, usual: usize) -> usize {
    std::env::var(variable).map_or(usual, |text| text.parse().expect("a number"))
}

/// Numbers that look random (splitmix64, Vigna 2015), from `FLOWWEAVER_SEED` or the same in every run.
pub struct Dice(u64);

impl Dice {
    pub fn new() -> Self {
        Self(times("FLOWWEAVER_SEED", 20_261_130) as u64)
    }

    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % sides as u64) as usize
    }
}

/// The answer to a run's start on a daemon.
pub fn started(rig: &Rig) -> String {
    let (status, answer) = rig.call("POST", "/v0/workflows/work/run", &json!({}));
    assert_eq!(status, 202, "{answer}");
    answer["data"]["runId"].as_str().unwrap().to_owned()
}
