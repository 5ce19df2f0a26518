//! A denial teaches: its lines, put into the workflow file as they are, allow the call.

use std::collections::BTreeMap;

use flowweaver::broker::error::Refusal;
use flowweaver::broker::settings::BrokerSettings;
use flowweaver::diagnostic::render;
use flowweaver::id::Digest;
use flowweaver::workflow::environment::{DatabaseFacts, Environment, ModuleFacts};
use flowweaver::workflow::grant::{Grants, SqlMode};
use flowweaver::workflow::{WorkflowSource, compile};
use serde_json::json;

use crate::broker_world::*;
use crate::world::*;

/// A workflow file with these grants.
fn file(grants: &str) -> String {
    format!(
        "flowweaver = 1\nname = \"shop\"\n\n[[job]]\nname = \"only\"\n\n[[job.task]]\nname = \"sell\"\nuses = \"sell\"\n\n{grants}\n"
    )
}

/// The grants of that file, as the real compiler reads them.
fn granted(written: &str) -> Grants {
    let facts = DatabaseFacts {
        mode: SqlMode::ReadWrite,
        tables: None,
        case_counts: false,
    };
    let module = json!({ "digest": Digest::of(b"sell"), "description": { "name": "sell", "version": "1.0.0" } });
    let module: ModuleFacts = serde_json::from_value(module).unwrap();
    let environment = Environment {
        modules: BTreeMap::from([("sell".parse().unwrap(), module)]),
        databases: Some(BTreeMap::from([("shop".parse().unwrap(), facts)])),
        ..Environment::default()
    };
    let compiled = compile(
        &WorkflowSource::new("flows/shop.toml", written),
        &environment,
    );
    let workflow = compiled.workflow;
    let workflow = workflow.unwrap_or_else(|| panic!("{}", render(&compiled.diagnostics)));
    (*workflow.tasks[0].grants).clone()
}

fn attempt(world: &World, written: &str) -> Attempt {
    let settings = BrokerSettings {
        databases: vec![world.settings()],
        ..BrokerSettings::default()
    };
    attempt_of(&broker(settings, &[]), identity(), granted(written))
}

/// The lines that a denial prints, and what stands before them.
fn lines(refusal: &Refusal) -> (&str, &str) {
    assert_eq!(refusal.code, "sql.denied", "{refusal}");
    refusal.message.split_once(":\n").unwrap()
}

#[tokio::test]
async fn the_lines_of_a_denial_allow_the_call() {
    for &kind in KINDS {
        let world = World::new(kind);
        let change = "insert into product (id, name) select id, word from secret";
        let read = "select count(*) from product, secret";
        let first = file("");
        let bare = attempt(&world, &first);
        let refusal = query(&bare, read, Vec::new()).await.unwrap_err();
        let (why, pasted) = lines(&refusal);
        assert!(why.contains("`shop` is not granted"), "{why}");
        assert!(
            why.contains("workflow `product-blog`, task `search`"),
            "{why}"
        );

        // What is needed of it is only known by a statement.
        let second = file(pasted);
        let placed = attempt(&world, &second);
        let refusal = query(&placed, read, Vec::new()).await.unwrap_err();
        let (why, pasted) = lines(&refusal);
        assert!(why.contains("flows/shop.toml:11"), "{why}");
        let third = file(pasted);
        let reader = attempt(&world, &third);
        assert!(query(&reader, read, Vec::new()).await.is_ok(), "{third}");

        let refusal = execute(&reader, change, Vec::new()).await.unwrap_err();
        let (_, pasted) = lines(&refusal);
        assert!(pasted.contains("read-write"), "{pasted}");
        let writer = attempt(&world, &file(pasted));
        assert_eq!(execute(&writer, change, Vec::new()).await, Ok(1));

        let log = reader.journal.drain().lines;
        assert_eq!(log.len(), 1, "{log:?}");
        assert_eq!(log[0].message, refusal.message);
    }
}

#[tokio::test]
async fn a_denial_says_when_the_operator_or_nobody_could_allow_it() {
    for &kind in KINDS {
        let world = World::new(kind);
        let capped = world.limited(SqlMode::Read, &["product"], |database, _| {
            database.mode = SqlMode::Read;
            database.tables = Some(vec!["product".to_owned()]);
        });
        let refusal = execute(&capped, "delete from secret", Vec::new())
            .await
            .unwrap_err();
        let (why, _) = lines(&refusal);
        assert!(
            why.contains("flowweaver.toml needs under [databases.shop] mode = \"read-write\""),
            "{why}"
        );
        assert!(why.contains("[\"secret\"]"), "{why}");
        let never = query(&capped, "select load_extension('x')", Vec::new()).await;
        let refusal = never.unwrap_err();
        assert_eq!(refusal.code, "sql.denied");
        assert!(
            refusal.message.contains("no grant would allow this"),
            "{refusal}"
        );
        assert!(!refusal.message.contains("[[job.task.sql]]"), "{refusal}");
    }
}
