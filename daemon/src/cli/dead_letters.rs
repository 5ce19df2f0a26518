//! `dead-letters`: what failed for good, on a terminal. Codes and messages come from tasks, so they are shown escaped.

use serde_json::{Value, json};
use url::form_urlencoded::Serializer;

use super::args::{DeadLetterCommand, DeadLetterFilter, DeadLetterList};
use super::client::{Client, Method};
use super::exit::{CliError, Exit};
use super::print;
use crate::clock::{Clock as _, SystemClock};
use crate::diagnostic::shown;

const PATH: &str = "/v0/dead-letters";

/// Runs a command that speaks to the API.
pub async fn dispatch(
    client: &Client,
    command: Option<DeadLetterCommand>,
    filter: &DeadLetterList,
    json: bool,
) -> Result<Exit, CliError> {
    match command {
        None => list(client, filter, json).await,
        Some(DeadLetterCommand::Redrive { which, newest }) => {
            let mut body = body(&which)?;
            insert(&mut body, "version", newest.then(|| json!("newest")));
            bulk(client, "redrive", body, json).await
        }
        Some(DeadLetterCommand::Dismiss { which, reason }) => {
            let mut body = body(&which)?;
            insert(&mut body, "reason", reason.map(|reason| json!(reason)));
            bulk(client, "dismiss", body, json).await
        }
    }
}

async fn list(client: &Client, list: &DeadLetterList, json: bool) -> Result<Exit, CliError> {
    let mut query = Serializer::new(String::new());
    query.append_pair("limit", &list.limit.to_string());
    for (name, value) in [
        ("workflow", list.workflow.as_ref().map(ToString::to_string)),
        ("code", list.code.clone()),
        ("since", list.since.clone()),
        ("until", list.until.clone()),
        ("state", list.state.clone()),
        ("cursor", list.cursor.map(|id| id.to_string())),
    ] {
        if let Some(value) = value {
            query.append_pair(name, &value);
        }
    }
    let page = client.get(&format!("{PATH}?{}", query.finish())).await?;
    if json {
        return Ok(print::value(&page));
    }
    let rows = page.get("data").and_then(Value::as_array);
    let rows = rows.map(Vec::as_slice).unwrap_or_default();
    if rows.is_empty() {
        print::line("nothing here: no run waits for somebody to look at it");
    }
    for row in rows {
        print::line(&line(row));
    }
    if let Some(next) = page.get("nextCursor").and_then(Value::as_str) {
        print::line(&format!("more: --cursor {next}"));
    }
    Ok(Exit::Ok)
}

fn line(row: &Value) -> String {
    let at = print::text(row, "failedAt").get(..19).unwrap_or_default();
    let item = row.get("itemIndex").and_then(Value::as_i64);
    let item = item.map_or_else(String::new, |item| format!("[{item}]"));
    let place = match print::text(row, "task") {
        "" => "the run itself".to_owned(),
        task => format!("{task}{item}"),
    };
    format!(
        "{}  {at}Z  {} {place}  {}: {}  ({} attempts, run {})",
        print::text(row, "id"),
        print::text(row, "workflow"),
        shown(print::text(row, "code")),
        shown(print::text(row, "message")),
        row.get("attempts").unwrap_or(&Value::Null),
        print::text(row, "runId"),
    )
}

fn body(which: &DeadLetterFilter) -> Result<Value, CliError> {
    let mut body = json!({});
    let filter = [
        ("workflow", which.workflow.as_ref().map(|name| json!(name))),
        ("code", which.code.as_ref().map(|code| json!(code))),
        ("since", which.since.as_ref().map(|time| json!(time))),
        ("until", which.until.as_ref().map(|time| json!(time))),
        ("all", which.all.then_some(json!(true))),
    ];
    let filtered = filter.iter().any(|(_, value)| value.is_some());
    if which.ids.is_empty() != filtered {
        return Err(CliError::new(
            Exit::Usage,
            "say which entries: their ids, or --workflow, --code, --since, --until, or --all",
        ));
    }
    for (name, value) in filter {
        insert(&mut body, name, value);
    }
    let ids = (!which.ids.is_empty()).then(|| json!(which.ids));
    insert(&mut body, "ids", ids);
    Ok(body)
}

fn insert(body: &mut Value, name: &str, value: Option<Value>) {
    if let (Some(body), Some(value)) = (body.as_object_mut(), value) {
        body.insert(name.to_owned(), value);
    }
}

/// Calls until nothing is left of what there was at first: what fails again meanwhile is for the next time.
async fn bulk(client: &Client, verb: &str, mut body: Value, json: bool) -> Result<Exit, CliError> {
    if body.get("ids").is_none() && body.get("until").is_none() {
        insert(&mut body, "until", Some(json!(SystemClock.now())));
    }
    let mut refused = Vec::new();
    let mut skipped = Vec::new();
    let mut done = Vec::new();
    let mut full;
    let done_key = if verb == "redrive" {
        "redriven"
    } else {
        "dismissed"
    };
    loop {
        let path = format!("{PATH}/{verb}");
        let answer = client.call(Method::POST, &path, &[], Some(&body)).await?;
        let rows = |key: &str| {
            let rows = answer.get(key).and_then(Value::as_array);
            rows.cloned().unwrap_or_default()
        };
        done.extend(rows(done_key));
        refused.extend(rows("refused"));
        skipped.extend(rows("skipped"));
        full = answer.get("queueFull") == Some(&json!(true));
        let next = answer.get("nextCursor").filter(|next| next.is_string());
        match next.cloned() {
            Some(next) if !full => insert(&mut body, "cursor", Some(next)),
            _ => break,
        }
    }
    if json {
        print::value(&json!({
            done_key: done, "refused": refused, "skipped": skipped, "queueFull": full
        }));
    } else {
        told(done_key, &done, &refused, &skipped);
    }
    if verb == "redrive" && !done.is_empty() && !client.is_daemon() {
        print::aside(
            "no daemon is running: the runs are kept, and begin when one starts (flowweaver serve)",
        );
    }
    if full {
        let why = "the queue is full: the rest is still open; run the command again later";
        return Err(CliError::new(Exit::Refused, why));
    }
    Ok(match refused.is_empty() {
        true => Exit::Ok,
        false => Exit::Refused,
    })
}

/// What became of the entries, for a person.
fn told(done_key: &str, done: &[Value], refused: &[Value], skipped: &[Value]) {
    for row in done {
        match row.as_str() {
            Some(id) => print::line(&format!("{done_key} {id}")),
            None => print::line(&format!(
                "{done_key} {} as {}",
                print::text(row, "runId"),
                print::text(row, "redriveRunId")
            )),
        }
    }
    for row in refused {
        let (run, message) = (print::text(row, "runId"), print::text(row, "message"));
        print::line(&format!("refused {run}: {}", shown(message)));
    }
    for id in skipped.iter().filter_map(Value::as_str) {
        print::line(&format!("skipped {id}: it is unknown, or no longer open"));
    }
    print::line(&format!(
        "{} {done_key}, {} refused",
        done.len(),
        refused.len()
    ));
}
