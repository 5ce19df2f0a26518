//! A blog on each server, in a database of its own, and an attempt that may use some of it.

use std::time::Duration;

use flowweaver::broker::error::Refusal;
use flowweaver::broker::settings::BrokerSettings;
use flowweaver::broker::sql::{DatabaseSettings, Value};
use flowweaver::id::RunId;
use flowweaver::workflow::grant::*;
use sqlx::{AssertSqlSafe, Row as _};

use crate::broker_world::*;

const POSTGRES: &str = "postgres://postgres@127.0.0.1:5432/postgres";
const MARIADB: &str = "mysql://root@127.0.0.1:3306/mysql";
/// Granted tables, a secret one, and views over both.
const BLOG: &str = "create table product_review (id integer primary key, name varchar(100), stars decimal(3,1)); \
    insert into product_review values (1, 'bag', 4.5), (2, null, 3); \
    create table secret (id integer, word varchar(20)); insert into secret values (7, 'geheim'); \
    create view good as select word from secret; create view hidden as select * from secret";

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
}

#[derive(Clone)]
pub struct World {
    pub raw: Raw,
    pub url: String,
}

async fn fresh(server: &Raw) -> String {
    // The id keeps tests apart that run at the same time; lower case needs no quotes.
    let name = format!("flowweaver_{}", RunId::generate()).to_lowercase();
    server.run(&format!("create database {name}")).await;
    name
}

/// Runs the test on both servers; one that does not answer is named in the output.
pub async fn on_both<F: Future<Output = ()> + Send + 'static>(test: fn(World) -> F) {
    let url = std::env::var("FLOWWEAVER_TEST_POSTGRES").unwrap_or_else(|_| POSTGRES.into());
    match sqlx::PgPool::connect(&url).await {
        Ok(pool) => {
            let server = Raw::Postgres(pool);
            let name = fresh(&server).await;
            let url = beside(&url, &name);
            let raw = Raw::Postgres(sqlx::PgPool::connect(&url).await.unwrap());
            let drop = format!("drop database {name} with (force)");
            outlive(World { raw, url }, test, &server, &drop).await;
        }
        Err(error) => eprintln!("skipped: no PostgreSQL server answers: {error}"),
    }
    let url = std::env::var("FLOWWEAVER_TEST_MARIADB").unwrap_or_else(|_| MARIADB.into());
    match sqlx::MySqlPool::connect(&url).await {
        Ok(pool) => {
            let server = Raw::MariaDb(pool);
            let name = fresh(&server).await;
            let url = beside(&url, &name);
            let raw = Raw::MariaDb(sqlx::MySqlPool::connect(&url).await.unwrap());
            let drop = format!("drop database {name}");
            outlive(World { raw, url }, test, &server, &drop).await;
        }
        Err(error) => eprintln!("skipped: no MariaDB server answers: {error}"),
    }
}

fn beside(url: &str, database: &str) -> String {
    let mut url = url::Url::parse(url).unwrap();
    url.set_path(database);
    url.into()
}

async fn outlive<F: Future<Output = ()> + Send + 'static>(
    world: World,
    test: fn(World) -> F,
    server: &Raw,
    clean: &str,
) {
    world.raw.run(BLOG).await;
    let result = tokio::spawn(test(world)).await;
    server.run(clean).await;
    if let Err(error) = result {
        std::panic::resume_unwind(error.into_panic());
    }
}

impl World {
    pub fn settings(&self) -> DatabaseSettings {
        DatabaseSettings {
            name: "blog".parse().unwrap(),
            url: self.url.clone().into(),
            mode: SqlMode::ReadWrite,
            tables: None,
            timeout: Duration::from_secs(20),
            connections: 4,
            organizations: None,
        }
    }

    pub fn attempt(&self, mode: SqlMode, tables: &[&str]) -> Attempt {
        self.attempt_on(self.settings(), mode, tables)
    }

    pub fn attempt_on(
        &self,
        settings: DatabaseSettings,
        mode: SqlMode,
        tables: &[&str],
    ) -> Attempt {
        let settings = BrokerSettings {
            databases: vec![settings],
            ..BrokerSettings::default()
        };
        attempt_of(&broker(settings, &[]), identity(), grants(mode, tables))
    }

    /// The placeholder of this number.
    pub fn hole(&self, number: usize) -> String {
        match self.raw {
            Raw::Postgres(_) => format!("${number}"),
            Raw::MariaDb(_) => "?".to_owned(),
        }
    }
}

pub fn grants(mode: SqlMode, tables: &[&str]) -> Grants {
    let sql = SqlGrant {
        place: Place {
            file: "flows/product-blog.toml".into(),
            line: 60,
        },
        database: "blog".parse().unwrap(),
        mode,
        tables: tables.iter().map(|table| (*table).to_owned()).collect(),
    };
    Grants {
        sql: vec![sql],
        ..Grants::default()
    }
}

pub async fn rows(
    attempt: &Attempt,
    statement: &str,
    parameters: Vec<Value>,
) -> Result<Vec<Vec<Value>>, Refusal> {
    let database = attempt.ctx.sql.open("blog")?;
    let mut rows = database.query(statement, parameters).await?;
    let mut all = Vec::new();
    loop {
        let portion = rows.next(1_000).await?;
        if portion.is_empty() {
            return Ok(all);
        }
        all.extend(portion);
    }
}

pub async fn execute(
    attempt: &Attempt,
    statement: &str,
    parameters: Vec<Value>,
) -> Result<u64, Refusal> {
    let database = attempt.ctx.sql.open("blog")?;
    database.execute(statement, parameters).await
}

pub fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// A second schema, which on MariaDB is a database.
pub async fn schema(world: &World) -> String {
    let url = url::Url::parse(&world.url).unwrap();
    let name = match world.raw {
        Raw::Postgres(_) => "shop".to_owned(),
        Raw::MariaDb(_) => format!("{}_shop", &url.path()[1..]),
    };
    let made = format!(
        "create schema {name}; create table {name}.sale (id int); insert into {name}.sale values (7)"
    );
    world.raw.run(&made).await;
    name
}

pub async fn drop_schema(world: &World, name: &str) {
    if matches!(world.raw, Raw::MariaDb(_)) {
        world.raw.run(&format!("drop schema {name}")).await;
    }
}
