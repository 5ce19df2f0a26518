//! What a PostgreSQL role may do that no task needs.

use std::collections::BTreeSet;

use sqlx::{PgConnection, Row as _};

use crate::broker::sql::policy::{Dialect, table_name};
use crate::broker::sql::server::Finding;

/// What the role is and may create.
const ROLE: &str = "select rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls, \
    has_database_privilege(current_database(), 'create'), \
    has_schema_privilege('public', 'create'), \
    has_database_privilege(current_database(), 'temp') \
    from pg_roles where rolname = current_user";
/// Roles of the server's own that reach files, programs, other sessions or every table.
const MEMBER: &str = "select r.rolname::text from pg_roles r where r.rolname in \
    ('pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program', 'pg_read_all_data', \
    'pg_write_all_data', 'pg_signal_backend', 'pg_monitor', 'pg_database_owner') \
    and pg_has_role(current_user, r.oid, 'member') order by 1";
/// Tables that it owns, and so may drop, and whose row security does not hold for it.
const OWNED: &str = "select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace \
    where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname not in ('pg_catalog', 'information_schema') \
    and n.nspname not like 'pg\\_toast%' and n.nspname not like 'pg\\_temp%' \
    and pg_has_role(c.relowner, 'member') order by 1 limit 20";
/// Tables that it may change.
const CHANGED: &str = "select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace \
    where c.relkind in ('r', 'p', 'v', 'f') and n.nspname not in ('pg_catalog', 'information_schema') \
    and has_table_privilege(c.oid, 'insert, update, delete, truncate') order by 1 limit 20";
/// Tables that it may read.
const READ: &str = "select c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace \
    where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname = 'public' \
    and has_table_privilege(c.oid, 'select') order by 1 limit 1000";

/// Looks. `tables`: what the operator lets grants name; empty: whatever they name. `writes`: whether
/// grants may ask for changes.
pub(super) async fn look(
    connection: &mut PgConnection,
    tables: &[String],
    writes: bool,
) -> Result<Vec<Finding>, sqlx::Error> {
    let mut findings = Vec::new();
    let role = sqlx::query(ROLE).fetch_one(&mut *connection).await?;
    if role.try_get(0)? {
        // Everything else follows from it.
        return Ok(vec![Finding::new(
            "the role is a superuser",
            "alter role … nosuperuser",
        )]);
    }
    let marks = [
        ("may create roles", "nocreaterole"),
        ("may create databases", "nocreatedb"),
        ("may replicate the server", "noreplication"),
        ("goes around row security", "nobypassrls"),
    ];
    for (position, (what, cure)) in marks.into_iter().enumerate() {
        if role.try_get(position + 1)? {
            findings.push(Finding::new(
                format!("the role {what}"),
                format!("alter role … {cure}"),
            ));
        }
    }
    let rights = [
        (
            "create schemas in the database",
            "revoke create on database … from …",
        ),
        (
            "create tables in the schema `public`",
            "revoke create on schema public from …",
        ),
        (
            "create temporary tables",
            "revoke temporary on database … from public, …",
        ),
    ];
    for (position, (what, cure)) in rights.into_iter().enumerate() {
        if role.try_get(position + 1 + marks.len())? {
            findings.push(Finding::new(format!("the role may {what}"), cure));
        }
    }
    reach(connection, tables, writes, &mut findings).await?;
    Ok(findings)
}

/// What it can do with tables, its own and others.
async fn reach(
    connection: &mut PgConnection,
    tables: &[String],
    writes: bool,
    findings: &mut Vec<Finding>,
) -> Result<(), sqlx::Error> {
    for name in names(connection, MEMBER).await? {
        findings.push(Finding::new(
            format!("the role is a member of `{name}`"),
            format!("revoke {name} from …"),
        ));
    }
    let owned = names(connection, OWNED).await?;
    if !owned.is_empty() {
        findings.push(Finding::new(
            format!("the role owns {}", owned.join(", ")),
            "alter table … owner to a role that no task uses",
        ));
    }
    if !writes {
        let changed = names(connection, CHANGED).await?;
        if !changed.is_empty() {
            findings.push(Finding::new(
                format!(
                    "mode = \"read\", and the role may change {}",
                    changed.join(", ")
                ),
                "revoke insert, update, delete, truncate on … from …",
            ));
        }
    }
    if !tables.is_empty() {
        let read = |name: &str| table_name(Dialect::Postgres, name);
        let open: BTreeSet<String> = tables.iter().filter_map(|table| read(table)).collect();
        let mut more = names(connection, READ).await?;
        // The catalog's names are exact, as a name in quotes is.
        more.retain(|name| read(&format!("\"{name}\"")).is_none_or(|name| !open.contains(&name)));
        more.truncate(20);
        if !more.is_empty() {
            findings.push(Finding::new(
                format!(
                    "the role may read tables that no grant can name: {}",
                    more.join(", ")
                ),
                "revoke select on … from …",
            ));
        }
    }
    Ok(())
}

async fn names(
    connection: &mut PgConnection,
    text: &'static str,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(text).fetch_all(connection).await
}
