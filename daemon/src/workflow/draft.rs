//! A file as decoded: every value typed and with its place, no name resolved yet.
//!
//! The tasks are in `draft_task`; resolving is `compile`'s work.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use serde_json::{Map, Value};

use super::decode::{At, DeTable, DeValue, Entry, Fields, Node, parsed, wrong_type};
use super::draft_task::{DraftJob, DraftPolicy, decode_job, decode_policy};
use super::keys;
use super::model::{CatchUp, End, InputSpec, Overlap, Retention, RunOn};
use super::report::Report;
use super::value::to_json;
use crate::id::{ScheduleName, VariableName, WorkflowName};

/// The file format this daemon reads.
const FORMAT: i64 = 1;

/// A whole file.
pub(super) struct Draft<'d> {
    pub(super) name: Option<At<WorkflowName>>,
    pub(super) description: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) inputs: Vec<At<InputSpec>>,
    pub(super) vars: Vec<(At<VariableName>, Value)>,
    pub(super) schedules: Vec<DraftSchedule<'d>>,
    pub(super) triggers: Vec<At<DraftTrigger<'d>>>,
    pub(super) defaults: DraftPolicy,
    pub(super) jobs: Vec<DraftJob<'d>>,
    pub(super) timeout: Option<At<Duration>>,
    pub(super) concurrency: Option<DraftConcurrency<'d>>,
    pub(super) priority: i32,
    pub(super) retention: Retention,
}

/// One `[[schedule]]`.
pub(super) struct DraftSchedule<'d> {
    pub(super) at: Range<usize>,
    pub(super) name: Option<At<ScheduleName>>,
    pub(super) cron: Option<At<&'d str>>,
    pub(super) timezone: Option<At<chrono_tz::Tz>>,
    pub(super) enabled: Option<bool>,
    pub(super) catch_up_window: Option<At<Duration>>,
    pub(super) catch_up_max: Option<At<u32>>,
    pub(super) jitter: Option<At<Duration>>,
    pub(super) start: Option<At<&'d str>>,
    pub(super) end: Option<At<&'d str>>,
    pub(super) catch_up: CatchUp,
    pub(super) overlap: Overlap,
    pub(super) inputs: Vec<Entry<'d>>,
    pub(super) config: Vec<Entry<'d>>,
}

/// One `[[on]]`.
pub(super) enum DraftTrigger<'d> {
    Webhook { name: ScheduleName },
    Workflow(DraftAfter<'d>),
}

/// `[[on]] workflow = "NAME"`.
pub(super) struct DraftAfter<'d> {
    pub(super) name: At<WorkflowName>,
    pub(super) ends: Vec<End>,
    pub(super) when: Option<At<&'d str>>,
    pub(super) inputs: Vec<Entry<'d>>,
}

/// `concurrency = { … }`.
pub(super) struct DraftConcurrency<'d> {
    pub(super) key: Option<Node<'d>>,
    pub(super) max: u32,
}

/// Decodes a file; everything wrong is in the report.
pub(super) fn decode<'d>(table: &'d DeTable<'d>, report: &mut Report) -> Draft<'d> {
    let fields = Fields::new(&keys::FILE, first_line(report.text()), table, report);
    format_version(&fields, report);
    let retention = fields.table("retention", report);
    let concurrency = fields.table("concurrency", report);
    let defaults = fields.table("defaults", report);
    let jobs = fields.tables("job", report);
    if let Some(entry) = fields.get("job")
        && entry.node.get_ref().is_array()
        && jobs.is_empty()
    {
        let at = entry.key_span.clone();
        report
            .error(at, "a workflow needs at least one job")
            .derived();
    }
    Draft {
        name: fields.parsed("name", report),
        description: fields
            .text("description", report)
            .map_or_else(String::new, |text| text.value.to_owned()),
        labels: labels(&fields, report),
        inputs: inputs(&fields, report),
        vars: vars(&fields, report),
        schedules: fields
            .tables("schedule", report)
            .iter()
            .map(|schedule| decode_schedule(schedule, report))
            .collect(),
        triggers: fields
            .tables("on", report)
            .iter()
            .filter_map(|trigger| decode_trigger(trigger, report))
            .collect(),
        defaults: defaults.map_or_else(DraftPolicy::default, |defaults| {
            decode_policy(&defaults, report)
        }),
        jobs: jobs.iter().map(|job| decode_job(job, report)).collect(),
        timeout: fields.duration("timeout", report),
        concurrency: concurrency.map(|concurrency| DraftConcurrency {
            key: concurrency.node("key"),
            max: concurrency.count("max", report).map_or(1, |max| max.value),
        }),
        priority: fields
            .integer("priority", report)
            .and_then(|priority| i32::try_from(priority.value).ok())
            .unwrap_or_default(),
        retention: retention.map_or_else(Retention::default, |retention| Retention {
            age: retention.duration("age", report).map(|age| age.value),
            runs: retention.count("runs", report).map(|runs| runs.value),
        }),
    }
}

/// Where remarks about the whole file point: its first line that is more than a comment.
fn first_line(text: &str) -> Range<usize> {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let bare = line.trim();
        if !bare.is_empty() && !bare.starts_with('#') {
            return start..start + line.trim_end().len();
        }
        start += line.len();
    }
    0..text.lines().next().map_or(0, str::len)
}

fn format_version(fields: &Fields<'_>, report: &mut Report) {
    let Some(node) = fields.node("flowweaver") else {
        return;
    };
    let version = node
        .get_ref()
        .as_integer()
        .and_then(|version| i64::from_str_radix(version.as_str(), version.radix()).ok());
    if version != Some(FORMAT) {
        report
            .error(node.span(), "this version of the file format is not known")
            .help(format!("write flowweaver = {FORMAT}"));
    }
}

fn labels(fields: &Fields<'_>, report: &mut Report) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for Entry { key, node, .. } in fields.map("labels", report).unwrap_or_default() {
        match node.get_ref().as_str() {
            Some(text) => {
                labels.insert(key.to_owned(), text.to_owned());
            }
            None => wrong_type(key, node, "text in quotes", report),
        }
    }
    labels
}

fn vars(fields: &Fields<'_>, report: &mut Report) -> Vec<(At<VariableName>, Value)> {
    let mut vars = Vec::new();
    for Entry {
        key,
        key_span,
        node,
    } in fields.map("vars", report).unwrap_or_default()
    {
        if let Some(text) = node.get_ref().as_str()
            && text.contains("{{")
        {
            report
                .error(
                    node.span(),
                    "a var is a constant: `{{ }}` is not evaluated in it",
                )
                .help("put the expression where the value is used");
        }
        let value = to_json(node, report);
        if let Some(name) = parsed(&At::new(key, key_span), report) {
            vars.push((name, value));
        }
    }
    vars
}

fn inputs(fields: &Fields<'_>, report: &mut Report) -> Vec<At<InputSpec>> {
    let mut inputs = Vec::new();
    for Entry {
        key,
        key_span,
        node,
    } in fields.map("inputs", report).unwrap_or_default()
    {
        let name = parsed::<VariableName>(&At::new(key, key_span.clone()), report);
        let DeValue::Table(table) = node.get_ref() else {
            wrong_type(key, node, "a table, like { type = \"string\" }", report);
            continue;
        };
        let at = if node.span().is_empty() {
            key_span
        } else {
            node.span()
        };
        let input = Fields::new(&keys::INPUT, at.clone(), table, report);
        let schema = input_schema(&input, report);
        let default = input.node("default").map(|node| to_json(node, report));
        let required = input.bool("required", report);
        if let (Some(true), Some(_)) = (required, &default) {
            let at = input
                .node("required")
                .map_or(at.clone(), |node| node.span());
            report
                .error(at, "an input with a default is never missing")
                .help("remove `required` or `default`");
        }
        let Some(name) = name else { continue };
        let spec = InputSpec {
            name: name.value,
            required: required.unwrap_or(default.is_none()),
            schema,
            default,
        };
        check_input(&spec, &input, report);
        inputs.push(At::new(spec, at));
    }
    inputs
}

const TYPES: [&str; 6] = ["string", "integer", "number", "boolean", "array", "object"];

/// The JSON Schema of an input: the keys of the file by their JSON Schema names.
fn input_schema(input: &Fields<'_>, report: &mut Report) -> Value {
    let mut schema = Map::new();
    let kind = input.choice("type", TYPES, report);
    if let Some(kind) = kind {
        schema.insert("type".to_owned(), kind.into());
    }
    for (key, name, kinds) in [
        ("minimum", "minimum", &["integer", "number"][..]),
        ("maximum", "maximum", &["integer", "number"]),
        ("min_length", "minLength", &["string"]),
        ("max_length", "maxLength", &["string"]),
        ("pattern", "pattern", &["string"]),
        ("min_items", "minItems", &["array"]),
        ("max_items", "maxItems", &["array"]),
        ("items", "items", &["array"]),
        ("title", "title", &TYPES),
        ("description", "description", &TYPES),
        ("enum", "enum", &TYPES),
    ] {
        let Some(entry) = input.get(key) else {
            continue;
        };
        let (key_span, node) = (entry.key_span.clone(), entry.node);
        if let Some(kind) = kind
            && !kinds.contains(&kind)
        {
            let message = format!("`{key}` says nothing about an input of type {kind}");
            report.error(key_span, message);
        }
        let value = match key {
            "minimum" | "maximum" => input.number(key, report).map(|_| to_json(node, report)),
            "items" => input
                .choice(key, TYPES, report)
                .map(|kind| serde_json::json!({ "type": kind })),
            "enum" => match node.get_ref() {
                DeValue::Array(items) if !items.is_empty() => Some(to_json(node, report)),
                DeValue::Array(_) => {
                    report.error(node.span(), "`enum` needs at least one value");
                    None
                }
                _ => {
                    wrong_type(key, node, "an array of values", report);
                    None
                }
            },
            "pattern" | "title" | "description" => {
                input.text(key, report).map(|text| text.value.into())
            }
            _ => input.integer(key, report).map(|value| value.value.into()),
        };
        if let Some(value) = value {
            schema.insert(name.to_owned(), value);
        }
    }
    Value::Object(schema)
}

/// The schema must be one, and the default and the enum must follow it.
fn check_input(spec: &InputSpec, input: &Fields<'_>, report: &mut Report) {
    let validator = match super::input::validator(&spec.schema) {
        Ok(validator) => validator,
        Err(message) => {
            let at = input
                .node("pattern")
                .map_or(input.at.clone(), |node| node.span());
            report.error(at, message);
            return;
        }
    };
    if let (Some(default), Some(node)) = (&spec.default, input.node("default"))
        && let Err(error) = validator.validate(default)
    {
        let message = format!(
            "the default does not fit the input: {}",
            error.masked_with("it")
        );
        report.error(node.span(), message);
    }
    let kind = spec.schema.get("type").cloned().unwrap_or(Value::Null);
    let Some(DeValue::Array(items)) = input.node("enum").map(|node| node.get_ref()) else {
        return;
    };
    let by_type = super::input::validator(&serde_json::json!({ "type": kind }));
    for item in items.iter() {
        if let Ok(by_type) = &by_type
            && !by_type.is_valid(&to_json(item, report))
        {
            let kind = kind.as_str().unwrap_or_default();
            report.error(
                item.span(),
                format!("this is not of the input's type {kind}"),
            );
        }
    }
}

fn decode_schedule<'d>(fields: &Fields<'d>, report: &mut Report) -> DraftSchedule<'d> {
    DraftSchedule {
        at: fields.at.clone(),
        name: fields.parsed("name", report),
        cron: fields.text("cron", report),
        timezone: timezone(fields, report),
        enabled: fields.bool("enabled", report),
        catch_up_window: fields.duration("catch_up_window", report),
        catch_up_max: fields.count("catch_up_max", report),
        jitter: fields.duration_or_zero("jitter", report),
        start: fields.text("start", report),
        end: fields.text("end", report),
        catch_up: fields
            .choice(
                "catch_up",
                [CatchUp::Skip, CatchUp::Latest, CatchUp::All],
                report,
            )
            .unwrap_or_default(),
        overlap: fields
            .choice(
                "overlap",
                [
                    Overlap::Skip,
                    Overlap::Queue,
                    Overlap::Allow,
                    Overlap::CancelPrevious,
                ],
                report,
            )
            .unwrap_or_default(),
        inputs: fields.map("inputs", report).unwrap_or_default(),
        config: fields.map("config", report).unwrap_or_default(),
    }
}

fn timezone(fields: &Fields<'_>, report: &mut Report) -> Option<At<chrono_tz::Tz>> {
    let text = fields.text("timezone", report)?;
    match text.value.parse::<chrono_tz::Tz>() {
        Ok(timezone) => Some(At::new(timezone, text.span)),
        Err(_) => {
            // Abbreviations resemble each other and mean different zones.
            let known = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
            let names = known.filter(|_| text.value.contains('/'));
            report
                .error(
                    text.span,
                    format!("there is no time zone \"{}\"", text.value),
                )
                .help("write an IANA name like \"Asia/Seoul\" or \"UTC\"")
                .suggest(text.value, names);
            None
        }
    }
}

fn decode_trigger<'d>(fields: &Fields<'d>, report: &mut Report) -> Option<At<DraftTrigger<'d>>> {
    let webhook = fields.parsed::<ScheduleName>("webhook", report);
    let workflow = fields.parsed::<WorkflowName>("workflow", report);
    // All keys are read, so that each is told what is wrong with it.
    let ends = ends(fields, report);
    let when = fields.text("when", report);
    let inputs = fields.map("inputs", report).unwrap_or_default();
    let has = |key| fields.get(key).is_some();
    if has("webhook") == has("workflow") {
        report
            .error(
                fields.at.clone(),
                "a trigger is either a webhook or a workflow",
            )
            .help("write one of `webhook = \"NAME\"` and `workflow = \"NAME\"`");
        return None;
    }
    for key in ["outcome", "status", "when", "inputs"] {
        if let Some(entry) = fields.get(key).filter(|_| has("webhook")) {
            let message = format!("a webhook has no `{key}`");
            report
                .error(entry.key_span.clone(), message)
                .help("remove it");
        }
    }
    let trigger = match (webhook, workflow) {
        (Some(name), _) => DraftTrigger::Webhook { name: name.value },
        (None, name) => DraftTrigger::Workflow(DraftAfter {
            name: name?,
            ends: ends?,
            when,
            inputs,
        }),
    };
    Some(At::new(trigger, fields.at.clone()))
}

/// After which ends: by `outcome` or by `status`.
fn ends(fields: &Fields<'_>, report: &mut Report) -> Option<Vec<End>> {
    let outcome = fields.choice(
        "outcome",
        [RunOn::Success, RunOn::Failure, RunOn::Always],
        report,
    );
    if let (Some(_), Some(entry)) = (fields.get("outcome"), fields.get("status")) {
        report
            .error(
                entry.key_span.clone(),
                "`outcome` and `status` say the same",
            )
            .help("remove one of them");
        return None;
    }
    if fields.get("status").is_none() {
        return Some(match outcome.unwrap_or_default() {
            RunOn::Success => vec![End::Succeeded],
            RunOn::Failure => vec![End::Failed],
            RunOn::Always => End::ALL.map(|(_, end)| end).to_vec(),
        });
    }
    let words = fields.texts("status", report)?;
    if words.value.is_empty() {
        report
            .error(
                words.span,
                "`status` names no state, so nothing would start",
            )
            .help("write status = [\"succeeded\"], for example");
        return None;
    }
    let mut ends = Vec::with_capacity(words.value.len());
    for word in &words.value {
        match End::ALL.iter().find(|(name, _)| *name == word.value) {
            Some((_, end)) if ends.contains(end) => {
                report.error(
                    word.span.clone(),
                    format!("\"{}\" is listed twice", word.value),
                );
            }
            Some((_, end)) => ends.push(*end),
            None => {
                report
                    .error(
                        word.span.clone(),
                        format!("a run does not end as \"{}\"", word.value),
                    )
                    .suggest(word.value, End::ALL.iter().map(|(name, _)| *name));
            }
        }
    }
    (!ends.is_empty()).then_some(ends)
}
