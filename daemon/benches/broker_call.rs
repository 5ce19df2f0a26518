//! What the broker costs: one call through it, beside the same call made without it.
//!
//! HTTP: a GET of a small answer from a server on this machine, through a grant, and by a bare
//! client. SQL: `select 1`, through a grant, and by a bare connection pool of the same driver.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a benchmark"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use flowweaver::broker::Broker;
use flowweaver::broker::http::{HttpLimits, HttpRequest};
use flowweaver::broker::settings::BrokerSettings;
use flowweaver::broker::sql::{DatabaseSettings, SqlLimits};
use flowweaver::workflow::grant::{Grants, Place, SqlGrant, SqlMode};
use sqlx::Executor as _;
use tokio::runtime::Runtime;

#[path = "../tests/broker_world/mod.rs"]
mod broker_world;

/// An attempt makes a bounded number of calls; a new one after so many keeps that out of the figure.
const CALLS_OF_AN_ATTEMPT: usize = 100;
/// The measured answer: as long as a short page's head.
const BODY: &str = "a body of some length, as short answers of services are";

fn http(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(broker_world::server(|_| broker_world::ok(BODY)));
    let url = server.url("/shop/page");
    let mut settings = server.reachable();
    settings.http = HttpLimits::default();
    let broker = {
        let _entered = runtime.enter();
        broker_world::broker(settings, &[])
    };
    let grants = Grants {
        http: vec![broker_world::grant(&server.url("/shop/*"))],
        ..Grants::default()
    };
    // The broker brings its own; the bare client takes the process's.
    rustls::crypto::ring::default_provider()
        .install_default()
        .unwrap();
    let bare = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut group = c.benchmark_group("HTTP GET");
    group.bench_function("bare", |b| {
        b.to_async(&runtime).iter(|| async {
            let response = bare.get(&url).send().await.unwrap();
            black_box(response.bytes().await.unwrap())
        });
    });
    let mut attempt = Rested::new(&broker, grants);
    group.bench_function("brokered", |b| {
        b.iter(|| {
            let ctx = attempt.ctx();
            runtime.block_on(async {
                let mut response = ctx.http.send(HttpRequest::new("GET", &url)).await.unwrap();
                while let Some(bytes) = response.read(64 * 1024).await.unwrap() {
                    black_box(bytes);
                }
            });
        });
    });
    group.finish();
}

/// An attempt that is replaced before its budget of calls is used up.
struct Rested<'a> {
    broker: &'a Arc<Broker>,
    grants: Grants,
    attempt: broker_world::Attempt,
    used: usize,
}

impl<'a> Rested<'a> {
    fn new(broker: &'a Arc<Broker>, grants: Grants) -> Self {
        let attempt = broker_world::attempt_of(broker, broker_world::identity(), grants.clone());
        Self {
            broker,
            grants,
            attempt,
            used: 0,
        }
    }

    fn ctx(&mut self) -> &flowweaver::broker::BrokerCtx {
        self.used += 1;
        if self.used > CALLS_OF_AN_ATTEMPT {
            self.used = 1;
            self.attempt = broker_world::attempt_of(
                self.broker,
                broker_world::identity(),
                self.grants.clone(),
            );
        }
        &self.attempt.ctx
    }
}

/// A bare pool of one of the three drivers.
enum Bare {
    Sqlite(sqlx::SqlitePool),
    Postgres(sqlx::PgPool),
    MariaDb(sqlx::MySqlPool),
}

impl Bare {
    async fn select(&self) {
        // Prepared, as the broker's are.
        match self {
            Self::Sqlite(pool) => drop(sqlx::query("select 1").fetch_all(pool).await.unwrap()),
            Self::Postgres(pool) => drop(sqlx::query("select 1").fetch_all(pool).await.unwrap()),
            Self::MariaDb(pool) => drop(sqlx::query("select 1").fetch_all(pool).await.unwrap()),
        }
    }
}

/// The databases that can be reached, with a bare pool for each. The others are named and left out.
async fn databases(folder: &std::path::Path) -> Vec<(&'static str, String, Bare)> {
    let server = |variable: &str, usual: &str| std::env::var(variable).unwrap_or(usual.to_owned());
    let file = folder.join("bench.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(&file)
        .create_if_missing(true);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    // An empty file is not a database yet.
    pool.execute("create table shelf (id integer)")
        .await
        .unwrap();
    let mut found = vec![(
        "SQLite",
        format!("sqlite:{}", file.display()),
        Bare::Sqlite(pool),
    )];
    let url = server(
        "FLOWWEAVER_TEST_POSTGRES",
        "postgres://postgres@127.0.0.1:5432/test",
    );
    match sqlx::PgPool::connect(&url).await {
        Ok(pool) => found.push(("PostgreSQL", url, Bare::Postgres(pool))),
        Err(error) => eprintln!("skipped PostgreSQL: {error}"),
    }
    let url = server(
        "FLOWWEAVER_TEST_MARIADB",
        "mysql://root@127.0.0.1:3306/test",
    );
    match sqlx::MySqlPool::connect(&url).await {
        Ok(pool) => found.push(("MariaDB", url, Bare::MariaDb(pool))),
        Err(error) => eprintln!("skipped MariaDB: {error}"),
    }
    found
}

fn sql(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (name, url, bare) in runtime.block_on(databases(folder.path())) {
        let settings = BrokerSettings {
            databases: vec![DatabaseSettings {
                name: "shelf".parse().unwrap(),
                url: url.into(),
                mode: SqlMode::Read,
                tables: None,
                timeout: Duration::from_secs(10),
                organizations: None,
                connections: 4,
            }],
            sql: SqlLimits::default(),
            ..BrokerSettings::default()
        };
        let broker = {
            let _entered = runtime.enter();
            broker_world::broker(settings, &[])
        };
        let grants = Grants {
            sql: vec![SqlGrant {
                place: Place {
                    file: "flows/bench.toml".into(),
                    line: 1,
                },
                database: "shelf".parse().unwrap(),
                mode: SqlMode::Read,
                tables: vec!["shelf".to_owned()],
            }],
            ..Grants::default()
        };
        let mut group = c.benchmark_group(format!("select 1, {name}"));
        group.bench_function("bare", |b| b.to_async(&runtime).iter(|| bare.select()));
        let mut attempt = Rested::new(&broker, grants);
        group.bench_function("brokered", |b| {
            b.iter(|| {
                let ctx = attempt.ctx();
                runtime.block_on(async {
                    let database = ctx.sql.open("shelf").unwrap();
                    let mut rows = database.query("select 1", Vec::new()).await.unwrap();
                    while !rows.next(16).await.unwrap().is_empty() {}
                });
            });
        });
        group.finish();
    }
}

criterion_group!(benches, http, sql);
criterion_main!(benches);
