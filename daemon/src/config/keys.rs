//! Every section and key of `flowweaver.toml`, once: what it takes, and how that is written.
//!
//! The types behind them are in `sections`; a test keeps the two together.

use tracing_subscriber::EnvFilter;

use super::hosts::CallRate;
use crate::broker::http::address::Allow;
use crate::broker::sql;
use crate::units::{Size, Span};

/// A section of the file.
pub(super) struct Section {
    pub(super) name: &'static str,
    pub(super) form: Form,
    pub(super) keys: &'static [Key],
}

/// How a section is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `[limits]`; variables of the environment override its keys.
    Flat,
    /// `[databases.NAME]`, with an example of the least that must stand in it.
    Named {
        example: &'static [(&'static str, &'static str)],
    },
}

/// A key of a section.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) takes: Takes,
}

/// What a key takes.
#[derive(Clone, Copy)]
pub(super) enum Takes {
    Text,
    Path,
    /// What the log shows.
    Filter,
    Duration,
    DurationOrZero,
    /// A duration from the first to the second one.
    DurationWithin(&'static str, &'static str),
    Truth,
    Size,
    SizeOrZero,
    /// A whole number from this one on.
    Count(u32),
    Word(&'static [&'static str]),
    Texts,
    /// `[network] allow`.
    Addresses,
    DatabaseUrl,
    Rate,
    /// Lists of organizations by secret.
    Organizations,
    /// Any values by name.
    Values,
}

/// Why a value is not taken.
pub(super) enum Refused {
    /// It is not this; and how this is written.
    Not(String, &'static str),
    /// It is of the right kind, and this is wrong. Tells as much of the value as may be shown.
    Wrong(String),
}

impl Takes {
    /// Why this value is not taken; none if it is.
    pub(super) fn refuses(self, value: &toml::Value) -> Option<Refused> {
        if let Some(wrong) = self.wrong(value) {
            return Some(Refused::Wrong(wrong));
        }
        (!self.is_kind_of(value)).then(|| {
            let (what, how) = self.wanted();
            Refused::Not(what, how)
        })
    }

    fn is_kind_of(self, value: &toml::Value) -> bool {
        let text = value.as_str();
        let time = || text.and_then(|text| text.parse::<Span>().ok());
        let size = || text.and_then(|text| text.parse::<Size>().ok());
        match self {
            Self::Text | Self::DatabaseUrl => text.is_some(),
            Self::Path => text.is_some_and(|text| !text.is_empty()),
            Self::Filter => text.is_some_and(|text| EnvFilter::try_new(text).is_ok()),
            Self::Duration => time().is_some_and(|Span(time)| !time.is_zero()),
            Self::DurationOrZero => time().is_some(),
            Self::DurationWithin(least, most) => {
                let bound = |text: &str| text.parse::<Span>().ok();
                time().is_some_and(|time| bound(least) <= Some(time) && Some(time) <= bound(most))
            }
            Self::Truth => value.is_bool(),
            Self::Size => size().is_some_and(|Size(bytes)| bytes > 0),
            Self::SizeOrZero => size().is_some(),
            Self::Count(min) => value
                .as_integer()
                .is_some_and(|number| number >= i64::from(min)),
            Self::Word(words) => text.is_some_and(|text| words.contains(&text)),
            Self::Texts | Self::Addresses => texts(value).is_some(),
            Self::Rate => text.is_some_and(|text| text.parse::<CallRate>().is_ok()),
            Self::Organizations | Self::Values => value.is_table(),
        }
    }

    /// What is wrong with a value of the right kind.
    fn wrong(self, value: &toml::Value) -> Option<String> {
        match self {
            Self::Addresses => texts(value)?
                .iter()
                .find_map(|text| text.parse::<Allow>().err())
                .map(|wrong| wrong.to_string()),
            Self::DatabaseUrl => sql::url_problem(&value.as_str()?.into()),
            _ => None,
        }
    }

    /// What is taken, and how that is written.
    fn wanted(self) -> (String, &'static str) {
        const TIME: &str = "write whole numbers with units in quotes, like \"500ms\", \"30s\" or \"1m30s\" (ms, s, m, h, d)";
        const SIZE: &str = "write a whole number and a unit in quotes, like \"64 MiB\" (B, KiB, MiB, GiB, kB, MB, GB)";
        let (what, how) = match self {
            Self::Text => ("text", "write it in quotes"),
            Self::Path => ("a path", "write it in quotes"),
            Self::Filter => (
                "a filter of the log",
                "write \"info\", \"warn\" or \"flowweaver=debug\"",
            ),
            Self::Duration => ("a duration above zero", TIME),
            Self::DurationOrZero => ("a duration", TIME),
            Self::DurationWithin(least, most) => {
                return (format!("a duration from \"{least}\" to \"{most}\""), TIME);
            }
            Self::Truth => ("true or false", "write it without quotes"),
            Self::Size => ("a size above zero", SIZE),
            Self::SizeOrZero => ("a size", SIZE),
            Self::Count(min) => {
                let what = format!("a whole number of at least {min}");
                return (what, "write it without quotes");
            }
            Self::Word(words) => {
                let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
                return (words.join(" or "), "write one of these words");
            }
            Self::Texts => ("a list of text", "write [\"a\", \"b\"]"),
            Self::Addresses => (
                "a list of addresses",
                "write [\"127.0.0.1:9000\", \"10.0.0.0/8:443\"]",
            ),
            Self::DatabaseUrl => (
                "a database's URL",
                "write \"sqlite:PATH\", \"postgres://…\" or \"mariadb://…\"",
            ),
            Self::Rate => (
                "a rate",
                "write calls and a period of at most a year in quotes, like \"60/1m\" or \"5/1s\"",
            ),
            Self::Organizations => (
                "a list of organizations by secret",
                "write { NAME = [\"organization id\"] }",
            ),
            Self::Values => ("a table of values", "write { name = \"value\" }"),
        };
        (what.to_owned(), how)
    }

    /// The words that are taken, where only some are.
    pub(super) const fn words(self) -> &'static [&'static str] {
        match self {
            Self::Word(words) => words,
            _ => &[],
        }
    }
}

fn texts(value: &toml::Value) -> Option<Vec<&str>> {
    value.as_array()?.iter().map(toml::Value::as_str).collect()
}

/// The section of this name.
pub(super) fn section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name)
}

impl Section {
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

const fn key(name: &'static str, takes: Takes) -> Key {
    Key { name, takes }
}

/// All of them, in the order of the settings page.
pub(super) static SECTIONS: &[Section] = &[
    Section {
        name: "server",
        form: Form::Flat,
        keys: &[
            key("listen", Takes::Text),
            key("public_url", Takes::Text),
            key("trusted_proxies", Takes::Texts),
            key("connections", Takes::Count(1)),
        ],
    },
    Section {
        name: "auth",
        form: Form::Flat,
        keys: &[
            key("session_idle", Takes::Duration),
            key("session_life", Takes::Duration),
        ],
    },
    Section {
        name: "paths",
        form: Form::Flat,
        keys: &[
            key("flows", Takes::Path),
            key("tasks", Takes::Path),
            key("state", Takes::Path),
        ],
    },
    Section {
        name: "store",
        form: Form::Flat,
        keys: &[
            key("url", Takes::Text),
            key("durability", Takes::Word(&["full", "normal"])),
        ],
    },
    Section {
        name: "limits",
        form: Form::Flat,
        keys: &[
            key("timeout", Takes::Duration),
            key("default_timeout", Takes::Duration),
            key("cpu", Takes::Duration),
            key("default_cpu", Takes::Duration),
            key("memory", Takes::Size),
            key("default_memory", Takes::Size),
            key("output", Takes::Size),
            key("max_parallel", Takes::Count(1)),
            key("default_max_parallel", Takes::Count(1)),
            key("attempts", Takes::Count(1)),
            key("retry_delay", Takes::DurationOrZero),
            key("run_timeout", Takes::Duration),
            key("tasks", Takes::Count(1)),
            key("schedules", Takes::Count(0)),
            key("module", Takes::Size),
            key("compile_time", Takes::Duration),
            key("compile_memory", Takes::Size),
            key("http_request", Takes::SizeOrZero),
            key("http_upload", Takes::SizeOrZero),
            key("http_response", Takes::SizeOrZero),
            key("sql_calls", Takes::Count(0)),
            key("sql_concurrent", Takes::Count(1)),
            key("sql_rows", Takes::Count(0)),
            key("sql_bytes", Takes::SizeOrZero),
            key("sql_parameters", Takes::SizeOrZero),
            key("sql_idle", Takes::Duration),
            key("kv_keys", Takes::Count(0)),
            key("kv_bytes", Takes::SizeOrZero),
        ],
    },
    Section {
        name: "engine",
        form: Form::Flat,
        keys: &[
            key("slots", Takes::Count(1)),
            key("queue", Takes::Count(1)),
            key("backlog", Takes::Count(1)),
            key("drain", Takes::DurationOrZero),
            key("lease", Takes::DurationWithin("1s", "10m")),
        ],
    },
    Section {
        name: "network",
        form: Form::Flat,
        keys: &[key("allow", Takes::Addresses)],
    },
    Section {
        name: "secrets",
        form: Form::Flat,
        keys: &[
            key("folder", Takes::Path),
            key("key_file", Takes::Path),
            key("organizations", Takes::Organizations),
        ],
    },
    Section {
        name: "log",
        form: Form::Flat,
        keys: &[
            key("filter", Takes::Filter),
            key("format", Takes::Word(&["text", "json"])),
        ],
    },
    Section {
        name: "reload",
        form: Form::Flat,
        keys: &[
            key("removal_grace", Takes::DurationOrZero),
            key("publish", Takes::Truth),
        ],
    },
    Section {
        name: DATABASES,
        form: Form::Named {
            example: &[("url", "sqlite:blog.db")],
        },
        keys: &[
            key("url", Takes::DatabaseUrl),
            key("mode", Takes::Word(&["read", "read-write"])),
            key("tables", Takes::Texts),
            key("timeout", Takes::Duration),
            key("connections", Takes::Count(1)),
        ],
    },
    Section {
        name: HOSTS,
        form: Form::Named {
            example: &[("rate", "60/1m")],
        },
        keys: &[
            key("rate", Takes::Rate),
            key("burst", Takes::Count(1)),
            key("concurrent", Takes::Count(1)),
        ],
    },
    Section {
        name: WORKFLOWS,
        form: Form::Named { example: &[] },
        keys: &[key("vars", Takes::Values)],
    },
];

pub(super) const DATABASES: &str = "databases";
pub(super) const HOSTS: &str = "hosts";
pub(super) const WORKFLOWS: &str = "workflows";
