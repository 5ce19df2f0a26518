//! A database for one test, of each kind: a shop with granted tables, a secret one, and views over both.
//! What a test writes once runs on all of [`KINDS`].

use std::path::PathBuf;
use std::time::Duration;

use flowweaver::broker::error::Refusal;
use flowweaver::broker::settings::BrokerSettings;
use flowweaver::broker::sql::{DatabaseSettings, SqlLimits, SqlRows, Value};
use flowweaver::workflow::grant::*;
use rusqlite::Connection;

use crate::broker_world::*;

/// The databases that tests run on.
pub const KINDS: &[Kind] = &[Kind::Sqlite];

/// One of the databases that the broker speaks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
}

/// A statement with the placeholders of this database: each `?` is the next one.
pub fn marked(kind: Kind, statement: &str) -> String {
    match kind {
        Kind::Sqlite => statement.to_owned(),
    }
}

/// A database that is gone after the test.
pub struct World {
    pub url: String,
    at: At,
}

enum At {
    File(
        #[expect(dead_code, reason = "held")] tempfile::TempDir,
        PathBuf,
    ),
}

/// The tables of every world, in words that all databases understand.
const TABLES: &str =
    "create table product (id integer primary key, name varchar(2000) not null, stock integer);
    insert into product values (1, 'bag', 3), (2, 'hat', 0);
    create table secret (id integer primary key, word varchar(200));
    insert into secret values (7, 'geheim');
    create view listed as select id, name from product where stock > 0;
    create view hidden as select * from secret;
    create view shown as select word from secret;";

impl World {
    pub fn new(kind: Kind) -> Self {
        let world = match kind {
            Kind::Sqlite => {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("shop.db");
                Self {
                    url: format!("sqlite:{}", path.display()),
                    at: At::File(folder, path),
                }
            }
        };
        world.owner(TABLES);
        world
    }

    /// Runs statements as the database's owner.
    pub fn owner(&self, statements: &str) {
        match &self.at {
            At::File(_, path) => Connection::open(path)
                .unwrap()
                .execute_batch(statements)
                .unwrap(),
        }
    }

    /// How many rows `what` (a table, and perhaps a condition) has, as its owner sees it.
    pub fn count(&self, what: &str) -> i64 {
        let statement = format!("select count(*) from {what}");
        match &self.at {
            At::File(_, path) => Connection::open(path)
                .unwrap()
                .query_row(&statement, [], |row| row.get(0))
                .unwrap(),
        }
    }

    pub fn settings(&self) -> DatabaseSettings {
        DatabaseSettings {
            name: "shop".parse().unwrap(),
            url: self.url.clone().into(),
            mode: SqlMode::ReadWrite,
            tables: None,
            timeout: Duration::from_secs(10),
            connections: 8,
            organizations: None,
        }
    }

    /// An attempt with this grant.
    pub fn attempt(&self, mode: SqlMode, tables: &[&str]) -> Attempt {
        self.limited(mode, tables, |_, _| {})
    }

    /// An attempt with this grant and other limits.
    pub fn limited(
        &self,
        mode: SqlMode,
        tables: &[&str],
        change: impl FnOnce(&mut DatabaseSettings, &mut SqlLimits),
    ) -> Attempt {
        let mut settings = BrokerSettings::default();
        let mut database = self.settings();
        change(&mut database, &mut settings.sql);
        settings.databases = vec![database];
        attempt_of(&broker(settings, &[]), identity(), grants(mode, tables))
    }
}

pub fn grants(mode: SqlMode, tables: &[&str]) -> Grants {
    let sql = SqlGrant {
        place: Place {
            file: "flows/shop.toml".into(),
            line: 12,
        },
        database: "shop".parse().unwrap(),
        mode,
        tables: tables.iter().map(|table| (*table).to_owned()).collect(),
    };
    Grants {
        sql: vec![sql],
        ..Grants::default()
    }
}

/// Reads all rows.
pub async fn all(mut rows: SqlRows) -> Result<Vec<Vec<Value>>, Refusal> {
    let mut found = Vec::new();
    loop {
        let portion = rows.next(1_000).await?;
        if portion.is_empty() {
            return Ok(found);
        }
        found.extend(portion);
    }
}

/// What a query answers outside a transaction.
pub async fn query(
    attempt: &Attempt,
    statement: &str,
    parameters: Vec<Value>,
) -> Result<Vec<Vec<Value>>, Refusal> {
    let database = attempt.ctx.sql.open("shop")?;
    all(database.query(statement, parameters).await?).await
}

/// What a change answers outside a transaction.
pub async fn execute(
    attempt: &Attempt,
    statement: &str,
    parameters: Vec<Value>,
) -> Result<u64, Refusal> {
    let database = attempt.ctx.sql.open("shop")?;
    database.execute(statement, parameters).await
}

pub fn words(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// The calls since the last look, without `open`: verb and outcome.
pub fn calls(attempt: &Attempt) -> Vec<(String, String)> {
    let calls = attempt.calls().into_iter();
    calls
        .filter(|call| call.verb != "open")
        .map(|call| (call.verb, call.outcome))
        .collect()
}

pub fn pairs(calls: &[(&str, &str)]) -> Vec<(String, String)> {
    calls
        .iter()
        .map(|(verb, outcome)| ((*verb).to_owned(), (*outcome).to_owned()))
        .collect()
}
