//! Reads the text of an expression just far enough to know which paths it takes: `tasks.a.b[0]`.
//!
//! The expression language itself is minijinja's; what this refuses (calls, methods, computed
//! task names) is what the compiler could not check.

use std::ops::Range;

/// What an expression mentions.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Every path, in order.
    pub(super) paths: Vec<PathUse>,
    /// The expression is one path and nothing else.
    pub(super) pure: bool,
    /// What is not allowed.
    pub(super) problems: Vec<Problem>,
}

/// One path: a root and the steps from it.
#[derive(Debug, Clone)]
pub(super) struct PathUse {
    pub(super) root: String,
    pub(super) segments: Vec<(Segment, Range<usize>)>,
    /// In bytes of the expression.
    pub(super) span: Range<usize>,
    /// A computed index follows, so the rest is not known.
    pub(super) open: bool,
    /// `| default(…)` or `is defined` follows, so the value may be absent.
    pub(super) guarded: bool,
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    /// `.name` or `["name"]`.
    Field(String),
    /// `[0]`.
    Index(usize),
}

/// Something not allowed.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) span: Range<usize>,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Name(String),
    Text(String),
    Number(Option<usize>),
    Sign(&'static str),
    /// Letters of other scripts.
    Foreign,
    Other,
}

const SIGNS: [&str; 22] = [
    "==", "!=", "<=", ">=", "//", "**", "|", ".", "[", "]", "(", ")", "{", "}", ",", ":", "=", "+",
    "-", "*", "/", "~",
];
const WORDS: [&str; 15] = [
    "and",
    "or",
    "not",
    "in",
    "is",
    "if",
    "else",
    "true",
    "false",
    "none",
    "True",
    "False",
    "None",
    "null",
    "recursive",
];

/// The filters of the language that are pure functions of their arguments.
pub(super) const FILTERS: [&str; 44] = [
    "abs",
    "attr",
    "batch",
    "bool",
    "capitalize",
    "chain",
    "count",
    "d",
    "default",
    "dictsort",
    "first",
    "float",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "select",
    "selectattr",
    "slice",
    "sort",
    "split",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "unique",
    "upper",
    "zip",
];
/// The tests of the language.
pub(super) const TESTS: [&str; 33] = [
    "boolean",
    "defined",
    "divisibleby",
    "endingwith",
    "eq",
    "equalto",
    "even",
    "false",
    "float",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "int",
    "integer",
    "iterable",
    "le",
    "lessthan",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "sameas",
    "sequence",
    "startingwith",
    "string",
    "true",
    "undefined",
    "upper",
    "filter",
];

/// Reads an expression.
pub(super) fn scan(text: &str) -> Scan {
    let mut reader = Reader {
        tokens: tokens(text),
        at: 0,
        scan: Scan::default(),
    };
    reader.read();
    let only = reader.scan.paths.len() == 1
        && reader
            .scan
            .paths
            .first()
            .is_some_and(|path| !path.open && path.span == (0..text.len()));
    reader.scan.pure = only && reader.scan.problems.is_empty();
    reader.scan
}

/// Where an expression that begins at `start` ends: at the `}}` outside strings and braces.
pub(super) fn end_of_expression(text: &str, start: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = start;
    let mut depth = 0_usize;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' | b'\'' => {
                at += 1;
                while bytes.get(at).is_some_and(|b| b != byte) {
                    at += if bytes.get(at) == Some(&b'\\') { 2 } else { 1 };
                }
            }
            b'{' => depth += 1,
            b'}' if depth > 0 => depth -= 1,
            b'}' if bytes.get(at + 1) == Some(&b'}') => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

fn tokens(text: &str) -> Vec<(Token, Range<usize>)> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let (token, length) = token(rest);
        if let Some(token) = token {
            tokens.push((token, at..at + length));
        }
        at += length;
    }
    tokens
}

/// The token at the start of a text and its length; none for white space.
fn token(rest: &str) -> (Option<Token>, usize) {
    let first = rest.chars().next().unwrap_or(' ');
    let run = |is: fn(char) -> bool| rest.find(|c| !is(c)).unwrap_or(rest.len());
    if first.is_whitespace() {
        return (None, first.len_utf8());
    }
    if first.is_ascii_alphabetic() || first == '_' {
        let length = run(|c| c.is_ascii_alphanumeric() || c == '_');
        let name = rest.get(..length).unwrap_or_default().to_owned();
        return (Some(Token::Name(name)), length);
    }
    if first.is_ascii_digit() {
        let length = run(|c| c.is_ascii_digit());
        let number = rest.get(..length).and_then(|digits| digits.parse().ok());
        return (Some(Token::Number(number)), length);
    }
    if first == '"' || first == '\'' {
        let mut length = 1;
        let mut value = String::new();
        let mut chars = rest.chars().skip(1);
        while let Some(c) = chars.next() {
            length += c.len_utf8();
            if c == first {
                break;
            }
            if c == '\\' {
                let escaped = chars.next().unwrap_or('\\');
                length += escaped.len_utf8();
                value.push(escaped);
            } else {
                value.push(c);
            }
        }
        return (Some(Token::Text(value)), length.min(rest.len()));
    }
    if first.is_alphanumeric() {
        return (Some(Token::Foreign), run(char::is_alphanumeric));
    }
    match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
        Some(sign) => (Some(Token::Sign(sign)), sign.len()),
        None => (Some(Token::Other), first.len_utf8()),
    }
}

struct Reader {
    tokens: Vec<(Token, Range<usize>)>,
    at: usize,
    scan: Scan,
}

impl Reader {
    fn token(&self, at: usize) -> Option<&Token> {
        self.tokens.get(at).map(|(token, _)| token)
    }

    fn is_sign(&self, at: usize, sign: &str) -> bool {
        matches!(self.token(at), Some(Token::Sign(found)) if *found == sign)
    }

    fn is_name(&self, at: usize, name: &str) -> bool {
        matches!(self.token(at), Some(Token::Name(found)) if found == name)
    }

    fn span(&self, at: usize) -> Range<usize> {
        self.tokens.get(at).map_or(0..0, |(_, span)| span.clone())
    }

    fn problem(&mut self, at: usize, message: String, help: Option<String>) {
        let span = self.span(at);
        self.scan.problems.push(Problem {
            span,
            message,
            help,
        });
    }

    fn read(&mut self) {
        while let Some(token) = self.token(self.at) {
            let Token::Name(name) = token.clone() else {
                if *token == Token::Foreign {
                    let message = "a name here has only letters a-z, digits and `_`".to_owned();
                    let help = "text stands in quotes";
                    self.problem(self.at, message, Some(help.to_owned()));
                }
                self.at += 1;
                continue;
            };
            let before = |reader: &Self, back: usize| reader.at.checked_sub(back);
            let follows = |reader: &Self, sign: &str| {
                before(reader, 1).is_some_and(|at| reader.is_sign(at, sign))
            };
            let is_test = before(self, 1).is_some_and(|at| self.is_name(at, "is"))
                || (before(self, 1).is_some_and(|at| self.is_name(at, "not"))
                    && before(self, 2).is_some_and(|at| self.is_name(at, "is")));
            if follows(self, "|") {
                self.known(&name, &FILTERS, "filter");
            } else if is_test && name != "not" {
                self.known(&name, &TESTS, "test");
            } else if follows(self, ".") {
                if self.is_sign(self.at + 1, "(") {
                    self.method(self.at);
                }
            } else if WORDS.contains(&name.as_str()) || self.is_sign(self.at + 1, "=") {
                // A word of the language, or the name of a filter's argument.
            } else if self.is_sign(self.at + 1, "(") {
                let message = format!("there is no function `{name}`");
                let help = "expressions have filters: {{ inputs.tags | join(\", \") }}";
                self.problem(self.at, message, Some(help.to_owned()));
            } else {
                self.path(name);
                continue;
            }
            self.at += 1;
        }
    }

    fn known(&mut self, name: &str, list: &[&str], kind: &str) {
        if !list.contains(&name) {
            let help = super::report::suggestion(name, list.iter().copied());
            self.problem(self.at, format!("there is no {kind} `{name}`"), help);
        }
    }

    fn method(&mut self, at: usize) {
        let help = "expressions have filters instead: {{ inputs.name | upper }}";
        self.problem(
            at,
            "values have no methods".to_owned(),
            Some(help.to_owned()),
        );
    }

    fn path(&mut self, root: String) {
        let mut path = PathUse {
            root,
            segments: Vec::new(),
            span: self.span(self.at),
            open: false,
            guarded: false,
        };
        self.at += 1;
        loop {
            let step = self.span(self.at).start;
            match (
                self.token(self.at),
                self.token(self.at + 1),
                self.token(self.at + 2),
            ) {
                (Some(Token::Sign(".")), Some(Token::Name(name)), next) => {
                    if matches!(next, Some(Token::Sign("("))) {
                        self.method(self.at + 1);
                        self.at += 2;
                        break;
                    }
                    let segment = Segment::Field(name.clone());
                    // The place is the name, without its dot.
                    let start = self.span(self.at + 1).start;
                    self.step(&mut path, segment, start, 2);
                }
                (Some(Token::Sign("[")), Some(Token::Text(name)), Some(Token::Sign("]"))) => {
                    let segment = Segment::Field(name.clone());
                    self.step(&mut path, segment, step, 3);
                }
                (
                    Some(Token::Sign("[")),
                    Some(Token::Number(Some(index))),
                    Some(Token::Sign("]")),
                ) => {
                    let segment = Segment::Index(*index);
                    self.step(&mut path, segment, step, 3);
                }
                (Some(Token::Sign("[")), ..) => {
                    path.open = true;
                    break;
                }
                _ => break,
            }
        }
        self.dashes(&mut path);
        path.guarded = self.is_guarded();
        self.scan.paths.push(path);
    }

    fn step(&mut self, path: &mut PathUse, segment: Segment, start: usize, tokens: usize) {
        self.at += tokens;
        let end = self.span(self.at - 1).end;
        path.span.end = end;
        path.segments.push((segment, start..end));
    }

    /// `tasks.a-b` is a subtraction, and never what was meant.
    fn dashes(&mut self, path: &mut PathUse) {
        let [(Segment::Field(first), _)] = path.segments.as_slice() else {
            return;
        };
        if path.root != "tasks" {
            return;
        }
        let mut name = first.clone();
        let mut end = path.span.end;
        let mut at = self.at;
        while self.is_sign(at, "-") && self.span(at).start == end {
            let part = match self.token(at + 1) {
                Some(Token::Name(part)) => part.clone(),
                Some(Token::Number(Some(part))) => part.to_string(),
                _ => break,
            };
            if self.span(at + 1).start != end + 1 {
                break;
            }
            name = format!("{name}-{part}");
            end = self.span(at + 1).end;
            at += 2;
        }
        if at == self.at {
            return;
        }
        self.scan.problems.push(Problem {
            span: path.span.start..end,
            message: format!("`tasks.{name}` reads as a subtraction"),
            help: Some(format!("write tasks[\"{name}\"]")),
        });
        // What follows belongs to the name as it was meant.
        while matches!(self.token(at), Some(Token::Sign(".")))
            && matches!(self.token(at + 1), Some(Token::Name(_)))
        {
            at += 2;
        }
        self.at = at;
        path.segments = vec![(Segment::Field(name), path.span.start..end)];
        path.span.end = end;
    }

    fn is_guarded(&self) -> bool {
        let filter = self.is_sign(self.at, "|")
            && (self.is_name(self.at + 1, "default") || self.is_name(self.at + 1, "d"));
        let mut test = self.at + 1;
        if self.is_name(test, "not") {
            test += 1;
        }
        let defined = self.is_name(self.at, "is")
            && (self.is_name(test, "defined") || self.is_name(test, "undefined"));
        filter || defined
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<String> {
        let scan = scan(text);
        scan.paths
            .iter()
            .map(|path| text[path.span.clone()].to_owned())
            .collect()
    }

    #[test]
    fn paths_are_found_outside_strings_filters_and_words() {
        assert_eq!(
            paths(
                r#"tasks["a-b"].x[0] | default(vars.y) ~ "tasks.z" if not inputs.q is none else item"#
            ),
            [r#"tasks["a-b"].x[0]"#, "vars.y", "inputs.q", "item"]
        );
        assert!(scan("a.b[0].c").pure);
        assert!(!scan("a.b | upper").pure && !scan("a[b]").pure && !scan("-a").pure);
    }

    #[test]
    fn calls_methods_and_unknown_filters_are_refused() {
        for bad in [
            "range(9)",
            "inputs.a.upper()",
            "inputs.a | uper",
            "inputs.a is odd_",
            "tasks.a-b.c",
        ] {
            assert!(!scan(bad).problems.is_empty(), "{bad}");
        }
        for good in [
            "inputs.a | round(precision=2)",
            "inputs.a is not none",
            "1 - inputs.a",
        ] {
            assert!(scan(good).problems.is_empty(), "{good}");
        }
    }

    #[test]
    fn an_expression_ends_at_its_own_braces() {
        assert_eq!(
            end_of_expression(r#" {"a": {"b": "}}"}} }} x"#, 0),
            Some(20)
        );
        assert_eq!(end_of_expression(" a ", 0), None);
    }
}
