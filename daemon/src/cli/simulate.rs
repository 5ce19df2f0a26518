//! `schedule simulate`: every decision that the daemon would make, printed without one.

use std::fs;
use std::path::PathBuf;

use chrono::{DateTime, SecondsFormat, Utc};
use chrono_tz::Tz;
use serde_json::{Value, json};

use super::args::SimulateArguments;
use super::exit::{CliError, Exit};
use super::print;
use crate::clock::Timestamp;
use crate::config::Settings;
use crate::diagnostic;
use crate::id::WorkflowName;
use crate::schedule::plan::delay;
use crate::schedule::simulate::{Decision, Play, simulate as play};
use crate::workflow::schedule::{Schedule, instant};
use crate::workflow::{WorkflowSource, schedules};

/// Plays the schedules of a file. Exit code 1 when they have mistakes.
pub fn simulate(
    settings: &Settings,
    arguments: &SimulateArguments,
    json: bool,
) -> Result<Exit, CliError> {
    let usage = |message: String| CliError::new(Exit::Usage, message);
    let file = file(settings, arguments);
    let text =
        fs::read_to_string(&file).map_err(|error| usage(format!("{}: {error}", file.display())))?;
    let source = WorkflowSource::new(file.display().to_string(), text);
    let (workflow, found) = match schedules(&source) {
        Ok(found) => found,
        Err(remarks) => {
            print::line(&diagnostic::render(&remarks));
            return Ok(Exit::Failed);
        }
    };
    let wanted: Vec<&Schedule> = found
        .iter()
        .filter(|schedule| {
            let only = arguments.schedule.as_ref();
            only.is_none_or(|only| schedule.name == *only)
        })
        .collect();
    if wanted.is_empty() {
        let names: Vec<&str> = found
            .iter()
            .map(|schedule| schedule.name.as_str())
            .collect();
        let message = match names.is_empty() {
            true => format!("{} has no schedules", file.display()),
            false => format!("there is no such schedule; there are {}", names.join(", ")),
        };
        return Err(CliError::new(Exit::Refused, message));
    }
    let mut answers = Vec::new();
    for schedule in wanted {
        answers.push(one(&workflow, schedule, arguments, json)?);
    }
    if json {
        print::value(&Value::Array(answers));
    }
    Ok(Exit::Ok)
}

/// The file, or that of a workflow's name.
fn file(settings: &Settings, arguments: &SimulateArguments) -> PathBuf {
    let given = &arguments.file;
    let name = given
        .to_str()
        .and_then(|text| text.parse::<WorkflowName>().ok());
    match name {
        Some(name) if !given.exists() => settings.paths.flows.join(format!("{name}.toml")),
        _ => given.clone(),
    }
}

fn one(
    workflow: &WorkflowName,
    schedule: &Schedule,
    arguments: &SimulateArguments,
    json: bool,
) -> Result<Value, CliError> {
    let zone = schedule.timezone;
    let at = |option: &str, text: &str| {
        instant(text, zone)
            .map_err(|error| CliError::new(Exit::Usage, format!("{option} {text}: {error}")))
    };
    let mut down = Vec::new();
    for span in &arguments.down {
        let (begin, end) = span.split_once("..").ok_or_else(|| {
            CliError::new(Exit::Usage, format!("--down {span}: write BEGIN..END"))
        })?;
        let (begin, end) = (at("--down", begin)?, at("--down", end)?);
        if begin >= end {
            return Err(CliError::new(
                Exit::Usage,
                format!("--down {span}: it ends before it begins"),
            ));
        }
        down.push((begin, end));
    }
    down.sort_unstable();
    let stage = Play {
        from: at("--from", &arguments.from)?,
        to: at("--to", &arguments.to)?,
        down,
        run_time: arguments.run_time.0,
        limit: arguments.limit as usize,
    };
    let times = schedule.times().map_err(|problems| {
        let problems: Vec<String> = problems.into_iter().map(|p| p.message).collect();
        CliError::new(Exit::Failed, problems.join("; "))
    })?;
    let (decisions, more) = play(schedule, &times, delay(workflow, schedule), &stage);
    if !json {
        say(schedule, &decisions, more, zone);
    }
    Ok(json!({ "schedule": schedule.name, "decisions": decisions, "more": more }))
}

fn say(schedule: &Schedule, decisions: &[Decision], more: bool, zone: Tz) {
    print::line(&format!("{} ({} in {zone})", schedule.name, schedule.cron));
    if !schedule.enabled {
        print::line("  it is not enabled");
    }
    let local = |at: Timestamp| {
        DateTime::<Utc>::from(at)
            .with_timezone(&zone)
            .to_rfc3339_opts(SecondsFormat::AutoSi, false)
    };
    for decision in decisions {
        let span = match decision.times {
            1 => String::new(),
            times => format!(" to {} ({times} times)", local(decision.last)),
        };
        let late = match decision.at == decision.nominal {
            true => String::new(),
            false => format!("  at {}", local(decision.at)),
        };
        let reason = decision
            .reason
            .map_or_else(String::new, |reason| format!("  {reason}"));
        let caught_up = if decision.caught_up {
            "  caught up"
        } else {
            ""
        };
        print::line(&format!(
            "  {}{span}  {}{late}{caught_up}{reason}",
            local(decision.nominal),
            decision.decision,
        ));
    }
    if more {
        print::line("  … (--limit)");
    }
}
