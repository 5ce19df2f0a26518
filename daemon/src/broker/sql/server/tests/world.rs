//! A database of its own on each server, a way into it beside the broker's, and a guest.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Row as _};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};

use crate::broker::error::Refusal;
use crate::broker::sql::database::{DatabaseSettings, Target};
use crate::broker::sql::own::Own;
use crate::broker::sql::policy::{Allowed, Decided, Dialect};
use crate::broker::sql::session::{Command, Line, Message, Order, Permit, TimeLimit};
use crate::broker::sql::{SqlLimits, Value};
use crate::id::RunId;
use crate::workflow::grant::SqlMode;

const POSTGRES: &str = "postgres://postgres@127.0.0.1:5432/postgres";
const MARIADB: &str = "mysql://root@127.0.0.1:3306/mysql";

/// The operator's way in.
#[derive(Clone)]
pub enum Raw {
    Postgres(sqlx::PgPool),
    MariaDb(sqlx::MySqlPool),
}

impl Raw {
    pub async fn run(&self, text: &str) {
        let text = AssertSqlSafe(text.to_owned());
        match self {
            Self::Postgres(pool) => drop(sqlx::raw_sql(text).execute(pool).await.unwrap()),
            Self::MariaDb(pool) => drop(sqlx::raw_sql(text).execute(pool).await.unwrap()),
        }
    }

    pub async fn number(&self, text: &str) -> i64 {
        let text = AssertSqlSafe(text.to_owned());
        match self {
            Self::Postgres(pool) => sqlx::query(text).fetch_one(pool).await.unwrap().get(0),
            Self::MariaDb(pool) => sqlx::query(text).fetch_one(pool).await.unwrap().get(0),
        }
    }

    /// Waits until this many sessions work on the database beside this one.
    pub async fn working(&self, wanted: i64) {
        const POSTGRES: &str = "select count(*) from pg_stat_activity \
            where datname = current_database() and application_name = 'flowweaver' and state <> 'idle'";
        const MARIADB: &str = "select count(*) from information_schema.processlist \
            where db = database() and info is not null and id <> connection_id()";
        let text = match self {
            Self::Postgres(_) => POSTGRES,
            Self::MariaDb(_) => MARIADB,
        };
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let found = self.number(text).await;
            if found == wanted {
                return;
            }
            assert!(Instant::now() < end, "{found} sessions work, not {wanted}");
            tokio::task::yield_now().await;
        }
    }
}

#[derive(Clone)]
pub struct World {
    pub raw: Raw,
    pub url: String,
    pub target: Target,
    pub limits: SqlLimits,
    pub timeout: Duration,
}

pub async fn on_postgres<F: Future<Output = ()> + Send + 'static>(test: fn(World) -> F) {
    let url = std::env::var("FLOWWEAVER_TEST_POSTGRES").unwrap_or_else(|_| POSTGRES.into());
    let server = match sqlx::PgPool::connect(&url).await {
        Ok(server) => Raw::Postgres(server),
        Err(error) => return eprintln!("skipped: no PostgreSQL server answers: {error}"),
    };
    let mut parsed = url::Url::parse(&url).unwrap();
    let name = fresh(&server).await;
    parsed.set_path(&name);
    let raw = Raw::Postgres(sqlx::PgPool::connect(parsed.as_str()).await.unwrap());
    outlive(World::new(raw, parsed.to_string()), test, async || {
        server
            .run(&format!("drop database {name} with (force)"))
            .await;
    })
    .await;
}

pub async fn on_mariadb<F: Future<Output = ()> + Send + 'static>(test: fn(World) -> F) {
    let url = std::env::var("FLOWWEAVER_TEST_MARIADB").unwrap_or_else(|_| MARIADB.into());
    let server = match sqlx::MySqlPool::connect(&url).await {
        Ok(server) => Raw::MariaDb(server),
        Err(error) => return eprintln!("skipped: no MariaDB server answers: {error}"),
    };
    let mut parsed = url::Url::parse(&url).unwrap();
    let name = fresh(&server).await;
    parsed.set_path(&name);
    let raw = Raw::MariaDb(sqlx::MySqlPool::connect(parsed.as_str()).await.unwrap());
    outlive(World::new(raw, parsed.to_string()), test, async || {
        server.run(&format!("drop database {name}")).await;
    })
    .await;
}

async fn fresh(server: &Raw) -> String {
    // The id keeps tests apart that run at the same time; lower case needs no quotes.
    let name = format!("flowweaver_{}", RunId::generate()).to_lowercase();
    server.run(&format!("create database {name}")).await;
    name
}

async fn outlive<F: Future<Output = ()> + Send + 'static>(
    world: World,
    test: fn(World) -> F,
    clean: impl AsyncFnOnce(),
) {
    let result = tokio::spawn(test(world)).await;
    clean().await;
    if let Err(error) = result {
        std::panic::resume_unwind(error.into_panic());
    }
}

pub fn settings(url: &str) -> DatabaseSettings {
    DatabaseSettings {
        name: "blog".parse().unwrap(),
        url: url.to_owned().into(),
        mode: SqlMode::ReadWrite,
        tables: None,
        timeout: Duration::from_secs(10),
        connections: 4,
        organizations: None,
    }
}

impl World {
    pub fn new(raw: Raw, url: String) -> Self {
        Self {
            target: Target::new(&settings(&url), &Own::default()).unwrap(),
            raw,
            url,
            limits: SqlLimits::default(),
            timeout: Duration::from_secs(20),
        }
    }

    pub fn dialect(&self) -> Dialect {
        self.target.dialect()
    }

    /// The placeholder of this number.
    pub fn hole(&self, number: usize) -> String {
        match self.raw {
            Raw::Postgres(_) => format!("${number}"),
            Raw::MariaDb(_) => "?".to_owned(),
        }
    }

    /// A session that nobody has waited for.
    pub fn start(&self, transaction: bool, writes: bool) -> Line {
        let place = || Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let (line, session) = Line::new(Order {
            allowed: Allowed {
                dialect: self.dialect(),
                mode: if writes {
                    SqlMode::ReadWrite
                } else {
                    SqlMode::Read
                },
                tables: BTreeSet::new(),
            },
            limits: self.limits.clone(),
            time: TimeLimit {
                database: "blog".parse().unwrap(),
                most: self.timeout,
            },
            transaction,
            writes,
            permit: Permit {
                of_attempt: place(),
                of_database: place(),
            },
        });
        self.target.spawn(session, &Handle::current());
        line
    }

    /// A session; errors when there is no connection.
    pub async fn session(&self, transaction: bool, writes: bool) -> Result<Guest, Refusal> {
        let mut line = self.start(transaction, writes);
        line.opened().await?;
        Ok(Guest { line })
    }

    /// One query that reads, in a session of its own.
    pub async fn query(&self, text: &str, values: &[Value]) -> Result<Vec<Vec<Value>>, Refusal> {
        let guest = self.session(false, false).await?;
        let rows = guest.query(text, values).await;
        guest.line.finish();
        rows
    }

    /// One change, in a session of its own.
    pub async fn execute(&self, text: &str, values: &[Value]) -> Result<u64, Refusal> {
        let guest = self.session(false, true).await?;
        let count = guest.execute(text, values).await;
        guest.line.finish();
        count
    }

    /// A change under a grant that only reads.
    pub async fn smuggle(&self, text: &str) -> Result<u64, Refusal> {
        self.session(false, false).await?.execute(text, &[]).await
    }
}

/// The other end of a session.
pub struct Guest {
    pub line: Line,
}

pub fn decided(text: &str, changes: bool) -> Decided {
    Decided {
        text: text.to_owned(),
        verb: "any",
        returns_rows: true,
        changes,
        locks: false,
        ctes: BTreeSet::new(),
        parameters: 0,
    }
}

impl Guest {
    pub async fn begin(&self, decided: Decided, values: &[Value]) -> mpsc::Receiver<Message> {
        let (rows, receiver) = mpsc::channel(1);
        let command = Command::Query {
            decided,
            parameters: values.to_vec(),
            rows,
        };
        self.line.send(command).await.unwrap();
        receiver
    }

    pub async fn query(&self, text: &str, values: &[Value]) -> Result<Vec<Vec<Value>>, Refusal> {
        all(self.begin(decided(text, false), values).await).await
    }

    pub async fn returning(&self, text: &str) -> Result<Vec<Vec<Value>>, Refusal> {
        all(self.begin(decided(text, true), &[]).await).await
    }

    pub async fn batch(&self, text: &str, batch: &[Vec<Value>]) -> Result<Vec<u64>, Refusal> {
        let change = |counts| Command::Change {
            decided: decided(text, true),
            batch: batch.to_vec(),
            counts,
        };
        self.line.ask(change).await
    }

    pub async fn execute(&self, text: &str, values: &[Value]) -> Result<u64, Refusal> {
        self.batch(text, &[values.to_vec()])
            .await
            .map(|counts| counts[0])
    }

    pub async fn commit(self) -> Result<(), Refusal> {
        let done = self.line.ask(|done| Command::Commit { done }).await;
        self.line.finish();
        done
    }
}

pub async fn all(mut messages: mpsc::Receiver<Message>) -> Result<Vec<Vec<Value>>, Refusal> {
    let mut rows = Vec::new();
    let Some(first) = messages.recv().await else {
        return Err(Refusal::permanent("sql.closed", "no columns came"));
    };
    match first {
        Message::Columns(_) => {}
        Message::Failed(refusal) => return Err(refusal),
        Message::Rows(..) => panic!("rows before columns"),
    }
    while let Some(message) = messages.recv().await {
        match message {
            Message::Columns(_) => panic!("columns twice"),
            Message::Rows(portion, _) => rows.extend(portion),
            Message::Failed(refusal) => return Err(refusal),
        }
    }
    Ok(rows)
}

pub fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

pub fn other(name: &str, text: &str) -> Value {
    Value::Other((name.to_owned(), text.to_owned()))
}

/// The most memory that this process ever held, in MiB.
pub fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib / 1024
}
