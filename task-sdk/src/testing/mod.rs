//! Native tests for tasks: fake brokers behind the same clients, one [`World`] a thread.
//!
//! Nothing is allowed until the test says so, as in a sandbox without grants. The fakes check what the
//! real brokers check of any request's form; grants, limits and real databases are not here.
//!
//! ```
//! use flowweaver_task::{Context, Error, http, json, task, testing};
//!
//! #[derive(serde::Deserialize, schemars::JsonSchema)]
//! struct Input {
//!     url: String,
//! }
//!
//! #[derive(serde::Serialize, schemars::JsonSchema)]
//! struct Output {
//!     status: u16,
//! }
//!
//! /// Says how an address answers.
//! #[task(requires("http"))]
//! fn run(input: Input, _cx: &Context) -> Result<Output, Error> {
//!     Ok(Output { status: http::get(input.url).send()?.status() })
//! }
//!
//! let world = testing::World::new();
//! let denied = testing::run(run, json!({ "url": "https://mall.test/" }));
//! assert_eq!(denied.unwrap_err().code, "http.denied");
//!
//! world.when("GET", "https://mall.test/*").reply(testing::Reply::text(204, ""));
//! let answered = testing::run(run, json!({ "url": "https://mall.test/" }));
//! assert_eq!(answered, Ok(json!({ "status": 204 })));
//! assert_eq!(world.requests().len(), 2);
//! ```

pub(crate) mod brokers;
mod facts;
mod http;
mod pattern;
mod sql;

use std::{cell::RefCell, collections::BTreeMap, fmt, rc::Rc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

pub use facts::Facts;
pub use http::{HttpRule, Reply, Sent};
pub use sql::{Answer, FakeDatabase, SqlRule, Statement};

use crate::{Context, Result, invocation, kv::Entry, log::Level};

/// A log line that the task wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// How much it matters.
    pub level: Level,
    /// Its message.
    pub message: String,
    /// Its fields, in order.
    pub fields: Vec<(String, String)>,
}

/// A report of progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// How much is done.
    pub done: u64,
    /// Of how much, when it is known.
    pub total: Option<u64>,
    /// What the task said about it.
    pub note: String,
}

/// Everything the fakes know and record.
#[derive(Debug, Default)]
struct State {
    facts: Facts,
    http: http::Script,
    sql: BTreeMap<String, sql::Script>,
    statements: Vec<Statement>,
    once: sql::Kept,
    /// What `once` was before the open transaction.
    before: Option<sql::Kept>,
    kv: BTreeMap<String, (Entry, Option<Duration>)>,
    revision: u64,
    logs: Vec<Line>,
    progress: Vec<Progress>,
}

type Shared = Rc<RefCell<State>>;

thread_local! {
    static CURRENT: RefCell<Shared> = RefCell::default();
}

/// The state that the clients of this thread see.
fn current() -> Shared {
    CURRENT.with(|current| Rc::clone(&current.borrow()))
}

/// The fake outside of the tasks that run on this thread, from its making until it is dropped.
pub struct World {
    state: Shared,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("World").field(&self.state).finish()
    }
}

impl Default for World {
    fn default() -> Self {
        World::new()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        CURRENT.with(|current| {
            if Rc::ptr_eq(&current.borrow(), &self.state) {
                current.replace(Shared::default());
            }
        });
    }
}

impl World {
    /// A world in which everything is denied. It replaces the thread's world.
    pub fn new() -> Self {
        let state = Shared::default();
        CURRENT.with(|current| current.replace(Rc::clone(&state)));
        World { state }
    }

    /// Changes the facts that the task's [`Context`] answers with.
    pub fn context(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.state.borrow_mut().facts);
    }

    /// Cancels the run.
    pub fn cancel(&self) {
        self.context(|facts| facts.cancelled = true);
    }

    /// Says how requests with this method (`*`: any) to addresses of this pattern are answered.
    ///
    /// In the pattern `*` is any text; without a `?` in it the query is ignored. A later rule wins over
    /// an earlier one.
    pub fn when(&self, method: &str, url: &str) -> HttpRule {
        HttpRule::add(&self.state, method, url)
    }

    /// The requests that the task sent, in order, the denied ones included.
    pub fn requests(&self) -> Vec<Sent> {
        self.state.borrow().http.requests.clone()
    }

    /// The most requests and unread responses that were ever open at the same time.
    pub fn most_in_flight(&self) -> usize {
        self.state.borrow().http.most_in_flight
    }

    /// Grants a database, in which every statement is denied until a rule answers it.
    pub fn database(&self, name: &str) -> FakeDatabase {
        FakeDatabase::grant(&self.state, name)
    }

    /// The statements that the task ran, in order; `begin`, `commit` and `rollback` are among them.
    pub fn statements(&self) -> Vec<Statement> {
        self.state.borrow().statements.clone()
    }

    /// Writes a key of the durable state.
    pub fn kv_set(&self, key: &str, value: impl AsRef<[u8]>) {
        self.state.borrow_mut().kv_write(key, value.as_ref(), None);
    }

    /// Reads a key of the durable state.
    pub fn kv_get(&self, key: &str) -> Option<Vec<u8>> {
        self.state
            .borrow()
            .kv
            .get(key)
            .map(|(entry, _)| entry.value.clone())
    }

    /// The life time with which a key was last written. Nothing expires in this world.
    pub fn kv_ttl(&self, key: &str) -> Option<Duration> {
        self.state.borrow().kv.get(key).and_then(|(_, ttl)| *ttl)
    }

    /// The log lines, in order.
    pub fn logs(&self) -> Vec<Line> {
        self.state.borrow().logs.clone()
    }

    /// The reports of progress, in order.
    pub fn progress(&self) -> Vec<Progress> {
        self.state.borrow().progress.clone()
    }
}

impl State {
    /// Writes a key under a new revision, and answers it.
    fn kv_write(&mut self, key: &str, value: &[u8], ttl: Option<Duration>) -> u64 {
        self.revision += 1;
        let entry = Entry {
            value: value.to_vec(),
            revision: self.revision,
        };
        self.kv.insert(key.to_owned(), (entry, ttl));
        self.revision
    }
}

/// Runs a task in this thread's world, on the same path as in the sandbox: from JSON text to JSON text.
///
/// # Errors
/// What the sandbox would get: `input.invalid`, `output.invalid`, or the task's own.
pub fn run<I, O, F>(task: F, input: Value) -> Result<Value>
where
    I: DeserializeOwned,
    O: Serialize,
    F: Fn(I, &Context) -> Result<O>,
{
    Ok(serde_json::from_str(&invocation::call(
        task,
        &input.to_string(),
    )?)?)
}
