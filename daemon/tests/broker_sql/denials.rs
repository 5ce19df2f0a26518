//! A denial teaches: its lines, put into the files that it names as they are, allow the call; or it says that none does.

use crate::pasted::*;
use crate::world::*;

#[tokio::test]
async fn the_lines_of_a_denial_allow_the_call() {
    for &kind in KINDS {
        let world = World::new(kind);
        let change = "insert into product (id, name) select id, word from secret";
        let read = "select count(*) from product, secret";
        let bare = Written {
            settings: world.settings(),
            grants: String::new(),
        };
        let refusal = query(&bare.attempt(), read, Vec::new()).await.unwrap_err();
        for told in [
            "`shop` is not granted",
            "workflow `product-blog`, task `search`",
        ] {
            assert!(refusal.message.contains(told), "{refusal}");
        }
        // What is needed of it is only known by a statement.
        let placed = bare.pasted(&refusal);
        let refusal = query(&placed.attempt(), read, Vec::new())
            .await
            .unwrap_err();
        assert!(refusal.message.contains("flows/shop.toml:11"), "{refusal}");
        let reader = placed.pasted(&refusal);
        assert!(query(&reader.attempt(), read, Vec::new()).await.is_ok());

        let attempt = reader.attempt();
        let refusal = execute(&attempt, change, Vec::new()).await.unwrap_err();
        let writer = reader.pasted(&refusal);
        assert!(writer.grants.contains("read-write"), "{}", writer.grants);
        assert_eq!(execute(&writer.attempt(), change, Vec::new()).await, Ok(1));

        let log = attempt.journal.drain().lines;
        assert_eq!(log.len(), 1, "{log:?}");
        assert_eq!(log[0].message, refusal.message);
    }
}

#[tokio::test]
async fn a_denial_names_tables_and_not_what_only_looks_like_one() {
    let world = World::new(Kind::Sqlite);
    let reader = Written::new(world.settings(), "read", "[\"product\"]");
    let statement = "with few as (select 1) select * from few, json_each('[1]') as e, Secret as s";
    let refusal = query(&reader.attempt(), statement, Vec::new()).await;
    let next = reader.pasted(&refusal.unwrap_err());
    assert!(
        next.grants.ends_with("tables = [\"product\", \"secret\"]"),
        "{}",
        next.grants
    );
    assert!(query(&next.attempt(), statement, Vec::new()).await.is_ok());
}

#[tokio::test]
async fn a_denial_that_is_the_operators_prints_the_operators_lines() {
    for &kind in KINDS {
        let world = World::new(kind);
        let mut settings = world.settings();
        settings.mode = flowweaver::workflow::grant::SqlMode::Read;
        settings.tables = Some(vec!["product".to_owned()]);
        let delete = "delete from secret";
        // Neither the grant nor the operator has it.
        let neither = Written::new(settings.clone(), "read", "[\"product\"]");
        let refusal = execute(&neither.attempt(), delete, Vec::new())
            .await
            .unwrap_err();
        let place = "write in flowweaver.toml, under [databases.shop]:\nmode = \"read-write\"\ntables = [\"product\", \"secret\"]\nand in the place of the grant at flows/shop.toml:11:\n[[job.task.sql]]\n";
        assert!(refusal.message.contains(place), "{refusal}");
        let both = neither.pasted(&refusal);
        assert_eq!(execute(&both.attempt(), delete, Vec::new()).await, Ok(1));

        // The grant has it, and the operator has closed it since.
        world.owner("insert into secret values (8, 'x')");
        let closed = Written::new(settings, "read-write", "[\"product\", \"secret\"]");
        assert!(closed.checked().is_err());
        let read = "select * from secret";
        let refusal = query(&closed.attempt(), read, Vec::new())
            .await
            .unwrap_err();
        assert!(
            refusal.message.contains("the operator's settings do not"),
            "{refusal}"
        );
        assert!(!refusal.message.contains("[[job.task.sql]]"), "{refusal}");
        let error = closed.checked().unwrap_err();
        assert!(error.contains("does not open table `secret`"), "{error}");
        let refusal = execute(&closed.attempt(), delete, Vec::new())
            .await
            .unwrap_err();
        let open = closed.pasted(&refusal);
        assert_eq!(execute(&open.attempt(), delete, Vec::new()).await, Ok(1));
    }
}

#[tokio::test]
async fn a_denial_that_no_line_cures_says_so() {
    for &kind in KINDS {
        let world = World::new(kind);
        let writer = Written::new(world.settings(), "read-write", "[\"product\"]");
        let attempt = writer.attempt();
        let never = query(&attempt, "select load_extension('x')", Vec::new()).await;
        teaches_no_line(&never.unwrap_err(), "no wider grant would allow this");
        // A clause's name is the statement's to change.
        let named = "with product as (select 1 as id) select id from product";
        let refusal = query(&attempt, named, Vec::new()).await.unwrap_err();
        teaches_no_line(&refusal, "name the WITH clause otherwise");
        let renamed = named.replace("product", "only_one");
        assert!(query(&attempt, &renamed, Vec::new()).await.is_ok());
    }
    let world = World::new(Kind::Sqlite);
    let locking = "select id from product for update";
    for mode in ["read", "read-write"] {
        let written = Written::new(world.settings(), mode, "[\"product\"]");
        let refusal = query(&written.attempt(), locking, Vec::new()).await;
        teaches_no_line(&refusal.unwrap_err(), "SQLite has no FOR UPDATE");
    }
}

#[tokio::test]
async fn a_function_in_from_needs_no_grant_and_a_table_of_its_name_does() {
    let world = World::new(Kind::Sqlite);
    let statement =
        "select sum(e.value) from product, json_each('[1, 2]') as e where e.type = 'integer'";
    let written = Written::new(world.settings(), "read", "[\"product\"]");
    let sum = query(&written.attempt(), statement, Vec::new()).await;
    assert_eq!(
        sum,
        Ok(vec![vec![flowweaver::broker::sql::Value::Int64(6)]])
    );
    world.owner("create table json_each (word)");
    let attempt = written.attempt();
    let refusal = query(&attempt, "select word from json_each", Vec::new()).await;
    assert_eq!(refusal.unwrap_err().code, "sql.denied");
    // The name is the table's from now on, as SQLite reads it.
    let refusal = query(&attempt, statement, Vec::new()).await.unwrap_err();
    assert_eq!(refusal.code, "sql.invalid", "{refusal}");
}
