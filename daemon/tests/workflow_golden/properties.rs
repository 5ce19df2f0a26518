//! Any text at all: an answer, never a panic; every remark at a place in the text; the same answer again.

use std::sync::LazyLock;

use flowweaver::diagnostic::{Diagnostic, Severity, render};
use flowweaver::workflow::environment::Environment;
use flowweaver::workflow::{WorkflowSource, compile};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::{environment, files};

static ENVIRONMENT: LazyLock<Environment> = LazyLock::new(environment);
/// The texts to damage: the good files thrice as often as the bad ones.
static TEXTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let kinds = ["good", "good", "good", "bad"];
    let paths = kinds.into_iter().flat_map(files);
    paths
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .collect()
});
/// Every line of every file, without its indentation.
static LINES: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let lines = TEXTS.iter().flat_map(|text| text.lines());
    let mut lines: Vec<&str> = lines.map(str::trim).filter(|l| l.len() < 300).collect();
    lines.sort_unstable();
    lines.dedup();
    lines
});

/// Bytes that mean something in TOML and in expressions.
const TELLING: &[u8] = b"\"'[]{}=.,#\\\n\t -_|()0aZ%*:/@\0\xed";

/// Values to put where they do not belong.
const VALUES: &[&str] = &[
    "",
    "\"\"",
    "''",
    "\"\"\"",
    "0",
    "-1",
    "9223372036854775807",
    "99999999999999999999",
    "1e308",
    "nan",
    "-inf",
    "true",
    "1979-05-27T07:32:00Z",
    "[]",
    "[[[[[[[[]]]]]]]]",
    "[\"a\", 1, {}]",
    "{}",
    "{ a = { b = { c = 1 } } }",
    "\"0s\"",
    "\"18446744073709551615h\"",
    "\"1h30m\"",
    "\"64 MiB\"",
    "\"99999999999 GiB\"",
    "\"* * * * *\"",
    "\"61 25 32 13 8\"",
    "\"Asia/Seoul\"",
    "\"{{ \"",
    "\"{{ }}\"",
    "\"{{ inputs }}\"",
    "\"{{ inputs.a.b[0] | default(1) }}\"",
    "\"{{ tasks.x.y }}\"",
    "\"{{ item }}{{ run.id }}\"",
    "\"{{ vars['a'] }} }} {{\"",
    "\"{{ ((((((((((1)))))))))) }}\"",
    "\"{% for x in y %}\"",
    "\"{{ secrets.token }}\"",
    "\"https://*.example.com:8443/a/*\"",
    "\"http://[::1]/../%2e%2e/\"",
    "\"postgres\"",
    "\"json-transform\"",
    "\"workflow:minimal\"",
    "\"\\u0000\\u202e가나다\"",
    "\"가나다라마바사아자차카타파하\"",
];

/// A change of whole lines.
#[derive(Debug, Clone)]
enum Edit {
    Remove(Index),
    Repeat(Index),
    Swap(Index, Index),
    /// A line of any file, at a place.
    Graft(Index, Index),
    /// Another value behind a line's `=`.
    Value(Index, &'static str),
    /// A key or header replaced by that of another line.
    Key(Index, Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = any::<Index>;
    prop_oneof![
        1 => at().prop_map(Edit::Remove),
        1 => at().prop_map(Edit::Repeat),
        1 => (at(), at()).prop_map(|(a, b)| Edit::Swap(a, b)),
        2 => (at(), at()).prop_map(|(a, b)| Edit::Graft(a, b)),
        2 => (at(), select(VALUES)).prop_map(|(a, value)| Edit::Value(a, value)),
        1 => (at(), at()).prop_map(|(a, b)| Edit::Key(a, b)),
    ]
}

fn apply(lines: &mut Vec<String>, edit: &Edit) {
    let len = lines.len();
    if len == 0 {
        return;
    }
    match edit {
        Edit::Remove(at) => drop(lines.remove(at.index(len))),
        Edit::Repeat(at) => {
            let at = at.index(len);
            lines.insert(at, lines[at].clone());
        }
        Edit::Swap(a, b) => lines.swap(a.index(len), b.index(len)),
        Edit::Graft(at, from) => {
            lines.insert(at.index(len), (*from.get(LINES.as_slice())).to_owned())
        }
        Edit::Value(at, value) => {
            let line = &mut lines[at.index(len)];
            if let Some((key, _)) = line.split_once('=') {
                *line = format!("{key}= {value}");
            }
        }
        Edit::Key(at, from) => {
            let line = &mut lines[at.index(len)];
            let donor: &str = from.get::<&str>(LINES.as_slice());
            *line = match (line.split_once('='), donor.split_once('=')) {
                (Some((_, value)), Some((key, _))) => format!("{key}={value}"),
                _ => donor.to_owned(),
            };
        }
    }
}

/// What must hold of any bytes.
fn holds(bytes: &[u8]) -> Result<(), TestCaseError> {
    let source = match WorkflowSource::from_bytes("a.toml", bytes) {
        Ok(source) => source,
        Err(refused) => return placed(&refused),
    };
    let compiled = compile(&source, &ENVIRONMENT);
    let errors = compiled.diagnostics.iter();
    let errors = errors.filter(|d| d.severity == Severity::Error).count();
    prop_assert_eq!(errors == 0, compiled.workflow.is_some());
    for remark in &compiled.diagnostics {
        prop_assert_eq!(&remark.text, &source.text);
        placed(remark)?;
    }
    let _ = render(&compiled.diagnostics);
    let again = compile(&source, &ENVIRONMENT);
    prop_assert_eq!(&again.diagnostics, &compiled.diagnostics);
    prop_assert_eq!(
        format!("{:?}", again.workflow),
        format!("{:?}", compiled.workflow)
    );
    Ok(())
}

/// A remark's place is a place in its text, it says something, and one line each.
fn placed(remark: &Diagnostic) -> Result<(), TestCaseError> {
    let span = remark.span.clone();
    prop_assert!(
        span.start <= span.end && remark.text.get(span).is_some(),
        "{:?} of {} bytes: {}",
        remark.span,
        remark.text.len(),
        remark.message
    );
    prop_assert!(!remark.message.is_empty() && remark.help.as_deref() != Some(""));
    let (line, column) = remark.line_column();
    let here = remark.text.split('\n').nth(line - 1);
    prop_assert!(here.is_some_and(|here| column <= here.chars().count() + 1));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_file_with_damaged_bytes_is_a_workflow_or_has_errors_in_it(
        file in any::<Index>(),
        edits in prop::collection::vec((any::<Index>(), 0_u8..3, any::<u8>()), 1..6),
    ) {
        let mut bytes = file.get(TEXTS.as_slice()).clone().into_bytes();
        for (at, kind, byte) in edits {
            let at = at.index(bytes.len().max(1));
            // Half of the bytes are telling ones.
            let byte = match byte {
                0..128 => TELLING[usize::from(byte) % TELLING.len()],
                other => other,
            };
            match kind {
                0 if !bytes.is_empty() => { bytes.remove(at); }
                1 => bytes.insert(at, byte),
                _ => if let Some(old) = bytes.get_mut(at) { *old = byte },
            }
        }
        holds(&bytes)?;
    }

    #[test]
    fn a_file_with_lines_moved_and_exchanged_is_a_workflow_or_has_errors_in_it(
        file in any::<Index>(), edits in prop::collection::vec(edit(), 1..6),
    ) {
        let mut lines: Vec<String> = file.get(TEXTS.as_slice()).lines().map(str::to_owned).collect();
        for edit in &edits {
            apply(&mut lines, edit);
        }
        holds(lines.join("\n").as_bytes())?;
    }

    #[test]
    fn lines_of_any_files_in_any_order_are_a_workflow_or_have_errors_in_them(
        lines in prop::collection::vec(any::<Index>(), 0..30), end in select(vec!["\n", "\r\n"]),
    ) {
        let mut text = String::from("flowweaver = 1\nname = \"any\"\n");
        for line in lines {
            text.push_str(line.get::<&str>(LINES.as_slice()));
            text.push_str(end);
        }
        holds(text.as_bytes())?;
    }
}
