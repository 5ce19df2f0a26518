//! How sessions begin, go on and end: transactions, batches, rows given up half-way, a server that is away.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::world::*;
use crate::broker::sql::Value;
use crate::broker::sql::database::{DatabaseSettings, Target};
use crate::broker::sql::own::Own;
use crate::broker::sql::session::{Command, Message};

async fn transactions(world: World) {
    world.raw.run("create table t (v bigint primary key)").await;
    let insert = format!("insert into t (v) values ({})", world.hole(1));
    let count = "select count(*) from t";

    let dropped = world.session(true, true).await.unwrap();
    assert_eq!(dropped.execute(&insert, &[Value::Int64(1)]).await, Ok(1));
    let seen = dropped.query(count, &[]).await;
    assert_eq!(
        seen,
        Ok(vec![vec![Value::Int64(1)]]),
        "its own change is seen"
    );
    assert_eq!(world.raw.number(count).await, 0, "by nobody else");
    drop(dropped);
    world.raw.working(0).await;
    assert_eq!(
        world.raw.number(count).await,
        0,
        "a dropped transaction is rolled back"
    );

    let kept = world.session(true, true).await.unwrap();
    assert_eq!(kept.execute(&insert, &[Value::Int64(1)]).await, Ok(1));
    assert_eq!(kept.commit().await, Ok(()));
    assert_eq!(world.raw.number(count).await, 1);
    assert_eq!(world.execute(&insert, &[Value::Int64(2)]).await, Ok(1));
    assert_eq!(
        world.raw.number(count).await,
        2,
        "a change alone is committed with its answer"
    );
}

#[tokio::test]
async fn a_transaction_is_there_after_its_commit_and_nowhere_without_it() {
    on_postgres(transactions).await;
    on_mariadb(transactions).await;
}

async fn batches(world: World) {
    world.raw.run("create table t (v bigint primary key)").await;
    let insert = format!("insert into t (v) values ({})", world.hole(1));
    let batch = |numbers: &[i64]| -> Vec<Vec<Value>> {
        numbers
            .iter()
            .map(|number| vec![Value::Int64(*number)])
            .collect()
    };
    let guest = world.session(false, true).await.unwrap();
    let refusal = guest.batch(&insert, &batch(&[1, 2, 2])).await.unwrap_err();
    assert!(
        ["sql.23505", "sql.23000"].contains(&refusal.code.as_str()),
        "{refusal}"
    );
    assert!(!refusal.retryable);
    drop(guest);
    world.raw.working(0).await;
    assert_eq!(
        world.raw.number("select count(*) from t").await,
        0,
        "all or none"
    );
    let guest = world.session(false, true).await.unwrap();
    assert_eq!(
        guest.batch(&insert, &batch(&[1, 2, 3])).await,
        Ok(vec![1, 1, 1])
    );
    assert_eq!(world.raw.number("select count(*) from t").await, 3);
}

#[tokio::test]
async fn a_batch_changes_everything_or_nothing() {
    on_postgres(batches).await;
    on_mariadb(batches).await;
}

async fn failed_batch(world: World) {
    world.raw.run("create table t (v bigint primary key)").await;
    let insert = format!("insert into t (v) values ({})", world.hole(1));
    let numbers = |numbers: &[i64]| -> Vec<Vec<Value>> {
        numbers
            .iter()
            .map(|number| vec![Value::Int64(*number)])
            .collect()
    };
    let guest = world.session(true, true).await.unwrap();
    assert_eq!(
        guest.batch(&insert, &numbers(&[1, 2])).await,
        Ok(vec![1, 1])
    );
    assert!(guest.batch(&insert, &numbers(&[3, 1, 4])).await.is_err());
    let next = guest.execute(&insert, &[Value::Int64(5)]).await;
    let (goes_on, left) = match world.raw {
        // Nothing of the transaction is left, and it takes nothing more.
        Raw::Postgres(_) => (Err("sql.25P02".to_owned()), 0),
        // The batch is undone, and nothing else.
        Raw::MariaDb(_) => (Ok(()), 3),
    };
    assert_eq!(next.map(drop).map_err(|refusal| refusal.code), goes_on);
    assert_eq!(
        guest.commit().await.map_err(|refusal| refusal.code),
        goes_on
    );
    assert_eq!(world.raw.number("select count(*) from t").await, left);
    let of_the_batch = "select count(*) from t where v in (3, 4)";
    assert_eq!(world.raw.number(of_the_batch).await, 0);
}

#[tokio::test]
async fn a_failed_batch_ends_its_transaction_on_postgresql_and_not_on_mariadb() {
    on_postgres(failed_batch).await;
    on_mariadb(failed_batch).await;
}

/// What the server remarks, as far as this thread's connections hear it.
#[derive(Clone)]
struct Remarks {
    thread: std::thread::ThreadId,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl std::io::Write for Remarks {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if std::thread::current().id() == self.thread {
            self.heard.lock().unwrap().extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Remarks {
    fn listen() -> Self {
        let remarks = Self {
            thread: std::thread::current().id(),
            heard: Arc::default(),
        };
        let writer = remarks.clone();
        let listener = tracing_subscriber::fmt()
            .with_env_filter("sqlx::postgres::notice=trace")
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::set_global_default(listener).unwrap();
        remarks
    }

    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.heard.lock().unwrap())).unwrap()
    }
}

#[tokio::test]
async fn no_end_of_a_session_makes_the_server_remark_on_it() {
    on_postgres(|world| async move {
        let remarks = Remarks::listen();
        world.raw.run("rollback").await;
        let heard = remarks.take();
        assert!(heard.contains("no transaction in progress"), "{heard:?}");

        // With one connection, whoever gets it comes after the end of the one before.
        let one = DatabaseSettings {
            connections: 1,
            ..settings(&world.url)
        };
        let world = World {
            target: Target::new(&one, &Own::default()).unwrap(),
            ..world
        };
        world.raw.run("create table t (v bigint primary key)").await;
        let insert = "insert into t (v) values ($1)";
        let number = |number: i64| [Value::Int64(number)];
        assert_eq!(world.execute(insert, &number(1)).await, Ok(1));
        assert!(world.execute(insert, &number(1)).await.is_err());
        assert!(world.query("select v from t", &[]).await.is_ok());
        let kept = world.session(true, true).await.unwrap();
        assert_eq!(kept.execute(insert, &number(2)).await, Ok(1));
        assert_eq!(kept.commit().await, Ok(()));
        let failed = world.session(true, true).await.unwrap();
        assert!(failed.execute(insert, &number(2)).await.is_err());
        assert!(failed.commit().await.is_err());
        let undone = world.session(true, true).await.unwrap();
        let done = undone.line.ask(|done| Command::Rollback { done }).await;
        assert_eq!(done, Ok(()));
        undone.line.finish();
        drop(undone);
        let dropped = world.session(true, true).await.unwrap();
        assert_eq!(dropped.execute(insert, &number(3)).await, Ok(1));
        drop(dropped);
        let read = world.session(true, false).await.unwrap();
        assert_eq!(read.commit().await, Ok(()));
        assert!(world.query("select v from t", &[]).await.is_ok());
        assert_eq!(remarks.take(), "");
    })
    .await;
}

#[tokio::test]
async fn a_transaction_with_a_failed_statement_is_not_called_committed() {
    on_postgres(|world| async move {
        world.raw.run("create table t (v bigint)").await;
        let guest = world.session(true, true).await.unwrap();
        assert_eq!(guest.execute("insert into t values (1)", &[]).await, Ok(1));
        let refusal = guest
            .execute("insert into t values (1/0)", &[])
            .await
            .unwrap_err();
        assert_eq!(refusal.code, "sql.22012");
        let refusal = guest.query("select 1", &[]).await.unwrap_err();
        assert_eq!(refusal.code, "sql.25P02");
        // PostgreSQL answers COMMIT with a rollback then, and reports success.
        assert_eq!(guest.commit().await.unwrap_err().code, "sql.25P02");
        assert_eq!(world.raw.number("select count(*) from t").await, 0);
    })
    .await;
    on_mariadb(|world| async move {
        world.raw.run("create table t (v bigint primary key)").await;
        let guest = world.session(true, true).await.unwrap();
        assert_eq!(guest.execute("insert into t values (1)", &[]).await, Ok(1));
        let two = [vec![Value::Int64(2)], vec![Value::Int64(1)]];
        let refusal = guest
            .batch("insert into t values (?)", &two)
            .await
            .unwrap_err();
        assert_eq!(refusal.code, "sql.23000");
        assert_eq!(refusal.details.as_deref(), Some(r#"{"number":1062}"#));
        assert_eq!(
            guest.commit().await,
            Ok(()),
            "MariaDB goes on after a failed statement"
        );
        assert_eq!(
            world.raw.number("select count(*) from t").await,
            1,
            "without any of the batch"
        );
    })
    .await;
}

async fn returned(world: World) {
    world.raw.run("create table t (v bigint)").await;
    let guest = world.session(false, true).await.unwrap();
    let statement = decided("insert into t (v) values (5) returning v", true);
    let mut messages = guest.begin(statement, &[]).await;
    assert!(matches!(messages.recv().await, Some(Message::Columns(_))));
    // The rows are not read yet.
    assert_eq!(world.raw.number("select count(*) from t").await, 1);
    drop((messages, guest));
    world.raw.working(0).await;
    assert_eq!(world.raw.number("select count(*) from t").await, 1);

    let refused = World {
        limits: crate::broker::sql::SqlLimits {
            rows: 1,
            ..world.limits.clone()
        },
        ..world.clone()
    };
    let guest = refused.session(false, true).await.unwrap();
    let refusal = guest
        .returning("insert into t (v) values (6), (7) returning v")
        .await
        .unwrap_err();
    assert_eq!(refusal.code, "limit.sql-rows");
    drop(guest);
    world.raw.working(0).await;
    assert_eq!(
        world.raw.number("select count(*) from t").await,
        1,
        "a refused change is undone"
    );
}

#[tokio::test]
async fn rows_of_a_change_come_after_the_change_is_durable() {
    on_postgres(returned).await;
    on_mariadb(returned).await;
}

async fn given_up(world: World) {
    let many = match world.raw {
        Raw::Postgres(_) => "select generate_series(1, 10000000) as v",
        Raw::MariaDb(_) => "select seq as v from seq_1_to_10000000",
    };
    world.raw.run("create table t (v bigint)").await;
    let guest = world.session(true, true).await.unwrap();
    assert_eq!(
        guest.execute("insert into t (v) values (1)", &[]).await,
        Ok(1)
    );
    let mut messages = guest.begin(decided(many, false), &[]).await;
    assert!(matches!(messages.recv().await, Some(Message::Columns(_))));
    assert!(matches!(messages.recv().await, Some(Message::Rows(..))));
    drop(messages);
    // The transaction lives on, and the next statement does not wait for ten million rows.
    let rows = guest.query("select v from t", &[]).await;
    assert_eq!(rows, Ok(vec![vec![Value::Int64(1)]]));
    assert_eq!(guest.commit().await, Ok(()));
    assert_eq!(world.raw.number("select count(*) from t").await, 1);
}

#[tokio::test]
async fn rows_given_up_end_their_query_and_not_their_transaction() {
    on_postgres(given_up).await;
    on_mariadb(given_up).await;
}

#[tokio::test]
async fn a_guest_that_reads_slowly_does_not_use_up_the_statements_time() {
    on_postgres(|world| async move {
        let world = World {
            timeout: Duration::from_millis(600),
            ..world
        };
        let guest = world.session(false, false).await.unwrap();
        let mut messages = guest
            .begin(decided("select generate_series(1, 2000) as v", false), &[])
            .await;
        assert!(matches!(messages.recv().await, Some(Message::Columns(_))));
        let Some(Message::Rows(mut rows, _)) = messages.recv().await else {
            panic!("no rows")
        };
        // Twice the statement's time passes on the server, while nobody reads.
        world.raw.run("select pg_sleep(1.3)").await;
        while let Some(message) = messages.recv().await {
            match message {
                Message::Rows(more, _) => rows.extend(more),
                Message::Failed(refusal) => panic!("{refusal}"),
                Message::Columns(_) => panic!("columns twice"),
            }
        }
        assert_eq!(rows.len(), 2000);
        guest.line.finish();
    })
    .await;
}

/// A port that leads to a server, or does not.
struct Relay {
    port: u16,
    to: String,
    task: Option<JoinHandle<()>>,
}

impl Relay {
    async fn new(to: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        Self {
            port,
            to,
            task: None,
        }
    }

    async fn open(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        let to = self.to.clone();
        self.task = Some(tokio::spawn(async move {
            // Everything that it carries ends with it.
            let mut carried = tokio::task::JoinSet::new();
            while let Ok((mut here, _)) = listener.accept().await {
                let to = to.clone();
                carried.spawn(async move {
                    let mut there = TcpStream::connect(to).await.unwrap();
                    let _ = copy_bidirectional(&mut here, &mut there).await;
                });
            }
        }));
    }

    async fn close(&mut self) {
        let task = self.task.take().unwrap();
        task.abort();
        let _ = task.await;
    }
}

async fn comes_back(world: World) {
    let mut url = url::Url::parse(&world.url).unwrap();
    let to = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
    let mut relay = Relay::new(to).await;
    url.set_port(Some(relay.port)).unwrap();
    url.set_password(Some("geheim")).unwrap();
    // Servers that trust anybody look at no password; this one is only to be seen nowhere.
    let away = World {
        target: Target::new(&settings(url.as_str()), &Own::default()).unwrap(),
        ..world.clone()
    };
    let refusal = away.query("select 1", &[]).await.unwrap_err();
    assert_eq!(
        (refusal.code.as_str(), refusal.retryable),
        ("sql.connect", true)
    );
    for fact in [
        "127.0.0.1",
        "geheim",
        "root",
        "postgres",
        &relay.port.to_string(),
    ] {
        assert!(!refusal.message.contains(fact), "{refusal}");
    }
    assert!(!format!("{:?}", away.target).contains("geheim"));
    if matches!(world.raw, Raw::MariaDb(_)) {
        // Its root has no password, and any is wrong.
        url.set_password(None).unwrap();
    }
    let away = World {
        target: Target::new(&settings(url.as_str()), &Own::default()).unwrap(),
        ..world.clone()
    };
    relay.open().await;
    let one = Ok(vec![vec![Value::Int64(1)]]);
    assert_eq!(away.query("select 1", &[]).await, one);

    // The server goes away under a transaction, and comes back.
    let guest = away.session(true, true).await.unwrap();
    assert_eq!(guest.query("select 1", &[]).await, one);
    relay.close().await;
    let refusal = guest.query("select 1", &[]).await.unwrap_err();
    assert_eq!(
        (refusal.code.as_str(), refusal.retryable),
        ("sql.connect", true)
    );
    assert_eq!(
        away.query("select 1", &[]).await.unwrap_err().code,
        "sql.connect"
    );
    relay.open().await;
    assert_eq!(away.query("select 1", &[]).await, one);
    relay.close().await;
}

#[tokio::test]
async fn a_server_that_is_away_is_a_retryable_error_and_is_found_again_when_it_is_back() {
    on_postgres(comes_back).await;
    on_mariadb(comes_back).await;
}

#[tokio::test]
async fn a_connection_carries_nothing_from_one_session_to_the_next() {
    on_postgres(|world| async move {
        let world = World {
            target: Target::new(
                &crate::broker::sql::DatabaseSettings {
                    connections: 1,
                    ..settings(&world.url)
                },
                &Own::default(),
            )
            .unwrap(),
            ..world
        };
        let process = "select pg_backend_pid()::int8";
        let first = world.query(process, &[]).await.unwrap();
        for left in [
            "set session search_path = pg_catalog",
            "set session time zone 'Asia/Seoul'",
            "create temporary table product (v int)",
            "prepare p as select 1",
            "listen somewhere",
        ] {
            assert!(world.execute(left, &[]).await.is_ok(), "{left}");
        }
        assert!(world.query("select pg_advisory_lock(7)::text", &[]).await.is_ok());
        assert_eq!(world.query(process, &[]).await.unwrap(), first, "it is the same connection");
        let rows = world
            .query(
                "select current_setting('search_path'), current_setting('timezone'), \
                 (select count(*) from pg_class where relname = 'product'), \
                 (select count(*) from pg_prepared_statements where name = 'p'), \
                 (select count(*) from pg_listening_channels()), \
                 (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid())",
                &[],
            )
            .await
            .unwrap();
        let none = Value::Int64(0);
        let clean = [text("public,pg_temp"), text("UTC"), none.clone(), none.clone(), none.clone(), none];
        assert_eq!(rows, [clean]);
    })
    .await;
    on_mariadb(|world| async move {
        let id = "select connection_id()";
        let first = world.query(id, &[]).await.unwrap();
        assert!(world.query("select @left := 7", &[]).await.is_ok());
        assert_ne!(world.query(id, &[]).await.unwrap(), first);
        assert_eq!(
            world.query("select @left", &[]).await,
            Ok(vec![vec![Value::Null]])
        );
    })
    .await;
}

#[tokio::test]
async fn a_role_that_may_too_much_is_found() {
    use crate::broker::sql::findings;
    on_postgres(|world| async move {
        let found = findings(&settings(&world.url)).await.unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].what.contains("superuser"), "{found:?}");
        let database = url::Url::parse(&world.url).unwrap().path()[1..].to_owned();
        let role = format!("{database}_role");
        world
            .raw
            .run(&format!(
                "create role {role} login password 'geheim'; create table product (v int); create table secret (v int); \
                 grant select on product, secret to {role}; grant insert on product to {role}; \
                 revoke temporary on database {database} from public"
            ))
            .await;
        let mut url = url::Url::parse(&world.url).unwrap();
        url.set_username(&role).unwrap();
        url.set_password(Some("geheim")).unwrap();
        let mut narrow = settings(url.as_str());
        narrow.tables = Some(vec!["product".to_owned()]);
        narrow.mode = crate::workflow::grant::SqlMode::Read;
        let found = findings(&narrow).await.unwrap();
        let whats: Vec<&str> = found.iter().map(|finding| finding.what.as_str()).collect();
        assert_eq!(
            whats,
            [
                "mode = \"read\", and the role may change product",
                "the role may read tables that no grant can name: secret"
            ]
        );
        narrow.mode = crate::workflow::grant::SqlMode::ReadWrite;
        narrow.tables = None;
        assert_eq!(findings(&narrow).await, Ok(Vec::new()));
        world.raw.run(&format!("drop owned by {role}; drop role {role}")).await;
    })
    .await;
    on_mariadb(|world| async move {
        let found = findings(&settings(&world.url)).await.unwrap();
        assert!(found[0].what.contains("every database"), "{found:?}");
        let database = url::Url::parse(&world.url).unwrap().path()[1..].to_owned();
        let role = format!("r{}", &database[database.len() - 20..]);
        world
            .raw
            .run(&format!(
                "create table product (v int); create user '{role}'@'%' identified by 'geheim'; \
                 grant select, create on `{database}`.* to '{role}'@'%'"
            ))
            .await;
        let mut url = url::Url::parse(&world.url).unwrap();
        url.set_username(&role).unwrap();
        url.set_password(Some("geheim")).unwrap();
        let found = findings(&settings(url.as_str())).await.unwrap();
        let whats: Vec<&str> = found.iter().map(|finding| finding.what.as_str()).collect();
        assert_eq!(
            whats,
            [format!(
                "the role may do more than tasks can use: CREATE on {database}.*"
            )]
        );
        let narrow = World {
            target: Target::new(&settings(url.as_str()), &Own::default()).unwrap(),
            ..world.clone()
        };
        let refusal = narrow
            .execute("insert into product values (1)", &[])
            .await
            .unwrap_err();
        assert_eq!(refusal.code, "sql.42000");
        for fact in [role.as_str(), "127.0.0.1", "localhost", "geheim"] {
            assert!(!refusal.message.contains(fact), "{refusal}");
        }
        world.raw.run(&format!("drop user '{role}'@'%'")).await;
    })
    .await;
}
