//! Reads one table of a file: typed, strict, and without stopping at the first mistake.
//!
//! Which keys there are is `keys`' business, what they mean together is `draft`'s.

use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;
pub(super) use toml::de::{DeTable, DeValue};

use super::keys::{self, Section, Shape};
use super::report::{Report, suggestion};
use crate::id::InvalidId;
use crate::units::{Size, Span};

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

impl<T> At<T> {
    pub(super) fn new(value: T, span: Range<usize>) -> Self {
        Self { value, span }
    }
}

/// A parsed TOML value and where it stands.
pub(super) type Node<'d> = &'d Spanned<DeValue<'d>>;

/// One key of a table.
#[derive(Clone)]
pub(super) struct Entry<'d> {
    pub(super) key: &'d str,
    pub(super) key_span: Range<usize>,
    pub(super) node: Node<'d>,
}

/// The entries of a table, in file order.
pub(super) fn entries<'d>(table: &'d DeTable<'d>) -> Vec<Entry<'d>> {
    table
        .iter()
        .map(|(key, node)| Entry {
            key: key.get_ref(),
            key_span: key.span(),
            node,
        })
        .collect()
}

/// A table being read.
pub(super) struct Fields<'d> {
    section: &'static Section,
    /// Where the table begins: its header, or its brace.
    pub(super) at: Range<usize>,
    entries: Vec<Entry<'d>>,
}

impl<'d> Fields<'d> {
    /// Starts to read; reports keys that the section does not have, and required ones that miss.
    pub(super) fn new(
        section: &'static Section,
        at: Range<usize>,
        table: &'d DeTable<'d>,
        report: &mut Report,
    ) -> Self {
        let entries = entries(table);
        let mut meant = Vec::new();
        for entry in &entries {
            if section.find(entry.key).is_none() {
                meant.extend(suggestion(
                    entry.key,
                    section.keys.iter().map(|key| key.name),
                ));
                let message = format!("{} has no key `{}`", section.title, entry.key);
                report
                    .error(entry.key_span.clone(), message)
                    .suggest(entry.key, section.keys.iter().map(|key| key.name));
            }
        }
        for key in section.keys.iter().filter(|key| key.required) {
            let misspelt = meant.contains(&format!("did you mean `{}`?", key.name));
            if !misspelt && !entries.iter().any(|entry| entry.key == key.name) {
                report
                    .error(
                        at.clone(),
                        format!("{} needs `{}`", section.title, key.name),
                    )
                    .help(format!("{}: {}", key.name, as_clause(key.doc)))
                    .derived();
            }
        }
        Self {
            section,
            at,
            entries,
        }
    }

    /// The entry of this key.
    pub(super) fn get(&self, key: &str) -> Option<&Entry<'d>> {
        debug_assert!(
            self.section.find(key).is_some(),
            "{key} is not in its section"
        );
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The value of this key.
    pub(super) fn node(&self, key: &str) -> Option<Node<'d>> {
        self.get(key).map(|entry| entry.node)
    }

    /// Text.
    pub(super) fn text(&self, key: &str, report: &mut Report) -> Option<At<&'d str>> {
        let node = self.node(key)?;
        let text = node.get_ref().as_str();
        if text.is_none() {
            wrong_type(key, node, "text in quotes", report);
        }
        Some(At::new(text?, node.span()))
    }

    /// Text that is not empty.
    pub(super) fn filled(&self, key: &str, report: &mut Report) -> Option<At<&'d str>> {
        let text = self.text(key, report)?;
        if text.value.is_empty() {
            report.error(text.span, format!("`{key}` must not be empty"));
            return None;
        }
        Some(text)
    }

    /// Text that parses to a name, an id, a digest.
    pub(super) fn parsed<T>(&self, key: &str, report: &mut Report) -> Option<At<T>>
    where
        T: FromStr<Err = InvalidId>,
    {
        let text = self.text(key, report)?;
        parsed(&text, report)
    }

    /// A duration longer than zero.
    pub(super) fn duration(&self, key: &str, report: &mut Report) -> Option<At<Duration>> {
        let duration = self.duration_or_zero(key, report)?;
        if duration.value.is_zero() {
            report
                .error(duration.span, format!("`{key}` must be longer than zero"))
                .help("leave it out for the operator's default");
            return None;
        }
        Some(duration)
    }

    /// A duration.
    pub(super) fn duration_or_zero(&self, key: &str, report: &mut Report) -> Option<At<Duration>> {
        let node = self.node(key)?;
        let Some(text) = node.get_ref().as_str() else {
            wrong_type(key, node, "text like \"30s\" or \"1m30s\"", report);
            return None;
        };
        match text.parse::<Span>() {
            Ok(span) => Some(At::new(span.0, node.span())),
            Err(error) => {
                report.error(node.span(), error.to_string());
                None
            }
        }
    }

    /// A number of bytes, at least `min`.
    pub(super) fn size(&self, key: &str, min: u64, report: &mut Report) -> Option<At<u64>> {
        let node = self.node(key)?;
        let Some(text) = node.get_ref().as_str() else {
            wrong_type(key, node, "text like \"64 MiB\"", report);
            return None;
        };
        match text.parse::<Size>() {
            Ok(size) if size.0 < min => {
                let message = format!("`{key}` must be at least {}", Size(min));
                report.error(node.span(), message);
                None
            }
            Ok(size) => Some(At::new(size.0, node.span())),
            Err(error) => {
                report.error(node.span(), error.to_string());
                None
            }
        }
    }

    /// `true` or `false`.
    pub(super) fn bool(&self, key: &str, report: &mut Report) -> Option<bool> {
        let node = self.node(key)?;
        let value = node.get_ref().as_bool();
        if value.is_none() {
            wrong_type(key, node, "true or false", report);
        }
        value
    }

    /// A whole number within the section's bounds.
    pub(super) fn integer(&self, key: &str, report: &mut Report) -> Option<At<i64>> {
        let node = self.node(key)?;
        let (min, max) = match self.section.find(key).map(|key| key.shape) {
            Some(Shape::Integer { min, max }) => (min, max),
            _ => (i64::MIN, i64::MAX),
        };
        let Some(value) = node.get_ref().as_integer() else {
            wrong_type(key, node, "a whole number", report);
            return None;
        };
        match i64::from_str_radix(value.as_str(), value.radix()) {
            Ok(value) if (min..=max).contains(&value) => Some(At::new(value, node.span())),
            _ => {
                let message = if max == keys::COUNT_MAX {
                    format!("`{key}` must be at least {min}")
                } else {
                    format!("`{key}` must be from {min} to {max}")
                };
                report.error(node.span(), message);
                None
            }
        }
    }

    /// A whole number that counts something.
    pub(super) fn count(&self, key: &str, report: &mut Report) -> Option<At<u32>> {
        let At { value, span } = self.integer(key, report)?;
        u32::try_from(value).ok().map(|value| At::new(value, span))
    }

    /// A finite number within the section's bound.
    pub(super) fn number(&self, key: &str, report: &mut Report) -> Option<At<f64>> {
        let node = self.node(key)?;
        let value = match node.get_ref() {
            DeValue::Integer(value) => i64::from_str_radix(value.as_str(), value.radix())
                .ok()
                .map(|value| value as f64),
            DeValue::Float(value) => value.as_str().parse::<f64>().ok(),
            _ => {
                wrong_type(key, node, "a number", report);
                return None;
            }
        };
        let min = match self.section.find(key).map(|key| key.shape) {
            Some(Shape::Number { min }) => min,
            _ => f64::NEG_INFINITY,
        };
        match value.filter(|value| value.is_finite() && *value >= min) {
            Some(value) => Some(At::new(value, node.span())),
            None if min.is_finite() => {
                report.error(node.span(), format!("`{key}` must be a number from {min}"));
                None
            }
            None => {
                report.error(node.span(), format!("`{key}` must be a finite number"));
                None
            }
        }
    }

    /// One of the section's words for this key; `values` stand in the order of those words.
    pub(super) fn choice<T: Copy, const N: usize>(
        &self,
        key: &str,
        values: [T; N],
        report: &mut Report,
    ) -> Option<T> {
        let node = self.node(key)?;
        let words = match self.section.find(key).map(|key| key.shape) {
            Some(Shape::Choice(words)) => words,
            _ => &[],
        };
        debug_assert_eq!(words.len(), N, "{key} has as many words as values");
        let list: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
        let Some(text) = node.get_ref().as_str() else {
            wrong_type(key, node, &list.join(" or "), report);
            return None;
        };
        let found = words.iter().zip(values).find(|(word, _)| **word == text);
        if found.is_none() {
            let message = format!("`{key}` cannot be \"{text}\"");
            report
                .error(node.span(), message)
                .suggest(text, words.iter().copied());
        }
        found.map(|(_, value)| value)
    }

    /// An array of text.
    pub(super) fn texts(&self, key: &str, report: &mut Report) -> Option<At<Vec<At<&'d str>>>> {
        let node = self.node(key)?;
        let Some(items) = node.get_ref().as_array() else {
            wrong_type(key, node, "an array of text, like [\"a\", \"b\"]", report);
            return None;
        };
        let mut texts = Vec::with_capacity(items.len());
        for item in items.iter() {
            match item.get_ref().as_str() {
                Some(text) => texts.push(At::new(text, item.span())),
                None => wrong_type(key, item, "an array of text", report),
            }
        }
        Some(At::new(texts, node.span()))
    }

    /// A table whose keys are the writer's own.
    pub(super) fn map(&self, key: &str, report: &mut Report) -> Option<Vec<Entry<'d>>> {
        let node = self.node(key)?;
        match node.get_ref() {
            DeValue::Table(table) => Some(entries(table)),
            _ => {
                wrong_type(key, node, "a table", report);
                None
            }
        }
    }

    /// A table of a known section.
    pub(super) fn table(&self, key: &str, report: &mut Report) -> Option<Fields<'d>> {
        let entry = self.get(key)?;
        let Some(Shape::Table(section)) = self.section.find(key).map(|key| key.shape) else {
            return None;
        };
        match entry.node.get_ref() {
            DeValue::Table(table) => {
                let at = place_of(entry);
                Some(Fields::new(section, at, table, report))
            }
            _ => {
                wrong_type(key, entry.node, "a table", report);
                None
            }
        }
    }

    /// A table whose `kind` decides on its section, and that kind. One without a known kind is read as
    /// the kind whose keys it has most of, so that its other mistakes are told as well.
    pub(super) fn table_by_kind(
        &self,
        key: &str,
        report: &mut Report,
    ) -> Option<(&'static str, Fields<'d>)> {
        let entry = self.get(key)?;
        let Some(Shape::ByKind(kinds)) = self.section.find(key).map(|key| key.shape) else {
            return None;
        };
        let DeValue::Table(table) = entry.node.get_ref() else {
            wrong_type(key, entry.node, "a table", report);
            return None;
        };
        let inside = entries(table);
        let written = inside
            .iter()
            .find(|entry| entry.key == "kind")
            .and_then(|entry| entry.node.get_ref().as_str());
        let known = kinds.iter().find(|(kind, _)| written == Some(*kind));
        let shared = |section: &Section| {
            let is_key = |entry: &&Entry<'_>| section.find(entry.key).is_some();
            inside.iter().filter(is_key).count()
        };
        // Of equals `max_by_key` takes the last one.
        let nearest = || {
            kinds
                .iter()
                .rev()
                .max_by_key(|(_, section)| shared(section))
        };
        let &(kind, section) = known.or_else(nearest)?;
        Some((kind, Fields::new(section, place_of(entry), table, report)))
    }

    /// Tables of a known section, written `[[key]]`.
    pub(super) fn tables(&self, key: &str, report: &mut Report) -> Vec<Fields<'d>> {
        let Some(entry) = self.get(key) else {
            return Vec::new();
        };
        let Some(Shape::Tables(section)) = self.section.find(key).map(|key| key.shape) else {
            return Vec::new();
        };
        let Some(items) = entry.node.get_ref().as_array() else {
            let message = format!("`{key}` is a list of tables");
            report.error(place_of(entry), message).help(format!(
                "write [[{}]], with two brackets",
                path_of(section, key)
            ));
            return Vec::new();
        };
        let mut tables = Vec::with_capacity(items.len());
        for item in items.iter() {
            match item.get_ref() {
                DeValue::Table(table) => {
                    tables.push(Fields::new(section, item.span(), table, report));
                }
                _ => wrong_type(key, item, "a table", report),
            }
        }
        tables
    }
}

/// A sentence as the end of another.
fn as_clause(sentence: &str) -> String {
    let mut chars = sentence.trim_end_matches('.').chars();
    let first = chars.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(chars).collect()
}

/// A section is read in one place of the file, so its header is known.
fn path_of(section: &'static Section, key: &str) -> String {
    let inside = |outer: &Section, prefix: &str| {
        outer
            .find(key)
            .filter(|key| matches!(key.shape, Shape::Tables(inner) if std::ptr::eq(inner, section)))
            .map(|_| format!("{prefix}{key}"))
    };
    inside(&super::keys::TASK, "job.task.")
        .or_else(|| inside(&super::keys::JOB, "job."))
        .unwrap_or_else(|| key.to_owned())
}

/// A table made by dotted keys has no place of its own; its key has.
fn place_of(entry: &Entry<'_>) -> Range<usize> {
    let span = entry.node.span();
    if span.is_empty() {
        entry.key_span.clone()
    } else {
        span
    }
}

/// Parses text to a name, an id, a digest.
pub(super) fn parsed<T>(text: &At<&str>, report: &mut Report) -> Option<At<T>>
where
    T: FromStr<Err = InvalidId>,
{
    match text.value.parse::<T>() {
        Ok(value) => Some(At::new(value, text.span.clone())),
        Err(InvalidId {
            kind,
            text: shown,
            rule,
        }) => {
            report
                .error(text.span.clone(), format!("\"{shown}\" is not a {kind}"))
                .help(format!("a {kind} is {rule}"));
            None
        }
    }
}

/// Reports a value of another type.
pub(super) fn wrong_type(key: &str, node: Node<'_>, wanted: &str, report: &mut Report) {
    let found = match node.get_ref() {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    };
    report.error(
        node.span(),
        format!("`{key}` must be {wanted}, not {found}"),
    );
}
