//! The index of attacks: every `/// Attack:` line of a test, its place, and the page that lists them all.
//!
//! A line reads `/// Attack: <what is tried>. <what it gets>.` and stands on a test in a module named `attacks`, so
//! that `cargo test attacks` runs them. `UPDATE_EXPECT=1` writes `docs/attacks.md` anew.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a panic in a test is the report"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use expect_test::expect_file;

/// How a line begins.
const MARK: &str = "/// Attack: ";

/// Where tests stand, and the heading under which their attacks are listed. The first that fits.
const AREAS: &[(&str, &str)] = &[
    ("daemon/tests/sandbox/", "Sandbox"),
    ("daemon/src/sandbox/", "Sandbox"),
    ("daemon/tests/broker_http", "HTTP broker"),
    ("daemon/src/broker/http/", "HTTP broker"),
    ("daemon/tests/broker_sql", "SQL broker"),
    ("daemon/src/broker/sql/", "SQL broker"),
    ("daemon/tests/api", "API and dashboard"),
    ("daemon/src/api/", "API and dashboard"),
    ("daemon/src/access/", "API and dashboard"),
    ("daemon/src/dashboard/", "API and dashboard"),
    ("daemon/tests/system/attacks_access", "API and dashboard"),
    ("daemon/", "Files, time, resources"),
];

const INTRODUCTION: &str = "# Attacks, and what each gets

What has been tried against FlowWeaver, by tests: each line stands on the test that tries it, and this page is made of
those lines. `cargo test attacks` runs them; `UPDATE_EXPECT=1 cargo test --package flowweaver --test attacks_index` writes
the page.
";

/// One attack that one test tries.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Attack {
    file: String,
    line: usize,
    tried: String,
    gets: String,
    test: String,
}

/// What is wrong with an attack's place or words.
type Complaint = String;

/// The attacks of one file, in order, or what is wrong with them.
fn attacks(file: &str, text: &str) -> (Vec<Attack>, Vec<Complaint>) {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let (mut found, mut wrong) = (Vec::new(), Vec::new());
    for (at, line) in lines.iter().enumerate() {
        let Some(words) = line.strip_prefix(MARK) else {
            continue;
        };
        let number = at + 1;
        let mut complain = |why: &str| wrong.push(format!("{file}:{number}: {why}"));
        let below = lines.get(at + 1..).unwrap_or_default();
        // The words go on to the end of the comment, or to the next attack.
        let rest = below
            .iter()
            .take_while(|line| !line.starts_with(MARK))
            .map_while(|line| line.strip_prefix("///"));
        let words = rest.fold(words.to_owned(), |words, more| words + " " + more.trim());
        let item = below
            .iter()
            .position(|line| !line.starts_with("///") && !line.starts_with('#'));
        let head = below.get(..item.unwrap_or(0)).unwrap_or_default();
        let name = item
            .and_then(|item| below.get(item))
            .and_then(|line| function(line));
        if !head
            .iter()
            .any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
        {
            complain("the line does not stand on a test");
        }
        if !in_attacks(file, &lines, at) {
            complain("the test is not in a module named `attacks`");
        }
        match (words.split_once(". "), name) {
            (Some((tried, gets)), Some(test)) if gets.ends_with('.') => found.push(Attack {
                file: file.to_owned(),
                line: number,
                tried: tried.to_owned(),
                gets: in_a_cell(gets.trim_end_matches('.')),
                test: test.to_owned(),
            }),
            _ => complain("the line is not `<what is tried>. <what it gets>.` on a function"),
        }
    }
    (found, wrong)
}

/// Words as they stand in a table's cell, where no sentence begins.
fn in_a_cell(words: &str) -> String {
    let mut letters = words.chars();
    match (letters.next(), letters.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() || second == ' ' => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => words.to_owned(),
    }
}

/// The name of the function that a line begins to define.
fn function(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("fn ")?;
    let end = rest.find(['(', '<'])?;
    rest.get(..end)
}

/// Whether a line's module is named `attacks`: its file or folder is, or a module that was opened above it.
fn in_attacks(file: &str, lines: &[&str], at: usize) -> bool {
    file.split('/').any(|part| part.starts_with("attacks"))
        || lines
            .iter()
            .take(at)
            .any(|line| line.starts_with("mod attacks") && line.ends_with('{'))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}

/// The Rust sources of the daemon, as (path from the root, text), in order; this file is not among them.
fn sources() -> Vec<(String, String)> {
    let root = root();
    let mut folders = vec![root.join("daemon/src"), root.join("daemon/tests")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path
                    .strip_prefix(&root)
                    .unwrap()
                    .to_string_lossy()
                    .into_owned();
                if name != "daemon/tests/attacks_index.rs" {
                    found.push((name, fs::read_to_string(&path).unwrap()));
                }
            }
        }
    }
    found.sort();
    found
}

fn all() -> (Vec<Attack>, Vec<Complaint>) {
    let (mut found, mut wrong) = (Vec::new(), Vec::new());
    for (file, text) in sources() {
        let (some, complaints) = attacks(&file, &text);
        found.extend(some);
        wrong.extend(complaints);
    }
    (found, wrong)
}

fn page(found: &[Attack]) -> String {
    let mut by_area: BTreeMap<usize, Vec<&Attack>> = BTreeMap::new();
    for attack in found {
        let place = AREAS
            .iter()
            .position(|(folder, _)| attack.file.starts_with(folder));
        let title = place.and_then(|place| AREAS.get(place)).unwrap().1;
        let first = AREAS.iter().position(|(_, other)| *other == title);
        by_area.entry(first.unwrap()).or_default().push(attack);
    }
    let mut text = INTRODUCTION.to_owned();
    for (area, attacks) in by_area {
        let title = AREAS.get(area).unwrap().1;
        write!(
            text,
            "\n## {title}\n\n| attack | what it gets | test |\n|---|---|---|\n"
        )
        .unwrap();
        for Attack {
            tried, gets, test, ..
        } in attacks
        {
            let cell = |words: &str| words.replace('|', "\\|");
            writeln!(text, "| {} | {} | `{test}` |", cell(tried), cell(gets)).unwrap();
        }
    }
    text
}

#[test]
fn every_attack_stands_on_a_test_in_a_module_named_attacks() {
    let (found, wrong) = all();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let mut tests: Vec<_> = found
        .iter()
        .map(|attack| (&attack.file, &attack.test))
        .collect();
    tests.sort();
    tests.dedup();
    #[allow(clippy::print_stdout, reason = "the number is asked for")]
    {
        println!("attacks: {} tests for {} lines", tests.len(), found.len());
    }
    assert!(!found.is_empty());
}

#[test]
fn a_test_among_the_attacks_says_which() {
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        if !file.split('/').any(|part| part.starts_with("attacks")) {
            continue;
        }
        let tests = text.matches("#[test]").count() + text.matches("#[tokio::test").count();
        let (found, _) = attacks(&file, &text);
        if tests > 0 && found.is_empty() {
            wrong.push(file);
        }
    }
    assert!(
        wrong.is_empty(),
        "files of attacks without a line: {wrong:?}"
    );
}

#[test]
fn the_page_of_attacks_lists_them_all() {
    expect_file!["../../docs/attacks.md"].assert_eq(&page(&all().0));
}

#[test]
fn a_line_in_the_wrong_place_or_words_is_noticed() {
    let wrong = |file: &str, text: &str| attacks(file, text).1;
    let good = "/// Attack: This. That happens.\n#[test]\nfn name() {}\n";
    assert!(wrong("tests/x.rs", good)[0].contains("module named `attacks`"));
    for file in ["tests/attacks/x.rs", "tests/attacks_x.rs"] {
        assert!(wrong(file, good).is_empty());
    }
    assert!(wrong("tests/x.rs", &format!("mod attacks {{\n{good}}}")).is_empty());
    let no_test = good.replace("#[test]", "#[allow(dead_code)]");
    assert!(wrong("tests/attacks.rs", &no_test)[0].contains("does not stand on a test"));
    for words in ["This", "This.", "This. That happens"] {
        let text = good.replace("This. That happens.", words);
        assert!(
            wrong("tests/attacks.rs", &text)[0].contains("what it gets"),
            "{words}"
        );
    }
}
