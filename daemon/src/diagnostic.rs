//! What is wrong in something a person wrote: where, what, and the cure; and how that is shown.
//!
//! Failures of tasks are `run::Failure`; this is for files.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use unicode_width::UnicodeWidthChar;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is accepted.
    Warning,
}

/// One remark about one place in one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The file as the reader knows it, e.g. `flows/product-blog.toml`.
    pub file: Arc<str>,
    /// The file's text, from which line, column and excerpt are taken.
    pub text: Arc<str>,
    /// The place, in bytes of `text`.
    pub span: Range<usize>,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// How to mend it.
    pub help: Option<String>,
}

/// An excerpt is at most this many columns wide: it fits a terminal beside its gutter.
const EXCERPT_COLUMNS: usize = 110;
/// Columns of text kept before the caret when a line is cut.
const EXCERPT_LEAD: usize = 40;
/// A tab is shown as this many spaces, so that the caret stands where it points.
const TAB: &str = "    ";

impl Diagnostic {
    /// The place as line and column, both from 1; the column counts characters.
    pub fn line_column(&self) -> (usize, usize) {
        let start = self.text.floor_char_boundary(self.span.start);
        let before = self.text.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        (line, column)
    }

    /// The line of the place, as shown, with the columns before the place and under it.
    fn excerpt(&self) -> (String, usize, usize) {
        let start = self.text.floor_char_boundary(self.span.start);
        let end = self.text.floor_char_boundary(self.span.end.max(start));
        let line_start = self
            .text
            .get(..start)
            .and_then(|before| before.rfind('\n'))
            .map_or(0, |at| at + 1);
        let line_end = self
            .text
            .get(start..)
            .and_then(|after| after.find('\n'))
            .map_or(self.text.len(), |at| start + at);
        let part = |from: usize, to: usize| {
            let raw = self.text.get(from..to.max(from)).unwrap_or_default();
            shown(raw.strip_suffix('\r').unwrap_or(raw))
        };
        let before = part(line_start, start);
        let marked = part(start, end.min(line_end));
        let after = part(end.clamp(start, line_end), line_end);
        cut(&before, &marked, &after)
    }
}

/// Cuts a long line around the marked part; gives the line and the columns before and under it.
fn cut(before: &str, marked: &str, after: &str) -> (String, usize, usize) {
    let lead = columns(before);
    let mut line = String::new();
    if lead + columns(marked) + columns(after) <= EXCERPT_COLUMNS {
        line.push_str(before);
    } else if lead > EXCERPT_LEAD {
        line.push('…');
        let mut skip = lead - EXCERPT_LEAD;
        line.extend(before.chars().skip_while(|c| {
            let width = c.width().unwrap_or(0);
            let skipped = skip > 0;
            skip = skip.saturating_sub(width);
            skipped
        }));
    } else {
        line.push_str(before);
    }
    let lead = columns(&line);
    let mut width = 0;
    let mut left = EXCERPT_COLUMNS.saturating_sub(lead);
    for (text, under) in [(marked, true), (after, false)] {
        for c in text.chars() {
            let wide = c.width().unwrap_or(0);
            if wide > left {
                line.push('…');
                return (line, lead, width.max(1));
            }
            left -= wide;
            width += if under { wide } else { 0 };
            line.push(c);
        }
    }
    (line, lead, width.max(1))
}

fn columns(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// Text of a stranger as it is safe to show: tabs as spaces; control characters, and characters
/// that reorder or hide what follows, as their code points.
pub fn shown(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => safe.push_str(TAB),
            c if c.is_control() || is_hidden(c) => {
                safe.push_str(&format!("\\u{{{:x}}}", c as u32));
            }
            c => safe.push(c),
        }
    }
    safe
}

/// Bidirectional controls, zero-width characters, line separators and the byte-order mark.
fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{61c}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let (line, column) = self.line_column();
        let (excerpt, lead, width) = self.excerpt();
        let gutter = " ".repeat(line.to_string().len());
        writeln!(f, "{word}: {}", shown(&self.message))?;
        writeln!(f, "{gutter}--> {}:{line}:{column}", shown(&self.file))?;
        writeln!(f, "{gutter} |")?;
        writeln!(f, "{line} | {}", excerpt.trim_end())?;
        let (space, carets) = (" ".repeat(lead), "^".repeat(width));
        writeln!(f, "{gutter} | {space}{carets}")?;
        if let Some(help) = &self.help {
            writeln!(f, "{gutter} = help: {}", shown(help))?;
        }
        Ok(())
    }
}

/// All remarks, as a person reads them: sorted by file and place, an empty line between two, and
/// the count at the end. Empty when there are none.
pub fn render(diagnostics: &[Diagnostic]) -> String {
    let mut sorted: Vec<&Diagnostic> = diagnostics.iter().collect();
    sorted.sort_by_key(|d| (Arc::clone(&d.file), d.span.start, d.severity));
    let mut text = String::new();
    for diagnostic in sorted {
        text.push_str(&diagnostic.to_string());
        text.push('\n');
    }
    let of = |severity| {
        diagnostics
            .iter()
            .filter(|d| d.severity == severity)
            .count()
    };
    let parts: Vec<String> = [
        (of(Severity::Error), "error"),
        (of(Severity::Warning), "warning"),
    ]
    .iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, word)| format!("{count} {word}{}", if *count == 1 { "" } else { "s" }))
    .collect();
    if !parts.is_empty() {
        text.push_str(&parts.join(", "));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, part: &str) -> Diagnostic {
        let start = text.find(part).unwrap();
        Diagnostic {
            severity: Severity::Error,
            file: "flows/a.toml".into(),
            text: text.into(),
            span: start..start + part.len(),
            message: "wrong".to_owned(),
            help: None,
        }
    }

    #[test]
    fn the_caret_stands_under_its_place_after_wide_letters_and_tabs() {
        let shown = at("a = 1\n\t한글 = x\n", "x").to_string();
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[1], " --> flows/a.toml:2:7");
        assert_eq!(lines[3], "2 |     한글 = x");
        // Four columns for the tab, two for each Hangul syllable, three for ` = `.
        assert_eq!(lines[4], format!("  | {}^", " ".repeat(11)));
    }

    #[test]
    fn a_text_cannot_move_the_cursor_or_turn_itself_around() {
        let shown = at("a = \"\u{202e}x\u{1b}[2J\"", "x").to_string();
        assert!(shown.contains("\\u{202e}x\\u{1b}[2J"), "{shown}");
        assert!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}'));
    }

    #[test]
    fn a_long_line_is_cut_around_its_place() {
        let text = format!("a = \"{}!{}\"", "x".repeat(5_000), "y".repeat(5_000));
        let shown = at(&text, "!").to_string();
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines[3].chars().count() < 130 && lines[3].contains("x!y"));
        assert_eq!(
            lines[3].chars().position(|c| c == '!'),
            lines[4].chars().position(|c| c == '^')
        );
    }

    #[test]
    fn a_place_outside_the_text_is_shown_at_its_end() {
        let mut beyond = at("a = 1", "1");
        beyond.span = 900..1_000;
        assert!(beyond.to_string().contains("a.toml:1:6"));
    }
}
