//! The tables themselves: the same everywhere, without orphans, and read along their indexes.

use sqlx::Row as _;

use crate::world::{Raw, World};

/// child table, its column, parent table, the parent's key
const REFERENCES: &[(&str, &str, &str, &str)] = &[
    (
        "workflow",
        "organization_id",
        "organization",
        "organization_id",
    ),
    (
        "workflow",
        "active_version",
        "workflow_version",
        "workflow_version_id",
    ),
    ("workflow_version", "workflow_id", "workflow", "workflow_id"),
    (
        "module",
        "organization_id",
        "organization",
        "organization_id",
    ),
    ("module_chunk", "module_id", "module", "module_id"),
    (
        "workflow_run",
        "organization_id",
        "organization",
        "organization_id",
    ),
    ("workflow_run", "workflow_id", "workflow", "workflow_id"),
    (
        "workflow_run",
        "workflow_version_id",
        "workflow_version",
        "workflow_version_id",
    ),
    ("workflow_run", "owner", "daemon", "daemon_id"),
    (
        "job_run",
        "workflow_run_id",
        "workflow_run",
        "workflow_run_id",
    ),
    (
        "task_run",
        "workflow_run_id",
        "workflow_run",
        "workflow_run_id",
    ),
    (
        "task_run",
        "output_io_id",
        "task_io_data",
        "task_io_data_id",
    ),
    ("task_attempt", "task_run_id", "task_run", "task_run_id"),
    (
        "task_attempt",
        "workflow_run_id",
        "workflow_run",
        "workflow_run_id",
    ),
    ("task_attempt", "daemon_id", "daemon", "daemon_id"),
    ("task_io_data", "task_run_id", "task_run", "task_run_id"),
    (
        "task_io_data",
        "task_attempt_id",
        "task_attempt",
        "task_attempt_id",
    ),
    (
        "task_io_data",
        "workflow_run_id",
        "workflow_run",
        "workflow_run_id",
    ),
    (
        "execution_log",
        "workflow_run_id",
        "workflow_run",
        "workflow_run_id",
    ),
    (
        "execution_log",
        "organization_id",
        "organization",
        "organization_id",
    ),
    ("execution_log", "task_run_id", "task_run", "task_run_id"),
    (
        "host_call",
        "task_attempt_id",
        "task_attempt",
        "task_attempt_id",
    ),
    (
        "run_command",
        "workflow_run_id",
        "workflow_run",
        "workflow_run_id",
    ),
];

pub async fn no_row_points_nowhere(raw: &Raw) {
    for (child, column, parent, key) in REFERENCES {
        let sql = format!(
            r#"select count(*) from "{child}" as "c" where "c"."{column}" is not null
               and not exists (select 1 from "{parent}" as "p" where "p"."{key}" = "c"."{column}")"#
        );
        assert_eq!(
            raw.number(&sql).await,
            0,
            "{child}.{column} points to no {parent}"
        );
    }
}

async fn columns(world: &World) -> Vec<String> {
    let sql = match world.raw {
        Raw::Sqlite(_) => {
            r#"select "m"."name", "c"."name", case "c"."notnull" when 1 then 'NO' else 'YES' end
               from sqlite_schema as "m", pragma_table_info("m"."name") as "c"
               where "m"."type" = 'table' and "m"."name" not like 'sqlite%' and "m"."name" not like '\_%' escape '\'
               order by "m"."name", "c"."name""#
        }
        Raw::Postgres(_) => {
            r#"select table_name::text, column_name::text, is_nullable::text from information_schema.columns
               where table_schema = current_schema() and table_name not like '\_%'
               order by table_name collate "C", column_name collate "C""#
        }
    };
    world.raw.lines(sql, 3).await
}

#[tokio::test]
async fn every_database_has_the_same_tables_and_columns() {
    let (send, mut schemas) = tokio::sync::mpsc::unbounded_channel();
    SCHEMAS.set(send).unwrap();
    async fn report(world: World) {
        SCHEMAS.get().unwrap().send(columns(&world).await).unwrap();
    }
    crate::world::on_sqlite(report).await;
    crate::world::on_postgres(report).await;
    let sqlite = schemas.recv().await.unwrap();
    assert!(sqlite.len() > 100);
    if let Ok(postgres) = schemas.try_recv() {
        assert_eq!(sqlite, postgres);
    }
}

static SCHEMAS: std::sync::OnceLock<tokio::sync::mpsc::UnboundedSender<Vec<String>>> =
    std::sync::OnceLock::new();

/// The plan of a statement of the driver, found by its first words so that it cannot drift.
async fn plan(pool: &sqlx::SqlitePool, statement: &str) -> String {
    let sql = sqlx::AssertSqlSafe(format!("explain query plan {statement}"));
    let rows = sqlx::query(sql).fetch_all(pool).await.unwrap();
    rows.iter()
        .map(|row| row.get::<String, _>("detail"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[tokio::test]
async fn claims_lists_and_logs_follow_an_index() {
    async fn check(world: World) {
        let Raw::Sqlite(pool) = &world.raw else {
            return;
        };
        for (name, statement) in flowweaver::store::sqlite::HOT_STATEMENTS {
            let plan = plan(pool, statement).await;
            for line in plan.lines() {
                // The set of a batch, a handful of daemons and a merge of two short halves are scanned.
                let small = ["SCAN t ", "SCAN daemon", "SCAN (subquery", "SCAN json"];
                let scan = line.contains("SCAN") && !small.iter().any(|s| line.contains(s));
                assert!(!scan || line.contains("INDEX"), "{name}:\n{plan}");
            }
            assert!(
                plan.contains("INDEX") || plan.contains("PRIMARY KEY"),
                "{name}:\n{plan}"
            );
            let sorts = plan
                .lines()
                .filter(|line| line.contains("TEMP B-TREE FOR ORDER BY"))
                .count();
            // A claim sorts twice: the runs of dead owners, and its two short halves together.
            assert!(
                sorts <= if *name == "claim" { 2 } else { 0 },
                "{name}:\n{plan}"
            );
        }
    }
    crate::world::on_sqlite(check).await;
}
