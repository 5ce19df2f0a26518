//! Every key of the file format, once: the decoder refuses what is not here, and the JSON Schema
//! for editors is made from it.

use super::schedule::CATCH_UP_MAX;

/// A table of the file.
pub(super) struct Section {
    /// How remarks call it, with its article.
    pub(super) title: &'static str,
    /// What may stand in it.
    pub(super) keys: &'static [Key],
}

/// One key of a table.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) required: bool,
    pub(super) shape: Shape,
    /// For editors.
    pub(super) doc: &'static str,
}

/// What a key's value looks like.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// The number of the format.
    FormatVersion,
    /// Any text.
    Text,
    /// A name: lower-case letters, digits, `-`, `_`.
    Name,
    /// `"30s"`.
    Duration,
    /// `"64 MiB"`.
    Size,
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Integer { min: i64, max: i64 },
    /// A number.
    Number { min: f64 },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// An array of text.
    Texts,
    /// A table of text by any key.
    TextMap,
    /// A table of any values by variable name.
    Values,
    /// A table of tables, by task.
    ValuesByTask,
    /// Any value; text may hold `{{ }}`.
    Template,
    /// Text that is exactly one `{{ }}`.
    Condition,
    /// An array, or text that is exactly one `{{ }}`.
    Items,
    /// Any value, as it stands.
    Any,
    /// An array of any values.
    AnyList,
    /// One table.
    Table(&'static Section),
    /// One table whose `kind` says which keys it has.
    ByKind(&'static [(&'static str, &'static Section)]),
    /// `[[ ]]` tables.
    Tables(&'static Section),
    /// A table of tables, by variable name.
    Named(&'static Section),
}

const fn key(name: &'static str, shape: Shape, doc: &'static str) -> Key {
    Key {
        name,
        required: false,
        shape,
        doc,
    }
}

const fn required(name: &'static str, shape: Shape, doc: &'static str) -> Key {
    Key {
        name,
        required: true,
        shape,
        doc,
    }
}

impl Section {
    /// The key of this name.
    pub(super) fn find(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// The largest whole number that counts anything in a file.
pub(super) const COUNT_MAX: i64 = u32::MAX as i64;
const COUNT: Shape = Shape::Integer {
    min: 1,
    max: COUNT_MAX,
};
pub(super) const ON_FAILURE: &[&str] = &["stop", "continue"];
pub(super) const OUTCOMES: &[&str] = &["success", "failure", "always"];
const ON_INTERRUPT: &[&str] = &["retry", "fail"];
/// The types of inputs: those of JSON but null, which is the value of an input not given.
const TYPES: &[&str] = &["string", "integer", "number", "boolean", "array", "object"];

/// The whole file.
pub(super) static FILE: Section = Section {
    title: "a workflow",
    keys: &[
        required(
            "flowweaver",
            Shape::FormatVersion,
            "The version of the file format: 1.",
        ),
        required(
            "name",
            Shape::Name,
            "The workflow's name, unique within the organization.",
        ),
        key("description", Shape::Text, "One line for people."),
        key("labels", Shape::TextMap, "Labels for filters."),
        key(
            "inputs",
            Shape::Named(&INPUT),
            "What a trigger may or must give.",
        ),
        key(
            "vars",
            Shape::Values,
            "Constants, as `vars.NAME`; the operator may override them.",
        ),
        key(
            "schedule",
            Shape::Tables(&SCHEDULE),
            "When the workflow starts by itself.",
        ),
        key("on", Shape::Tables(&TRIGGER), "Other causes to start."),
        key(
            "defaults",
            Shape::Table(&DEFAULTS),
            "For every task of the file.",
        ),
        required(
            "job",
            Shape::Tables(&JOB),
            "The jobs; each needs the one before it.",
        ),
        key("timeout", Shape::Duration, "How long a run may take."),
        key(
            "concurrency",
            Shape::Table(&CONCURRENCY),
            "How many runs may be active at once.",
        ),
        key(
            "priority",
            Shape::Integer {
                min: -100,
                max: 100,
            },
            "Larger goes first; 0 unless written.",
        ),
        key(
            "retention",
            Shape::Table(&RETENTION),
            "What is kept of finished runs.",
        ),
    ],
};

/// `[inputs.NAME]`.
pub(super) static INPUT: Section = Section {
    title: "an input",
    keys: &[
        required("type", Shape::Choice(TYPES), "The JSON type."),
        key("title", Shape::Text, "A short name for forms."),
        key("description", Shape::Text, "One line for forms."),
        key(
            "default",
            Shape::Any,
            "Used when a trigger does not give it.",
        ),
        key(
            "required",
            Shape::Bool,
            "Whether a trigger must give it; without a default, true unless written. An input not given is null.",
        ),
        key("enum", Shape::AnyList, "The only values."),
        key(
            "minimum",
            Shape::Number {
                min: f64::NEG_INFINITY,
            },
            "The smallest number.",
        ),
        key(
            "maximum",
            Shape::Number {
                min: f64::NEG_INFINITY,
            },
            "The largest number.",
        ),
        key(
            "min_length",
            Shape::Integer {
                min: 0,
                max: COUNT_MAX,
            },
            "The fewest characters.",
        ),
        key(
            "max_length",
            Shape::Integer {
                min: 0,
                max: COUNT_MAX,
            },
            "The most characters.",
        ),
        key(
            "min_items",
            Shape::Integer {
                min: 0,
                max: COUNT_MAX,
            },
            "The fewest items.",
        ),
        key(
            "max_items",
            Shape::Integer {
                min: 0,
                max: COUNT_MAX,
            },
            "The most items.",
        ),
        key(
            "pattern",
            Shape::Text,
            "A regular expression that text must match.",
        ),
        key(
            "items",
            Shape::Choice(TYPES),
            "The JSON type of an array's items.",
        ),
    ],
};

/// `[[schedule]]`.
pub(super) static SCHEDULE: Section = Section {
    title: "a schedule",
    keys: &[
        required("name", Shape::Name, "Unique in the file."),
        required(
            "cron",
            Shape::Text,
            "5 fields, 6 with seconds first, or @hourly, @daily, @weekly, @monthly, @yearly.",
        ),
        required("timezone", Shape::Text, "An IANA zone, e.g. Asia/Seoul."),
        key("enabled", Shape::Bool, "false: it does not fire."),
        key(
            "catch_up",
            Shape::Choice(&["skip", "latest", "all"]),
            "What becomes of times that passed while no daemon ran.",
        ),
        key(
            "catch_up_window",
            Shape::Duration,
            "Times missed longer ago are not caught up; 31d unless written.",
        ),
        key(
            "catch_up_max",
            Shape::Integer {
                min: 1,
                max: CATCH_UP_MAX as i64,
            },
            "Only the latest so many are caught up; 100 unless written.",
        ),
        key(
            "overlap",
            Shape::Choice(&["skip", "queue", "allow", "cancel-previous"]),
            "What becomes of a time that comes while a run is active.",
        ),
        key(
            "jitter",
            Shape::Duration,
            "It fires later than its times by a part of this, the same each time.",
        ),
        key(
            "start",
            Shape::Text,
            "No time before this instant counts: \"2026-03-01\", or with a time, or with an offset.",
        ),
        key("end", Shape::Text, "No time from this instant on counts."),
        key("inputs", Shape::Values, "The inputs of its runs."),
        key(
            "config",
            Shape::ValuesByTask,
            "Overrides of task inputs, by task.",
        ),
    ],
};

/// `[[on]]`.
pub(super) static TRIGGER: Section = Section {
    title: "a trigger",
    keys: &[
        key(
            "webhook",
            Shape::Name,
            "Starts when this webhook is called.",
        ),
        key(
            "workflow",
            Shape::Name,
            "Starts when a run of this workflow ends.",
        ),
        key(
            "outcome",
            Shape::Choice(OUTCOMES),
            "How that run must have ended; `success` unless this or `status` is written.",
        ),
        key(
            "status",
            Shape::Texts,
            "The same by its states: \"succeeded\", \"failed\", \"cancelled\".",
        ),
        key(
            "when",
            Shape::Condition,
            "Only if this is true of the run that ended, seen as `run`, `inputs` and `tasks`.",
        ),
        key(
            "inputs",
            Shape::Values,
            "The inputs of the run that starts; text may hold `{{ }}` over the run that ended.",
        ),
    ],
};

/// `[defaults]`.
pub(super) static DEFAULTS: Section = Section {
    title: "`defaults`",
    keys: &[
        key(
            "timeout",
            Shape::Duration,
            "The wall-clock time of an attempt.",
        ),
        key("cpu", Shape::Duration, "The CPU time of an attempt."),
        key("memory", Shape::Size, "The memory of an attempt."),
        key("output", Shape::Size, "The largest output."),
        key(
            "retry",
            Shape::Table(&RETRY),
            "When and how often a failed attempt is tried again.",
        ),
        key(
            "on_interrupt",
            Shape::Choice(ON_INTERRUPT),
            "What becomes of an attempt that a crash cut off.",
        ),
    ],
};

/// `retry = { … }`.
pub(super) static RETRY: Section = Section {
    title: "`retry`",
    keys: &[
        key("attempts", COUNT, "Attempts in all; 1 unless written."),
        key(
            "delay",
            Shape::Duration,
            "The wait before the second attempt; 1s unless written.",
        ),
        key(
            "factor",
            Shape::Number { min: 1.0 },
            "Each further wait is this many times the one before; 2 unless written.",
        ),
        key(
            "max_delay",
            Shape::Duration,
            "No wait is longer; 1m unless written.",
        ),
        key(
            "jitter",
            Shape::Bool,
            "Draws the wait evenly from zero to the computed one; true unless written.",
        ),
        key(
            "on",
            Shape::Texts,
            "Which failures: \"timeout\", \"http.5xx\", \"http.429\", \"code:NAME\". Unless written, those that call themselves retryable.",
        ),
    ],
};

/// `concurrency = { … }`.
pub(super) static CONCURRENCY: Section = Section {
    title: "`concurrency`",
    keys: &[
        key(
            "key",
            Shape::Template,
            "Runs with the same key share the limit.",
        ),
        required("max", COUNT, "How many runs may be active at once."),
    ],
};

/// `retention = { … }`.
pub(super) static RETENTION: Section = Section {
    title: "`retention`",
    keys: &[
        key("age", Shape::Duration, "Finished runs older than this go."),
        key("runs", COUNT, "Only so many finished runs stay."),
    ],
};

/// `[[job]]`.
pub(super) static JOB: Section = Section {
    title: "a job",
    keys: &[
        required("name", Shape::Name, "Unique in the file."),
        key(
            "needs",
            Shape::Texts,
            "The jobs before it; unless written, the job above it.",
        ),
        key(
            "on_failure",
            Shape::Choice(ON_FAILURE),
            "Whether a failed task stops the job or is tolerated.",
        ),
        key(
            "run_on",
            Shape::Choice(OUTCOMES),
            "After which outcome of its needs it starts.",
        ),
        required(
            "task",
            Shape::Tables(&TASK),
            "The tasks; each needs the one before it.",
        ),
    ],
};

/// `[[job.task]]`.
pub(super) static TASK: Section = Section {
    title: "a task",
    keys: &[
        required("name", Shape::Name, "Unique in the file."),
        required(
            "uses",
            Shape::Text,
            "A module of `tasks/`, or `workflow:NAME`.",
        ),
        key("digest", Shape::Text, "Pins the module: `sha256:…`."),
        key("with", Shape::Template, "The input; text may hold `{{ }}`."),
        key(
            "needs",
            Shape::Texts,
            "The tasks of this job before it; unless written, the task above it.",
        ),
        key("when", Shape::Condition, "Runs only if this is true."),
        key(
            "for_each",
            Shape::Items,
            "Runs once for each item, as `item` and `index`.",
        ),
        key("max_parallel", COUNT, "How many items run at once."),
        key(
            "retry",
            Shape::Table(&RETRY),
            "When and how often a failed attempt is tried again.",
        ),
        key(
            "timeout",
            Shape::Duration,
            "The wall-clock time of an attempt.",
        ),
        key("cpu", Shape::Duration, "The CPU time of an attempt."),
        key("memory", Shape::Size, "The memory of an attempt."),
        key("output", Shape::Size, "The largest output."),
        key(
            "on_failure",
            Shape::Choice(ON_FAILURE),
            "Whether its failure stops the job or is tolerated.",
        ),
        key(
            "on_interrupt",
            Shape::Choice(ON_INTERRUPT),
            "What becomes of an attempt that a crash cut off.",
        ),
        key("http", Shape::Tables(&HTTP), "HTTP targets it may reach."),
        key("sql", Shape::Tables(&SQL), "Databases it may use."),
        key(
            "kv",
            Shape::Choice(&["read", "read-write"]),
            "Its access to the workflow's key-value space.",
        ),
    ],
};

/// `[[job.task.http]]`.
pub(super) static HTTP: Section = Section {
    title: "an http grant",
    keys: &[
        required(
            "url",
            Shape::Text,
            "Scheme, host (`*.` may lead it), port, path (`/*` may end it).",
        ),
        key("methods", Shape::Texts, "GET and HEAD unless written."),
        key(
            "headers",
            Shape::TextMap,
            "Headers the host adds; `{{ secret.NAME }}` may stand in them.",
        ),
        key(
            "idempotency_key",
            Shape::Bool,
            "Whether the host adds an `Idempotency-Key`: the same for the same request in every attempt.",
        ),
        key(
            "sign",
            Shape::ByKind(&SIGN_SECTIONS),
            "How the host signs the requests.",
        ),
    ],
};

pub(super) const AWS_SIG_V4: &str = "aws-sigv4";
pub(super) const STANDARD_WEBHOOKS: &str = "standard-webhooks";
const SIGN_KINDS: &[&str] = &[AWS_SIG_V4, STANDARD_WEBHOOKS];

/// What `sign` may be, by its kind.
static SIGN_SECTIONS: [(&str, &Section); 2] =
    [(AWS_SIG_V4, &SIGN_AWS), (STANDARD_WEBHOOKS, &SIGN_WEBHOOKS)];

/// `sign = { kind = "aws-sigv4", … }`.
pub(super) static SIGN_AWS: Section = Section {
    title: "`sign`",
    keys: &[
        required("kind", Shape::Choice(SIGN_KINDS), "The scheme."),
        required("service", Shape::Text, "E.g. `s3`."),
        required("region", Shape::Text, "E.g. `ap-northeast-2`."),
        required("access_key", Shape::Text, "E.g. `{{ secret.AK }}`."),
        required("secret_key", Shape::Text, "E.g. `{{ secret.SK }}`."),
    ],
};

/// `sign = { kind = "standard-webhooks", … }`.
pub(super) static SIGN_WEBHOOKS: Section = Section {
    title: "`sign`",
    keys: &[
        required("kind", Shape::Choice(SIGN_KINDS), "The scheme."),
        required(
            "secret",
            Shape::Text,
            "E.g. `{{ secret.WEBHOOK }}`: `whsec_` and the key in base64.",
        ),
    ],
};

/// `[[job.task.sql]]`.
pub(super) static SQL: Section = Section {
    title: "an sql grant",
    keys: &[
        required("database", Shape::Name, "A database of flowweaver.toml."),
        key(
            "mode",
            Shape::Choice(&["read", "read-write"]),
            "`read` unless written.",
        ),
        required(
            "tables",
            Shape::Texts,
            "Tables and views, also as `schema.table`.",
        ),
    ],
};
