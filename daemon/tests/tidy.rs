//! The rules of CONTRIBUTING.md that a machine can check: levels, homes, sizes, front lines, docs.
//!
//! It reads the tree as text; what the code does is other tests' business.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic in a test is the report"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules of `daemon/src` by level: an import may point to the same level only along `SIDEWAYS`,
/// and never up.
const LEVELS: &[(&str, u8)] = &[
    ("clock", 0),
    ("diagnostic", 0),
    ("id", 0),
    ("units", 0),
    ("run", 1),
    ("workflow", 1),
    ("catalog", 1),
    ("bindings", 2),
    ("broker", 2),
    ("config", 2),
    ("sandbox", 2),
    ("store", 2),
    ("telemetry", 2),
    ("access", 3),
    ("engine", 3),
    ("schedule", 3),
    ("api", 4),
    ("dashboard", 4),
    ("reload", 4),
    ("cli", 5),
    ("daemon", 5),
    ("main", 5),
];

/// Imports between modules of one level, each with its reason.
const SIDEWAYS: &[(&str, &str)] = &[
    ("units", "id"),
    ("diagnostic", "id"),
    // A run is a run of a workflow.
    ("run", "workflow"),
    ("catalog", "workflow"),
    // The generated traits name the brokers' resource types.
    ("bindings", "broker"),
    ("broker", "bindings"),
    // What an address or a database's URL must look like, its broker knows.
    ("config", "broker"),
    // How long a daemon counts as alive by default, the store knows.
    ("config", "store"),
    // How lines look is a setting.
    ("telemetry", "config"),
    // A guest's Store data holds what the brokers own.
    ("sandbox", "broker"),
    ("sandbox", "bindings"),
    // Key-value state is a table.
    ("broker", "store"),
    // When a time has come, a run is started.
    ("schedule", "engine"),
    // A run's tree is drawn from its version, which `reload` makes from the store.
    ("api", "reload"),
    // Commands start the daemon in their own process when none runs.
    ("cli", "daemon"),
    ("main", "cli"),
];

/// Crates with one home (or few): nobody else may name them.
const HOMES: &[(&str, &[&str])] = &[
    ("wasmtime", &["sandbox/", "broker/", "bindings.rs"]),
    ("wasmtime_wasi", &["sandbox/"]),
    ("sqlx", &["store/", "broker/sql/"]),
    ("rusqlite", &["broker/sql/sqlite", "store/sqlite"]),
    // A command that speaks to a daemon elsewhere is no task: nothing is granted to it.
    ("reqwest", &["broker/http", "cli/remote.rs"]),
    ("axum", &["api/", "dashboard/"]),
    (
        "hyper",
        &["api/", "dashboard/", "cli/client.rs", "cli/remote.rs"],
    ),
    ("argon2", &["access/password.rs"]),
    ("notify", &["reload/"]),
    ("prometheus", &["telemetry/"]),
    (
        "toml",
        &[
            "config/",
            "workflow/source.rs",
            // What has not been decoded yet is handed on under the names that this file gives it.
            "workflow/decode",
            "workflow/value.rs",
        ],
    ),
    ("minijinja", &["workflow/jinja.rs"]),
    ("croner", &["workflow/cron.rs"]),
    ("sqlparser", &["broker/sql/"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}

fn files(under: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![under.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// All Rust sources of the repository, as (path from the root, text).
fn sources() -> Vec<(String, String)> {
    let root = root();
    files(&root, "rs")
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            (
                path.strip_prefix(&root)
                    .unwrap()
                    .to_string_lossy()
                    .into_owned(),
                text,
            )
        })
        .collect()
}

/// The sources of the daemon's library, as (path below `daemon/src`, text without its test module).
fn daemon_sources() -> Vec<(String, String)> {
    sources()
        .into_iter()
        .filter_map(|(path, text)| {
            let inner = path.strip_prefix("daemon/src/")?.to_owned();
            let code = text
                .split("#[cfg(test)]\nmod tests {")
                .next()
                .unwrap_or_default()
                .to_owned();
            Some((inner, code))
        })
        .collect()
}

fn module_of(path: &str) -> &str {
    path.split(['/', '.']).next().unwrap_or_default()
}

fn assert_none(found: &[String], rule: &str) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

/// The lines of code, without comments, with their numbers.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().filter_map(|(at, line)| {
        let line = line.trim();
        (!line.starts_with("//")).then_some((at + 1, line))
    })
}

#[test]
fn an_import_points_down_a_level() {
    let levels: BTreeMap<_, _> = LEVELS.iter().copied().collect();
    let mut wrong = Vec::new();
    for (path, text) in daemon_sources() {
        let from = module_of(&path);
        if from == "lib" {
            continue;
        }
        let Some(level) = levels.get(from) else {
            wrong.push(format!("{path}: module {from} has no level"));
            continue;
        };
        for (number, line) in code_lines(&text) {
            for part in line
                .split("crate::")
                .skip(1)
                .chain(line.split("flowweaver::").skip(1))
            {
                let to = part
                    .split(|c: char| !c.is_alphanumeric() && c != '_')
                    .next()
                    .unwrap_or_default();
                let Some(target) = levels.get(to) else {
                    continue;
                };
                if to != from && target >= level && !SIDEWAYS.contains(&(from, to)) {
                    wrong.push(format!("{path}:{number}: {from} imports {to}"));
                }
            }
        }
    }
    assert_none(&wrong, "imports that point up or sideways");
}

#[test]
fn store_and_sandbox_do_not_know_each_other() {
    let mut wrong = Vec::new();
    for (path, text) in daemon_sources() {
        for (a, b) in [("store", "crate::sandbox"), ("sandbox", "crate::store")] {
            if module_of(&path) == a && text.contains(b) {
                wrong.push(format!("{path} names {b}"));
            }
        }
    }
    assert_none(&wrong, "store and sandbox are strangers");
}

#[test]
fn each_crate_has_one_home() {
    let mut wrong = Vec::new();
    for (path, text) in daemon_sources() {
        for (krate, homes) in HOMES {
            let named = code_lines(&text).any(|(_, line)| {
                line.match_indices(&format!("{krate}::")).any(|(at, _)| {
                    !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
                })
            });
            if named && !homes.iter().any(|home| path.starts_with(home)) {
                wrong.push(format!("{path} names {krate}, whose home is {homes:?}"));
            }
        }
    }
    assert_none(&wrong, "crates outside their home");
}

/// The types see to it that what `Routes::route` registers takes `Authorized` first; here, that nothing gets past it.
#[test]
fn a_route_is_registered_through_the_table_and_json_read_through_its_reader() {
    let mut wrong = Vec::new();
    for (path, text) in daemon_sources() {
        if !["api", "dashboard"].contains(&module_of(&path)) {
            continue;
        }
        let ways = [
            "axum::routing",
            "Router::new",
            "Router::default",
            ".nest(",
            ".merge(",
            ".fallback(",
            "route_service(",
            "MethodRouter",
        ];
        let readers = [
            "body::Bytes",
            "from_slice",
            "from_reader",
            "axum::Form",
            "RawForm",
            "Multipart",
        ];
        for (number, line) in code_lines(&text) {
            let past = path != "api/routes.rs" && ways.iter().any(|way| line.contains(way));
            let read = path != "api/json.rs" && readers.iter().any(|way| line.contains(way));
            if past || read {
                wrong.push(format!("{path}:{number}: {line}"));
            }
        }
    }
    assert_none(
        &wrong,
        "ways past the table of routes or the reader of JSON",
    );
}

#[test]
fn what_a_workflow_means_and_what_a_run_does_next_is_pure() {
    let mut wrong = Vec::new();
    for (path, text) in daemon_sources() {
        if !["workflow", "run", "catalog"].contains(&module_of(&path)) {
            continue;
        }
        for (number, line) in code_lines(&text) {
            for banned in [
                "async fn",
                "async move",
                ".await",
                "std::fs",
                "std::net",
                "tokio::",
                "SystemTime::now",
                "Utc::now",
                "rand::rng",
            ] {
                if line.contains(banned) {
                    wrong.push(format!("{path}:{number}: {banned}"));
                }
            }
        }
    }
    assert_none(&wrong, "effects in the pure middle");
}

#[test]
fn a_file_opens_by_saying_what_it_is_for() {
    let wrong: Vec<_> = sources()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(path, _)| path)
        .collect();
    assert_none(&wrong, "files without a //! front line");
}

#[test]
fn no_file_is_longer_than_600_lines() {
    let wrong: Vec<_> = sources()
        .into_iter()
        .filter(|(_, text)| text.lines().count() > 600)
        .map(|(path, text)| format!("{path}: {}", text.lines().count()))
        .collect();
    assert_none(&wrong, "files over 600 lines");
}

#[test]
fn main_is_at_most_60_lines() {
    let text = fs::read_to_string(root().join("daemon/src/main.rs")).unwrap();
    assert!(text.lines().count() <= 60);
}

#[test]
fn nobody_sleeps_in_place_of_an_event() {
    let allowed = [
        "daemon/src/clock.rs",
        "daemon/examples/demo_world/",
        "daemon/tests/tidy.rs",
        // A guest that waits as long as it is told to: waiting is what it is for.
        "task-sdk/examples/add_field.rs",
        // A server that sends a byte now and then for ever: being slow is what it is for.
        "daemon/tests/broker_world/",
        // One function for time that must pass by itself: the pace of a load, the end of a lease.
        "daemon/tests/system/fleet.rs",
    ];
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        if allowed.iter().any(|home| path.starts_with(home)) {
            continue;
        }
        for (number, line) in code_lines(&text) {
            if line.contains("sleep(") && !line.contains("pg_sleep(") {
                wrong.push(format!("{path}:{number}: {line}"));
            }
        }
    }
    assert_none(&wrong, "sleeps outside the clock and the demo world");
}

#[test]
fn nothing_is_left_for_later() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        if path == "daemon/tests/tidy.rs" {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            if [
                "TODO",
                "FIXME",
                "XXX",
                "todo!(",
                "unimplemented!(",
                "#[ignore",
            ]
            .iter()
            .any(|word| line.contains(word))
            {
                wrong.push(format!("{path}:{}: {line}", number + 1));
            }
        }
    }
    assert_none(&wrong, "promises for later");
}

#[test]
fn unsafe_code_stands_only_where_compiled_code_is_loaded() {
    let mut wrong = Vec::new();
    for (path, text) in daemon_sources() {
        if code_lines(&text).any(|(_, line)| line.contains("unsafe {"))
            && !path.starts_with("sandbox/")
        {
            wrong.push(path);
        }
    }
    assert_none(&wrong, "unsafe outside the sandbox");
}

#[test]
fn every_dependency_says_why_it_is_here() {
    let mut wrong = Vec::new();
    for path in files(&root(), "toml") {
        if path.file_name().is_none_or(|name| name != "Cargo.toml") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let mut section = "";
        for (at, line) in text.lines().enumerate() {
            if line.starts_with('[') {
                section = line;
            } else if section.contains("dependencies")
                && line.contains('=')
                && !line.contains('#')
                // The workspace's manifest, which is checked too, says why for all who share one.
                && !line.ends_with(".workspace = true")
            {
                wrong.push(format!("{}:{}: {line}", path.display(), at + 1));
            }
        }
    }
    assert_none(&wrong, "dependencies without a reason");
}

#[test]
fn the_map_names_every_module_and_the_make_targets_exist() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let library = fs::read_to_string(root().join("daemon/src/lib.rs")).unwrap();
    let mut wrong: Vec<_> = library
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .filter(|module| {
            !map.contains(&format!("`{module}`")) && !map.contains(&format!("`{module}/`"))
        })
        .map(|module| format!("ARCHITECTURE.md does not mention `{module}`"))
        .collect();
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    for page in ["README.md", "CONTRIBUTING.md"] {
        let text = fs::read_to_string(root().join(page)).unwrap();
        for (at, _) in text.match_indices("make ") {
            let target: String = text[at + 5..]
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || *c == '-')
                .collect();
            let quoted = text[..at].ends_with('`') || text[..at].ends_with('\n');
            if quoted && !makefile.contains(&format!("\n{target}:")) {
                wrong.push(format!(
                    "{page} names `make {target}`, which the Makefile does not have"
                ));
            }
        }
    }
    assert_none(&wrong, "docs that are not true");
}

#[test]
fn every_task_module_has_a_page_with_the_four_headings() {
    let mut wrong = Vec::new();
    for manifest in files(&root().join("tasks"), "toml") {
        let text = fs::read_to_string(&manifest).unwrap();
        if !text.contains("cdylib") {
            continue;
        }
        let page = manifest.with_file_name("README.md");
        let readme = fs::read_to_string(&page).unwrap_or_default();
        let headings: Vec<_> = readme
            .lines()
            .filter(|line| line.starts_with("## "))
            .collect();
        if headings != ["## What it does", "## Input", "## Output", "## Failures"] {
            wrong.push(format!("{}: {headings:?}", page.display()));
        }
    }
    assert_none(&wrong, "module pages");
}

/// Constants of the sandbox that limit nothing: units, formats, exit codes, the list of what is off.
const NO_LIMITS: &[&str] = &[
    "CPU_UNIT",
    "ELEMENT_BYTES",
    "KEY_BYTES",
    "NOT_CONFINED",
    "REFUSED",
    "TAG_BYTES",
];

#[test]
fn the_page_of_limits_names_every_limit_of_the_sandbox() {
    let page = fs::read_to_string(root().join("docs/limits.md")).unwrap();
    let mut wrong = Vec::new();
    let mut known = 0;
    for (path, text) in daemon_sources() {
        if module_of(&path) != "sandbox"
            || path.ends_with("tests.rs")
            || path.contains("properties")
        {
            continue;
        }
        for (number, line) in code_lines(&text) {
            let Some((name, kind)) = line
                .split_once("const ")
                .and_then(|(_, rest)| rest.split_once(':'))
            else {
                continue;
            };
            // Names and texts are no limits.
            if !name.starts_with(|c: char| c.is_ascii_uppercase()) || kind.contains("str") {
                continue;
            }
            known += 1;
            if !page.contains(&format!("`{name}`")) && !NO_LIMITS.contains(&name) {
                wrong.push(format!("{path}:{number}: {name}"));
            }
        }
    }
    assert!(known > 40, "the constants are found: {known}");
    assert_none(&wrong, "limits that docs/limits.md does not name");
}
