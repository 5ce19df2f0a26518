//! What only MariaDB can do wrong: tables half made, servers that cut values, circles of locks, packets.

use std::sync::Arc;

use flowweaver::run::status::Status;
use flowweaver::store::CommitOutcome::{Committed, Rejected};
use flowweaver::store::mariadb::MariaDbStore;
use flowweaver::store::{Durability, Store, StoreError};
use sqlx::{Connection as _, Row as _};

use crate::world::{Raw, World, insert, line, new_run, on_mariadb, raw_mariadb, step, update};

const FIRST: &str = include_str!("../../migrations/mariadb/0001_first.sql");

/// The statements of a migration.
fn statements(migration: &str) -> Vec<&str> {
    migration
        .split(";\n")
        .filter(|s| !s.trim().is_empty())
        .collect()
}

/// The note that sqlx makes before a migration's first statement.
const NOTE: &str = "create table _sqlx_migrations (version bigint primary key, description text not null, \
    installed_on timestamp not null default current_timestamp, success boolean not null, checksum blob not null, \
    execution_time bigint not null)";

async fn note(raw: &Raw, version: i64, success: bool) {
    let migrations = sqlx::migrate!("migrations/mariadb");
    let migration = migrations.iter().find(|m| m.version == version).unwrap();
    let checksum: String = migration
        .checksum
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let sql = format!(
        "insert into _sqlx_migrations values ({version}, 'x', now(), {success}, x'{checksum}', -1)"
    );
    raw.execute(&sql).await;
}

#[tokio::test]
async fn a_migration_cut_off_after_any_statement_is_finished_by_the_next_start() {
    let all = statements(FIRST).len();
    assert!(all > 15, "{all}");
    // Each cut is a new database; the first, the middle and the last ones show all kinds of statements.
    for cut in [0, 1, all / 2, all - 2, all - 1, all] {
        crate::fresh::mariadb(move |url| async move {
            let raw = raw_mariadb(&url).await;
            raw.execute(NOTE).await;
            note(&raw, 1, false).await;
            for statement in statements(FIRST).into_iter().take(cut) {
                raw.execute(statement).await;
            }
            for _ in 0..2 {
                let store = MariaDbStore::open(&url, Durability::Full).await;
                let store = store.unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
                assert_eq!(store.workflows().await.unwrap(), []);
            }
            let counters = raw.number(r#"select count(*) from "stream" where "value" = 0"#);
            assert_eq!(counters.await, 5);
            let unfinished = raw.number("select count(*) from _sqlx_migrations where not success");
            assert_eq!(unfinished.await, 0);
        })
        .await;
    }
}

#[tokio::test]
async fn a_note_of_a_migration_that_is_not_ours_is_not_forgotten() {
    crate::fresh::mariadb(|url| async move {
        let raw = raw_mariadb(&url).await;
        raw.execute(NOTE).await;
        raw.execute("insert into _sqlx_migrations values (1, 'theirs', now(), false, x'00', -1)")
            .await;
        let answer = MariaDbStore::open(&url, Durability::Full).await;
        assert!(matches!(answer, Err(StoreError::Corrupt(_))), "{answer:?}");
    })
    .await;
}

#[tokio::test]
async fn a_database_with_the_tables_of_others_is_refused_and_left_alone() {
    crate::fresh::mariadb(|url| async move {
        let raw = raw_mariadb(&url).await;
        raw.execute("create table secret (id integer)").await;
        let answer = MariaDbStore::open(&url, Durability::Full).await;
        let Err(StoreError::Rejected(why)) = answer else {
            panic!("{answer:?}")
        };
        assert!(why.contains("one of its own"), "{why}");
        let tables =
            "select count(*) from information_schema.tables where table_schema = database()";
        assert_eq!(raw.number(tables).await, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn daemons_that_start_together_on_an_empty_database_all_start() {
    crate::fresh::mariadb(|url| async move {
        let url: Arc<str> = url.into();
        let mut starts = Vec::new();
        for _ in 0..6 {
            let url = Arc::clone(&url);
            starts.push(tokio::spawn(async move {
                MariaDbStore::open(&url, Durability::Full).await.unwrap()
            }));
        }
        for start in starts {
            assert_eq!(start.await.unwrap().workflows().await.unwrap(), []);
        }
        let raw = raw_mariadb(&url).await;
        let noted = raw.number("select count(*) from _sqlx_migrations where success");
        let ours = sqlx::migrate!("migrations/mariadb").iter().count();
        assert_eq!(noted.await, i64::try_from(ours).unwrap());
    })
    .await;
}

#[tokio::test]
async fn what_the_url_asks_for_does_not_change_how_the_store_speaks() {
    crate::fresh::mariadb(|url| async move {
        let url = format!("{url}?charset=latin1&collation=latin1_swedish_ci&timezone=%2B09:00");
        let (store, access) =
            flowweaver::store::open_all(&url, Durability::Normal, flowweaver::store::LEASE)
                .await
                .unwrap();
        let raw = raw_mariadb(url.split('?').next().unwrap()).await;
        let world = World {
            url,
            store,
            access,
            raw,
        };
        let owner = world.daemon("기계").await;
        let run = world.run("flow", Some(owner)).await;
        let mut transition = update(run.run_id, 1, 1, Status::Running);
        transition.logs = vec![line("우산 ☂")];
        world.commit_one(transition).await;
        let logs = world.store.logs(Some(run.run_id), 0, 9).await.unwrap();
        assert_eq!(logs[0].message, "우산 ☂");
        // The clock is the world's, not that of the URL's zone.
        let skew = world.raw.number(
            r#"select cast(abs("seen_at" / 1000000 - unix_timestamp()) as signed) from "daemon""#,
        );
        assert!(skew.await < 60);
    })
    .await;
}

#[tokio::test]
async fn a_value_that_is_too_long_is_refused_and_never_cut() {
    async fn promise(world: World) {
        let workflow = world.workflow("flow").await;
        let (mut long, good) = (
            new_run(workflow, "flow", None),
            new_run(workflow, "flow", None),
        );
        long.idempotency_key = Some("k".repeat(701));
        let mut traced = new_run(workflow, "flow", None);
        traced.trace_id = "0".repeat(65);
        let outcomes = world
            .commit(&[insert(&long), insert(&good), insert(&traced)])
            .await;
        assert!(matches!(outcomes[0], Rejected(_)), "{outcomes:?}");
        assert_eq!(outcomes[1], Committed);
        assert!(matches!(outcomes[2], Rejected(_)), "{outcomes:?}");
        long.idempotency_key = Some("k".repeat(700));
        world.commit_one(insert(&long)).await;
    }
    on_mariadb(promise).await;
}

#[tokio::test]
async fn a_row_larger_than_a_packet_is_refused_alone_and_says_which_setting_would_take_it() {
    async fn promise(world: World) {
        let owner = world.daemon("a").await;
        let packet = world
            .raw
            .number("select cast(@@max_allowed_packet as signed)")
            .await;
        let (large, small) = (
            world.run("flow", Some(owner)).await,
            world.run("flow", Some(owner)).await,
        );
        let mut batch = [step(&large, 1, 1), step(&small, 1, 1)];
        batch[0].io[1].data = "x".repeat(usize::try_from(packet).unwrap()).into();
        let outcomes = world.commit(&batch).await;
        let [Rejected(why), Committed] = outcomes.as_slice() else {
            panic!("{outcomes:?}")
        };
        assert!(why.contains("max_allowed_packet"), "{why}");
        assert_eq!(world.rows_of(large.run_id).await, 0);
        // As large as it may be.
        batch[0].io[1].data = "x".repeat(usize::try_from(packet).unwrap() - 8192).into();
        world.commit_one(batch[0].clone()).await;
    }
    on_mariadb(promise).await;
}

/// A circle of locks, of which the server breaks the one that has changed less: the store's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_loses_a_deadlock_is_tried_again() {
    async fn promise(world: World) {
        let Raw::MariaDb(pool) = &world.raw else {
            unreachable!()
        };
        let owner = world.daemon("a").await;
        let (one, two) = (
            world.run("flow", Some(owner)).await,
            world.run("flow", Some(owner)).await,
        );
        let mut other = pool.acquire().await.unwrap();
        let lock = |run| {
            sqlx::AssertSqlSafe(format!(
                r#"update "workflow_run" set "failure_code" = null where "workflow_run_id" = '{run}'"#
            ))
        };
        world
            .raw
            .execute(r#"create table "_weight" ("n" integer)"#)
            .await;
        let mut heavy = other.begin().await.unwrap();
        sqlx::raw_sql(r#"insert into "_weight" select seq from seq_1_to_1000"#)
            .execute(&mut *heavy)
            .await
            .unwrap();
        sqlx::raw_sql(lock(two.run_id))
            .execute(&mut *heavy)
            .await
            .unwrap();
        let before = deadlocks(&world).await;
        let commit = {
            let (world, batch) = (world.clone(), [step(&one, 1, 1), step(&two, 1, 1)]);
            tokio::spawn(async move { world.commit(&batch).await })
        };
        // It holds the first and waits for the second.
        // `innodb_lock_waits` would be read from a cache that is not renewed while somebody keeps asking.
        let database: String = sqlx::query_scalar("select database()")
            .fetch_one(pool)
            .await
            .unwrap();
        while !waits(pool, &format!("of table {database}.workflow_run ")).await {
            tokio::task::yield_now().await;
        }
        sqlx::raw_sql(lock(one.run_id))
            .execute(&mut *heavy)
            .await
            .unwrap();
        assert!(deadlocks(&world).await > before, "there was no circle");
        heavy.commit().await.unwrap();
        assert_eq!(commit.await.unwrap(), [Committed, Committed]);
        for run in [one, two] {
            assert_eq!(world.rows_of(run.run_id).await, 7);
        }
    }
    on_mariadb(promise).await;
}

/// Whether a transaction waits for a row of this table.
async fn waits(pool: &sqlx::MySqlPool, table: &str) -> bool {
    let status = sqlx::raw_sql("show engine innodb status")
        .fetch_one(pool)
        .await
        .unwrap();
    let status: String = status.get("Status");
    // Names stand in the quotes of whoever asks.
    let status = status.replace(['`', '"'], "");
    status
        .lines()
        .any(|line| line.contains(table) && line.ends_with("waiting"))
}

async fn deadlocks(world: &World) -> i64 {
    let sql = "select cast(variable_value as signed) from information_schema.global_status \
        where variable_name = 'innodb_deadlocks'";
    world.raw.number(sql).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn daemons_that_publish_the_same_workflow_at_once_do_not_wait_in_a_circle() {
    async fn promise(world: World) {
        for round in 0..10 {
            let version = crate::world::version_of("flow", &round.to_string());
            let mut tasks = Vec::new();
            for _ in 0..6 {
                let (store, version) = (Arc::clone(&world.store), version.clone());
                tasks.push(tokio::spawn(async move {
                    store.publish(&version).await.unwrap()
                }));
            }
            for task in tasks {
                task.await.unwrap();
            }
        }
        assert_eq!(world.store.workflows().await.unwrap().len(), 1);
    }
    on_mariadb(promise).await;
}

/// What a connection that the server has closed means, and that the next call has another one.
#[tokio::test]
async fn connections_that_the_server_ends_are_replaced() {
    async fn promise(world: World) {
        let owner = world.daemon("a").await;
        let run = world.run("flow", Some(owner)).await;
        let Raw::MariaDb(pool) = &world.raw else {
            unreachable!()
        };
        let ids: Vec<i64> = sqlx::query_scalar(
            "select cast(id as signed) from information_schema.processlist \
             where db = database() and id <> connection_id() and command = 'Sleep'",
        )
        .fetch_all(pool)
        .await
        .unwrap();
        assert!(!ids.is_empty());
        for id in ids {
            world.raw.execute(&format!("kill connection {id}")).await;
        }
        world.commit_one(step(&run, 1, 1)).await;
        assert_eq!(world.rows_of(run.run_id).await, 7);
    }
    on_mariadb(promise).await;
}

#[tokio::test]
async fn no_error_shows_the_url() {
    const PASSWORD: &str = "geheim";
    for url in [
        "mariadb://root:geheim@127.0.0.1:1/flowweaver",
        "mariadb://nobody-at-all:geheim@127.0.0.1:3306/mysql",
        "mariadb://root:geheim@127.0.0.1:3306",
        "mariadb://root:geheim@127.0.0.1:99999/x",
        "mysql://root:geheim@127.0.0.1/x?ssl-mode=geheim",
        "postgres://nobody:geheim@127.0.0.1:1/x",
        "postgres://nobody:geheim@127.0.0.1:99999/x",
        "mongodb://nobody:geheim@127.0.0.1/x",
        "mysqlx-geheim",
    ] {
        let error = match flowweaver::store::open(url, Durability::Full).await {
            Ok(_) => panic!("{url} opens a store"),
            Err(error) => error,
        };
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(PASSWORD), "{shown}");
        assert!(!shown.contains("@127.0.0.1"), "{shown}");
    }
}

#[tokio::test]
async fn a_database_that_does_not_exist_is_named_as_the_reason() {
    crate::fresh::mariadb(|url| async move {
        let answer = MariaDbStore::open(&format!("{url}_not"), Durability::Full).await;
        let Err(StoreError::Rejected(why)) = answer else {
            panic!("{answer:?}")
        };
        assert!(why.contains("create database"), "{why}");
    })
    .await;
}
