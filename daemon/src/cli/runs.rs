//! The commands about runs and modules: each one call to the API and one way to print it.

use serde_json::{Map, Value, json};

use super::args::{Command, RerunArguments, RunArguments, RunCommand, RunsArguments};
use super::client::{Client, Method};
use super::exit::{CliError, Exit};
use super::print;
use super::{dead_letters, follow, kv, people, schedules, secrets, tokens};
use crate::diagnostic::shown;
use crate::id::WorkflowName;

/// Runs a command that speaks to the API.
pub async fn dispatch(client: &Client, command: Command, json: bool) -> Result<Exit, CliError> {
    match command {
        Command::Run(RunArguments {
            show: Some(RunCommand::Show { run }),
            ..
        }) => show(client, &run.to_string(), json).await,
        Command::Run(arguments) => run(client, arguments, json).await,
        Command::Runs(arguments) => runs(client, &arguments, json).await,
        Command::Logs(arguments) if arguments.follow => {
            follow::logs(client, &arguments.run.to_string(), json).await
        }
        Command::Logs(arguments) => logs(client, &arguments.run.to_string(), json).await,
        Command::Tasks => tasks(client, json).await,
        Command::Workflows => workflows(client, json).await,
        Command::Cancel(arguments) => {
            let path = format!("/v0/workflow-runs/{}/cancel", arguments.run);
            let answer = client
                .call(
                    Method::POST,
                    &path,
                    &[],
                    Some(&json!({ "reason": arguments.reason })),
                )
                .await?;
            if !client.is_daemon() {
                print::aside(
                    "no daemon is running: the order is kept, and carried out when one starts (flowweaver serve)",
                );
            }
            Ok(said(
                json,
                &answer,
                &format!("cancelling {}", arguments.run),
            ))
        }
        Command::Rerun(arguments) => rerun(client, arguments, json).await,
        Command::Secret(command) => secrets::dispatch(client, command, json).await,
        Command::DeadLetters(arguments) => {
            dead_letters::dispatch(client, arguments.command, &arguments.list, json).await
        }
        Command::Schedule(command) => schedules::dispatch(client, command, json).await,
        Command::Kv(command) => kv::dispatch(client, command, json).await,
        Command::User(command) => people::user(client, command, json).await,
        Command::Role(command) => people::role(client, command, json).await,
        Command::Organization(command) => people::organization(client, command, json).await,
        Command::Audit(arguments) => people::audit(client, &arguments, json).await,
        Command::Token(command) => tokens::dispatch(client, command, json).await,
        // These never come here: they need no daemon.
        Command::Serve | Command::Check(_) | Command::Schema | Command::CompileModule(_) => {
            Ok(Exit::Usage)
        }
    }
}

pub(super) fn said(json: bool, answer: &Value, text: &str) -> Exit {
    if json {
        return print::value(answer);
    }
    print::line(text);
    Exit::Ok
}

/// `NAME=VALUE` pairs as an object; a value that is JSON is taken as such.
pub(super) fn inputs(pairs: &[String]) -> Result<Value, CliError> {
    let mut inputs = Map::new();
    for pair in pairs {
        let (name, value) = pair.split_once('=').ok_or_else(|| {
            CliError::new(Exit::Usage, format!("--input {pair}: write NAME=VALUE"))
        })?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        inputs.insert(name.to_owned(), value);
    }
    Ok(Value::Object(inputs))
}

async fn run(client: &Client, arguments: RunArguments, json: bool) -> Result<Exit, CliError> {
    let Some(workflow) = arguments.workflow else {
        return Err(CliError::new(Exit::Usage, "name a workflow"));
    };
    let mut body = json!({ "inputs": inputs(&arguments.inputs)? });
    if let (Some(text), Some(body)) = (&arguments.overrides, body.as_object_mut()) {
        let overrides: Value = serde_json::from_str(text)
            .map_err(|error| CliError::new(Exit::Usage, format!("--overrides: {error}")))?;
        body.insert("config".to_owned(), overrides);
    }
    if let (Some(priority), Some(body)) = (arguments.priority, body.as_object_mut()) {
        body.insert("priority".to_owned(), priority.into());
    }
    let headers: Vec<(&str, &str)> = arguments
        .idempotency_key
        .as_deref()
        .map(|key| ("idempotency-key", key))
        .into_iter()
        .collect();
    let path = format!("/v0/workflows/{workflow}/run");
    let accepted = match client
        .call(Method::POST, &path, &headers, Some(&body))
        .await
    {
        Err(refusal) if refusal.exit == Exit::Refused => {
            return Err(explain(client, &workflow, refusal).await);
        }
        answer => answer?,
    };
    begun(client, &accepted, arguments.detach, json).await
}

/// Adds to a refusal what would help: a workflow with a similar name, or the files that are broken.
async fn explain(client: &Client, workflow: &WorkflowName, mut refusal: CliError) -> CliError {
    let Ok(Value::Array(known)) = client.get("/v0/workflows").await else {
        return refusal;
    };
    let names: Vec<&str> = known
        .iter()
        .map(|workflow| print::text(workflow, "name"))
        .collect();
    if names.contains(&workflow.as_str()) {
        return refusal;
    }
    let near = names.iter().max_by(|a, b| {
        let likeness = |name: &str| strsim::jaro_winkler(name, workflow.as_str());
        likeness(a).total_cmp(&likeness(b))
    });
    refusal.message = match near {
        Some(near) => format!("there is no workflow `{workflow}`; did you mean `{near}`?"),
        None => format!("there is no workflow `{workflow}`"),
    };
    if let Ok(Value::Array(problems)) = client.get("/v0/problems").await {
        for problem in &problems {
            let (file, text) = (print::text(problem, "file"), print::text(problem, "text"));
            refusal
                .message
                .push_str(&format!("\n\n{file} is not live as it stands:\n{text}"));
        }
    }
    refusal
}

async fn rerun(client: &Client, arguments: RerunArguments, json: bool) -> Result<Exit, CliError> {
    let mut body = json!({ "version": if arguments.newest { "newest" } else { "same" } });
    if let Some(body) = body.as_object_mut() {
        match &arguments.from {
            Some(task) => body.insert("task".to_owned(), json!(task)),
            None => body.insert(
                "from".to_owned(),
                json!(if arguments.from_start {
                    "start"
                } else {
                    "failed"
                }),
            ),
        };
    }
    let path = format!("/v0/workflow-runs/{}/rerun", arguments.run);
    let accepted = client.call(Method::POST, &path, &[], Some(&body)).await?;
    begun(client, &accepted, arguments.detach, json).await
}

async fn begun(
    client: &Client,
    accepted: &Value,
    detach: bool,
    json: bool,
) -> Result<Exit, CliError> {
    let run = print::text(accepted, "runId").to_owned();
    if detach {
        let mut accepted = accepted.clone();
        if let (false, Some(accepted)) = (client.is_daemon(), accepted.as_object_mut()) {
            let note = "no daemon is running: the run is kept, and begins when one starts (flowweaver serve)";
            accepted.insert("note".to_owned(), note.into());
            print::aside(note);
        }
        return Ok(said(json, &accepted, &run));
    }
    follow::run(client, &run, json).await
}

async fn show(client: &Client, run: &str, json: bool) -> Result<Exit, CliError> {
    let mut view = client.get(&format!("/v0/workflow-runs/{run}")).await?;
    let io = client.get(&format!("/v0/workflow-runs/{run}/io")).await?;
    if json {
        if let Some(view) = view.as_object_mut() {
            view.insert("io".to_owned(), io);
        }
        return Ok(print::value(&view));
    }
    print::line(&print::tree(&view, true));
    family(&view);
    for row in io.as_array().into_iter().flatten() {
        let data = row.get("data").map(Value::to_string).unwrap_or_default();
        let item = row
            .get("itemIndex")
            .and_then(Value::as_i64)
            .map_or(String::new(), |at| format!("[{at}]"));
        print::line(&format!(
            "{} {}{item}: {}",
            print::text(row, "kind"),
            print::text(row, "task"),
            shown(&data)
        ));
        if let Some(origins) = row.get("origins").filter(|origins| origins.is_object()) {
            print::line(&format!("  from {origins}"));
        }
    }
    Ok(Exit::Ok)
}

/// Prints the run above a run, the runs that are its tasks, and what its end started.
fn family(view: &Value) {
    let named = |run: &Value| {
        format!(
            "{} {} #{}  {}  ({})",
            print::mark(print::text(run, "status")),
            print::text(run, "workflow"),
            run.get("number").unwrap_or(&Value::Null),
            print::text(run, "status"),
            print::text(run, "id"),
        )
    };
    for (key, words) in [
        ("parent", "a task of"),
        ("triggeredByRun", "started by the end of"),
    ] {
        if let Some(run) = view.get(key).filter(|run| run.is_object()) {
            print::line(&format!("{words}  {}", named(run)));
        }
    }
    for child in view
        .get("children")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        print::line(&format!("runs  {}", named(child)));
    }
    for delivery in view
        .get("deliveries")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let reason = delivery.get("reason").filter(|reason| reason.is_object());
        let why = reason.map_or_else(String::new, |reason| {
            let (code, message) = (print::text(reason, "code"), print::text(reason, "message"));
            format!("  {code}: {}", shown(message))
        });
        let run = match print::text(delivery, "runId") {
            "" => String::new(),
            run => format!("  ({run})"),
        };
        print::line(&format!(
            "its end {} {}{run}{why}",
            match print::text(delivery, "state") {
                "started" => "started",
                "pending" => "is to start",
                "skipped" => "did not start",
                _ => "could not start",
            },
            print::text(delivery, "workflow"),
        ));
    }
}

async fn runs(client: &Client, arguments: &RunsArguments, json: bool) -> Result<Exit, CliError> {
    let mut path = format!("/v0/workflow-runs?limit={}", arguments.limit);
    if let Some(workflow) = &arguments.workflow {
        path.push_str("&workflow=");
        path.push_str(workflow.as_str());
    }
    if !arguments.status.is_empty() {
        let words: Vec<_> = arguments
            .status
            .iter()
            .map(|status| status.as_str())
            .collect();
        path.push_str("&status=");
        path.push_str(&words.join(","));
    }
    for (name, run) in [("parent", arguments.parent), ("root", arguments.root)] {
        if let Some(run) = run {
            path.push_str(&format!("&{name}={run}"));
        }
    }
    let page = client.get(&path).await?;
    if json {
        return Ok(print::value(&page));
    }
    let rows = page
        .get("data")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    if rows.is_empty() {
        print::line("no runs yet; start one with: flowweaver run NAME");
    }
    for row in rows {
        let at = print::text(row, "createdAt").get(..19).unwrap_or_default();
        print::line(&format!(
            "{} {}  {at}Z  {:<9} {:<8} {} #{}  {}",
            print::mark(print::text(row, "status")),
            print::text(row, "id"),
            print::text(row, "status"),
            print::text(row, "trigger"),
            print::text(row, "workflow"),
            row.get("number").unwrap_or(&Value::Null),
            print::duration(row, "durationMs"),
        ));
    }
    Ok(Exit::Ok)
}

async fn logs(client: &Client, run: &str, json: bool) -> Result<Exit, CliError> {
    let mut after = 0;
    loop {
        let rows = client
            .get(&format!("/v0/workflow-runs/{run}/logs?after={after}"))
            .await?;
        let rows = rows.as_array().map(Vec::as_slice).unwrap_or_default();
        let last = rows.last().and_then(|row| row.get("eventId"));
        let Some(last) = last.and_then(Value::as_i64) else {
            return Ok(Exit::Ok);
        };
        after = last;
        for row in rows {
            print::line(&if json {
                row.to_string()
            } else {
                print::log_row(row, true)
            });
        }
    }
}

async fn tasks(client: &Client, json: bool) -> Result<Exit, CliError> {
    let modules = client.get("/v0/tasks").await?;
    if json {
        return Ok(print::value(&modules));
    }
    for module in modules.as_array().into_iter().flatten() {
        let description = module.get("description").unwrap_or(&Value::Null);
        print::line(&format!(
            "{:<20} {}  {:>5} KiB  {}",
            print::text(module, "name"),
            print::text(module, "digest").get(7..19).unwrap_or_default(),
            module.get("sizeBytes").and_then(Value::as_u64).unwrap_or(0) / 1024,
            shown(print::text(description, "summary")),
        ));
    }
    problems(client).await
}

async fn workflows(client: &Client, json: bool) -> Result<Exit, CliError> {
    let found = client.get("/v0/workflows").await?;
    if json {
        return Ok(print::value(&found));
    }
    for workflow in found.as_array().into_iter().flatten() {
        print::line(&format!(
            "{:<24} {}  {} tasks  {}",
            print::text(workflow, "name"),
            print::text(workflow, "version")
                .get(7..19)
                .unwrap_or_default(),
            workflow.get("tasks").unwrap_or(&Value::Null),
            shown(print::text(workflow, "description")),
        ));
    }
    problems(client).await
}

/// Prints the files that are not live as they stand; that is a failed look at things.
async fn problems(client: &Client) -> Result<Exit, CliError> {
    let found = client.get("/v0/problems").await?;
    let mut exit = Exit::Ok;
    for problem in found.as_array().into_iter().flatten() {
        exit = Exit::Failed;
        let kept = if problem.get("lastGood").is_some_and(Value::is_string) {
            "; the last good version stays live"
        } else {
            ""
        };
        print::line(&format!(
            "\n{} is {}{kept}",
            print::text(problem, "file"),
            print::text(problem, "kind")
        ));
        // Diagnostics have several lines and were escaped when they were made.
        print::line(print::text(problem, "text"));
    }
    Ok(exit)
}
