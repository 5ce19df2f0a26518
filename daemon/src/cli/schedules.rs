//! `schedule`: when workflows start by themselves, and why they did or did not, on a terminal.

use serde_json::{Map, Value, json};

use super::args::{
    ScheduleCommand, ScheduleCreateArguments, ScheduleKeys, ScheduleUpdateArguments,
};
use super::client::{Client, Method};
use super::exit::{CliError, Exit};
use super::print;
use super::runs::{inputs, said};
use crate::diagnostic::shown;
use crate::id::ScheduleId;

/// Runs a command that speaks to the API.
pub async fn dispatch(
    client: &Client,
    command: ScheduleCommand,
    json: bool,
) -> Result<Exit, CliError> {
    match command {
        ScheduleCommand::List { workflow } => {
            let path = match workflow {
                Some(workflow) => format!("/v0/workflows/{workflow}/schedules"),
                None => "/v0/schedules".to_owned(),
            };
            list(client, &path, json).await
        }
        ScheduleCommand::Show { schedule } => {
            let found = client.get(&place(client, &schedule).await?).await?;
            show(&found, json)
        }
        ScheduleCommand::Create(arguments) => create(client, arguments, json).await,
        ScheduleCommand::Update(arguments) => update(client, arguments, json).await,
        ScheduleCommand::Delete { schedule } => {
            let path = place(client, &schedule).await?;
            let answer = client.call(Method::DELETE, &path, &[], None).await?;
            Ok(said(json, &answer, &format!("deleted {}", name(&answer))))
        }
        ScheduleCommand::Pause { schedule } => active(client, &schedule, false, json).await,
        ScheduleCommand::Resume { schedule } => active(client, &schedule, true, json).await,
        ScheduleCommand::Preview { schedule, n } => {
            let path = place(client, &schedule).await?;
            preview(client, &format!("{path}/preview?n={n}"), json).await
        }
        ScheduleCommand::Fires { schedule, limit } => {
            let path = place(client, &schedule).await?;
            fires(client, &format!("{path}/fires?limit={limit}"), json).await
        }
        ScheduleCommand::Backfill {
            schedule,
            from,
            to,
            dry_run,
        } => {
            let path = format!("{}/backfill", place(client, &schedule).await?);
            let body = json!({ "from": from, "to": to, "dryRun": dry_run });
            backfill(client, &path, &body, json).await
        }
        // It needs no daemon and never comes here.
        ScheduleCommand::Simulate(_) => Ok(Exit::Usage),
    }
}

/// The path of a schedule that is given by its id or by WORKFLOW/NAME.
async fn place(client: &Client, schedule: &str) -> Result<String, CliError> {
    if let Ok(id) = schedule.parse::<ScheduleId>() {
        return Ok(format!("/v0/schedules/{id}"));
    }
    let Some((workflow, wanted)) = schedule.split_once('/') else {
        let message = format!(
            "{}: write a schedule's id, or WORKFLOW/NAME",
            shown(schedule)
        );
        return Err(CliError::new(Exit::Usage, message));
    };
    let workflow = workflow
        .parse::<crate::id::WorkflowName>()
        .map_err(|error| CliError::new(Exit::Usage, error))?;
    let found = client
        .get(&format!("/v0/workflows/{workflow}/schedules"))
        .await?;
    let rows = found.as_array().into_iter().flatten();
    let known: Vec<&str> = rows.clone().map(|row| print::text(row, "name")).collect();
    match rows.clone().find(|row| print::text(row, "name") == wanted) {
        Some(row) => Ok(format!("/v0/schedules/{}", print::text(row, "id"))),
        None => {
            let known = match known.is_empty() {
                true => "it has none".to_owned(),
                false => format!("it has {}", known.join(", ")),
            };
            let message = format!(
                "workflow {workflow} has no schedule {}; {known}",
                shown(wanted)
            );
            Err(CliError::new(Exit::Refused, message))
        }
    }
}

fn name(row: &Value) -> String {
    format!(
        "{}/{}",
        print::text(row, "workflow"),
        print::text(row, "name")
    )
}

fn second(text: &str) -> String {
    text.get(..19)
        .map_or_else(|| text.to_owned(), |at| format!("{at}Z"))
}

/// Whether it fires, in a word or two.
fn state(row: &Value) -> &'static str {
    let is = |key: &str| row.get(key).and_then(Value::as_bool).unwrap_or(false);
    if !print::text(row, "retiredAt").is_empty() {
        "removed"
    } else if !is("isActive") {
        "paused"
    } else if is("live") {
        "active"
    } else {
        "workflow not live"
    }
}

async fn list(client: &Client, path: &str, json: bool) -> Result<Exit, CliError> {
    let found = client.get(path).await?;
    if json {
        return Ok(print::value(&found));
    }
    let rows: Vec<&Value> = found.as_array().into_iter().flatten().collect();
    for row in &rows {
        let next = match print::text(row, "nextFiresAt") {
            "" => state(row).to_owned(),
            at => format!("next {}", second(at)),
        };
        print::line(&format!(
            "{:<40} {:<22} {:<20} {next}",
            name(row),
            shown(print::text(row, "cron")),
            print::text(row, "timezone"),
        ));
    }
    if rows.is_empty() {
        print::line("no schedules");
    }
    Ok(Exit::Ok)
}

fn show(row: &Value, json: bool) -> Result<Exit, CliError> {
    if json {
        return Ok(print::value(row));
    }
    print::line(&format!(
        "{}  {}  {}",
        name(row),
        print::text(row, "id"),
        state(row)
    ));
    let keys = [
        "cron",
        "timezone",
        "catchUp",
        "catchUpWindow",
        "catchUpMax",
        "overlap",
        "jitter",
        "start",
        "end",
        "inputs",
        "config",
        "origin",
        "file",
        "nextAt",
        "nextFiresAt",
        "decidedUntil",
    ];
    for key in keys {
        let value = row.get(key).filter(|value| !value.is_null());
        let text = match value {
            Some(Value::String(text)) => shown(text),
            Some(other) => other.to_string(),
            None => continue,
        };
        print::line(&format!("  {key:<14} {text}"));
    }
    Ok(Exit::Ok)
}

/// The keys that were given, as the API takes them.
fn given(keys: &ScheduleKeys) -> Result<Map<String, Value>, CliError> {
    let mut body = Map::new();
    let text = [
        ("cron", keys.cron.clone()),
        ("timezone", keys.timezone.clone()),
        ("catchUp", keys.catch_up.clone()),
        (
            "catchUpWindow",
            keys.catch_up_window.map(|span| span.to_string()),
        ),
        ("overlap", keys.overlap.clone()),
        ("jitter", keys.jitter.map(|span| span.to_string())),
        ("start", keys.start.clone()),
        ("end", keys.end.clone()),
    ];
    for (key, value) in text {
        if let Some(value) = value {
            body.insert(key.to_owned(), value.into());
        }
    }
    if let Some(max) = keys.catch_up_max {
        body.insert("catchUpMax".to_owned(), max.into());
    }
    if !keys.inputs.is_empty() {
        body.insert("inputs".to_owned(), inputs(&keys.inputs)?);
    }
    if let Some(text) = &keys.overrides {
        let overrides: Value = serde_json::from_str(text)
            .map_err(|error| CliError::new(Exit::Usage, format!("--overrides: {error}")))?;
        body.insert("config".to_owned(), overrides);
    }
    Ok(body)
}

async fn create(
    client: &Client,
    arguments: ScheduleCreateArguments,
    json: bool,
) -> Result<Exit, CliError> {
    let mut body = given(&arguments.keys)?;
    for (key, option) in [("cron", "--cron"), ("timezone", "--timezone")] {
        if !body.contains_key(key) {
            return Err(CliError::new(Exit::Usage, format!("{option} is missing")));
        }
    }
    body.insert("name".to_owned(), arguments.name.as_str().into());
    body.insert("isActive".to_owned(), (!arguments.paused).into());
    let path = format!("/v0/workflows/{}/schedules", arguments.workflow);
    let answer = client
        .call(Method::POST, &path, &[], Some(&Value::Object(body)))
        .await?;
    let text = format!("created {}  {}", name(&answer), print::text(&answer, "id"));
    Ok(said(json, &answer, &text))
}

/// What an edit may say; the rest of a view is facts.
const EDITABLE: [&str; 13] = [
    "name",
    "cron",
    "timezone",
    "isActive",
    "catchUp",
    "catchUpWindow",
    "catchUpMax",
    "overlap",
    "jitter",
    "start",
    "end",
    "inputs",
    "config",
];

async fn update(
    client: &Client,
    arguments: ScheduleUpdateArguments,
    json: bool,
) -> Result<Exit, CliError> {
    let changes = given(&arguments.keys)?;
    if changes.is_empty() {
        return Err(CliError::new(
            Exit::Usage,
            "nothing to change: name an option",
        ));
    }
    let path = place(client, &arguments.schedule).await?;
    let before = client.get(&path).await?;
    let kept = EDITABLE.iter().filter_map(|key| {
        let value = before.get(*key).filter(|value| !value.is_null())?;
        Some(((*key).to_owned(), value.clone()))
    });
    let mut body: Map<String, Value> = kept.collect();
    body.extend(changes);
    let revision = before.get("revision").and_then(Value::as_i64).unwrap_or(0);
    let seen = format!("\"{revision}\"");
    let answer = client
        .call(
            Method::PUT,
            &path,
            &[("if-match", &seen)],
            Some(&Value::Object(body)),
        )
        .await?;
    Ok(said(json, &answer, &format!("changed {}", name(&answer))))
}

async fn active(
    client: &Client,
    schedule: &str,
    active: bool,
    json: bool,
) -> Result<Exit, CliError> {
    let path = format!(
        "{}/active?isActive={active}",
        place(client, schedule).await?
    );
    let answer = client.call(Method::PATCH, &path, &[], None).await?;
    let word = if active { "resumed" } else { "paused" };
    Ok(said(json, &answer, &format!("{word} {}", name(&answer))))
}

async fn preview(client: &Client, path: &str, json: bool) -> Result<Exit, CliError> {
    let times = client.get(path).await?;
    if json {
        return Ok(print::value(&times));
    }
    let rows: Vec<&Value> = times.as_array().into_iter().flatten().collect();
    for row in &rows {
        let (at, fires) = (print::text(row, "nominalAt"), print::text(row, "firesAt"));
        let late = match at == fires {
            true => String::new(),
            false => format!("  fires {}", second(fires)),
        };
        print::line(&format!(
            "{}  {}{late}",
            print::text(row, "local"),
            second(at)
        ));
    }
    if rows.is_empty() {
        print::line("it does not fire");
    }
    Ok(Exit::Ok)
}

async fn fires(client: &Client, path: &str, json: bool) -> Result<Exit, CliError> {
    let page = client.get(path).await?;
    if json {
        return Ok(print::value(&page));
    }
    let rows: Vec<&Value> = page
        .get("data")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .collect();
    for row in &rows {
        let number = row.get("times").and_then(Value::as_u64).unwrap_or(1);
        let at_least = row
            .get("timesAtLeast")
            .and_then(Value::as_bool)
            .unwrap_or(false);
        let span = match (number, at_least) {
            (1, _) => String::new(),
            (n, least) => format!(
                " to {} ({}{n} times)",
                second(print::text(row, "lastAt")),
                if least { "at least " } else { "" }
            ),
        };
        let rest = match row.get("reason").filter(|reason| !reason.is_null()) {
            Some(reason) => format!(
                "{} ({})",
                shown(print::text(reason, "message")),
                print::text(reason, "code")
            ),
            None => format!(
                "{} {}",
                print::text(row, "runId"),
                print::text(row, "runStatus")
            ),
        };
        let cause = match print::text(row, "cause") {
            "time" => "",
            cause => cause,
        };
        let at = second(print::text(row, "nominalAt"));
        print::line(&format!(
            "{at}{span}  {:<8} {cause:<9} {rest}",
            print::text(row, "outcome")
        ));
    }
    if rows.is_empty() {
        print::line("none of its times has come yet");
    }
    Ok(Exit::Ok)
}

async fn backfill(client: &Client, path: &str, body: &Value, json: bool) -> Result<Exit, CliError> {
    let answer = client.call(Method::POST, path, &[], Some(body)).await?;
    if !client.is_daemon() && body.get("dryRun") == Some(&Value::Bool(false)) {
        print::aside("no daemon is running: the runs begin when one starts (flowweaver serve)");
    }
    if json {
        return Ok(print::value(&answer));
    }
    for row in answer
        .get("times")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let runs = row.get("runs").and_then(Value::as_bool).unwrap_or(false);
        let what = if runs { "runs" } else { "has run" };
        print::line(&format!("{}  {what}", print::text(row, "local")));
    }
    let runs = answer.get("runs").and_then(Value::as_u64).unwrap_or(0);
    print::line(&format!("{runs} to run"));
    Ok(Exit::Ok)
}
