//! Changes: one statement, a batch, a transaction. All or none, within the limits, recorded.

use std::time::Duration;

use flowweaver::broker::sql::Value;
use flowweaver::workflow::grant::SqlMode;

use crate::world::*;

const INSERT: &str = "insert into product (id, name, stock) values (?, ?, ?)";

fn product(id: i64, name: &str) -> Vec<Value> {
    vec![Value::Int64(id), words(name), Value::Int64(1)]
}

#[tokio::test]
async fn a_change_is_made_recorded_and_durable_and_none_under_a_grant_that_reads() {
    for &kind in KINDS {
        let world = World::new(kind);
        let insert = marked(kind, INSERT);
        let reader = world.attempt(SqlMode::Read, &["product"]);
        let refused = execute(&reader, &insert, product(3, "cap")).await;
        assert_eq!(refused.unwrap_err().code, "sql.denied");
        assert_eq!(calls(&reader), pairs(&[("execute", "sql.denied")]));
        assert_eq!(world.count("product"), 2);

        let writer = world.attempt(SqlMode::ReadWrite, &["product"]);
        assert_eq!(execute(&writer, &insert, product(3, "cap")).await, Ok(1));
        let update = "update product set stock = stock + 1";
        assert_eq!(execute(&writer, update, Vec::new()).await, Ok(3));
        let delete = "delete from product where id > 2";
        assert_eq!(execute(&writer, delete, Vec::new()).await, Ok(1));
        assert_eq!(
            calls(&writer),
            pairs(&[
                ("insert", "ok, 1 rows"),
                ("update", "ok, 3 rows"),
                ("delete", "ok, 1 rows")
            ])
        );
        assert_eq!(world.count("product where stock = 1 or stock = 4"), 2);
    }
}

#[tokio::test]
async fn a_statement_belongs_to_the_call_that_fits_what_it_answers() {
    for &kind in KINDS {
        let world = World::new(kind);
        let writer = world.attempt(SqlMode::ReadWrite, &["product"]);
        let wrong = execute(&writer, "select id from product", Vec::new()).await;
        assert_eq!(wrong.unwrap_err().code, "sql.invalid");
        let wrong = query(&writer, "delete from product", Vec::new()).await;
        assert_eq!(wrong.unwrap_err().code, "sql.invalid");
        assert_eq!(world.count("product"), 2);
        let missing = execute(&writer, "update product set color = 1", Vec::new()).await;
        assert!(missing.unwrap_err().code.starts_with("sql."));
        let few = execute(&writer, &marked(kind, INSERT), Vec::new()).await;
        assert_eq!(few.unwrap_err().code, "sql.invalid");
    }
}

#[tokio::test]
async fn returned_rows_come_after_the_change_is_durable_and_dropping_them_undoes_nothing() {
    for &kind in KINDS {
        let world = World::new(kind);
        let writer = world.limited(SqlMode::ReadWrite, &["product"], |_, limits| {
            limits.rows = 3
        });
        let database = writer.ctx.sql.open("shop").unwrap();
        let statement = marked(
            kind,
            "insert into product (id, name) values (?, ?) returning id, name",
        );
        let rows = database
            .query(&statement, vec![Value::Int64(5), words("cap")])
            .await
            .unwrap();
        assert_eq!(world.count("product where id = 5"), 1);
        drop(rows);
        assert_eq!(world.count("product where id = 5"), 1);
        let too_many = "insert into product (id, name) values (6, 'a'), (7, 'b'), (8, 'c'), (9, 'd') returning id";
        let refused = query(&writer, too_many, Vec::new()).await.unwrap_err();
        assert_eq!(refused.code, "limit.sql-rows");
        assert_eq!(world.count("product"), 3, "none of the four");
    }
}

#[tokio::test]
async fn a_batch_is_made_whole_or_not_at_all() {
    for &kind in KINDS {
        let world = World::new(kind);
        let insert = marked(kind, INSERT);
        let writer = world.limited(SqlMode::ReadWrite, &["product"], |_, limits| {
            limits.parameters = 64 * 1024;
        });
        let database = writer.ctx.sql.open("shop").unwrap();
        let twice = vec![product(3, "a"), product(4, "b"), product(3, "c")];
        let refused = database.execute_batch(&insert, twice).await.unwrap_err();
        assert!(refused.code.starts_with("sql."), "{refused}");
        assert!(!refused.retryable, "{refused}");
        let crooked = vec![product(3, "a"), vec![Value::Int64(4)]];
        let refused = database.execute_batch(&insert, crooked).await.unwrap_err();
        assert_eq!(refused.code, "sql.invalid");
        let huge = vec![product(3, &"x".repeat(70 * 1024))];
        let refused = database.execute_batch(&insert, huge).await.unwrap_err();
        assert_eq!(refused.code, "limit.sql-bytes");
        let many = (0..2_000).map(|_| vec![Value::Null; 3]).collect();
        let refused = database.execute_batch(&insert, many).await.unwrap_err();
        assert_eq!(refused.code, "limit.sql-bytes");
        assert_eq!(world.count("product"), 2);

        assert_eq!(
            database.execute_batch(&insert, Vec::new()).await,
            Ok(Vec::new())
        );
        let good = (10..110).map(|id| product(id, "x")).collect();
        assert_eq!(
            database.execute_batch(&insert, good).await,
            Ok(vec![1; 100])
        );
        assert_eq!(world.count("product"), 102);
        let last = calls(&writer).pop().unwrap();
        assert_eq!(last, ("insert".to_owned(), "ok, 100 rows".to_owned()));
    }
}

#[tokio::test]
async fn a_transaction_sees_its_own_changes_and_others_see_them_after_the_commit() {
    for &kind in KINDS {
        let world = World::new(kind);
        let insert = marked(kind, INSERT);
        let writer = world.attempt(SqlMode::ReadWrite, &["product"]);
        let database = writer.ctx.sql.open("shop").unwrap();
        let transaction = database.begin().await.unwrap();
        assert_eq!(transaction.execute(&insert, product(3, "cap")).await, Ok(1));
        let batch = vec![product(4, "a"), product(5, "b")];
        assert_eq!(
            transaction.execute_batch(&insert, batch).await,
            Ok(vec![1, 1])
        );
        let count = transaction.query("select count(*) from product", Vec::new());
        assert_eq!(
            all(count.await.unwrap()).await.unwrap(),
            [[Value::Int64(5)]]
        );
        assert_eq!(world.count("product"), 2, "nobody else sees it");
        transaction.commit().await.unwrap();
        assert_eq!(world.count("product"), 5);
        let made = [
            ("begin", "ok"),
            ("insert", "ok, 1 rows"),
            ("insert", "ok, 2 rows"),
            ("select", "ok"),
            ("commit", "ok"),
        ];
        assert_eq!(calls(&writer), pairs(&made));

        let transaction = database.begin().await.unwrap();
        transaction
            .execute("delete from product", Vec::new())
            .await
            .unwrap();
        transaction.rollback().await.unwrap();
        assert_eq!(world.count("product"), 5);
        let transaction = database.begin().await.unwrap();
        transaction
            .execute("delete from product", Vec::new())
            .await
            .unwrap();
        drop(transaction);
        assert_eq!(
            execute(&writer, "update product set stock = 9", Vec::new()).await,
            Ok(5)
        );
        let undone = [
            ("begin", "ok"),
            ("delete", "ok, 5 rows"),
            ("rollback", "ok"),
            ("begin", "ok"),
            ("delete", "ok, 5 rows"),
            ("rollback", "abandoned"),
            ("update", "ok, 5 rows"),
        ];
        assert_eq!(calls(&writer), pairs(&undone));
    }
}

#[tokio::test]
async fn a_failed_batch_leaves_the_rest_of_its_transaction() {
    for &kind in KINDS {
        let world = World::new(kind);
        let insert = marked(kind, INSERT);
        let writer = world.attempt(SqlMode::ReadWrite, &["product"]);
        let database = writer.ctx.sql.open("shop").unwrap();
        let transaction = database.begin().await.unwrap();
        transaction
            .execute(&insert, product(3, "cap"))
            .await
            .unwrap();
        let twice = vec![product(4, "a"), product(3, "b")];
        assert!(transaction.execute_batch(&insert, twice).await.is_err());
        assert_eq!(transaction.execute(&insert, product(5, "c")).await, Ok(1));
        transaction.commit().await.unwrap();
        assert_eq!(world.count("product where id in (3, 5)"), 2);
        assert_eq!(world.count("product where id = 4"), 0);
    }
}

#[tokio::test]
async fn one_transaction_is_open_at_a_time_and_does_one_thing_at_a_time() {
    for &kind in KINDS {
        let world = World::new(kind);
        let writer = world.attempt(SqlMode::ReadWrite, &["product"]);
        let database = writer.ctx.sql.open("shop").unwrap();
        let transaction = database.begin().await.unwrap();
        let second = database.begin().await.err().unwrap();
        assert_eq!(second.code, "sql.invalid", "{second}");
        let mut rows = transaction
            .query("select id from product order by id", Vec::new())
            .await
            .unwrap();
        assert_eq!(rows.next(1).await.unwrap(), [[Value::Int64(1)]]);
        let meanwhile = transaction.execute("delete from product", Vec::new()).await;
        assert_eq!(meanwhile.unwrap_err().code, "sql.invalid");
        drop(rows);
        let delete = "delete from product where id = 1";
        assert_eq!(transaction.execute(delete, Vec::new()).await, Ok(1));
        let mut rows = transaction
            .query("select id from product", Vec::new())
            .await
            .unwrap();
        transaction.commit().await.unwrap();
        // One row was under way already.
        let after = loop {
            match rows.next(1).await {
                Ok(portion) if !portion.is_empty() => {}
                other => break other,
            }
        };
        assert_eq!(after.unwrap_err().code, "sql.closed");
        assert_eq!(world.count("product"), 1);
        drop(rows);
        let reader = world.attempt(SqlMode::Read, &["product"]);
        let transaction = reader.ctx.sql.open("shop").unwrap().begin().await.unwrap();
        let refused = transaction.execute(delete, Vec::new()).await.unwrap_err();
        assert_eq!(refused.code, "sql.denied");
        let count = transaction.query("select count(*) from product", Vec::new());
        assert_eq!(
            all(count.await.unwrap()).await.unwrap(),
            [[Value::Int64(1)]]
        );
        transaction.commit().await.unwrap();
    }
}

#[tokio::test]
async fn a_transaction_that_waits_too_long_for_its_guest_is_rolled_back() {
    for &kind in KINDS {
        let world = World::new(kind);
        let writer = world.limited(SqlMode::ReadWrite, &["product"], |_, limits| {
            limits.idle = Duration::from_millis(20);
        });
        let database = writer.ctx.sql.open("shop").unwrap();
        let transaction = database.begin().await.unwrap();
        transaction
            .execute("delete from product", Vec::new())
            .await
            .unwrap();
        // Another writer gets the lock when the transaction has lost it, and not before.
        let other = world.attempt(SqlMode::ReadWrite, &["product"]);
        let changed = execute(&other, "update product set stock = 5", Vec::new()).await;
        assert_eq!(changed, Ok(2));
        let late = transaction.execute("delete from product", Vec::new()).await;
        let refusal = late.unwrap_err();
        assert_eq!(
            (refusal.code.as_str(), refusal.retryable),
            ("sql.closed", true)
        );
        let setting = "20ms, `sql_idle` of [limits] in flowweaver.toml";
        assert!(refusal.message.contains(setting), "{refusal}");
        assert_eq!(transaction.commit().await.unwrap_err().code, "sql.closed");
        assert_eq!(world.count("product"), 2);
        let made = calls(&writer);
        assert!(
            made.contains(&("rollback".to_owned(), "sql.closed".to_owned())),
            "{made:?}"
        );
    }
}

/// SQLite ends some transactions by itself; what comes after must not stand alone.
#[tokio::test]
async fn a_statement_after_the_database_ended_the_transaction_is_refused() {
    let world = World::new(Kind::Sqlite);
    world.owner(
        "create trigger full before insert on product when new.stock > 100 begin select raise(rollback, 'full'); end;",
    );
    let writer = world.attempt(SqlMode::ReadWrite, &["product"]);
    let database = writer.ctx.sql.open("shop").unwrap();
    let transaction = database.begin().await.unwrap();
    transaction
        .execute(INSERT, product(3, "cap"))
        .await
        .unwrap();
    let full = vec![Value::Int64(4), words("x"), Value::Int64(101)];
    let refused = transaction.execute(INSERT, full).await.unwrap_err();
    assert_eq!(refused.code, "sql.1811", "{refused}");
    let after = transaction.execute(INSERT, product(5, "hood")).await;
    assert_eq!(after.unwrap_err().code, "sql.closed");
    assert_eq!(transaction.commit().await.unwrap_err().code, "sql.closed");
    assert_eq!(world.count("product"), 2);
}

/// It would wait for itself until its time is up.
#[tokio::test]
async fn a_task_does_not_wait_for_the_lock_of_its_own_transaction() {
    let world = World::new(Kind::Sqlite);
    let writer = world.attempt(SqlMode::ReadWrite, &["product"]);
    let database = writer.ctx.sql.open("shop").unwrap();
    let transaction = database.begin().await.unwrap();
    let refused = database.execute("delete from product", Vec::new()).await;
    assert_eq!(refused.unwrap_err().code, "sql.invalid");
    transaction
        .execute("delete from product", Vec::new())
        .await
        .unwrap();
    transaction.rollback().await.unwrap();
    assert_eq!(
        database.execute("delete from product", Vec::new()).await,
        Ok(2)
    );
}
