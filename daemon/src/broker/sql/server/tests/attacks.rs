//! Attacks that got past the policy: the session, the server's limits and ours hold without it.

use std::time::Duration;

use super::world::*;
use crate::broker::sql::database::{DatabaseError, Target};
use crate::broker::sql::own::Own;
use crate::broker::sql::server::Beside as _;
use crate::broker::sql::session::Message;
use crate::broker::sql::{SqlLimits, Value};

/// The databases' own words for a refusal, beside `sql.denied`.
const NO: &[&str] = &[
    "sql.denied",
    "sql.invalid",
    "sql.0A000",
    "sql.25001",
    "sql.HY000",
];

async fn changes_under_read(world: World) {
    world
        .raw
        .run("create table t (v bigint); insert into t values (1)")
        .await;
    let common = [
        "insert into t (v) values (2)",
        "update t set v = 2",
        "delete from t",
        "create table made (v int)",
        "drop table t",
        "truncate table t",
        "select v from t for update",
    ];
    let postgres = [
        "with w as (insert into t (v) values (2) returning v) select v from w",
        "select v into made from t",
        "explain analyze delete from t",
        "copy t from stdin",
        "create sequence made",
        "merge into t using (select 1 as v) as s on t.v = s.v when matched then delete",
        "set transaction read write",
        "select lo_create(0)",
        "select set_config('transaction_read_only', 'off', true)",
        "begin read write",
    ];
    let mariadb = [
        "replace into t (v) values (2)",
        "create or replace view made as select 1",
        "set transaction read write",
        "alter table t add column w int",
    ];
    let (own, state): (&[&str], &str) = match world.raw {
        Raw::Postgres(_) => (&postgres, "select (sum(v) * 1000 + count(*))::int8 from t"),
        Raw::MariaDb(_) => (
            &mariadb,
            "select cast(sum(v) * 1000 + count(*) as signed) from t",
        ),
    };
    for statement in common.iter().chain(own) {
        let outcome = world.smuggle(statement).await;
        // A lock, and a second `begin`, are no changes; a large object is one before PostgreSQL 16. What
        // follows shows that nothing of it stays.
        let harmless = [
            "select v from t for update",
            "begin read write",
            "select lo_create(0)",
        ]
        .contains(statement);
        match outcome {
            Err(refusal) => assert!(
                NO.contains(&refusal.code.as_str()),
                "{statement}: {refusal}"
            ),
            Ok(_) => assert!(harmless, "{statement} was allowed"),
        }
        let rest = world.raw.number(state).await;
        assert_eq!(rest, 1001, "{statement}");
    }
    if matches!(world.raw, Raw::Postgres(_)) {
        let objects = "select count(*) from pg_largeobject_metadata";
        assert_eq!(world.raw.number(objects).await, 0);
    }
    let made = "select count(*) from information_schema.tables where table_name = 'made'";
    assert_eq!(world.raw.number(made).await, 0);
    // A guest that gets out of its transaction is still in a session that reads.
    let guest = world.session(true, false).await.unwrap();
    for statement in ["commit", "insert into t (v) values (2)"] {
        let _ = guest.execute(statement, &[]).await;
    }
    drop(guest);
    world.raw.working(0).await;
    assert_eq!(world.raw.number("select count(*) from t").await, 1);
}

/// Attack: a read grant, and INSERT, UPDATE, DELETE, DDL, a data-modifying CTE, SELECT INTO, FOR UPDATE,
/// EXPLAIN ANALYZE DELETE, COPY and ways out of the transaction, past the parser. The session refuses each.
#[tokio::test]
async fn a_session_that_reads_changes_nothing_whatever_it_is_told() {
    on_postgres(changes_under_read).await;
    on_mariadb(changes_under_read).await;
}

async fn two_statements(world: World) {
    world.raw.run("create table t (v bigint)").await;
    for statement in [
        "select 1; drop table t",
        "insert into t (v) values (1); drop table t",
    ] {
        let refusal = world.query(statement, &[]).await.unwrap_err();
        assert_eq!(refusal.code, "sql.invalid", "{refusal}");
        let refusal = world.execute(statement, &[]).await.unwrap_err();
        assert_eq!(refusal.code, "sql.invalid", "{refusal}");
    }
    assert_eq!(world.raw.number("select count(*) from t").await, 0);
}

/// Attack: `SELECT 1; DROP TABLE x`, past the parser. A prepared statement is one: refused.
#[tokio::test]
async fn two_statements_in_one_text_are_refused_by_the_protocol() {
    on_postgres(two_statements).await;
    on_mariadb(two_statements).await;
}

async fn quotes(world: World) {
    world.raw.run("create table t (v text)").await;
    let insert = format!("insert into t (v) values ({})", world.hole(1));
    for evil in [
        "'; drop table t; --",
        "\\'; drop table t; --",
        "$1",
        "?",
        "\u{2019} or 1=1",
        "%s",
        "a\\",
    ] {
        assert_eq!(world.execute(&insert, &[text(evil)]).await, Ok(1));
        let found = format!("select v from t where v = {}", world.hole(1));
        assert_eq!(
            world.query(&found, &[text(evil)]).await,
            Ok(vec![vec![text(evil)]])
        );
    }
    assert_eq!(world.raw.number("select count(*) from t").await, 7);
}

/// Attack: `'; drop table` as a value. It is stored as text, and found as text.
#[tokio::test]
async fn a_value_that_looks_like_a_statement_is_a_value() {
    on_postgres(quotes).await;
    on_mariadb(quotes).await;
}

async fn endless(world: World) {
    let world = World {
        timeout: Duration::from_millis(700),
        ..world
    };
    let own: &[&str] = match world.raw {
        Raw::Postgres(_) => &[
            "select pg_sleep(60)::text",
            "with recursive r as (select 1 as n union all select n + 1 from r) select count(*) from r",
            "select count(*) from generate_series(1, 1000000) a, generate_series(1, 1000000) b",
        ],
        Raw::MariaDb(_) => &[
            "select SLEEP(60)",
            "with recursive r as (select 1 as n union all select 1 from r, (select 1 union select 2) x) select count(*) from r",
            "select count(*) from seq_1_to_1000000 a, seq_1_to_1000000 b where a.seq + b.seq > 0",
        ],
    };
    for statement in own {
        for writes in [false, true] {
            let guest = world.session(false, writes).await.unwrap();
            let refusal = guest.query(statement, &[]).await.unwrap_err();
            assert_eq!(
                (refusal.code.as_str(), refusal.retryable),
                ("sql.timeout", true),
                "{statement}"
            );
            let setting = "700ms, the `timeout` of [databases.blog] in flowweaver.toml";
            assert!(refusal.message.contains(setting), "{refusal}");
        }
    }
    world.raw.working(0).await;
    assert!(world.query("select 1", &[]).await.is_ok());
}

/// Attack: an infinite recursive CTE, `pg_sleep`, `SLEEP`, a join of a million million rows. `sql.timeout`, the
/// connection discarded, nothing left at work on the server.
#[tokio::test]
async fn a_statement_without_end_ends_here_and_on_the_server() {
    on_postgres(endless).await;
    on_mariadb(endless).await;
}

async fn locked(world: World) {
    let world = World {
        timeout: Duration::from_millis(700),
        ..world
    };
    world
        .raw
        .run("create table t (v bigint primary key); insert into t values (1)")
        .await;
    let holder = World {
        timeout: Duration::from_secs(60),
        ..world.clone()
    };
    let holder = holder.session(true, true).await.unwrap();
    assert_eq!(holder.execute("update t set v = 2", &[]).await, Ok(1));
    let refusal = world.execute("update t set v = 3", &[]).await.unwrap_err();
    assert!(refusal.retryable, "{refusal}");
    assert_eq!(refusal.code, "sql.timeout", "{refusal}");
    assert_eq!(holder.commit().await, Ok(()));
    world.raw.working(0).await;
    assert_eq!(world.execute("update t set v = v + 1", &[]).await, Ok(1));
    assert_eq!(world.raw.number("select v from t").await, 3);
}

/// Attack: a lock wait. `sql.timeout`, and the table is free for others afterwards.
#[tokio::test]
async fn waiting_for_a_lock_ends_with_the_statements_time() {
    on_postgres(locked).await;
    on_mariadb(locked).await;
}

async fn cancelled(world: World) {
    let slow = match world.raw {
        Raw::Postgres(_) => "select pg_sleep(60)::text",
        Raw::MariaDb(_) => "select SLEEP(60)",
    };
    world.raw.run("create table t (v bigint primary key)").await;
    for _ in 0..5 {
        let guest = world.session(true, true).await.unwrap();
        assert_eq!(
            guest.execute("insert into t (v) values (1)", &[]).await,
            Ok(1)
        );
        let rows = guest.begin(decided(slow, false), &[]).await;
        world.raw.working(1).await;
        // The guest is gone in the middle of its statement: its end of the session is dropped.
        drop((rows, guest));
        world.raw.working(0).await;
        assert_eq!(world.raw.number("select count(*) from t").await, 0);
    }
    // Nobody holds a lock on that key, and every place is free again.
    for _ in 0..8 {
        assert_eq!(
            world.execute("insert into t (v) values (1)", &[]).await,
            Ok(1)
        );
        assert_eq!(world.execute("delete from t", &[]).await, Ok(1));
    }
}

/// Attack: the guest is cancelled in a query inside a transaction. Rolled back, the server's session is gone,
/// and the pool serves the next.
#[tokio::test]
async fn a_guest_that_is_gone_in_a_transaction_leaves_nothing_behind() {
    on_postgres(cancelled).await;
    on_mariadb(cancelled).await;
}

async fn too_much(world: World) {
    let many = match world.raw {
        Raw::Postgres(_) => "select generate_series(1, 100000000) as v, 'some text' as w",
        Raw::MariaDb(_) => "select seq, 'some text' as w from seq_1_to_100000000",
    };
    let before = peak_mib();
    let refusal = world.query(many, &[]).await.unwrap_err();
    assert_eq!(refusal.code, "limit.sql-rows", "{refusal}");
    let wide = match world.raw {
        Raw::Postgres(_) => "select repeat('x', 1000) from generate_series(1, 90000)",
        Raw::MariaDb(_) => "select repeat('x', 1000) from seq_1_to_90000",
    };
    let refusal = world.query(wide, &[]).await.unwrap_err();
    assert_eq!(refusal.code, "limit.sql-bytes", "{refusal}");
    world.raw.working(0).await;
    assert!(world.query("select 1", &[]).await.is_ok());
    // The rows were collected here, so that this is the limit itself and not what the broker held.
    let grown = peak_mib() - before;
    assert!(grown < 256, "the process grew by {grown} MiB");
}

/// Attack: 100 million rows. `limit.sql-rows` or `limit.sql-bytes`, and the daemon's memory stays small.
#[tokio::test]
async fn more_rows_than_allowed_end_the_query() {
    on_postgres(too_much).await;
    on_mariadb(too_much).await;
}

/// Attack: one huge row. PostgreSQL measures it before it is sent; on MariaDB the values that can be as long
/// as a packet are counted. `limit.sql-bytes` on both.
#[tokio::test]
async fn one_huge_row_is_refused_before_it_is_here() {
    on_postgres(|world| async move {
        let before = peak_mib();
        for huge in [
            "select repeat(repeat('x', 100000), 9000)",
            "select 1, repeat(repeat('x', 100000), 1000)::bytea",
            "select repeat(repeat('x', 1000), 9000), repeat(repeat('y', 1000), 9000)",
            "select array_fill('0123456789'::text, array[4000000])",
            "select to_jsonb(repeat(repeat('x', 1000), 90000))",
        ] {
            let refusal = world.query(huge, &[]).await.unwrap_err();
            assert_eq!(refusal.code, "limit.sql-bytes", "{huge}: {refusal}");
        }
        world
            .raw
            .run("create table t (v text); insert into t values (repeat(repeat('x', 1000), 90000))")
            .await;
        let refusal = world.query("select v from t", &[]).await.unwrap_err();
        assert_eq!(refusal.code, "limit.sql-bytes", "{refusal}");
        let guest = world.session(false, true).await.unwrap();
        let refusal = guest
            .returning("update t set v = v returning v")
            .await
            .unwrap_err();
        assert_eq!(refusal.code, "limit.sql-bytes", "{refusal}");
        let grown = peak_mib() - before;
        assert!(grown < 64, "the process grew by {grown} MiB");
        let rows = world
            .query("select repeat(repeat('x', 1000), 16000)", &[])
            .await
            .unwrap();
        assert!(matches!(&rows[0][0], Value::Text(text) if text.len() == 16_000_000));
    })
    .await;
    on_mariadb(|world| async move {
        let before = peak_mib();
        let columns: Vec<String> = (0..64)
            .map(|n| format!("repeat('x', 16000000) as c{n}"))
            .collect();
        let refusal = world
            .query(&format!("select {}", columns.join(", ")), &[])
            .await
            .unwrap_err();
        assert_eq!(refusal.code, "limit.sql-bytes", "{refusal}");
        let some = columns[..8].join(", ");
        let refusal = world
            .query(&format!("select {some}"), &[])
            .await
            .unwrap_err();
        assert_eq!(refusal.code, "limit.sql-bytes", "{refusal}");
        let grown = peak_mib() - before;
        // Eight values of 16 MiB, once as they arrive and once as values.
        assert!(grown < 512, "the process grew by {grown} MiB");
        assert!(
            world
                .query("select repeat('x', 1000000)", &[])
                .await
                .is_ok()
        );
    })
    .await;
}

async fn unread(world: World) {
    let many = match world.raw {
        Raw::Postgres(_) => "select repeat('x', 1000) from generate_series(1, 60000)",
        Raw::MariaDb(_) => "select repeat('x', 1000) from seq_1_to_60000",
    };
    let guest = world.session(false, false).await.unwrap();
    let before = peak_mib();
    let mut messages = guest.begin(decided(many, false), &[]).await;
    assert!(matches!(messages.recv().await, Some(Message::Columns(_))));
    let (mut count, mut largest) = (0, 0);
    while let Some(message) = messages.recv().await {
        match message {
            Message::Rows(rows, bytes) => {
                count += rows.len();
                largest = largest.max(bytes);
            }
            Message::Failed(refusal) => panic!("{refusal}"),
            Message::Columns(_) => panic!("columns twice"),
        }
    }
    guest.line.finish();
    let grown = peak_mib() - before;
    assert_eq!(count, 60_000);
    assert!(largest < 2 * 1024 * 1024, "a portion of {largest} bytes");
    assert!(
        grown < 32,
        "58 MiB of rows made the process grow by {grown} MiB"
    );
}

/// Attack: a guest asks for 58 MiB and reads a portion at a time. The daemon holds a portion, not the result.
#[tokio::test]
async fn rows_that_nobody_has_asked_for_yet_stay_on_the_server() {
    on_postgres(unread).await;
    on_mariadb(unread).await;
}

async fn own_store(world: World) {
    let own = |url: &str| Own {
        files: Vec::new(),
        url: Some(url.to_owned().into()),
    };
    let mut url = url::Url::parse(&world.url).unwrap();
    // As the URL says it.
    let told = Target::new(&settings(&world.url), &own(url.as_str()));
    assert!(matches!(told, Err(DatabaseError::Own(_))), "{told:?}");
    // Under another name of the same machine, through a port that leads there: only the server can tell.
    let to = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    url.set_port(Some(listener.local_addr().unwrap().port()))
        .unwrap();
    let relay = tokio::spawn(async move {
        while let Ok((mut here, _)) = listener.accept().await {
            let mut there = tokio::net::TcpStream::connect(&to).await.unwrap();
            tokio::spawn(async move {
                let _ = tokio::io::copy_bidirectional(&mut here, &mut there).await;
            });
        }
    });
    let hidden = World {
        target: Target::new(&settings(url.as_str()), &own(&world.url)).unwrap(),
        ..world.clone()
    };
    let refusal = hidden.query("select 1", &[]).await.unwrap_err();
    assert_eq!(refusal.code, "sql.denied", "{refusal}");
    let told = match &hidden.target {
        Target::Postgres(server) => server.is_strange().await,
        Target::MariaDb(server) => server.is_strange().await,
        Target::Sqlite(_) => Ok(()),
    };
    assert_eq!(told.unwrap_err().code, "sql.denied");
    // Another database of the same server is none of the store's.
    let mut store = url::Url::parse(&world.url).unwrap();
    store.set_path(match world.raw {
        Raw::Postgres(_) => "/postgres",
        Raw::MariaDb(_) => "/mysql",
    });
    let strange = World {
        target: Target::new(&settings(url.as_str()), &own(store.as_str())).unwrap(),
        ..world.clone()
    };
    assert!(strange.query("select 1", &[]).await.is_ok());
    relay.abort();
}

/// Attack: the daemon's own store as a target, told by its URL or hidden behind another address. Refused at
/// start, and before the first statement.
#[tokio::test]
async fn the_store_is_known_by_what_its_server_says() {
    on_postgres(own_store).await;
    on_mariadb(own_store).await;
}

/// Attack: a result of more columns than anybody reads. `limit.sql-bytes`.
#[tokio::test]
async fn a_result_has_a_most_of_columns() {
    async fn wide(world: World) {
        let columns = vec!["1"; 501].join(", ");
        let refusal = world
            .query(&format!("select {columns}"), &[])
            .await
            .unwrap_err();
        assert_eq!(refusal.code, "limit.sql-bytes", "{refusal}");
        assert_eq!(SqlLimits::default(), world.limits);
    }
    on_postgres(wide).await;
    on_mariadb(wide).await;
}
