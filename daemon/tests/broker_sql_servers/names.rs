//! A table's name on its way from a workflow file to the decision: each server reads case in its own way.

use std::collections::BTreeMap;

use flowweaver::diagnostic::render;
use flowweaver::id::Digest;
use flowweaver::workflow::environment::{DatabaseFacts, Environment, ModuleFacts};
use flowweaver::workflow::grant::{Grants, SqlMode};
use flowweaver::workflow::{WorkflowSource, compile};
use serde_json::json;

use crate::broker_world::*;
use crate::world::*;

/// The grants of a file that asks for this table, where the operator opens `Orders`.
fn granted(table: &str, case_counts: bool) -> Result<Grants, String> {
    let facts = DatabaseFacts {
        mode: SqlMode::Read,
        tables: Some(vec!["Orders".to_owned()]),
        case_counts,
    };
    let module = json!({ "digest": Digest::of(b"sell"), "description": { "name": "sell", "version": "1.0.0" } });
    let module: ModuleFacts = serde_json::from_value(module).unwrap();
    let environment = Environment {
        modules: BTreeMap::from([("sell".parse().unwrap(), module)]),
        databases: Some(BTreeMap::from([("blog".parse().unwrap(), facts)])),
        ..Environment::default()
    };
    let file = format!(
        "flowweaver = 1\nname = \"shop\"\n\n[[job]]\nname = \"only\"\n\n[[job.task]]\nname = \"sell\"\nuses = \"sell\"\n\n\
         [[job.task.sql]]\ndatabase = \"blog\"\ntables = [\"{table}\"]\n"
    );
    let compiled = compile(&WorkflowSource::new("flows/shop.toml", file), &environment);
    match compiled.workflow {
        Some(workflow) => Ok((*workflow.tasks[0].grants).clone()),
        None => Err(render(&compiled.diagnostics)),
    }
}

async fn mixed_case(world: World) {
    let maria = matches!(world.raw, Raw::MariaDb(_));
    // On PostgreSQL the first of them is `orders`.
    let other = if maria { "orders" } else { "\"Orders\"" };
    world
        .raw
        .run(&format!(
            "create table Orders (id int); insert into Orders values (7); create table {other} (id int)"
        ))
        .await;
    if maria {
        let refused = granted("orders", true).unwrap_err();
        assert!(
            refused.contains("does not open table `orders`"),
            "{refused}"
        );
    }
    let settings = flowweaver::broker::settings::BrokerSettings {
        databases: vec![flowweaver::broker::sql::DatabaseSettings {
            tables: Some(vec!["Orders".to_owned()]),
            ..world.settings()
        }],
        ..Default::default()
    };
    let grants = granted("Orders", maria).unwrap();
    let attempt = attempt_of(&broker(settings, &[]), identity(), grants);
    let denied = rows(&attempt, &format!("select id from {other}"), vec![])
        .await
        .unwrap_err();
    assert_eq!(denied.code, "sql.denied", "{denied}");
    let found = rows(&attempt, "select id from Orders", vec![])
        .await
        .unwrap();
    assert_eq!(found.len(), 1);
}

#[tokio::test]
async fn a_table_with_capitals_is_granted_as_it_is_written_and_its_lower_case_twin_is_not() {
    on_both(mixed_case).await;
}
