//! What hostile guests try, each on every database that it applies to.

use std::time::{Duration, Instant};

use flowweaver::broker::identity::AttemptIdentity;
use flowweaver::broker::settings::BrokerSettings;
use flowweaver::broker::sql::Value;
use flowweaver::id::OrganizationId;
use flowweaver::workflow::grant::{Grants, SqlMode};

use crate::broker_world::*;
use crate::world::*;

/// Each statement is refused under this grant, with any mode, recorded once, and changed nothing.
async fn refused(mode: SqlMode, tables: &[&str], statements: &[&str]) {
    for &kind in KINDS {
        let world = World::new(kind);
        for statement in statements {
            for changing in [false, true] {
                let attempt = world.attempt(mode, tables);
                let refusal = if changing {
                    execute(&attempt, statement, Vec::new()).await.unwrap_err()
                } else {
                    query(&attempt, statement, Vec::new()).await.unwrap_err()
                };
                // What a database's parser does not know at all is as little run.
                let codes = ["sql.denied", "sql.invalid"];
                assert!(
                    codes.contains(&&*refusal.code),
                    "{kind:?}, {statement}: {refusal}"
                );
                let made = calls(&attempt);
                assert_eq!(made.len(), 1, "{statement}: {made:?}");
                assert_eq!(made[0].1, refusal.code, "{statement}");
            }
        }
        assert_eq!((world.count("product"), world.count("secret")), (2, 1));
    }
}

const ENDLESS: &str =
    "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n";

/// Attack: two statements in one call. Denied.
#[tokio::test]
async fn one_call_is_one_statement() {
    let statements = [
        "select 1; drop table product",
        "select 1; select 2",
        "delete from product; commit",
        "select 1;; delete from product",
    ];
    refused(SqlMode::ReadWrite, &["product"], &statements).await;
}

/// Attack: comments that some databases execute. Denied.
#[tokio::test]
async fn comments_do_nothing() {
    let statements = [
        "select /*! 1; delete from product */ 1",
        "select /*M! 1 */ 2",
        "select /*!50000 word from secret */ 1",
        "select /*+ hint */ 2",
        "select 1 /* */; -- \n delete from product",
    ];
    refused(SqlMode::ReadWrite, &["product"], &statements).await;
}

/// Attack: everything that changes or locks, under a grant that reads. Denied.
#[tokio::test]
async fn a_read_grant_reads() {
    let statements = [
        "insert into product values (9, 'x', 1)",
        "replace into product values (1, 'x', 1)",
        "update product set stock = 1",
        "delete from product",
        "with gone as (delete from product returning *) select * from gone",
        "insert into product values (9, 'x', 1) returning id",
        "select * into copy from product",
        "select * from product for update",
        "explain analyze delete from product",
        "explain delete from product",
        "copy product to '/tmp/x'",
        "copy product to program 'id'",
        "call something()",
        "set role admin",
        "begin",
        "commit",
        "savepoint a",
        "lock table product",
        "select nextval('s')",
        "select pg_read_file('/etc/passwd')",
        "select load_file('/etc/passwd')",
        "select readfile('/etc/passwd')",
        "select writefile('/tmp/x', 'y')",
        "select dblink('host=x', 'select 1')",
        "truncate product",
    ];
    refused(SqlMode::Read, &["product"], &statements).await;
}

/// Attack: what SQLite can do to files and to itself. Denied.
#[tokio::test]
async fn files_and_settings_are_out_of_reach() {
    let statements = [
        "attach database '/tmp/flowweaver-attack.db' as x",
        "detach database main",
        "vacuum",
        "vacuum into '/tmp/flowweaver-attack.db'",
        "pragma writable_schema = 1",
        "pragma table_list",
        "select load_extension('/tmp/x.so')",
        "create table t (a)",
        "drop table product",
        "alter table product add color",
        "reindex",
    ];
    refused(SqlMode::ReadWrite, &["product"], &statements).await;
    assert!(!std::path::Path::new("/tmp/flowweaver-attack.db").exists());
}

/// Attack: a table that is not granted, in every place and under every name. Denied.
#[tokio::test]
async fn a_table_that_is_not_granted_is_not_reached() {
    let statements = [
        "select * from secret",
        "select * from SECRET",
        "select * from \"secret\"",
        "select * from \"Secret\"",
        "select count(*) from secret",
        "select s.word from product p join secret as s on 1 = 1",
        "select * from product, secret",
        "select (select max(word) from secret) from product",
        "select * from product where exists (select 1 from secret)",
        "select * from product order by (select 1 from secret)",
        "select * from product union all select id, word, 1 from secret",
        "with a as (select * from secret) select * from a",
        "with product as (select * from secret) select * from product",
        "select * from secret, (with secret as (select 1) select * from secret) as x",
        "select * from hidden",
        "select * from shown",
        "select * from sqlite_master",
        "select * from information_schema.tables",
        "select * from pg_catalog.pg_class",
        "select * from mysql.user",
        "insert into secret values (8, 'x')",
        "insert into product select id + 10, word, 1 from secret",
        "update secret set word = 'x'",
        "update product set name = (select word from secret)",
        "update product set name = word from secret",
        "delete from secret",
        "delete from product where id in (select id from secret)",
        "delete from product using secret",
        "insert into hidden values (8, 'x')",
    ];
    refused(SqlMode::ReadWrite, &["product", "listed"], &statements).await;
}

/// Attack: an infinite recursive query. `sql.timeout`, the connection is not used again.
#[tokio::test]
async fn an_endless_query_ends_in_time() {
    for &kind in KINDS {
        let world = World::new(kind);
        let quick = |database: &mut flowweaver::broker::sql::DatabaseSettings| {
            database.timeout = Duration::from_millis(200);
        };
        let attempt = world.limited(SqlMode::ReadWrite, &["product"], |database, _| {
            quick(database)
        });
        let refusal = query(&attempt, ENDLESS, Vec::new()).await.unwrap_err();
        assert_eq!(
            (refusal.code.as_str(), refusal.retryable),
            ("sql.timeout", true)
        );
        let setting = "200ms, the `timeout` of [databases.shop] in flowweaver.toml";
        assert!(refusal.message.contains(setting), "{refusal}");
        let fill = format!(
            "insert into product (id, name) {}",
            ENDLESS.replace("count(*)", "i + 10, 'x'")
        );
        let refusal = execute(&attempt, &fill, Vec::new()).await.unwrap_err();
        assert!(
            ["sql.timeout", "sql.denied", "sql.invalid"].contains(&&*refusal.code),
            "{refusal}"
        );
        assert_eq!(world.count("product"), 2);
        let next = query(&attempt, "select count(*) from product", Vec::new()).await;
        assert_eq!(next.unwrap(), [[Value::Int64(2)]]);
    }
}

/// Attack: a transaction goes on after its statement was cut off. The transaction is over.
#[tokio::test]
async fn a_transaction_does_not_survive_a_change_that_was_cut_off() {
    for &kind in KINDS {
        let world = World::new(kind);
        let attempt = world.limited(SqlMode::ReadWrite, &["product"], |database, _| {
            database.timeout = Duration::from_millis(200);
        });
        let transaction = attempt.ctx.sql.open("shop").unwrap().begin().await.unwrap();
        let insert = "insert into product (id, name) values (3, 'x')";
        transaction.execute(insert, Vec::new()).await.unwrap();
        let slow = "update product set stock = (with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n)";
        let refusal = transaction.execute(slow, Vec::new()).await.unwrap_err();
        assert_eq!(refusal.code, "sql.timeout");
        assert!(transaction.commit().await.is_err());
        assert_eq!(world.count("product"), 2);
    }
}

/// Attack: a lock that another holds. `sql.timeout`, and the next call works.
#[tokio::test]
async fn waiting_for_a_lock_ends_in_time() {
    for &kind in KINDS {
        let world = World::new(kind);
        let holder = world.attempt(SqlMode::ReadWrite, &["product"]);
        let held = holder.ctx.sql.open("shop").unwrap().begin().await.unwrap();
        let update = "update product set stock = 1 where id = 1";
        held.execute(update, Vec::new()).await.unwrap();
        let attempt = world.limited(SqlMode::ReadWrite, &["product"], |database, _| {
            database.timeout = Duration::from_millis(200);
        });
        let refusal = execute(&attempt, update, Vec::new()).await.unwrap_err();
        assert_eq!(
            (refusal.code.as_str(), refusal.retryable),
            ("sql.timeout", true)
        );
        for told in [
            "others had the database locked",
            "`timeout` of [databases.shop]",
        ] {
            assert!(refusal.message.contains(told), "{refusal}");
        }
        held.rollback().await.unwrap();
        assert_eq!(execute(&attempt, update, Vec::new()).await, Ok(1));
    }
}

/// Attack: 100 million rows. `limit.sql-rows`.
#[tokio::test]
async fn a_hundred_million_rows_are_a_limit() {
    for &kind in KINDS {
        let world = World::new(kind);
        let attempt = world.limited(SqlMode::Read, &["product"], |_, limits| limits.rows = 1_000);
        let many = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 100000000) select i from n";
        let refusal = query(&attempt, many, Vec::new()).await.unwrap_err();
        assert_eq!(
            (refusal.code.as_str(), refusal.retryable),
            ("limit.sql-rows", false)
        );
        let few = many.replace("100000000", "1000");
        assert_eq!(
            query(&attempt, &few, Vec::new()).await.unwrap().len(),
            1_000
        );
    }
}

/// Attack: one huge row. `limit.sql-bytes`.
#[tokio::test]
async fn one_huge_row_is_a_limit() {
    for &kind in KINDS {
        let world = World::new(kind);
        let attempt = world.limited(SqlMode::Read, &["product"], |_, limits| {
            limits.bytes = 100_000;
        });
        world.owner(&format!(
            "update product set name = '{}'",
            "x".repeat(2_000)
        ));
        let joined = vec!["a.name"; 60].join(", ");
        let wide = format!("select {joined} from product a");
        let refusal = query(&attempt, &wide, Vec::new()).await.unwrap_err();
        assert_eq!(
            (refusal.code.as_str(), refusal.retryable),
            ("limit.sql-bytes", false)
        );
        if kind == Kind::Sqlite {
            for statement in ["select zeroblob(100001)", "select zeroblob(1000000000)"] {
                let refusal = query(&attempt, statement, Vec::new()).await.unwrap_err();
                assert_eq!(refusal.code, "limit.sql-bytes", "{statement}");
            }
        }
    }
}

/// Attack: the name of another organization's database. The same answer as for a missing one.
#[tokio::test]
async fn another_organizations_database_looks_like_a_missing_one() {
    for &kind in KINDS {
        let world = World::new(kind);
        let stranger = || AttemptIdentity {
            organization: OrganizationId::generate(),
            ..identity()
        };
        let answers = [vec![world.settings()], Vec::new()].map(|databases| {
            let settings = BrokerSettings {
                databases,
                ..BrokerSettings::default()
            };
            let broker = broker(settings, &[]);
            let granted = attempt_of(&broker, stranger(), grants(SqlMode::Read, &["product"]));
            let bare = attempt_of(&broker, stranger(), Grants::default());
            [granted, bare].map(|attempt| attempt.ctx.sql.open("shop").err().unwrap())
        });
        assert_eq!(answers[0], answers[1]);
        assert_eq!(answers[0][0].code, "sql.unknown-database");
        assert_eq!(answers[0][1].code, "sql.denied");
    }
}

/// Attack: SQL in a value. Stored as text, unharmed.
#[tokio::test]
async fn a_value_is_never_read_as_a_statement() {
    for &kind in KINDS {
        let world = World::new(kind);
        let attempt = world.attempt(SqlMode::ReadWrite, &["product"]);
        let evils = [
            "'; drop table product; --",
            "\\'; drop table product; --",
            "%27 or 1=1",
            "$1 ?1 :a",
        ];
        for evil in evils {
            let insert = marked(kind, "insert into product (id, name) values (9, ?)");
            assert_eq!(execute(&attempt, &insert, vec![words(evil)]).await, Ok(1));
            let select = marked(kind, "select name from product where name = ?");
            assert_eq!(
                query(&attempt, &select, vec![words(evil)]).await.unwrap(),
                [[words(evil)]]
            );
            let delete = "delete from product where id = 9";
            assert_eq!(execute(&attempt, delete, Vec::new()).await, Ok(1));
        }
        assert_eq!(world.count("product"), 2);
    }
}

/// Attack: the guest is cancelled in the middle of a query. It ends at once, and the next query works.
#[tokio::test]
async fn a_cancelled_query_leaves_nothing_behind() {
    for &kind in KINDS {
        let world = World::new(kind);
        let settings = BrokerSettings {
            databases: vec![flowweaver::broker::sql::DatabaseSettings {
                // The next query gets the cancelled one's only connection.
                connections: 1,
                timeout: Duration::from_secs(60),
                ..world.settings()
            }],
            ..BrokerSettings::default()
        };
        let broker = broker(settings, &[]);
        let attempt = || {
            attempt_of(
                &broker,
                identity(),
                grants(SqlMode::ReadWrite, &["product"]),
            )
        };
        let cancelled = attempt();
        let mut running = std::pin::pin!(query(&cancelled, ENDLESS, Vec::new()));
        // Under way: it has not answered, and will not.
        let early = tokio::time::timeout(Duration::from_millis(50), running.as_mut()).await;
        assert!(early.is_err());
        cancelled.cancel.cancel();
        let since = Instant::now();
        assert_eq!(running.await.unwrap_err().code, "cancelled");
        let next = query(&attempt(), "select count(*) from product", Vec::new()).await;
        assert_eq!(next.unwrap(), [[Value::Int64(2)]]);
        assert!(
            since.elapsed() < Duration::from_secs(30),
            "the query was not ended"
        );
        let recorded = calls(&cancelled);
        assert_eq!(recorded, pairs(&[("select", "cancelled")]));
    }
}

/// Attack: the guest is cancelled, dropped or trapped inside a transaction. Rolled back, no lock left.
#[tokio::test]
async fn a_transaction_ends_with_its_attempt() {
    for &kind in KINDS {
        let world = World::new(kind);
        for how in ["cancelled", "dropped", "rows kept"] {
            let attempt = world.attempt(SqlMode::ReadWrite, &["product"]);
            let transaction = attempt.ctx.sql.open("shop").unwrap().begin().await.unwrap();
            transaction
                .execute("delete from product", Vec::new())
                .await
                .unwrap();
            let mut kept = None;
            match how {
                // The guest computes on and asks nothing more of its host.
                "cancelled" => attempt.cancel.cancel(),
                "rows kept" => {
                    let rows = transaction.query("select * from listed", Vec::new()).await;
                    assert!(rows.is_err(), "not granted");
                    let rows = transaction.query("select 1", Vec::new()).await;
                    kept = Some(rows.unwrap());
                    drop(transaction);
                }
                _ => drop(transaction),
            }
            // It waits for the lock, and then sees what was there before.
            let other = world.attempt(SqlMode::ReadWrite, &["product"]);
            let changed = execute(&other, "update product set stock = 5", Vec::new()).await;
            assert_eq!(changed, Ok(2), "{how}");
            drop(kept);
        }
    }
}

/// Attack: more open results, calls and connections than an attempt may have. `limit.sql-calls`.
#[tokio::test]
async fn open_results_and_calls_have_limits() {
    for &kind in KINDS {
        let world = World::new(kind);
        let attempt = world.limited(SqlMode::Read, &["product"], |_, limits| {
            (limits.concurrent, limits.calls) = (1, 6);
        });
        let database = attempt.ctx.sql.open("shop").unwrap();
        let held = database.query("select 1", Vec::new()).await.unwrap();
        let second = database.query("select 1", Vec::new()).await.err().unwrap();
        assert_eq!(second.code, "limit.sql-calls");
        assert_eq!(
            database.begin().await.err().unwrap().code,
            "limit.sql-calls"
        );
        drop(held);
        assert!(database.query("select 1", Vec::new()).await.is_ok());
        assert!(database.begin().await.is_ok());
        assert_eq!(
            database.begin().await.err().unwrap().code,
            "limit.sql-calls"
        );
        assert_eq!(
            attempt.ctx.sql.open("shop").err().unwrap().code,
            "limit.sql-calls"
        );
    }
}
