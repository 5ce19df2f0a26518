//! The URL of an empty store of each kind, for one test; a server that does not answer is named in the output.
//!
//! `FLOWWEAVER_TEST_POSTGRES` names the PostgreSQL server (default
//! `postgres://postgres@127.0.0.1:5432/test`), `FLOWWEAVER_TEST_MARIADB` the MariaDB server (default
//! `mysql://root@127.0.0.1:3306/mysql`).

use std::future::Future;

use flowweaver::id::RunId;
use sqlx::{AssertSqlSafe, Connection as _};

const POSTGRES: &str = "postgres://postgres@127.0.0.1:5432/test";
const MARIADB: &str = "mysql://root@127.0.0.1:3306/mysql";

/// The id keeps tests apart that run at the same time; lower case needs no quotes.
fn name() -> String {
    format!("flowweaver_{}", RunId::generate()).to_lowercase()
}

/// Whether the test went well is told only once its database is gone.
async fn outlive<F: Future<Output = ()> + Send + 'static>(
    test: F,
    clean: impl Future<Output = ()>,
) {
    let result = tokio::spawn(test).await;
    clean.await;
    if let Err(error) = result {
        std::panic::resume_unwind(error.into_panic());
    }
}

/// Has a server end all connections to the store that a URL names; a file has none.
#[allow(dead_code, reason = "not every test binary cuts connections")]
pub async fn cut(url: &str) {
    let url = url::Url::parse(url).unwrap();
    match url.scheme() {
        "postgres" | "postgresql" => {
            let options = url.query_pairs();
            let mut names = options.filter(|(name, _)| name == "application_name");
            let name = names.next().unwrap().1.into_owned();
            let mut plain = url.clone();
            plain.set_query(None);
            let mut server = sqlx::PgConnection::connect(plain.as_str()).await.unwrap();
            let ended = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1";
            let ended = sqlx::query(ended).bind(name).execute(&mut server).await;
            ended.unwrap();
        }
        "mysql" | "mariadb" => {
            let mut server = sqlx::MySqlConnection::connect(url.as_str()).await.unwrap();
            let there = "select cast(id as signed) from information_schema.processlist \
                where db = database() and id <> connection_id()";
            let there: Vec<i64> = sqlx::query_scalar(there)
                .fetch_all(&mut server)
                .await
                .unwrap();
            for id in there {
                // It may have ended by itself.
                let kill = AssertSqlSafe(format!("kill connection {id}"));
                let _ = sqlx::raw_sql(kill).execute(&mut server).await;
            }
        }
        _ => {}
    }
}

/// A file in a folder of its own.
pub async fn sqlite<F: Future<Output = ()>>(test: impl FnOnce(String) -> F) {
    let folder = tempfile::tempdir().unwrap();
    test(format!(
        "sqlite:{}",
        folder.path().join("store.db").display()
    ))
    .await;
}

/// A schema of its own.
pub async fn postgres<F: Future<Output = ()> + Send + 'static>(test: impl FnOnce(String) -> F) {
    let url = std::env::var("FLOWWEAVER_TEST_POSTGRES").unwrap_or_else(|_| POSTGRES.into());
    let server = match sqlx::PgPool::connect(&url).await {
        Ok(server) => server,
        Err(error) => return eprintln!("skipped: no PostgreSQL server answers: {error}"),
    };
    let run = async |sql: String| {
        let ran = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&server).await;
        ran.unwrap();
    };
    let schema = name();
    run(format!("create schema {schema}")).await;
    let separator = if url.contains('?') { '&' } else { '?' };
    let url = format!("{url}{separator}application_name={schema}&options[search_path]={schema}");
    outlive(test(url), run(format!("drop schema {schema} cascade"))).await;
}

/// A database of its own. Its character set has no Hangul: the store must not depend on it.
pub async fn mariadb<F: Future<Output = ()> + Send + 'static>(test: impl FnOnce(String) -> F) {
    let url = std::env::var("FLOWWEAVER_TEST_MARIADB").unwrap_or_else(|_| MARIADB.into());
    let server = match sqlx::MySqlPool::connect(&url).await {
        Ok(server) => server,
        Err(error) => return eprintln!("skipped: no MariaDB server answers: {error}"),
    };
    let run = async |sql: String| {
        let ran = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&server).await;
        ran.unwrap();
    };
    let name = name();
    run(format!(
        "create database {name} default character set latin1"
    ))
    .await;
    let mut url = url::Url::parse(&url).unwrap();
    url.set_path(&name);
    outlive(test(url.into()), run(format!("drop database {name}"))).await;
}
