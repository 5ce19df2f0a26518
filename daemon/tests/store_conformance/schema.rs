//! The tables themselves: the same everywhere, and without orphans. How they are read is in `plans`.

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
    ("duty", "daemon_id", "daemon", "daemon_id"),
    (
        "workflow_run",
        "parent_run_id",
        "workflow_run",
        "workflow_run_id",
    ),
    (
        "workflow_run",
        "root_run_id",
        "workflow_run",
        "workflow_run_id",
    ),
    (
        "workflow_run",
        "triggered_by",
        "workflow_run",
        "workflow_run_id",
    ),
    ("workflow_trigger", "workflow_id", "workflow", "workflow_id"),
    (
        "trigger_delivery",
        "source_run_id",
        "workflow_run",
        "workflow_run_id",
    ),
    ("trigger_delivery", "workflow_id", "workflow", "workflow_id"),
    (
        "trigger_delivery",
        "run_id",
        "workflow_run",
        "workflow_run_id",
    ),
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
    ("lane", "workflow_id", "workflow", "workflow_id"),
    ("lane_run", "lane_id", "lane", "lane_id"),
    ("lane_run", "lane_run_id", "workflow_run", "workflow_run_id"),
    (
        "dead_letter",
        "workflow_run_id",
        "workflow_run",
        "workflow_run_id",
    ),
    (
        "dead_letter",
        "redrive_run_id",
        "workflow_run",
        "workflow_run_id",
    ),
    ("schedule", "workflow_id", "workflow", "workflow_id"),
    (
        "schedule",
        "organization_id",
        "organization",
        "organization_id",
    ),
    ("schedule_fire", "schedule_id", "schedule", "schedule_id"),
    (
        "schedule_fire",
        "workflow_run_id",
        "workflow_run",
        "workflow_run_id",
    ),
    (
        "run_command",
        "workflow_run_id",
        "workflow_run",
        "workflow_run_id",
    ),
    ("user_organization", "user_id", "user", "user_id"),
    (
        "user_organization",
        "organization_id",
        "organization",
        "organization_id",
    ),
    (
        "user_organization",
        "department_id",
        "department",
        "department_id",
    ),
    (
        "user_organization",
        "position_id",
        "position",
        "position_id",
    ),
    ("user_role", "user_id", "user", "user_id"),
    ("user_role", "role_id", "role", "role_id"),
    ("role_permission", "role_id", "role", "role_id"),
    (
        "role_permission",
        "permission_id",
        "permission",
        "permission_id",
    ),
    ("session", "user_id", "user", "user_id"),
    ("api_token", "user_id", "user", "user_id"),
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
        // Generated columns stand for partial indexes.
        Raw::MariaDb(_) => {
            r#"select table_name, column_name, is_nullable from information_schema.columns
               where table_schema = database() and table_name not like '\_%' and is_generated = 'NEVER'
               order by binary table_name, binary column_name"#
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
    crate::world::on_mariadb(report).await;
    let sqlite = schemas.recv().await.unwrap();
    assert!(sqlite.len() > 100);
    while let Ok(other) = schemas.try_recv() {
        assert_eq!(sqlite, other);
    }
}

static SCHEMAS: std::sync::OnceLock<tokio::sync::mpsc::UnboundedSender<Vec<String>>> =
    std::sync::OnceLock::new();
