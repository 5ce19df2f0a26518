//! `user`, `role`, `organization` and `audit`: each one call to the API and one way to print it.

use serde_json::{Value, json};
use url::form_urlencoded::Serializer;

use super::args::{AuditArguments, OrganizationCommand, RoleCommand, UserCommand};
use super::client::{Client, Method};
use super::exit::{CliError, Exit};
use super::print;
use super::runs::said;
use crate::diagnostic::shown;

/// Rows of a list are fetched so many at a time.
const PAGE: &str = "200";

/// A path with a part that comes from the command line.
pub(super) fn path(before: &str, part: &str, after: &str) -> String {
    let part: String = url::form_urlencoded::byte_serialize(part.as_bytes()).collect();
    // In a path a plus is a plus.
    format!("{before}/{}{after}", part.replace('+', "%20"))
}

/// Every row of a list, page by page.
pub(super) async fn all(
    client: &Client,
    path: &str,
    query: &[(&str, &str)],
) -> Result<Vec<Value>, CliError> {
    let mut rows = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut text = Serializer::new(String::new());
        text.append_pair("limit", PAGE);
        text.extend_pairs(query);
        if let Some(cursor) = &cursor {
            text.append_pair("cursor", cursor);
        }
        let mut page = client.get(&format!("{path}?{}", text.finish())).await?;
        if let Some(Value::Array(data)) = page.get_mut("data").map(Value::take) {
            rows.extend(data);
        }
        match page.get("nextCursor").and_then(Value::as_str) {
            Some(next) => cursor = Some(next.to_owned()),
            None => return Ok(rows),
        }
    }
}

/// The words of a list, separated by commas.
pub(super) fn words(row: &Value, key: &str) -> String {
    let words = row.get(key).and_then(Value::as_array);
    let words: Vec<&str> = words
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    words.join(", ")
}

/// `user`.
pub async fn user(client: &Client, command: UserCommand, json: bool) -> Result<Exit, CliError> {
    let verb = |user: &str, verb: &str| path("/v0/users", user, verb);
    match command {
        UserCommand::List { search } => users(client, &search, json).await,
        UserCommand::Show { user } => {
            let row = client.get(&verb(&user, "")).await?;
            Ok(said(json, &row, user_line(&row).trim_end()))
        }
        UserCommand::Create {
            email,
            name,
            roles,
            department,
            position,
        } => {
            let roles = (!roles.is_empty()).then(|| json!(roles));
            let more = [
                ("name", name.map(Value::String)),
                ("department", department.map(Value::String)),
                ("position", position.map(Value::String)),
                ("roles", roles),
            ];
            let given = more
                .into_iter()
                .filter_map(|(key, value)| Some((key.to_owned(), value?)));
            let mut body: serde_json::Map<String, Value> = given.collect();
            body.insert("email".to_owned(), json!(email));
            let body = Value::Object(body);
            let made = client
                .call(Method::POST, "/v0/users", &[], Some(&body))
                .await?;
            Ok(password(json, &made))
        }
        UserCommand::Roles { user, roles } => {
            let body = json!({ "roles": roles });
            let row = client
                .call(Method::PUT, &verb(&user, "/roles"), &[], Some(&body))
                .await?;
            Ok(said(json, &row, user_line(&row).trim_end()))
        }
        UserCommand::Password { user } => {
            let path = match &user {
                Some(user) => verb(user, "/password"),
                None => "/v0/users/first-password".to_owned(),
            };
            let made = client.call(Method::POST, &path, &[], None).await?;
            Ok(password(json, &made))
        }
        UserCommand::Disable { user } => {
            let row = client
                .call(Method::POST, &verb(&user, "/disable"), &[], None)
                .await?;
            Ok(said(json, &row, &format!("disabled {}", shown(&user))))
        }
        UserCommand::Enable { user } => {
            let row = client
                .call(Method::POST, &verb(&user, "/enable"), &[], None)
                .await?;
            Ok(said(json, &row, &format!("enabled {}", shown(&user))))
        }
        UserCommand::Delete { user } => {
            let row = client
                .call(Method::DELETE, &verb(&user, ""), &[], None)
                .await?;
            Ok(said(json, &row, &format!("deleted {}", shown(&user))))
        }
    }
}

async fn users(client: &Client, search: &str, json: bool) -> Result<Exit, CliError> {
    let rows = all(client, "/v0/users", &[("search", search)]).await?;
    if json {
        return Ok(print::value(&Value::Array(rows)));
    }
    for row in &rows {
        print::line(user_line(row).trim_end());
    }
    Ok(Exit::Ok)
}

fn user_line(row: &Value) -> String {
    let last = print::text(row, "lastLoginAt").get(..16).unwrap_or("never");
    format!(
        "{:<36} {:<9} {:<28} {last:<17} {}",
        shown(print::text(row, "email")),
        print::text(row, "status"),
        shown(&words(row, "roles")),
        shown(print::text(row, "name")),
    )
}

/// Prints a one-time password alone on standard output, so that it can be piped.
fn password(json: bool, made: &Value) -> Exit {
    if json {
        return print::value(made);
    }
    let email = shown(print::text(made, "email"));
    print::aside(&format!(
        "the one-time password of {email}, to be changed at the first login; it is not shown again:"
    ));
    print::line(print::text(made, "oneTimePassword"));
    Exit::Ok
}

/// `role`.
pub async fn role(client: &Client, command: RoleCommand, json: bool) -> Result<Exit, CliError> {
    match command {
        RoleCommand::List => {
            let rows = all(client, "/v0/roles", &[]).await?;
            if json {
                return Ok(print::value(&Value::Array(rows)));
            }
            for row in &rows {
                let system = row.get("system") == Some(&json!(true));
                let mark = if system { "system" } else { "" };
                let (name, about) = (print::text(row, "name"), print::text(row, "description"));
                print::line(format!("{:<24} {mark:<7} {}", shown(name), shown(about)).trim_end());
            }
            Ok(Exit::Ok)
        }
        RoleCommand::Show { role } => {
            let row = client.get(&path("/v0/roles", &role, "")).await?;
            let text = format!(
                "{}: {}",
                shown(print::text(&row, "name")),
                words(&row, "permissions")
            );
            Ok(said(json, &row, &text))
        }
        RoleCommand::Create {
            name,
            permissions,
            description,
        } => {
            let body =
                json!({ "name": name, "description": description, "permissions": permissions });
            let row = client
                .call(Method::POST, "/v0/roles", &[], Some(&body))
                .await?;
            Ok(said(json, &row, &format!("made the role {}", shown(&name))))
        }
        RoleCommand::Delete { role } => {
            let row = client
                .call(Method::DELETE, &path("/v0/roles", &role, ""), &[], None)
                .await?;
            Ok(said(
                json,
                &row,
                &format!("deleted the role {}", shown(&role)),
            ))
        }
        RoleCommand::Permissions => {
            let rows = client.get("/v0/permissions").await?;
            if json {
                return Ok(print::value(&rows));
            }
            for row in rows.as_array().into_iter().flatten() {
                print::line(&format!(
                    "{:<24} {}",
                    print::text(row, "name"),
                    print::text(row, "description")
                ));
            }
            Ok(Exit::Ok)
        }
    }
}

/// `organization`.
pub async fn organization(
    client: &Client,
    command: OrganizationCommand,
    json: bool,
) -> Result<Exit, CliError> {
    match command {
        OrganizationCommand::List => {
            let rows = all(client, "/v0/organizations", &[]).await?;
            if json {
                return Ok(print::value(&Value::Array(rows)));
            }
            for row in &rows {
                print::line(&format!(
                    "{:<32} {}",
                    print::text(row, "name"),
                    print::text(row, "id")
                ));
            }
            Ok(Exit::Ok)
        }
        OrganizationCommand::Create { name } => {
            let body = json!({ "name": name });
            let row = client
                .call(Method::POST, "/v0/organizations", &[], Some(&body))
                .await?;
            Ok(said(
                json,
                &row,
                &format!(
                    "made {0}; its workflow files belong in flows/{0}/",
                    shown(&name)
                ),
            ))
        }
    }
}

/// `audit`.
pub async fn audit(
    client: &Client,
    arguments: &AuditArguments,
    json: bool,
) -> Result<Exit, CliError> {
    let mut query = Serializer::new(String::new());
    query.append_pair("limit", &arguments.limit.to_string());
    for (key, value) in [("action", &arguments.action), ("target", &arguments.target)] {
        if let Some(value) = value {
            query.append_pair(key, value);
        }
    }
    let page = client
        .get(&format!("/v0/audit-log?{}", query.finish()))
        .await?;
    if json {
        return Ok(print::value(&page));
    }
    for row in page
        .get("data")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let at = print::text(row, "at").get(..19).unwrap_or_default();
        let details = match row.get("details") {
            None | Some(Value::Null) => String::new(),
            Some(details) => details.to_string(),
        };
        let line = format!(
            "{at}Z {:<24} {:<8} {:<20} {} {}",
            shown(print::text(row, "actor")),
            print::text(row, "means"),
            print::text(row, "action"),
            shown(print::text(row, "target")),
            shown(&details),
        );
        print::line(line.trim_end());
    }
    Ok(Exit::Ok)
}
