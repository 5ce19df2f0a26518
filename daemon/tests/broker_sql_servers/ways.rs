//! What a granted task can do.

use flowweaver::broker::sql::Value;
use flowweaver::workflow::grant::SqlMode;

use crate::world::*;

async fn reads(world: World) {
    let attempt = world.attempt(SqlMode::Read, &["product_review", "good"]);
    let statement = format!(
        "select id, name, stars from product_review where id >= {} order by id",
        world.hole(1)
    );
    let found = rows(&attempt, &statement, vec![Value::Int64(1)])
        .await
        .unwrap();
    let stars = |text: &str| Value::Decimal(text.to_owned());
    assert_eq!(
        found,
        [
            vec![Value::Int64(1), text("bag"), stars("4.5")],
            vec![Value::Int64(2), Value::Null, stars("3.0")],
        ]
    );
    assert_eq!(
        rows(&attempt, "select word from good", vec![])
            .await
            .unwrap(),
        [[text("geheim")]]
    );
    let calls = attempt.calls();
    let outcomes: Vec<_> = calls.iter().map(|call| call.outcome.as_str()).collect();
    assert_eq!(outcomes, ["ok"; 4]);
}

#[tokio::test]
async fn a_task_reads_what_it_was_granted_and_a_view_grants_what_it_reads() {
    on_both(reads).await;
}

async fn writes(world: World) {
    let attempt = world.attempt(SqlMode::ReadWrite, &["product_review"]);
    let insert = format!(
        "insert into product_review (id, name, stars) values ({}, {}, {})",
        world.hole(1),
        world.hole(2),
        world.hole(3)
    );
    let row = |id: i64| {
        vec![
            Value::Int64(id),
            text("'; drop table product_review; --"),
            Value::Null,
        ]
    };
    assert_eq!(execute(&attempt, &insert, row(3)).await, Ok(1));
    let database = attempt.ctx.sql.open("blog").unwrap();
    let counts = database.execute_batch(&insert, vec![row(4), row(5)]).await;
    assert_eq!(counts, Ok(vec![1, 1]));
    let refusal = database
        .execute_batch(&insert, vec![row(6), row(6)])
        .await
        .unwrap_err();
    assert!(refusal.code.starts_with("sql.23"), "{refusal}");

    let transaction = database.begin().await.unwrap();
    assert_eq!(
        transaction
            .execute("delete from product_review where id > 2", vec![])
            .await,
        Ok(3)
    );
    transaction.rollback().await.unwrap();
    assert_eq!(
        world
            .raw
            .number("select count(*) from product_review")
            .await,
        5
    );
    let transaction = database.begin().await.unwrap();
    assert_eq!(
        transaction
            .execute("delete from product_review where id > 2", vec![])
            .await,
        Ok(3)
    );
    transaction.commit().await.unwrap();
    assert_eq!(
        world
            .raw
            .number("select count(*) from product_review")
            .await,
        2
    );
    drop(database.begin().await.unwrap());
    let returned = rows(
        &attempt,
        "delete from product_review where id = 1 returning name",
        vec![],
    )
    .await;
    assert_eq!(returned, Ok(vec![vec![text("bag")]]));
}

#[tokio::test]
async fn a_task_changes_rows_alone_in_batches_and_in_transactions() {
    on_both(writes).await;
}
