//! A denial teaches, on servers: what it prints allows the call there, or it says what does.

use flowweaver::broker::sql::Value;
use flowweaver::workflow::grant::SqlMode;

use crate::pasted::*;
use crate::world::*;

async fn locks(world: World) {
    let reader = Written::new(world.settings(), "read", "[\"product_review\"]");
    let locking = "select id from product_review order by id for update";
    let attempt = reader.attempt();
    let refusal = rows(&attempt, locking, vec![]).await.unwrap_err();
    let writer = reader.pasted(&refusal).attempt();
    let ids = [[Value::Int64(1)], [Value::Int64(2)]];
    assert_eq!(rows(&writer, locking, vec![]).await.unwrap(), ids);
    // Where a lock is worth something.
    let database = writer.ctx.sql.open("blog").unwrap();
    let transaction = database.begin().await.unwrap();
    let mut locked = transaction.query(locking, vec![]).await.unwrap();
    assert_eq!(locked.next(10).await.unwrap(), ids);
    drop(locked);
    let update = "update product_review set name = 'x' where id = 1";
    assert_eq!(transaction.execute(update, vec![]).await, Ok(1));
    transaction.commit().await.unwrap();
}

#[tokio::test]
async fn the_lines_of_a_denied_lock_allow_it() {
    on_both(locks).await;
}

async fn clauses(world: World) {
    let reader = Written::new(world.settings(), "read", "[\"product_review\"]");
    let attempt = reader.attempt();
    let named = "with product_review as (select 1 as id) select id from product_review";
    let refusal = rows(&attempt, named, vec![]).await.unwrap_err();
    teaches_no_line(&refusal, "name the WITH clause otherwise");
    let renamed = named.replace("product_review", "only_one");
    assert_eq!(
        rows(&attempt, &renamed, vec![]).await.unwrap(),
        [[Value::Int64(1)]]
    );
}

#[tokio::test]
async fn a_clause_named_like_a_granted_table_is_not_cured_by_a_grant() {
    on_both(clauses).await;
}

async fn schemas(world: World) {
    let shop = schema(&world).await;
    let reader = Written::new(world.settings(), "read", "[\"product_review\"]");
    let full = format!("select id from {shop}.sale");
    let refusal = rows(&reader.attempt(), &full, vec![]).await.unwrap_err();
    let granted = reader.pasted(&refusal);
    let attempt = granted.attempt();
    let found = rows(&attempt, &full, vec![]).await;

    // Without its schema it is another table, which is not there: a grant of that name would not help.
    let refusal = rows(&attempt, "select id from sale", vec![])
        .await
        .unwrap_err();
    let told = format!("the grant has `{shop}.sale`, so write that in the statement");
    drop_schema(&world, &shop).await;
    assert_eq!(found.unwrap(), [[Value::Int64(7)]]);
    teaches_no_line(&refusal, &told);

    // Whoever grants a table that is not in `public` is told so by the database's answer.
    let bare = Written::new(world.settings(), "read", "[\"sale\"]").attempt();
    let refusal = rows(&bare, "select id from sale", vec![])
        .await
        .unwrap_err();
    match world.raw {
        Raw::Postgres(_) => {
            assert_eq!(refusal.code, "sql.42P01");
            assert!(refusal.message.contains("is one of `public`"), "{refusal}");
        }
        // It names the database that it looked in.
        Raw::MariaDb(_) => assert_eq!(refusal.code, "sql.42S02", "{refusal}"),
    }
}

#[tokio::test]
async fn a_table_of_another_schema_is_granted_and_named_with_it() {
    on_both(schemas).await;
}

async fn closed(world: World) {
    let mut settings = world.settings();
    settings.mode = SqlMode::Read;
    settings.tables = Some(vec!["product_review".to_owned()]);
    let tables = "[\"product_review\", \"secret\"]";
    let closed = Written::new(settings, "read-write", tables);
    let delete = "delete from secret";
    let refusal = execute(&closed.attempt(), delete, vec![])
        .await
        .unwrap_err();
    assert!(
        refusal.message.contains("the operator's settings do not"),
        "{refusal}"
    );
    let open = closed.pasted(&refusal).attempt();
    assert_eq!(execute(&open, delete, vec![]).await, Ok(1));
}

#[tokio::test]
async fn what_the_operator_closed_is_opened_by_the_operators_lines() {
    on_both(closed).await;
}
