//! Jobs and tasks as decoded: every value typed and with its place, no name resolved yet.

use std::ops::Range;
use std::time::Duration;

use super::decode::{At, DeValue, Entry, Fields, Node, parsed};
use super::grant::{KvGrant, SqlMode};
use super::keys;
use super::model::{OnFailure, OnInterrupt, RetryOn, RunOn};
use super::report::Report;
use crate::id::{DatabaseName, Digest, JobName, ModuleName, TaskName, WorkflowName};

/// One `[[job]]`.
pub(super) struct DraftJob<'d> {
    pub(super) at: Range<usize>,
    /// The name as written, even if it is none.
    pub(super) written: Option<&'d str>,
    pub(super) name: Option<At<JobName>>,
    pub(super) needs: Option<At<Vec<At<&'d str>>>>,
    pub(super) on_failure: OnFailure,
    pub(super) run_on: RunOn,
    pub(super) tasks: Vec<DraftTask<'d>>,
}

/// One `[[job.task]]`.
pub(super) struct DraftTask<'d> {
    pub(super) at: Range<usize>,
    /// The name as written, even if it is none.
    pub(super) written: Option<&'d str>,
    pub(super) name: Option<At<TaskName>>,
    pub(super) uses: Option<At<DraftUses>>,
    pub(super) digest: Option<At<Digest>>,
    pub(super) with: Option<Node<'d>>,
    pub(super) needs: Option<At<Vec<At<&'d str>>>>,
    pub(super) when: Option<At<&'d str>>,
    pub(super) for_each: Option<Node<'d>>,
    pub(super) max_parallel: Option<At<u32>>,
    pub(super) policy: DraftPolicy,
    pub(super) on_failure: Option<OnFailure>,
    pub(super) http: Vec<DraftHttp<'d>>,
    pub(super) sql: Vec<DraftSql<'d>>,
    pub(super) kv: KvGrant,
}

/// `uses`.
pub(super) enum DraftUses {
    Module(ModuleName),
    Workflow(WorkflowName),
}

/// What `[defaults]` and a task share.
#[derive(Default)]
pub(super) struct DraftPolicy {
    pub(super) timeout: Option<At<Duration>>,
    pub(super) cpu: Option<At<Duration>>,
    pub(super) memory: Option<At<u64>>,
    pub(super) output: Option<At<u64>>,
    pub(super) retry: DraftRetry,
    pub(super) on_interrupt: Option<OnInterrupt>,
}

/// `retry`.
#[derive(Default)]
pub(super) struct DraftRetry {
    pub(super) attempts: Option<At<u32>>,
    pub(super) delay: Option<At<Duration>>,
    pub(super) factor: Option<f64>,
    pub(super) max_delay: Option<At<Duration>>,
    pub(super) jitter: Option<bool>,
    pub(super) on: Option<Vec<RetryOn>>,
}

/// One `[[job.task.http]]`.
pub(super) struct DraftHttp<'d> {
    pub(super) at: Range<usize>,
    pub(super) url: Option<At<&'d str>>,
    pub(super) methods: Option<At<Vec<At<&'d str>>>>,
    pub(super) headers: Vec<Entry<'d>>,
    pub(super) idempotency_key: bool,
    pub(super) sign: Option<DraftSign<'d>>,
}

/// `sign`.
pub(super) enum DraftSign<'d> {
    AwsSigV4 {
        service: Option<At<&'d str>>,
        region: Option<At<&'d str>>,
        access_key: Option<At<&'d str>>,
        secret_key: Option<At<&'d str>>,
    },
    StandardWebhooks {
        secret: Option<At<&'d str>>,
    },
}

/// One `[[job.task.sql]]`.
pub(super) struct DraftSql<'d> {
    pub(super) at: Range<usize>,
    pub(super) database: Option<At<DatabaseName>>,
    pub(super) mode: SqlMode,
    /// Where the mode is written.
    pub(super) mode_at: Option<Range<usize>>,
    pub(super) tables: Option<At<Vec<At<&'d str>>>>,
}

/// One page of WebAssembly memory: with less no module starts.
const MEMORY_MIN: u64 = 64 << 10;
/// `{}`, the smallest output.
const OUTPUT_MIN: u64 = 2;

pub(super) fn decode_job<'d>(fields: &Fields<'d>, report: &mut Report) -> DraftJob<'d> {
    let tasks = fields.tables("task", report);
    if tasks.is_empty()
        && let Some(entry) = fields.get("task")
        && matches!(entry.node.get_ref(), DeValue::Array(_))
    {
        let at = entry.key_span.clone();
        report.error(at, "a job needs at least one task").derived();
    }
    DraftJob {
        at: fields.at.clone(),
        written: written(fields),
        name: fields.parsed("name", report),
        needs: fields.texts("needs", report),
        on_failure: on_failure(fields, report).unwrap_or_default(),
        run_on: fields
            .choice(
                "run_on",
                [RunOn::Success, RunOn::Failure, RunOn::Always],
                report,
            )
            .unwrap_or_default(),
        tasks: tasks.iter().map(|task| decode_task(task, report)).collect(),
    }
}

fn written<'d>(fields: &Fields<'d>) -> Option<&'d str> {
    fields.node("name").and_then(|node| node.get_ref().as_str())
}

fn on_failure(fields: &Fields<'_>, report: &mut Report) -> Option<OnFailure> {
    fields.choice("on_failure", [OnFailure::Stop, OnFailure::Continue], report)
}

fn decode_task<'d>(fields: &Fields<'d>, report: &mut Report) -> DraftTask<'d> {
    let max_parallel = fields.count("max_parallel", report);
    if let Some(entry) = fields.get("max_parallel")
        && fields.get("for_each").is_none()
    {
        report
            .error(entry.key_span.clone(), "`max_parallel` needs a `for_each`")
            .help("a task without `for_each` runs once");
    }
    DraftTask {
        at: fields.at.clone(),
        written: written(fields),
        name: fields.parsed("name", report),
        uses: uses(fields, report),
        digest: fields.parsed("digest", report),
        with: fields.node("with"),
        needs: fields.texts("needs", report),
        when: fields.text("when", report),
        for_each: fields.node("for_each"),
        max_parallel,
        policy: decode_policy(fields, report),
        on_failure: on_failure(fields, report),
        http: fields
            .tables("http", report)
            .iter()
            .map(|http| decode_http(http, report))
            .collect(),
        sql: fields
            .tables("sql", report)
            .iter()
            .map(|sql| decode_sql(sql, report))
            .collect(),
        kv: fields
            .choice("kv", [KvGrant::Read, KvGrant::ReadWrite], report)
            .unwrap_or_default(),
    }
}

fn uses(fields: &Fields<'_>, report: &mut Report) -> Option<At<DraftUses>> {
    let text = fields.text("uses", report)?;
    if let Some(name) = text.value.strip_prefix("workflow:") {
        let name = parsed(&At::new(name, text.span), report)?;
        return Some(At::new(DraftUses::Workflow(name.value), name.span));
    }
    if let Some(bare) = text.value.strip_suffix(".wasm") {
        let bare = bare.rsplit(['/', '\\']).next().unwrap_or_default();
        report
            .error(text.span, "`uses` names a module, not a file")
            .help(format!("write \"{bare}\" for tasks/{bare}.wasm"));
        return None;
    }
    let name = parsed(&text, report)?;
    Some(At::new(DraftUses::Module(name.value), name.span))
}

pub(super) fn decode_policy(fields: &Fields<'_>, report: &mut Report) -> DraftPolicy {
    let retry = fields.table("retry", report);
    DraftPolicy {
        timeout: fields.duration("timeout", report),
        cpu: fields.duration("cpu", report),
        memory: fields.size("memory", MEMORY_MIN, report),
        output: fields.size("output", OUTPUT_MIN, report),
        retry: retry.map_or_else(DraftRetry::default, |retry| decode_retry(&retry, report)),
        on_interrupt: fields.choice(
            "on_interrupt",
            [OnInterrupt::Retry, OnInterrupt::Fail],
            report,
        ),
    }
}

fn decode_retry(fields: &Fields<'_>, report: &mut Report) -> DraftRetry {
    let on = fields.texts("on", report).map(|list| {
        if list.value.is_empty() {
            report
                .error(
                    list.span,
                    "`on` names no failure, so nothing would be tried again",
                )
                .help("leave `on` out, or write attempts = 1");
        }
        list.value
            .iter()
            .filter_map(|entry| retry_on(entry, report))
            .collect()
    });
    DraftRetry {
        attempts: fields.count("attempts", report),
        delay: fields.duration_or_zero("delay", report),
        factor: fields.number("factor", report).map(|factor| factor.value),
        max_delay: fields.duration_or_zero("max_delay", report),
        jitter: fields.bool("jitter", report),
        on,
    }
}

fn retry_on(entry: &At<&str>, report: &mut Report) -> Option<RetryOn> {
    if let Some(code) = entry.value.strip_prefix("code:") {
        let is_code = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if !code.is_empty() && code.chars().all(is_code) {
            return Some(RetryOn::Code(code.to_owned()));
        }
    }
    let status = entry
        .value
        .strip_prefix("http.")
        .filter(|status| status.len() == 3)
        .and_then(|status| status.parse::<u16>().ok())
        .filter(|status| (100..600).contains(status));
    match (entry.value, status) {
        ("timeout", _) => Some(RetryOn::Timeout),
        ("http.5xx", _) => Some(RetryOn::Http5xx),
        (_, Some(status)) => Some(RetryOn::HttpStatus(status)),
        (text, None) => {
            let message = format!("\"{text}\" names no failure");
            report.error(entry.span.clone(), message).help(
                "write \"timeout\", \"http.5xx\", a status like \"http.429\", or \"code:NAME\"",
            );
            None
        }
    }
}

fn decode_http<'d>(fields: &Fields<'d>, report: &mut Report) -> DraftHttp<'d> {
    let sign = fields.table_by_kind("sign", report);
    DraftHttp {
        at: fields.at.clone(),
        url: fields.filled("url", report),
        methods: fields.texts("methods", report),
        headers: fields.map("headers", report).unwrap_or_default(),
        idempotency_key: fields.bool("idempotency_key", report).unwrap_or(false),
        sign: sign.map(|(kind, sign)| decode_sign(kind, &sign, report)),
    }
}

fn decode_sign<'d>(kind: &str, sign: &Fields<'d>, report: &mut Report) -> DraftSign<'d> {
    // The kind is decided; one that does not exist is reported here.
    let _ = sign.choice("kind", [(), ()], report);
    if kind == keys::STANDARD_WEBHOOKS {
        return DraftSign::StandardWebhooks {
            secret: sign.filled("secret", report),
        };
    }
    DraftSign::AwsSigV4 {
        service: sign.filled("service", report),
        region: sign.filled("region", report),
        access_key: sign.filled("access_key", report),
        secret_key: sign.filled("secret_key", report),
    }
}

fn decode_sql<'d>(fields: &Fields<'d>, report: &mut Report) -> DraftSql<'d> {
    DraftSql {
        at: fields.at.clone(),
        database: fields.parsed("database", report),
        mode: fields
            .choice("mode", [SqlMode::Read, SqlMode::ReadWrite], report)
            .unwrap_or(SqlMode::Read),
        mode_at: fields.node("mode").map(|node| node.span()),
        tables: fields.texts("tables", report),
    }
}
