//! A workflow file as text: read from bytes, bounded, and parsed as TOML with every mistake kept.
//!
//! What the TOML means is `decode`'s and `compile`'s work.

use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::report::Report;
use crate::diagnostic::{Diagnostic, Severity};
use crate::id::WorkflowName;

/// A workflow file's text and the name under which remarks mention it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowSource {
    /// The file as the reader knows it, e.g. `flows/product-blog.toml`.
    pub file: Arc<str>,
    /// Its text.
    pub text: Arc<str>,
}

/// A thousand tasks fit in a quarter of this; anything larger is not a workflow.
pub const SOURCE_MAX: usize = 1 << 20;
/// A dotted key nests one table a dot. No key of a workflow needs more, and a tree of thousands of
/// levels would exhaust the stack of whoever walks it.
const DOTS_MAX: usize = 16;
/// Braces and brackets inside each other; the parser's own limit is 80.
const NESTING_MAX: usize = 40;

/// The workflow's name, if the text says one; for looking up what the operator set for it before
/// the file is compiled.
pub fn name_of(source: &WorkflowSource) -> Option<WorkflowName> {
    let (table, _) = DeTable::parse_recoverable(&source.text);
    table
        .get_ref()
        .get("name")?
        .get_ref()
        .as_str()?
        .parse()
        .ok()
}

/// The workflows that the text names: those its tasks run and those it starts after. For compiling files in an order
/// in which what they name is there.
pub fn names_of(source: &WorkflowSource) -> Vec<WorkflowName> {
    // Most files name none, and parsing them all twice would be felt at a start.
    if !source.text.contains("workflow:") && !source.text.contains("[[on]]") {
        return Vec::new();
    }
    let (table, _) = DeTable::parse_recoverable(&source.text);
    let named = |table: &DeTable<'_>, key: &str, prefix: &str| {
        let text = table.get(key)?.get_ref().as_str()?;
        text.strip_prefix(prefix)?.parse::<WorkflowName>().ok()
    };
    let triggers = tables(table.get_ref(), "on").filter_map(|on| named(on, "workflow", ""));
    let jobs = tables(table.get_ref(), "job");
    let tasks = jobs.flat_map(|job| tables(job, "task"));
    let children = tasks.filter_map(|task| named(task, "uses", "workflow:"));
    triggers.chain(children).collect()
}

fn tables<'t>(table: &'t DeTable<'t>, key: &str) -> impl Iterator<Item = &'t DeTable<'t>> {
    let list = table.get(key).and_then(|list| list.get_ref().as_array());
    list.into_iter()
        .flat_map(|list| list.iter())
        .filter_map(|item| item.get_ref().as_table())
}

impl WorkflowSource {
    /// From text.
    pub fn new(file: impl Into<Arc<str>>, text: impl Into<Arc<str>>) -> Self {
        Self {
            file: file.into(),
            text: text.into(),
        }
    }

    /// From a file's bytes. A byte-order mark, bytes that are not UTF-8 and a file beyond
    /// [`SOURCE_MAX`] are refused with their place.
    pub fn from_bytes(file: impl Into<Arc<str>>, bytes: &[u8]) -> Result<Self, Box<Diagnostic>> {
        let file = file.into();
        let refuse = |text: &str, span: Range<usize>, message: String, help: &str| {
            Err(Box::new(Diagnostic {
                severity: Severity::Error,
                file: Arc::clone(&file),
                text: text.into(),
                span,
                message,
                help: Some(help.to_owned()),
            }))
        };
        if bytes.len() > SOURCE_MAX {
            let message = format!(
                "the file is larger than {} MiB, which no workflow is",
                SOURCE_MAX >> 20
            );
            let start: Vec<u8> = bytes.iter().copied().take(200).collect();
            let text = String::from_utf8_lossy(&start).into_owned();
            return refuse(&text, 0..0, message, "split it into several workflows");
        }
        if bytes.starts_with(&[0xef, 0xbb, 0xbf]) {
            let text = String::from_utf8_lossy(bytes).into_owned();
            let message = "the file begins with a byte-order mark".to_owned();
            return refuse(&text, 0..3, message, "save it as UTF-8 without a mark");
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Self::new(file, text)),
            Err(error) => {
                let at = error.valid_up_to();
                let byte = bytes.get(at).copied().unwrap_or_default();
                // What comes before is valid, so it keeps its length and the place stays right.
                let text = String::from_utf8_lossy(bytes).into_owned();
                let message = format!("the byte 0x{byte:02x} here is not UTF-8 text");
                let end = at + char::REPLACEMENT_CHARACTER.len_utf8();
                refuse(&text, at..end, message, "save the file as UTF-8")
            }
        }
    }
}

/// The parsed document, and whether its syntax was whole. None: not even tried. The settings file is read so too.
pub(crate) fn parse<'t>(text: &'t str, report: &mut Report) -> Option<(DeTable<'t>, bool)> {
    if text.len() > SOURCE_MAX {
        report.error(
            0..0,
            format!(
                "the file is larger than {} MiB; nobody writes so much by hand",
                SOURCE_MAX >> 20
            ),
        );
        return None;
    }
    if let Some((at, what)) = too_deep(text) {
        report
            .error(at..at + 1, format!("{what} are nested too deeply here"))
            .help(format!(
                "a key has at most {DOTS_MAX} dots, and brackets nest at most {NESTING_MAX} deep"
            ));
        return None;
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut whole = true;
    let mut lines = Vec::new();
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        if error.message() == "duplicate key" {
            duplicate_key(table.get_ref(), span, report);
            continue;
        }
        whole = false;
        // One mistake often breaks the rest of its line in several ways.
        let line = report.line(span.start);
        if lines.contains(&line) {
            continue;
        }
        lines.push(line);
        let (message, help) = reworded(error.message(), &span);
        let remark = report.error(span, message);
        if let Some(help) = help {
            remark.help(help);
        }
    }
    Some((table.into_inner(), whole))
}

/// The parser's words for the commonest slips are about grammar; these are about the slip.
fn reworded(message: &str, span: &Range<usize>) -> (String, Option<&'static str>) {
    let known = [
        (
            "missing escaped value",
            "this is no escape",
            "write \\\\ for a backslash, or put the text in 'single quotes'",
        ),
        (
            "invalid basic string, expected `\"`",
            "this text is never closed",
            "end it with a quote on the same line",
        ),
    ];
    if message.starts_with("string values must be quoted") {
        return if span.is_empty() {
            ("a value is missing here".to_owned(), None)
        } else {
            ("text must stand in quotes".to_owned(), None)
        };
    }
    let found = known.iter().find(|(start, ..)| message.starts_with(start));
    match found {
        Some((_, message, help)) => ((*message).to_owned(), Some(help)),
        None => (format!("this is not valid TOML: {message}"), None),
    }
}

fn duplicate_key(table: &DeTable<'_>, span: Range<usize>, report: &mut Report) {
    let key = report.text().get(span.clone()).unwrap_or_default();
    let key = key.trim_matches(['"', '\'']).to_owned();
    let mut first = None;
    nearest_before(table, &key, span.start, &mut first);
    // Of two tables the parser drops the first, so its header is looked up in the text.
    let first = first.or_else(|| same_header(report.text(), span.start));
    let message = match first {
        Some(at) => format!(
            "`{key}` is written twice; the first is in line {}",
            report.line(at)
        ),
        None => format!("`{key}` is written twice"),
    };
    report.error(span, message).help("keep one of them");
}

/// An earlier line with the same `[header]` as the line around `at`.
fn same_header(text: &str, at: usize) -> Option<usize> {
    let start = text.get(..at)?.rfind('\n').map_or(0, |at| at + 1);
    let header = |line: &str| line.split('#').next().unwrap_or_default().trim().to_owned();
    let own = header(text.get(start..)?.lines().next()?);
    let mut line_start = 0;
    for line in text.get(..start)?.split_inclusive('\n') {
        if own.starts_with('[') && header(line) == own {
            return Some(line_start);
        }
        line_start += line.len();
    }
    None
}

/// The last place before `limit` where this key stands: the parser keeps the first of two.
fn nearest_before(table: &DeTable<'_>, key: &str, limit: usize, found: &mut Option<usize>) {
    for (name, value) in table {
        let at = name.span().start;
        if name.get_ref() == key && at < limit && found.is_none_or(|best| at > best) {
            *found = Some(at);
        }
        nearest_in(value, key, limit, found);
    }
}

fn nearest_in(value: &Spanned<DeValue<'_>>, key: &str, limit: usize, found: &mut Option<usize>) {
    match value.get_ref() {
        DeValue::Table(inner) => nearest_before(inner, key, limit, found),
        DeValue::Array(items) => {
            for item in items.iter() {
                nearest_in(item, key, limit, found);
            }
        }
        _ => {}
    }
}

/// Where dotted keys or brackets go deeper than any workflow does.
///
/// Reads strings and comments the way the TOML lexer does, so that text with many dots passes.
fn too_deep(text: &str) -> Option<(usize, &'static str)> {
    let bytes = text.as_bytes();
    let (mut at, mut dots, mut depth) = (0, 0_usize, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' | b'\'' => {
                at = string_end(text, at, *byte);
                continue;
            }
            b'#' => {
                at += text.get(at..)?.find('\n').unwrap_or(text.len() - at);
                dots = 0;
                continue;
            }
            b'.' => dots += 1,
            b'[' | b'{' => {
                depth += 1;
                dots = 0;
            }
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                dots = 0;
            }
            b'=' | b',' | b'\n' => dots = 0,
            _ => {}
        }
        if dots > DOTS_MAX {
            return Some((at, "keys"));
        }
        if depth > NESTING_MAX {
            return Some((at, "brackets"));
        }
        at += 1;
    }
    None
}

/// Where the string that begins at `start` ends. An open one ends at its line, or, of several
/// lines, at the end of the file.
fn string_end(text: &str, start: usize, quote: u8) -> usize {
    let bytes = text.as_bytes();
    let is = |at: usize, byte: u8| bytes.get(at) == Some(&byte);
    let many = is(start + 1, quote) && is(start + 2, quote);
    let mut at = start + if many { 3 } else { 1 };
    while at < bytes.len() {
        if is(at, b'\\') && quote == b'"' {
            at += 2;
        } else if many && is(at, quote) && is(at + 1, quote) && is(at + 2, quote) {
            at += 3;
            // Up to two more quotes belong to the text.
            for _ in 0..2 {
                at += usize::from(is(at, quote));
            }
            return at;
        } else if !many && (is(at, quote) || is(at, b'\n')) {
            return at + usize::from(is(at, quote));
        } else {
            at += 1;
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_workflow_are_refused_with_their_place() {
        let place = |bytes: &[u8]| {
            WorkflowSource::from_bytes("a.toml", bytes)
                .unwrap_err()
                .line_column()
        };
        assert_eq!(place(b"\xef\xbb\xbfname = \"a\""), (1, 1));
        assert_eq!(place(b"a = 1\nb = \"\xff\""), (2, 6));
        assert_eq!(place(&vec![b'#'; 100 << 20]), (1, 1));
        assert!(WorkflowSource::from_bytes("a.toml", "이름 = 1".as_bytes()).is_ok());
    }

    #[test]
    fn a_tree_of_a_hundred_thousand_levels_is_refused_before_it_is_built() {
        for text in [
            format!("{}a = 1", "a.".repeat(100_000)),
            format!("[{}a]", "\"a\" . ".repeat(100_000)),
            format!("a = {}", "[".repeat(100_000)),
            format!("a = {}", "{ a = ".repeat(100_000)),
            format!("\"\n{}a = 1", "a.".repeat(100_000)),
        ] {
            assert!(too_deep(&text).is_some(), "{}", &text[..20]);
        }
        let prose = format!(
            "a = \"\"\"{}\n\"\"\"\nb = '{}'",
            "…. ".repeat(900),
            ".".repeat(900)
        );
        assert_eq!(too_deep(&prose), None);
    }
}
