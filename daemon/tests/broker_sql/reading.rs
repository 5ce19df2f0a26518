//! Reading a SQLite database that a person made, with what such a file holds and how it is found.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use flowweaver::broker::Broker;
use flowweaver::broker::error::Refusal;
use flowweaver::broker::identity::AttemptIdentity;
use flowweaver::broker::secret::{SecretSources, Secrets};
use flowweaver::broker::settings::{BrokerError, BrokerSettings};
use flowweaver::broker::sql::{DatabaseError, DatabaseSettings, Own, Value};
use flowweaver::clock::SystemClock;
use flowweaver::id::OrganizationId;
use flowweaver::workflow::grant::*;
use rusqlite::Connection;

use crate::broker_world::*;

/// A database with granted tables, a secret one, and views over both.
struct Blog {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn blog() -> Blog {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("blog.db");
    Connection::open(&path)
        .unwrap()
        .execute_batch(
            "create table product_review (id integer primary key, name text, stars decimal(3,1), live boolean, at datetime, raw blob);
             insert into product_review values (1, 'bag', '4.50', 1, '2026-01-02 03:04:05', x'00ff'), (2, null, 3, 0, null, null);
             create table secret (id integer, word text);
             insert into secret values (7, 'geheim');
             create view good as select word from secret;
             create view deep as select word || '!' as word from good;
             create view hidden as select * from secret;",
        )
        .unwrap();
    Blog {
        _folder: folder,
        path,
    }
}

fn configured(path: &Path) -> DatabaseSettings {
    DatabaseSettings {
        name: "blog".parse().unwrap(),
        url: format!("sqlite:{}", path.display()).into(),
        mode: SqlMode::ReadWrite,
        tables: None,
        timeout: Duration::from_secs(10),
        connections: 8,
        organizations: None,
    }
}

fn grants(database: &str, tables: &[&str]) -> Grants {
    let sql = SqlGrant {
        place: Place {
            file: "flows/product-blog.toml".into(),
            line: 60,
        },
        database: database.parse().unwrap(),
        mode: SqlMode::Read,
        tables: tables.iter().map(|table| (*table).to_owned()).collect(),
    };
    Grants {
        sql: vec![sql],
        ..Grants::default()
    }
}

fn attempt_on(settings: DatabaseSettings, tables: &[&str]) -> Attempt {
    let settings = BrokerSettings {
        databases: vec![settings],
        ..BrokerSettings::default()
    };
    attempt_of(&broker(settings, &[]), identity(), grants("blog", tables))
}

async fn rows(
    attempt: &Attempt,
    statement: &str,
    parameters: Vec<Value>,
) -> Result<Vec<Vec<String>>, Refusal> {
    let mut rows = attempt
        .ctx
        .sql
        .open("blog")?
        .query(statement, parameters)
        .await?;
    let mut all = Vec::new();
    loop {
        let portion = rows.next(1_000).await?;
        if portion.is_empty() {
            return Ok(all);
        }
        all.extend(portion.into_iter().map(|row| {
            row.iter()
                .map(|value| format!("{value:?}"))
                .collect::<Vec<_>>()
        }));
    }
}

/// The code of a statement, which is recorded once beside its `open`.
async fn code_of(attempt: &Attempt, statement: &str) -> String {
    let code = match rows(attempt, statement, Vec::new()).await {
        Ok(_) => "ok".to_owned(),
        Err(refusal) => refusal.code,
    };
    let calls = attempt.calls();
    let recorded: Vec<_> = calls
        .iter()
        .map(|call| (call.kind, call.outcome.as_str()))
        .collect();
    assert_eq!(
        recorded,
        [("sql", "ok"), ("sql", code.as_str())],
        "{statement}"
    );
    code
}

#[tokio::test]
async fn a_database_without_a_grant_is_denied_with_the_lines_that_would_allow_it() {
    let blog = blog();
    let attempt = attempt_on(configured(&blog.path), &["product_review"]);
    let refusal = attempt.ctx.sql.open("other").err().unwrap();
    assert_eq!(refusal.code, "sql.denied");
    assert!(
        refusal
            .message
            .contains("[[job.task.sql]]\ndatabase = \"other\""),
        "{refusal}"
    );
    let call = attempt.recorded("sql.denied");
    assert_eq!(
        (call.kind, call.verb.as_str(), call.target.as_str()),
        ("sql", "open", "other")
    );
}

#[tokio::test]
async fn another_organizations_database_looks_the_same_as_a_missing_one() {
    let blog = blog();
    let stranger = || AttemptIdentity {
        organization: OrganizationId::generate(),
        ..identity()
    };
    let with = |databases| BrokerSettings {
        databases,
        ..BrokerSettings::default()
    };
    let foreign = attempt_of(
        &broker(with(vec![configured(&blog.path)]), &[]),
        stranger(),
        grants("blog", &["product_review"]),
    );
    let missing = attempt_of(
        &broker(with(Vec::new()), &[]),
        stranger(),
        grants("blog", &["product_review"]),
    );
    let answers = [&foreign, &missing].map(|attempt| attempt.ctx.sql.open("blog").err().unwrap());
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0].code, "sql.unknown-database");
    let who = stranger();
    let shared = DatabaseSettings {
        organizations: Some(BTreeSet::from([who.organization])),
        ..configured(&blog.path)
    };
    let owner = attempt_of(
        &broker(with(vec![shared]), &[]),
        who,
        grants("blog", &["product_review"]),
    );
    assert_eq!(code_of(&owner, "select 1").await, "ok");
}

#[tokio::test]
async fn a_read_grant_gives_granted_tables_and_nothing_else() {
    let blog = blog();
    let attempt = attempt_on(configured(&blog.path), &["product_review", "good"]);
    for statement in [
        "select 1; drop table product_review",
        "insert into product_review (id) values (9)",
        "with a as (delete from product_review returning *) select * from a",
        "select * from product_review for update",
        "explain delete from product_review",
        "attach database '/tmp/x' as x",
        "vacuum into '/tmp/x'",
        "pragma table_list",
        "begin",
        "select load_extension('x')",
        "select * from secret",
        "select * from SECRET",
        "select * from \"Secret\"",
        "select s.word from product_review r join secret as s on 1",
        "select (select word from secret)",
        "with a as (select * from secret) select * from a",
        "with good as (select * from secret) select * from good",
        "select * from hidden",
        "select * from secret, (with secret as (select 1) select * from secret)",
        "select count(*) from secret",
        "select * from sqlite_master",
        "select * from pragma_table_info('secret')",
    ] {
        let code = code_of(&attempt, statement).await;
        assert!(
            matches!(code.as_str(), "sql.denied" | "sql.invalid"),
            "{statement}: {code}"
        );
    }
    let refusal = rows(&attempt, "select * from secret", Vec::new())
        .await
        .unwrap_err();
    assert!(
        refusal.message.contains("flows/product-blog.toml:60")
            && refusal.message.contains("`secret`"),
        "{refusal}"
    );
    attempt.calls();
    for statement in [
        "select count(*) from product_review",
        "SELECT * FROM Main.\"Product_Review\" p",
        "select * from good",
        "with a as (select 1) select count(*) from a",
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < 5) select max(i) from n",
        "select json_extract('{\"a\":1}', '$.a') -> '$', lower('A')",
    ] {
        assert_eq!(code_of(&attempt, statement).await, "ok", "{statement}");
    }
    let deep = attempt_on(configured(&blog.path), &["deep"]);
    assert_eq!(
        rows(&deep, "select word from deep", Vec::new())
            .await
            .unwrap(),
        [[r#"Value::Text("geheim!")"#]]
    );
    assert_eq!(
        rows(&deep, "select * from good", Vec::new())
            .await
            .unwrap_err()
            .code,
        "sql.denied"
    );
    let count: i64 = Connection::open(&blog.path)
        .unwrap()
        .query_row("select count(*) from product_review", [], |row| row.get(0))
        .unwrap();
    assert_eq!(count, 2);
}

/// The database refuses by itself what the parser would have let through.
#[tokio::test]
async fn the_operators_table_list_caps_the_grant() {
    let blog = blog();
    let capped = DatabaseSettings {
        tables: Some(vec!["product_review".to_owned()]),
        ..configured(&blog.path)
    };
    let attempt = attempt_on(capped, &["product_review", "secret", "sqlite_schema"]);
    assert_eq!(
        code_of(&attempt, "select * from secret").await,
        "sql.denied"
    );
    assert_eq!(
        code_of(&attempt, "select * from product_review").await,
        "ok"
    );
    let all = attempt_on(configured(&blog.path), &["sqlite_schema", "sqlite_master"]);
    assert_eq!(
        code_of(&all, "select * from sqlite_schema").await,
        "sql.denied"
    );
}

#[tokio::test]
async fn values_travel_as_parameters_and_come_back_as_their_types() {
    let blog = blog();
    let attempt = attempt_on(configured(&blog.path), &["product_review"]);
    let evil = "'; drop table product_review; --";
    let answer = rows(
        &attempt,
        "select ?1, ?2, ?3, ?4",
        vec![
            Value::Text(evil.to_owned()),
            Value::Null,
            Value::Int64(i64::MIN),
            Value::Blob(vec![0, 255]),
        ],
    )
    .await
    .unwrap();
    assert_eq!(
        answer,
        [[
            format!("Value::Text({evil:?})"),
            "Value::Null".into(),
            format!("Value::Int64({})", i64::MIN),
            "Value::Blob([0, 255])".into()
        ]]
    );
    let answer = rows(
        &attempt,
        "select * from product_review order by id",
        Vec::new(),
    )
    .await
    .unwrap();
    assert_eq!(
        answer[0][1..],
        [
            r#"Value::Text("bag")"#,
            "Value::Float64(4.5)",
            "Value::Boolean(true)",
            r#"Value::Timestamp("2026-01-02T03:04:05")"#,
            "Value::Blob([0, 255])",
        ]
    );
    assert_eq!(
        answer[1][1..],
        [
            "Value::Null",
            "Value::Int64(3)",
            "Value::Boolean(false)",
            "Value::Null",
            "Value::Null"
        ]
    );
    let database = attempt.ctx.sql.open("blog").unwrap();
    let rows = database
        .query("select name, stars from product_review", Vec::new())
        .await
        .unwrap();
    let columns: Vec<_> = rows
        .columns()
        .iter()
        .map(|column| (column.name.as_str(), column.type_name.as_str()))
        .collect();
    assert_eq!(columns, [("name", "TEXT"), ("stars", "decimal(3,1)")]);
    let wrong = database.query("select ?1", Vec::new()).await.err().unwrap();
    assert_eq!(wrong.code, "sql.invalid");
}

#[tokio::test]
async fn endless_queries_and_locks_end_in_time() {
    let blog = blog();
    let quick = DatabaseSettings {
        timeout: Duration::from_millis(200),
        ..configured(&blog.path)
    };
    let attempt = attempt_on(quick, &["product_review"]);
    let endless =
        "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n";
    assert_eq!(code_of(&attempt, endless).await, "sql.timeout");
    let writer = Connection::open(&blog.path).unwrap();
    writer.execute_batch("begin exclusive").unwrap();
    assert_eq!(
        code_of(&attempt, "select * from product_review").await,
        "sql.timeout"
    );
    writer.execute_batch("rollback").unwrap();
    assert_eq!(
        code_of(&attempt, "select * from product_review").await,
        "ok"
    );
}

#[tokio::test]
async fn a_cancelled_query_stops_and_its_thread_is_free_again() {
    let blog = blog();
    let attempt = attempt_on(configured(&blog.path), &["product_review"]);
    let endless =
        "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n";
    let database = attempt.ctx.sql.open("blog").unwrap();
    let mut running =
        std::pin::pin!(async { database.query(endless, Vec::new()).await?.next(1).await });
    // Under way: it has not answered, and will not.
    assert!(
        tokio::time::timeout(Duration::from_millis(50), running.as_mut())
            .await
            .is_err()
    );
    attempt.cancel.cancel();
    assert_eq!(running.await.err().unwrap().code, "cancelled");
    assert!(
        attempt
            .calls()
            .iter()
            .any(|call| call.verb == "select" && call.outcome == "cancelled")
    );
    // A runtime that still had a blocking thread in the query would not come to an end.
}

#[tokio::test]
async fn rows_bytes_cursors_and_calls_have_limits_with_an_answer() {
    let blog = blog();
    let mut settings = BrokerSettings {
        databases: vec![configured(&blog.path)],
        ..BrokerSettings::default()
    };
    (
        settings.sql.rows,
        settings.sql.bytes,
        settings.sql.concurrent,
        settings.sql.calls,
    ) = (1_000, 1_000_000, 1, 14);
    let attempt = attempt_of(
        &broker(settings, &[]),
        identity(),
        grants("blog", &["product_review"]),
    );
    let count = |n: u32| {
        format!(
            "with recursive n(i) as (select 1 union all select i + 1 from n where i < {n}) select i from n"
        )
    };
    assert_eq!(
        rows(&attempt, &count(1_000), Vec::new())
            .await
            .unwrap()
            .len(),
        1_000
    );
    attempt.calls();
    assert_eq!(
        code_of(&attempt, &count(100_000_000)).await,
        "limit.sql-rows"
    );
    assert_eq!(
        code_of(&attempt, "select zeroblob(1000001)").await,
        "limit.sql-bytes"
    );
    assert_eq!(
        code_of(&attempt, "select zeroblob(1000000000)").await,
        "limit.sql-bytes"
    );
    let database = attempt.ctx.sql.open("blog").unwrap();
    let held = database.query("select 1", Vec::new()).await.unwrap();
    assert_eq!(
        database
            .query("select 1", Vec::new())
            .await
            .err()
            .unwrap()
            .code,
        "limit.sql-calls"
    );
    drop(held);
    assert!(database.query("select 1", Vec::new()).await.is_ok());
    while database.query("select 1", Vec::new()).await.is_ok() {}
    assert_eq!(
        attempt.ctx.sql.open("blog").err().unwrap().code,
        "limit.sql-calls"
    );
}

#[tokio::test]
async fn the_daemons_own_store_is_refused_at_start_under_any_name() {
    let blog = blog();
    let link = blog.path.with_file_name("link.db");
    std::os::unix::fs::symlink(&blog.path, &link).unwrap();
    let hard = blog.path.with_file_name("hard.db");
    std::fs::hard_link(&blog.path, &hard).unwrap();
    let start = |databases| {
        let settings = BrokerSettings {
            databases,
            own: Own {
                files: vec![blog.path.clone()],
                url: None,
            },
            ..BrokerSettings::default()
        };
        let secrets = Secrets::load(SecretSources::default()).unwrap();
        Broker::new(
            settings,
            secrets,
            Arc::new(Keys::default()),
            Arc::new(SystemClock),
        )
        .map(drop)
    };
    for path in [&blog.path, &link, &hard] {
        assert!(
            matches!(
                start(vec![configured(path)]),
                Err(BrokerError::Database(DatabaseError::Own(_)))
            ),
            "{path:?}"
        );
    }
    for url in [
        "oracle://user:geheim@db/blog",
        "sqlite::memory:",
        "sqlite:",
        "sqlite:a.db?mode=rwc",
        "sqlite:file:a.db",
        "blog.db",
    ] {
        let settings = DatabaseSettings {
            url: url.into(),
            ..configured(&blog.path)
        };
        assert!(!format!("{settings:?}").contains("geheim"));
        let error = start(vec![settings]).unwrap_err();
        assert!(
            matches!(error, BrokerError::Database(DatabaseError::Scheme { .. })),
            "{url}: {error}"
        );
        assert!(!error.to_string().contains("geheim"), "{error}");
    }
    for url in [
        "postgres://user:geheim@db",
        "mariadb://user:geheim@db/",
        "mysql://user:geheim@db:port/blog",
    ] {
        let settings = DatabaseSettings {
            url: url.into(),
            ..configured(&blog.path)
        };
        let error = start(vec![settings]).unwrap_err();
        assert!(
            matches!(error, BrokerError::Database(DatabaseError::Url { .. })),
            "{url}: {error}"
        );
        assert!(!error.to_string().contains("geheim"), "{error}");
    }
    assert!(start(vec![configured(&blog.path.with_file_name("other.db"))]).is_ok());
    let settings = BrokerSettings {
        databases: vec![DatabaseSettings {
            url: "postgres://task:geheim@localhost/flowweaver".into(),
            ..configured(&blog.path)
        }],
        own: Own {
            files: Vec::new(),
            url: Some("postgresql://daemon@127.0.0.1:5432/flowweaver".into()),
        },
        ..BrokerSettings::default()
    };
    let secrets = Secrets::load(SecretSources::default()).unwrap();
    let keys = Arc::new(Keys::default());
    let error = Broker::new(settings, secrets, keys, Arc::new(SystemClock)).map(drop);
    assert!(
        matches!(error, Err(BrokerError::Database(DatabaseError::Own(_)))),
        "a store on a server, under another of its names"
    );
}

#[tokio::test]
async fn a_missing_database_file_is_an_answer_and_is_not_created() {
    let blog = blog();
    let path = blog.path.with_file_name("none.db");
    let attempt = attempt_on(configured(&path), &["product_review"]);
    assert_eq!(code_of(&attempt, "select 1").await, "sql.connect");
    assert!(!path.exists());
}
