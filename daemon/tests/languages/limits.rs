//! What becomes of a task in another language that does not behave: `probe.js` with both engines, and `probe.py`.

use serde_json::{Value, json};

use super::rig::{Rig, failure, output, task};
use super::{flow, log, rig, tries};

const MODULES: [&str; 3] = ["probe-javascript", "probe-starlingmonkey", "probe-python"];

fn world() -> Option<Rig> {
    let mut rig = rig(&MODULES)?;
    for module in MODULES {
        // Interpreters start in 2 to 14 MiB; some times that is a task that hoards.
        let limits =
            "memory = \"48 MiB\"\ncpu = \"2s\"\ntimeout = \"5m\"\nretry = { attempts = 1 }\n";
        rig.write(
            &format!("flows/{module}.toml"),
            flow(module, module, &["deed"], limits),
        );
        rig.write(
            &format!("flows/{module}-long.toml"),
            flow(
                &format!("{module}-long"),
                module,
                &["deed"],
                &limits.replace("2s", "5m"),
            ),
        );
    }
    rig.start();
    Some(rig)
}

/// The log's lines of a run.
fn lines(rig: &Rig, run: &Value) -> Vec<(String, String)> {
    let text = |row: &Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
    let rows = log(rig, run);
    rows.iter()
        .map(|row| (text(row, "level"), text(row, "message")))
        .collect()
}

#[test]
fn a_task_in_any_language_that_takes_too_much_ends_at_its_limit() {
    let Some(rig) = world() else { return };
    for module in MODULES {
        let run = rig.run(module, &["deed=hoard"]);
        let limit = failure(&run, "it");
        assert_eq!(limit["code"], "limit.memory", "{module}: {limit:#}");
        let run = rig.run(module, &["deed=spin"]);
        let limit = failure(&run, "it");
        assert_eq!(limit["code"], "limit.cpu", "{module}: {limit:#}");
        assert_eq!(tries(&run), 1, "{module}");
    }
}

#[test]
fn a_task_in_any_language_is_cancelled_in_the_middle_of_a_loop() {
    let Some(rig) = world() else { return };
    for module in MODULES {
        let run = rig.detach(&format!("{module}-long"), &["deed=spin"]);
        rig.wait_for(&run, |row| row["message"] == "spinning");
        rig.json(&["cancel", &run]);
        let run = rig.finished(&run);
        assert_eq!(run["status"], "cancelled", "{module}: {run:#}");
        assert_eq!(task(&run, "it")["attempts"][0]["status"], "cancelled");
    }
}

#[test]
fn an_exception_that_is_no_error_record_is_a_trap_with_words_in_the_log() {
    let Some(rig) = world() else { return };
    // StarlingMonkey takes every exception for a record, and complains of the fields that it lacks.
    for (module, words) in [
        ("probe-javascript", "this is not an error record"),
        (
            "probe-starlingmonkey",
            "expected a string, received [undefined]",
        ),
        ("probe-python", "TypeError: this is not an error record"),
    ] {
        let run = rig.run(module, &["deed=throw"]);
        let trap = failure(&run, "it");
        assert_eq!(trap["code"], "trap.unreachable", "{module}: {trap:#}");
        assert_eq!(trap["retryable"], true, "{module}: {trap:#}");
        let lines = lines(&rig, &run);
        assert!(
            lines
                .iter()
                .any(|(level, text)| level == "warn" && text.contains(words)),
            "{module}: {lines:#?}"
        );
    }
}

#[test]
fn what_is_not_json_is_no_output() {
    let Some(rig) = world() else { return };
    for module in MODULES {
        let run = rig.run(module, &["deed=babble"]);
        let invalid = failure(&run, "it");
        assert_eq!(invalid["code"], "output.invalid", "{module}: {invalid:#}");
    }
}

#[test]
fn what_is_printed_is_logged() {
    let Some(rig) = world() else { return };
    // QuickJS has no console.
    for module in ["probe-starlingmonkey", "probe-python"] {
        let run = rig.run(module, &["deed=print"]);
        assert_eq!(run["status"], "succeeded", "{module}: {run:#}");
        let lines = lines(&rig, &run);
        for (level, stream) in [("info", "output"), ("warn", "error")] {
            let line = (level.to_owned(), format!("to standard {stream}"));
            assert!(lines.contains(&line), "{module}: {lines:#?}");
        }
    }
}

#[test]
fn a_task_in_any_language_finds_no_machine_and_a_real_clock() {
    let Some(rig) = world() else { return };
    for module in MODULES {
        let look = || {
            let run = rig.run(module, &["deed=look"]);
            assert_eq!(run["status"], "succeeded", "{module}: {run:#}");
            output(&run, "it").clone()
        };
        let (first, second) = (look(), look());
        assert_eq!(first["found"], json!([]), "{module}");
        // QuickJS draws its seed when the component is built; the page warns of it.
        let drawn_at_build = module == "probe-javascript";
        assert_eq!(
            first["chance"] == second["chance"],
            drawn_at_build,
            "{module}: {first} {second}"
        );
        let now = chrono::Utc::now().timestamp_millis();
        let age = now - first["now_ms"].as_i64().unwrap();
        assert!((0..600_000).contains(&age), "{module}: {age} ms old");
    }
}
