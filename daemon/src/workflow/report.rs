//! Collects remarks about one file, so that all mistakes are told at once.

use std::ops::Range;
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Severity};

/// Shown remarks per file. A file with more mistakes is one mistake repeated.
const REMARKS_MAX: usize = 200;

/// The remarks about one file.
pub(crate) struct Report {
    file: Arc<str>,
    text: Arc<str>,
    /// Where each line ends: grants ask for their line, and a file has many.
    line_ends: Vec<usize>,
    list: Vec<Entry>,
}

struct Entry {
    diagnostic: Diagnostic,
    /// Likely a consequence of broken TOML elsewhere.
    derived: bool,
}

/// The remark just made, to which a cure may be added.
pub(crate) struct Remark<'r>(&'r mut Entry);

impl Remark<'_> {
    /// Adds the cure.
    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        self.0.diagnostic.help = Some(help.into());
        self
    }

    /// Adds "did you mean …?" when a candidate is close, else lists them when there are few.
    pub(crate) fn suggest<'c>(
        self,
        word: &str,
        candidates: impl IntoIterator<Item = &'c str>,
    ) -> Self {
        match suggestion(word, candidates) {
            Some(help) => self.help(help),
            None => self,
        }
    }

    /// Like [`Self::suggest`]; the help given before stays only when there is no candidate at all.
    pub(super) fn suggest_if_any<'c>(
        self,
        word: &str,
        candidates: impl IntoIterator<Item = &'c str>,
    ) -> Self {
        let candidates: Vec<&str> = candidates.into_iter().collect();
        if !candidates.is_empty() {
            self.0.diagnostic.help = None;
        }
        self.suggest(word, candidates)
    }

    /// Marks it as a likely consequence of broken TOML.
    pub(crate) fn derived(self) -> Self {
        self.0.derived = true;
        self
    }
}

impl Report {
    pub(crate) fn new(file: Arc<str>, text: Arc<str>) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self {
            line_ends: ends.map(|(at, _)| at).collect(),
            file,
            text,
            list: Vec::new(),
        }
    }

    pub(crate) fn text(&self) -> &Arc<str> {
        &self.text
    }

    pub(super) fn file(&self) -> &Arc<str> {
        &self.file
    }

    pub(crate) fn error(&mut self, span: Range<usize>, message: impl Into<String>) -> Remark<'_> {
        self.push(Severity::Error, span, message.into())
    }

    pub(crate) fn warning(&mut self, span: Range<usize>, message: impl Into<String>) -> Remark<'_> {
        self.push(Severity::Warning, span, message.into())
    }

    fn push(&mut self, severity: Severity, span: Range<usize>, message: String) -> Remark<'_> {
        let entry = Entry {
            diagnostic: Diagnostic {
                severity,
                file: Arc::clone(&self.file),
                text: Arc::clone(&self.text),
                span,
                message,
                help: None,
            },
            derived: false,
        };
        Remark(pushed(&mut self.list, entry))
    }

    /// Whether the file is refused.
    pub(crate) fn has_errors(&self) -> bool {
        self.list
            .iter()
            .any(|entry| entry.diagnostic.severity == Severity::Error)
    }

    /// Drops what is likely a consequence of broken TOML: remarks so marked, and those on the
    /// lines where the TOML itself is broken. The first `syntax` remarks are about the TOML.
    pub(crate) fn drop_consequences(&mut self, syntax: usize) {
        let lines: Vec<usize> = self
            .list
            .iter()
            .take(syntax)
            .map(|entry| entry.diagnostic.line_column().0)
            .collect();
        let mut at = 0;
        self.list.retain(|entry| {
            at += 1;
            at <= syntax
                || (!entry.derived
                    && !entry.diagnostic.span.is_empty()
                    && !lines.contains(&entry.diagnostic.line_column().0))
        });
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// The line of a place, from 1.
    pub(crate) fn line(&self, at: usize) -> usize {
        self.line_ends.partition_point(|end| *end < at) + 1
    }

    /// The remarks in the order of the file, each once, at most [`REMARKS_MAX`].
    pub(crate) fn finish(self) -> Vec<Diagnostic> {
        let mut list: Vec<Diagnostic> = self.list.into_iter().map(|e| e.diagnostic).collect();
        list.sort_by(|a, b| {
            (a.span.start, a.severity, a.span.end).cmp(&(b.span.start, b.severity, b.span.end))
        });
        list.dedup_by(|a, b| a.span == b.span && a.message == b.message);
        if list.len() > REMARKS_MAX {
            let more = list.len() - REMARKS_MAX;
            // Errors are never the ones left out while a warning is shown.
            list.sort_by_key(|d| d.severity);
            list.truncate(REMARKS_MAX);
            list.sort_by_key(|d| d.span.start);
            if let Some(mut last) = list.last().cloned() {
                last.message = format!("{more} more remarks are not shown");
                last.help = Some("mend these first".to_owned());
                list.push(last);
            }
        }
        list
    }
}

#[allow(
    clippy::indexing_slicing,
    reason = "the entry was pushed on the line before"
)]
fn pushed(list: &mut Vec<Entry>, entry: Entry) -> &mut Entry {
    let at = list.len();
    list.push(entry);
    &mut list[at]
}

/// "did you mean …?" when one is close; "there is …" when there are few; else nothing.
pub(crate) fn suggestion<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<String> {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    let folded = word.to_lowercase();
    let nearest = candidates
        .iter()
        .map(|c| (strsim::damerau_levenshtein(&folded, &c.to_lowercase()), *c))
        .min();
    // A third of the letters may differ: more is another word.
    if let Some((distance, near)) = nearest
        && distance <= (word.chars().count() / 3).max(1)
        && distance < word.chars().count()
    {
        return Some(format!("did you mean `{near}`?"));
    }
    // Words that share their beginning or end are close in another way: `keywords`, `max-memory`.
    let contained = candidates.iter().find(|c| {
        c.len() >= 3
            && folded.len() >= 3
            && (folded.contains(&c.to_lowercase()) || c.to_lowercase().contains(&folded))
    });
    if let Some(near) = contained {
        return Some(format!("did you mean `{near}`?"));
    }
    // More than a line of names helps nobody.
    let list: Vec<String> = candidates.iter().map(|c| format!("`{c}`")).collect();
    match list.len() {
        0 => None,
        1 => Some(format!("there is only {}", listed(&list))),
        2..=10 => Some(format!("there are {}", listed(&list))),
        _ => None,
    }
}

/// `a, b and c`.
pub(crate) fn listed(words: &[impl AsRef<str>]) -> String {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    match words.as_slice() {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}
