//! A filter as a program: what it may call, where its mistakes are, and how it runs.
//!
//! A filter has its input and arguments and nothing else: no second input, no environment, no files, no end of
//! the process, no clock zone of the machine. `debug` writes to the task's log.

use std::{collections::BTreeMap, fmt, fmt::Write as _, iter};

use flowweaver_task::{Error, Value, json, log};
use jaq_core::{
    Ctx, Exn, Vars, compile,
    data::JustLut,
    load::{self, Arena, File, Loader, parse::Def},
    native::{self, Fun},
};
use jaq_json::Val;
use serde::Deserialize as _;

/// The most text of a filter. People write lines; what is larger was put together by a program and belongs into a
/// module of its own.
const FILTER_BYTES: usize = 64 << 10;

/// The most mistakes that are told at once: more do not help whoever reads them.
const MISTAKES: usize = 10;

/// The most text of an error or a `debug` line: a filter may fail on a value of any size.
const SHOWN_BYTES: usize = 1000;

/// Stands where something was cut off.
const CUT: char = '…';

/// What jq has and a task has not, and what to do about it.
const ABSENT: &[(&str, &str)] = &[
    ("input", "there is one input: `.`"),
    ("inputs", "there is one input: `.`"),
    ("input_filename", "there is one input: `.`"),
    ("input_line_number", "there is one input: `.`"),
    ("env", "give the value as an argument"),
    ("$ENV", "give the value as an argument"),
    (
        "halt",
        "`error` ends a filter, `first` and `limit` shorten one",
    ),
    ("halt_error", "`error` ends a filter"),
    ("stderr", "`debug` writes to the task's log"),
    ("localtime", "`gmtime` is the same here"),
    ("strflocaltime", "`strftime` is the same here"),
];

/// The values are JSON and the table of functions is all that a filter knows.
type Kind = JustLut<Val>;

/// A filter that can run.
pub(crate) struct Program {
    filter: jaq_core::Filter<Kind>,
    arguments: Vec<Val>,
}

impl Program {
    /// Compiles a filter.
    ///
    /// # Errors
    /// `filter.invalid`, permanent, with the place of each mistake; `input.invalid` when the filter is too long or an
    /// argument's name is none.
    pub(crate) fn compile(code: &str, arguments: BTreeMap<String, Value>) -> Result<Self, Error> {
        if code.len() > FILTER_BYTES {
            let message = format!("`filter` has more than {FILTER_BYTES} bytes");
            return Err(Error::permanent("input.invalid", message));
        }
        let mut names = Vec::with_capacity(arguments.len());
        let mut values = Vec::with_capacity(arguments.len());
        for (name, value) in arguments {
            if !is_name(&name) {
                let message =
                    format!("`arguments`: `{name}` is not a name of letters, digits and `_`");
                return Err(Error::permanent("input.invalid", message));
            }
            names.push(format!("${name}"));
            values.push(Val::deserialize(value)?);
        }
        let arena = Arena::default();
        let modules = Loader::new(definitions())
            .load(&arena, File { code, path: () })
            .map_err(|errors| invalid(code, load_mistakes(errors)))?;
        load::import(&modules, |_| Err("there are no files here".to_owned()))
            .map_err(|errors| invalid(code, load_mistakes(errors)))?;
        let filter = compile::Compiler::default()
            .with_funs(functions())
            .with_global_vars(names.iter().map(String::as_str))
            .compile(modules)
            .map_err(|errors| invalid(code, compile_mistakes(errors)))?;
        Ok(Program {
            filter,
            arguments: values,
        })
    }

    /// Runs the filter on an input; each result is made when it is asked for.
    ///
    /// # Errors
    /// Of a result: `filter.failed`, permanent, with what the filter said.
    pub(crate) fn run(
        &self,
        input: Value,
    ) -> Result<impl Iterator<Item = Result<Val, Error>> + '_, Error> {
        let input = Val::deserialize(input)?;
        let context = Ctx::<Kind>::new(&self.filter.lut, Vars::new(self.arguments.iter().cloned()));
        let results = self.filter.id.run((context, input));
        Ok(results.map(|result| result.map_err(failed)))
    }
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn is_absent(name: &str) -> bool {
    ABSENT.iter().any(|(absent, _)| *absent == name)
}

/// The library that is written in jq itself.
fn definitions() -> impl Iterator<Item = Def<&'static str>> {
    jaq_core::defs()
        .chain(jaq_std::defs())
        .chain(jaq_json::defs())
        .filter(|definition| !is_absent(definition.name))
}

/// The library that is written in Rust.
fn functions() -> impl Iterator<Item = Fun<Kind>> {
    // What definitions call beneath `debug` and `stderr` would write to a log that nobody has.
    let theirs = |name: &str| is_absent(name) || matches!(name, "debug_empty" | "stderr_empty");
    let debug = native::run::<Kind>(("debug_empty", native::v(0), |(_, value)| {
        log::debug(words(&value), &[]);
        Box::new(iter::empty())
    }));
    jaq_core::funs()
        .chain(jaq_std::funs())
        .chain(jaq_json::funs())
        .filter(move |(name, _, _)| !theirs(name))
        .chain([debug])
}

/// A mistake in a filter: the text it is at, a part of the filter, and what is wrong with it.
type Mistake<'a> = (&'a str, String);

fn load_mistakes<'a>(errors: load::Errors<&'a str, ()>) -> Vec<Mistake<'a>> {
    let expected = |expected: &str, found: &str| match found.chars().next() {
        None => format!("expected {expected}, found the end"),
        Some(_) => format!("expected {expected}, found `{}`", shown(&one_word(found))),
    };
    let mut mistakes = Vec::new();
    for (_, error) in errors {
        match error {
            load::Error::Io(errors) => mistakes.extend(errors),
            load::Error::Lex(errors) => mistakes.extend(
                errors
                    .into_iter()
                    .map(|(wanted, found)| (found, expected(wanted.as_str(), found))),
            ),
            load::Error::Parse(errors) => mistakes.extend(
                errors
                    .into_iter()
                    .map(|(wanted, found)| (found, expected(wanted.as_str(), found))),
            ),
        }
    }
    mistakes
}

/// A lexer's mistake is everything from there on; its first word is enough.
fn one_word(found: &str) -> String {
    let word = found.split_whitespace().next().unwrap_or(found);
    word.to_owned()
}

fn compile_mistakes<'a>(errors: compile::Errors<&'a str, ()>) -> Vec<Mistake<'a>> {
    let mut mistakes = Vec::new();
    for (name, undefined) in errors.into_iter().flat_map(|(_, errors)| errors) {
        let absent = ABSENT.iter().find(|(absent, _)| *absent == name);
        let message = match (absent, &undefined) {
            (Some((_, cure)), _) => format!("`{name}` does not exist here: {cure}"),
            (None, compile::Undefined::Filter(given)) => {
                format!("there is no filter `{name}/{given}`")
            }
            (None, _) => format!("there is no {} `{name}`", undefined.as_str()),
        };
        mistakes.push((name, message));
    }
    mistakes
}

/// The error for a filter that cannot be compiled.
fn invalid(code: &str, mistakes: Vec<Mistake<'_>>) -> Error {
    let mut message = "`filter`".to_owned();
    let mut places = Vec::new();
    for (at, (part, what)) in mistakes.iter().take(MISTAKES).enumerate() {
        let (line, column) = place(code, part);
        let separator = if at == 0 { "" } else { ";" };
        // Writing to a String cannot fail.
        let _ = write!(message, "{separator} {line}:{column}: {what}");
        places.push(json!({ "line": line, "column": column, "message": what }));
    }
    if mistakes.len() > MISTAKES {
        let _ = write!(message, "; and {} more", mistakes.len() - MISTAKES);
    }
    Error::permanent("filter.invalid", message).with_details(json!({ "mistakes": places }))
}

/// Line and column, from 1, of a part of the filter.
fn place(code: &str, part: &str) -> (usize, usize) {
    let start = (part.as_ptr() as usize).wrapping_sub(code.as_ptr() as usize);
    // The end of the text is told as an empty text, which need not be a part of it.
    let before = code.get(..start).unwrap_or(code);
    let line = before.matches('\n').count() + 1;
    let last = before.rsplit('\n').next().unwrap_or_default();
    (line, last.chars().count() + 1)
}

/// The error of a filter that ran and failed. What `error(…)` was given, if it is no text, is in the details.
fn failed(exception: Exn<'_, Val>) -> Error {
    let Ok(error) = exception.get_err() else {
        return Error::permanent("filter.failed", "the filter left its own control flow");
    };
    let mut message = shown(&error);
    let mut details = None;
    // The whole of a long one may be longer than all memory.
    if !message.ends_with(CUT) {
        match error.into_val() {
            value @ (Val::Arr(_) | Val::Obj(_)) => {
                details = super::Room::of_details().json(&value).ok();
            }
            value => message = words(&value),
        }
    }
    let mut error = Error::permanent("filter.failed", message);
    error.details = details.map(|value| json!({ "error": value }));
    error
}

/// A value in a message: text as it is, everything else as JSON.
fn words(value: &Val) -> String {
    match value {
        Val::TStr(text) => shown(&String::from_utf8_lossy(text)),
        other => shown(other),
    }
}

/// A value's text, cut off where it gets long without ever being made in full.
fn shown(value: &dyn fmt::Display) -> String {
    struct Short(String);
    impl fmt::Write for Short {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let room = SHOWN_BYTES.saturating_sub(self.0.len());
            if text.len() <= room {
                self.0.push_str(text);
                return Ok(());
            }
            let end = (0..=room).rev().find(|at| text.is_char_boundary(*at));
            self.0
                .push_str(text.get(..end.unwrap_or(0)).unwrap_or_default());
            self.0.push(CUT);
            Err(fmt::Error)
        }
    }
    let mut short = Short(String::new());
    // An error here is the cut itself.
    let _ = write!(short, "{value}");
    short.0
}
