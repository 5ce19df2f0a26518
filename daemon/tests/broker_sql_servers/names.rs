//! A table's name on its way from a workflow file to the decision: each server reads case in its own way.

use flowweaver::broker::sql::Value;

use crate::broker_world::*;
use crate::pasted::*;
use crate::world::*;

/// What a task reads of the table in the statement; the code of a refusal.
async fn read(attempt: &Attempt, table: &str) -> Result<i64, String> {
    let found = rows(attempt, &format!("select id from {table}"), vec![]).await;
    match found.map_err(|refusal| refusal.code)?.as_slice() {
        [row] => match row.as_slice() {
            [Value::Int64(id)] => Ok(*id),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

async fn twins(world: World) {
    let denied = || Err("sql.denied".to_owned());
    let written = |tables: &str| Written::new(world.settings(), "read", tables);
    match world.raw {
        Raw::Postgres(_) => {
            let made = "create table orders (id int); insert into orders values (1); \
                create table \"Orders\" (id int); insert into \"Orders\" values (2); \
                create schema \"Shop\"; create table \"Shop\".\"Sale\" (id int); insert into \"Shop\".\"Sale\" values (3)";
            world.raw.run(made).await;
            // Without quotes it is in lower case, as in a statement.
            for tables in ["[\"Orders\"]", "['\"orders\"']", "[\"PUBLIC.Orders\"]"] {
                let attempt = written(tables).attempt();
                assert_eq!(read(&attempt, "\"Orders\"").await, denied(), "{tables}");
                for same in ["Orders", "ORDERS", "\"orders\"", "public.orders"] {
                    assert_eq!(read(&attempt, same).await, Ok(1), "{tables}: {same}");
                }
            }
            let attempt = written("['\"Orders\"', '\"Shop\".\"Sale\"']").attempt();
            for other in [
                "Orders",
                "\"orders\"",
                "\"ORDERS\"",
                "shop.sale",
                "\"Shop\".sale",
            ] {
                assert_eq!(read(&attempt, other).await, denied(), "{other}");
            }
            assert_eq!(read(&attempt, "\"Orders\"").await, Ok(2));
            assert_eq!(read(&attempt, "public.\"Orders\"").await, Ok(2));
            assert_eq!(read(&attempt, "\"Shop\".\"Sale\"").await, Ok(3));
            // A denial prints the spelling that is needed, and the operator's list takes it too.
            let mut bare = written("[\"orders\"]");
            bare.settings.tables = Some(vec!["orders".to_owned()]);
            let both = "select a.id from \"Orders\" a, \"Shop\".\"Sale\" b, orders c";
            let refusal = rows(&bare.attempt(), both, vec![]).await.unwrap_err();
            let pasted = bare.pasted(&refusal);
            assert_eq!(
                rows(&pasted.attempt(), both, vec![]).await.unwrap().len(),
                1
            );
        }
        Raw::MariaDb(_) => {
            let made = "create table Orders (id int); insert into Orders values (2); create table orders (id int)";
            world.raw.run(made).await;
            let mut exact = written("[\"Orders\"]");
            exact.settings.tables = Some(vec!["Orders".to_owned()]);
            assert!(exact.checked().is_ok());
            let attempt = exact.attempt();
            for other in ["orders", "`orders`", "ORDERS"] {
                assert_eq!(read(&attempt, other).await, denied(), "{other}");
            }
            for same in ["Orders", "`Orders`"] {
                assert_eq!(read(&attempt, same).await, Ok(2), "{same}");
            }
            // Text or a name, as the server is set: so it is neither here.
            let quoted = rows(&attempt, "select id from \"Orders\"", vec![]).await;
            let refusal = quoted.unwrap_err();
            assert_eq!(refusal.code, "sql.invalid");
            assert!(refusal.message.contains("write '…' or `…`"), "{refusal}");

            exact.grants = exact.grants.replace("Orders", "orders");
            let refused = exact.checked().unwrap_err();
            assert!(
                refused.contains("does not open table `orders`"),
                "{refused}"
            );
            let quoted = written("['\"Orders\"']").checked().unwrap_err();
            assert!(
                quoted.contains("only PostgreSQL has names in quotes"),
                "{quoted}"
            );
        }
    }
}

#[tokio::test]
async fn a_table_with_capitals_is_granted_as_it_is_written_and_its_lower_case_twin_is_not() {
    on_both(twins).await;
}
