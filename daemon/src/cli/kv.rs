//! `kv`: a workflow's key-value state on a terminal. Keys and values come from tasks, so they are shown escaped.

use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use url::form_urlencoded::Serializer;

use super::args::KvCommand;
use super::client::{Client, Method};
use super::exit::{CliError, Exit};
use super::print;
use super::runs::said;
use crate::broker::kv::VALUE_BYTES_MAX;
use crate::diagnostic::shown;
use crate::id::WorkflowName;

/// Runs a command that speaks to the API.
pub async fn dispatch(client: &Client, command: KvCommand, json: bool) -> Result<Exit, CliError> {
    match command {
        KvCommand::List {
            workflow,
            prefix,
            after,
            limit,
        } => {
            let limit = limit.to_string();
            let mut query = vec![("prefix", prefix.as_str()), ("limit", &limit)];
            query.extend(after.as_deref().map(|after| ("cursor", after)));
            list(client, &path(&workflow, "", &query), json).await
        }
        KvCommand::Get { workflow, key } => get(client, &entry(&workflow, &key), json).await,
        KvCommand::Set {
            workflow,
            key,
            value,
            ttl,
            expect,
        } => {
            let mut body = value_body(value)?;
            if let (Some(ttl), Some(body)) = (ttl, body.as_object_mut()) {
                body.insert("ttl".to_owned(), json!(ttl));
            }
            if let (Some(expect), Some(body)) = (expect, body.as_object_mut()) {
                let expect = expect.parse::<u64>().map_or(json!(expect), Value::from);
                body.insert("expect".to_owned(), expect);
            }
            let answer = client
                .call(Method::PUT, &entry(&workflow, &key), &[], Some(&body))
                .await?;
            let revision = answer.get("revision").unwrap_or(&Value::Null);
            let text = format!("set {} (revision {revision})", shown(&key));
            Ok(said(json, &answer, &text))
        }
        KvCommand::Delete { workflow, key } => {
            let path = entry(&workflow, &key);
            let answer = client.call(Method::DELETE, &path, &[], None).await?;
            Ok(said(json, &answer, &format!("deleted {}", shown(&key))))
        }
    }
}

fn path(workflow: &WorkflowName, rest: &str, query: &[(&str, &str)]) -> String {
    let query = Serializer::new(String::new()).extend_pairs(query).finish();
    format!("/v0/workflows/{workflow}/kv{rest}?{query}")
}

fn entry(workflow: &WorkflowName, key: &str) -> String {
    path(workflow, "/entry", &[("key", key)])
}

/// What stands before a value that is written in base64. `get` writes text that begins with it in base64 as well, and
/// `set` reads it, so that what one shows the other takes.
const BASE64: &str = "base64:";

/// The value given, or standard input, which may be any bytes and is taken as it is.
fn value_body(value: Option<String>) -> Result<Value, CliError> {
    match value {
        Some(value) => argument(&value),
        None => standard_input(),
    }
}

fn argument(value: &str) -> Result<Value, CliError> {
    let Some(encoded) = value.strip_prefix(BASE64) else {
        return Ok(json!({ "value": value }));
    };
    if let Err(error) = STANDARD.decode(encoded) {
        let message = format!(
            "what follows `{BASE64}` is not base64 ({error}). A text that begins so is given on standard input: printf %s 'TEXT' | flowweaver kv set WORKFLOW KEY"
        );
        return Err(CliError::new(Exit::Usage, message));
    }
    Ok(json!({ "base64": encoded }))
}

fn standard_input() -> Result<Value, CliError> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .take(VALUE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| CliError::new(Exit::Usage, format!("the value: {error}")))?;
    Ok(match String::from_utf8(bytes) {
        Ok(text) => json!({ "value": text }),
        Err(bytes) => json!({ "base64": STANDARD.encode(bytes.as_bytes()) }),
    })
}

async fn list(client: &Client, path: &str, json: bool) -> Result<Exit, CliError> {
    let page = client.get(path).await?;
    if json {
        return Ok(print::value(&page));
    }
    let rows = page.get("data").and_then(Value::as_array);
    for row in rows.into_iter().flatten() {
        print::line(&format!(
            "{:<40} {}",
            shown(print::text(row, "key")),
            facts(row)
        ));
    }
    let usage = page.get("usage").unwrap_or(&Value::Null);
    let number = |key: &str| usage.get(key).and_then(Value::as_u64).unwrap_or(0);
    print::line(&format!(
        "{} of {} keys, {} of {} bytes",
        number("keys"),
        number("keysMax"),
        number("bytes"),
        number("bytesMax"),
    ));
    if let Some(next) = page.get("nextCursor").and_then(Value::as_str) {
        print::line(&format!("more with --after {}", shown(next)));
    }
    Ok(Exit::Ok)
}

/// Revision, length and end.
fn facts(row: &Value) -> String {
    let number = |key: &str| row.get(key).and_then(Value::as_u64).unwrap_or(0);
    let end = match print::text(row, "expiresAt") {
        "" => String::new(),
        at => format!(
            "  until {}",
            at.get(..19).map_or(at.to_owned(), |at| format!("{at}Z"))
        ),
    };
    format!(
        "revision {}  {} B{end}",
        number("revision"),
        number("valueBytes")
    )
}

async fn get(client: &Client, path: &str, json: bool) -> Result<Exit, CliError> {
    let entry = client.get(path).await?;
    if json {
        return Ok(print::value(&entry));
    }
    let text = entry.get("value").and_then(Value::as_str);
    print::line(&match text {
        Some(text) if text.starts_with(BASE64) => format!("{BASE64}{}", STANDARD.encode(text)),
        Some(text) => shown(text),
        None => format!("{BASE64}{}", print::text(&entry, "base64")),
    });
    print::aside(&facts(&entry));
    Ok(Exit::Ok)
}
