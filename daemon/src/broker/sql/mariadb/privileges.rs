//! What a MariaDB role may do that no task needs.

use std::collections::BTreeSet;

use sqlx::MySqlConnection;

use crate::broker::sql::server::Finding;

/// Privileges on the whole server; `USAGE` is none.
const SERVER: &str = "select privilege_type from information_schema.user_privileges \
    where grantee = concat('''', replace(current_user(), '@', '''@'''), '''') and privilege_type <> 'USAGE' order by 1";
/// Privileges on schemas.
const SCHEMA: &str = "select concat(privilege_type, ' on ', table_schema, '.*') from information_schema.schema_privileges \
    where grantee = concat('''', replace(current_user(), '@', '''@'''), '''') order by 1";
/// Privileges on tables.
const TABLE: &str = "select concat(privilege_type, ' on ', table_schema, '.', table_name) from information_schema.table_privileges \
    where grantee = concat('''', replace(current_user(), '@', '''@'''), '''') order by 1";
const PACKET: &str = "select cast(@@max_allowed_packet as signed)";

/// What a task can use.
const NEEDED: &[&str] = &["SELECT", "INSERT", "UPDATE", "DELETE"];
/// Longer values than a row's bound on this side lets through.
const PACKET_MAX: i64 = 128 * 1024 * 1024;

/// Looks. `tables`: what the operator lets grants name; empty: whatever they name. `writes`: whether
/// grants may ask for changes.
pub(super) async fn look(
    connection: &mut MySqlConnection,
    tables: &[String],
    writes: bool,
) -> Result<Vec<Finding>, sqlx::Error> {
    let mut findings = Vec::new();
    let needed = if writes { NEEDED } else { &["SELECT"] };
    let server = lines(connection, SERVER).await?;
    if !server.is_empty() {
        findings.push(Finding::new(
            format!(
                "the role has privileges on every database: {}",
                shown(&server)
            ),
            "revoke all privileges, grant option from …; grant select on `…`.`…` to …",
        ));
    }
    let mut more = lines(connection, SCHEMA).await?;
    let on_tables = lines(connection, TABLE).await?;
    let granted = |line: &&String| {
        let name = line.rsplit('.').next().unwrap_or_default();
        !tables.is_empty()
            && !tables
                .iter()
                .any(|table| table.rsplit('.').next() == Some(name))
    };
    let strange: Vec<String> = on_tables.iter().filter(granted).cloned().collect();
    more.extend(on_tables);
    more.retain(|line| {
        !needed
            .iter()
            .any(|may| line.starts_with(&format!("{may} on")))
    });
    if !more.is_empty() {
        findings.push(Finding::new(
            format!("the role may do more than tasks can use: {}", shown(&more)),
            "revoke … on … from …",
        ));
    }
    if !strange.is_empty() {
        findings.push(Finding::new(
            format!(
                "the role may use tables that no grant can name: {}",
                shown(&strange)
            ),
            "revoke … on … from …",
        ));
    }
    let packet: i64 = sqlx::query_scalar(PACKET).fetch_one(connection).await?;
    if packet > PACKET_MAX {
        findings.push(Finding::new(
            format!("max_allowed_packet is {packet} bytes: one value of a row takes that much memory here"),
            "set global max_allowed_packet = 16777216",
        ));
    }
    Ok(findings)
}

/// The first of a list that can be long.
fn shown(lines: &[String]) -> String {
    const MOST: usize = 20;
    let first: Vec<&str> = lines.iter().take(MOST).map(String::as_str).collect();
    match lines.len().saturating_sub(MOST) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

async fn lines(
    connection: &mut MySqlConnection,
    text: &'static str,
) -> Result<Vec<String>, sqlx::Error> {
    let found: Vec<String> = sqlx::query_scalar(text).fetch_all(connection).await?;
    Ok(found
        .into_iter()
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect())
}
