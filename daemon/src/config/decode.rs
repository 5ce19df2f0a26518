//! From the file's text and the variables over it to settings, with every mistake told at once and at its place.
//!
//! Each key is looked at alone, so that one mistake hides no other. What two keys mean together is `check`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use serde::Deserialize as _;
use toml::de::{DeTable, DeValue, ValueDeserializer};
use toml::{Spanned, Table, Value};

use super::hosts::HostKey;
use super::keys::{
    self, DATABASES, Form, HOSTS, Key, Refused, SECTIONS, Section, Takes, WORKFLOWS,
};
use super::profile::Profile;
use super::sections::Settings;
use super::{ConfigError, overrides};
use crate::id::{DatabaseName, InvalidId, VariableName, WorkflowName};
use crate::workflow::parse_toml;
use crate::workflow::report::{Report, suggestion};

/// A longer value is cut in messages.
const GIVEN_MAX: usize = 60;

/// Where a value comes from.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    /// A place in the file.
    File(Range<usize>),
    /// A variable of the environment.
    Variable(String),
}

/// What has been read so far.
pub(super) struct Reading {
    pub(super) report: Report,
    /// What is wrong with variables.
    pub(super) variables: Vec<String>,
    /// Where each value that was taken comes from, by its full name.
    pub(super) origins: BTreeMap<String, Origin>,
    /// The full names of keys whose value was not taken.
    pub(super) refused: BTreeSet<String>,
    accepted: Accepted,
    /// The hosts of the file, by the name that they come to.
    hosts: BTreeMap<HostKey, (String, usize)>,
}

/// The keys that were taken, by section and name.
type Accepted = BTreeMap<(&'static str, Option<String>), Table>;

/// Reads the file and the variables. Both are read to their end, whatever is wrong.
pub(super) fn read(
    file: &str,
    text: &str,
    profile: Profile,
    environment: &BTreeMap<String, String>,
) -> Result<(Settings, Reading), ConfigError> {
    let mut reading = Reading {
        // Lines are quoted in messages.
        report: Report::new(file.into(), Arc::from(without_passwords(text))),
        variables: Vec::new(),
        origins: BTreeMap::new(),
        refused: BTreeSet::new(),
        accepted: Accepted::new(),
        hosts: BTreeMap::new(),
    };
    let parsed = parse_toml(text, &mut reading.report);
    let syntax = reading.report.len();
    if let Some((table, whole)) = &parsed {
        reading.file(table);
        if !whole {
            reading.report.drop_consequences(syntax);
        }
    }
    for (section, key, value) in profile.defaults() {
        let section = reading.accepted.entry((*section, None)).or_default();
        let default = Value::String((*value).to_owned());
        section.entry(*key).or_insert(default);
    }
    for (variable, section, key, value) in overrides(environment) {
        reading.variable(&variable, section, &key, &value);
    }
    match Settings::deserialize(whole(&reading.accepted)) {
        Ok(settings) => Ok((settings, reading)),
        Err(error) => {
            // Every key was taken alone; what is left is told without a place rather than not at all.
            let message = error.message().to_owned();
            reading.report.error(0..0, message);
            Err(reading.into_error())
        }
    }
}

impl Reading {
    pub(super) fn into_error(self) -> ConfigError {
        ConfigError::Invalid {
            file: self.report.finish(),
            variables: self.variables,
        }
    }

    pub(super) fn has_errors(&self) -> bool {
        self.report.has_errors() || !self.variables.is_empty()
    }

    fn file(&mut self, table: &DeTable<'_>) {
        for (key, node) in table {
            let (name, at) = (key.get_ref().as_ref(), key.span());
            let Some(section) = keys::section(name) else {
                self.unknown_section(name, at);
                continue;
            };
            let DeValue::Table(inside) = node.get_ref() else {
                let message = format!("`{name}` is a section, not a value");
                let help = match section.form {
                    Form::Flat => {
                        format!("write [{name}] on a line of its own, and its keys below")
                    }
                    Form::Named { .. } => {
                        format!("write [{name}.NAME] on a line of its own, and its keys below")
                    }
                };
                self.report.error(at, message).help(help);
                continue;
            };
            match section.form {
                Form::Flat => self.keys(section, None, inside),
                Form::Named { example } => {
                    for (key, node) in inside {
                        let (name, at) = (key.get_ref().as_ref(), key.span());
                        self.named(section, example, (name, at), node);
                    }
                }
            }
        }
    }

    fn unknown_section(&mut self, name: &str, at: Range<usize>) {
        let remark = self
            .report
            .error(at, format!("there is no section [{name}]"));
        let home = SECTIONS
            .iter()
            .find(|section| section.form == Form::Flat && section.key(name).is_some());
        match home {
            Some(home) => drop(remark.help(format!("`{name}` belongs below [{}]", home.name))),
            None => drop(remark.suggest(name, SECTIONS.iter().map(|section| section.name))),
        }
    }

    /// `[databases.NAME]` and its like.
    fn named(
        &mut self,
        section: &'static Section,
        example: &[(&str, &str)],
        (name, at): (&str, Range<usize>),
        node: &Spanned<DeValue<'_>>,
    ) {
        if !self.name_fits(section, name, at.clone()) {
            return;
        }
        let title = title(section, Some(name));
        let DeValue::Table(inside) = node.get_ref() else {
            let lines: Vec<String> = example
                .iter()
                .map(|(key, value)| format!("{key} = \"{value}\""))
                .collect();
            self.report
                .error(at, format!("{title} must be a table"))
                .help(format!(
                    "write {title} on a line of its own, and below it {}",
                    lines.join(", ")
                ));
            return;
        };
        let before = self.report.len();
        let entry = (section.name, Some(name.to_owned()));
        self.accepted.entry(entry.clone()).or_default();
        self.keys(section, Some(name), inside);
        if section.name == DATABASES && !inside.contains_key("url") {
            self.needs_url(section, &title, at.clone(), inside);
        }
        // What its keys mean together is worth saying once each of them is right.
        if self.report.len() == before
            && let Some(keys) = self.accepted.get(&entry)
            && let Err(message) = trial(section.name, name, Value::Table(keys.clone()))
        {
            self.report.error(at, format!("{title}: {message}"));
        }
        if self.report.len() != before {
            self.accepted.remove(&entry);
        }
    }

    fn needs_url(
        &mut self,
        section: &Section,
        title: &str,
        at: Range<usize>,
        inside: &DeTable<'_>,
    ) {
        let names = || section.keys.iter().map(|key| key.name);
        let misspelt = inside.keys().any(|key| {
            let meant = suggestion(key.get_ref(), names());
            section.key(key.get_ref()).is_none() && meant.as_deref() == Some("did you mean `url`?")
        });
        if !misspelt {
            self.report
                .error(at, format!("{title} needs `url`"))
                .help("write url = \"sqlite:PATH\", \"postgres://…\" or \"mariadb://…\"")
                .derived();
        }
    }

    fn name_fits(&mut self, section: &Section, name: &str, at: Range<usize>) -> bool {
        let wrong = match section.name {
            DATABASES => name.parse::<DatabaseName>().err(),
            WORKFLOWS => name.parse::<WorkflowName>().err(),
            HOSTS => return self.host_fits(name, at),
            _ => None,
        };
        self.no_name(&title(section, None), wrong, at)
    }

    fn no_name(&mut self, title: &str, wrong: Option<InvalidId>, at: Range<usize>) -> bool {
        let Some(InvalidId { kind, text, rule }) = wrong else {
            return true;
        };
        self.report
            .error(at, format!("{title}: \"{text}\" is not a {kind}"))
            .help(format!("a {kind} is {rule}"));
        false
    }

    fn host_fits(&mut self, name: &str, at: Range<usize>) -> bool {
        let host = match HostKey::try_from(name.to_owned()) {
            Ok(host) => host,
            Err(wrong) => {
                self.report.error(at, format!("[hosts]: {wrong}"));
                return false;
            }
        };
        let line = self.report.line(at.start);
        if let Some((first, first_line)) = self.hosts.get(&host) {
            let message = format!(
                "[hosts.\"{name}\"] is the same host as [hosts.\"{first}\"] in line {first_line}"
            );
            self.report.error(at, message).help("keep one of them");
            return false;
        }
        self.hosts.insert(host, (name.to_owned(), line));
        true
    }

    fn keys(&mut self, section: &'static Section, name: Option<&str>, table: &DeTable<'_>) {
        let title = title(section, name);
        for (key, node) in table {
            let (written, at) = (key.get_ref().as_ref(), key.span());
            let Some(key) = section.key(written) else {
                let message = format!("{title} has no key `{written}`");
                self.report
                    .error(at, message)
                    .suggest(written, section.keys.iter().map(|key| key.name));
                continue;
            };
            let full = format!("{title} {}", key.name);
            let value = match Value::deserialize(ValueDeserializer::from(node.clone())) {
                Ok(value) => value,
                Err(error) => {
                    self.report
                        .error(node.span(), format!("{full}: {}", error.message()));
                    continue;
                }
            };
            if matches!(key.takes, Takes::Values) && !self.names_fit(&full, node) {
                continue;
            }
            match refusal(section, key, name, &value) {
                None => {
                    let at = Origin::File(node.span());
                    self.take(section, name, key, value, at);
                }
                Some(refused) => self.refuse(&full, key.takes, node.span(), refused),
            }
        }
    }

    /// Whether the keys of a table of values are names.
    fn names_fit(&mut self, full: &str, node: &Spanned<DeValue<'_>>) -> bool {
        let DeValue::Table(table) = node.get_ref() else {
            return true;
        };
        let mut fit = true;
        for key in table.keys() {
            let wrong = key.get_ref().parse::<VariableName>().err();
            fit &= self.no_name(full, wrong, key.span());
        }
        fit
    }

    fn refuse(&mut self, full: &str, takes: Takes, at: Range<usize>, refused: Refused) {
        self.refused.insert(full.to_owned());
        let given = cut(self.report.text().get(at.clone()).unwrap_or_default());
        let (message, help) = match refused {
            Refused::Not(what, how) => (format!("{full} = {given} is not {what}"), how),
            Refused::Wrong(why) => (format!("{full}: {why}"), ""),
        };
        let remark = self.report.error(at, message);
        let meant = suggestion(given.trim_matches('"'), takes.words().iter().copied());
        match meant.filter(|help| help.contains("mean")) {
            Some(meant) => drop(remark.help(meant)),
            None if help.is_empty() => {}
            None => drop(remark.help(help)),
        }
    }

    fn take(
        &mut self,
        section: &'static Section,
        name: Option<&str>,
        key: &Key,
        value: Value,
        origin: Origin,
    ) {
        let full = format!("{} {}", title(section, name), key.name);
        self.origins.insert(full, origin);
        let place = (section.name, name.map(str::to_owned));
        let keys = self.accepted.entry(place).or_default();
        keys.insert(key.name.to_owned(), value);
    }

    /// A variable over a key of a flat section.
    fn variable(&mut self, variable: &str, section: &'static Section, key: &str, text: &str) {
        let Some(known) = section.key(key) else {
            let meant = suggestion(key, section.keys.iter().map(|key| key.name));
            let meant = meant.map(|help| format!("; {help}")).unwrap_or_default();
            self.variables.push(format!(
                "the environment variable {variable}: [{}] has no key `{key}`{meant}",
                section.name
            ));
            return;
        };
        // What reads as a number, a boolean or a list may be meant as one, or as text.
        let literal = toml::from_str::<Table>(&format!("value = {text}"))
            .ok()
            .and_then(|mut table| table.remove("value"));
        let readings = literal.into_iter().chain([Value::String(text.to_owned())]);
        let mut refused = None;
        for value in readings {
            match refusal(section, known, None, &value) {
                None => {
                    let origin = Origin::Variable(variable.to_owned());
                    self.take(section, None, known, value, origin);
                    return;
                }
                // What it is refused for as what it looks like is the better reason.
                Some(why) => drop(refused.get_or_insert(why)),
            }
        }
        let full = format!("[{}] {key}", section.name);
        self.refused.insert(full.clone());
        let mut wrong = |message: String| {
            self.variables
                .push(format!("the environment variable {variable}: {message}"));
        };
        match refused {
            Some(Refused::Not(what, how)) => {
                let given = cut(&without_passwords(text));
                wrong(format!("{full} = {given} is not {what}; {how}"));
            }
            Some(Refused::Wrong(why)) => wrong(format!("{full}: {why}")),
            None => {}
        }
    }
}

/// Why a key does not take this value: by its kind, and by the type behind it.
fn refusal(section: &Section, key: &Key, name: Option<&str>, value: &Value) -> Option<Refused> {
    if let Some(refused) = key.takes.refuses(value) {
        return Some(refused);
    }
    let tried = match (name, section.form) {
        (Some(name), Form::Named { example }) => {
            let mut entry: Table = example
                .iter()
                .map(|(key, value)| ((*key).to_owned(), Value::String((*value).to_owned())))
                .collect();
            entry.insert(key.name.to_owned(), value.clone());
            trial(section.name, name, Value::Table(entry))
        }
        _ => trial(section.name, key.name, value.clone()),
    };
    tried.err().map(Refused::Wrong)
}

/// Whether settings with nothing but this in a section can be read.
fn trial(section: &str, key: &str, value: Value) -> Result<(), String> {
    let inside = Table::from_iter([(key.to_owned(), value)]);
    let table = Table::from_iter([(section.to_owned(), Value::Table(inside))]);
    match Settings::deserialize(table) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.message().trim_end_matches('.').to_owned()),
    }
}

/// All that was taken, as the file would have it.
fn whole(accepted: &Accepted) -> Table {
    let mut sections: BTreeMap<&str, Table> = BTreeMap::new();
    for ((section, name), keys) in accepted {
        let section = sections.entry(section).or_default();
        match name {
            None => section.extend(keys.clone()),
            Some(name) => drop(section.insert(name.clone(), Value::Table(keys.clone()))),
        }
    }
    let tables = sections.into_iter();
    tables
        .map(|(section, keys)| (section.to_owned(), Value::Table(keys)))
        .collect()
}

/// `[limits]`, `[databases.blog]`, `[hosts."a.test"]`.
pub(super) fn title(section: &Section, name: Option<&str>) -> String {
    match name {
        None => format!("[{}]", section.name),
        Some(name) if section.name == HOSTS => format!("[{}.\"{name}\"]", section.name),
        Some(name) => format!("[{}.{name}]", section.name),
    }
}

/// One line of a value, as long as a message bears.
fn cut(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.len() == text.len() && line.chars().count() <= GIVEN_MAX {
        return line.to_owned();
    }
    let start: String = line.chars().take(GIVEN_MAX).collect();
    format!("{start}…")
}

/// The text with every password of a URL (`scheme://user:password@host`) as stars, byte for byte.
fn without_passwords(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        shown.push_str(before);
        let end = after
            .find(|c: char| c.is_whitespace() || c == '"' || c == '\'')
            .unwrap_or(after.len());
        let (url, tail) = after.split_at(end);
        match (url.find(':'), url.rfind('@')) {
            (Some(colon), Some(host)) if colon < host => {
                let (user, password) = url.split_at(colon + 1);
                let (password, host) = password.split_at(host - colon - 1);
                shown.push_str(user);
                shown.extend(std::iter::repeat_n('*', password.len()));
                shown.push_str(host);
            }
            _ => shown.push_str(url),
        }
        rest = tail;
    }
    shown.push_str(rest);
    shown
}
