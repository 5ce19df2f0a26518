//! Several daemons on one store: who does what, who hears of what, and who takes over.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::databases::Kind;
use super::fleet::{Fleet, Home, passes, started, work};
use super::rig::{Rig, task};

/// What is found by looking alone takes up to a second, and half of one as often as not; what is told is there
/// in some milliseconds. The best of several tries says which of both it was.
const TOLD: Duration = Duration::from_millis(400);
const TRIES: usize = 4;

/// One test a promise and server.
macro_rules! on_servers {
    ($($promise:ident),* $(,)?) => {
        mod postgres {
            $(#[test]
            fn $promise() {
                if let Some(home) = super::Home::on(super::Kind::Postgres) {
                    super::$promise(home, super::Kind::Postgres);
                }
            })*
        }
        mod mariadb {
            $(#[test]
            fn $promise() {
                if let Some(home) = super::Home::on(super::Kind::Mariadb) {
                    super::$promise(home, super::Kind::Mariadb);
                }
            })*
        }
    };
}

on_servers! {
    what_one_daemon_publishes_the_others_run_from_the_store_and_what_it_removes_they_let_go,
    a_run_is_followed_waited_for_and_cancelled_at_any_daemon,
    the_runs_of_a_daemon_that_died_are_finished_by_another_when_its_lease_has_ended,
    a_daemon_that_comes_back_has_its_runs_at_once,
    another_publisher_takes_over_and_removes_nothing_that_it_does_not_have,
}

/// The owner's daemon is the one that began it: the first.
fn held(fleet: &Fleet) -> String {
    fleet.effects.hold();
    let run = started(&fleet.daemons[0]);
    fleet.effects.waiting(1);
    run
}

fn best(kind: Kind, what: &str, took: &[Duration]) {
    println!("{what}: {took:?}");
    if kind == Kind::Postgres {
        assert!(*took.iter().min().unwrap() < TOLD, "{what}: {took:?}");
    }
}

fn what_one_daemon_publishes_the_others_run_from_the_store_and_what_it_removes_they_let_go(
    home: Home,
    kind: Kind,
) {
    let Some(fleet) = Fleet::start(home, 2) else {
        return;
    };
    let (first, other) = (&fleet.daemons[0], &fleet.daemons[1]);
    // The second has neither a workflow file nor a module.
    for folder in ["flows", "tasks"] {
        assert_eq!(fs::read_dir(other.path(folder)).unwrap().count(), 0);
    }
    assert_eq!(first.version("work"), other.version("work"));
    let run = other.run("work", &[]);
    assert_eq!(run["status"], "succeeded", "{run:#}");
    let modules = other.json(&["tasks"]);
    assert!(modules.to_string().contains("add-field"), "{modules:#}");

    let mut took = Vec::new();
    for edit in 0..TRIES {
        let text = work(fleet.effects.address()).replace("value = 1", &format!("value = 1{edit}"));
        let before = first.version("work");
        first.write("flows/work.toml", text);
        let version = first.until("the edit is live", || {
            first
                .version("work")
                .filter(|now| Some(now) != before.as_ref())
        });
        let live = Instant::now();
        other.until("the edit is live elsewhere", || {
            (other.version("work").as_ref() == Some(&version)).then_some(())
        });
        took.push(live.elapsed());
    }
    best(kind, "an edit is live on another daemon after", &took);

    // A file here is nobody's version.
    other.write(
        "flows/idle.toml",
        work(fleet.effects.address()).replace("\"work\"", "\"idle\""),
    );
    fs::remove_file(first.path("flows/work.toml")).unwrap();
    for daemon in [first, other] {
        daemon.until("the removal is seen", || {
            daemon.version("work").is_none().then_some(())
        });
    }
    assert_eq!(other.version("idle"), None);
}

fn a_run_is_followed_waited_for_and_cancelled_at_any_daemon(home: Home, kind: Kind) {
    let Some(fleet) = Fleet::start(home, 2) else {
        return;
    };
    let (owner, other) = (&fleet.daemons[0], &fleet.daemons[1]);
    let (mut ends, mut cancels, mut waits) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TRIES {
        let run = held(&fleet);
        std::thread::scope(|scope| {
            let follower = scope.spawn(|| {
                let lines = other.wait_for(&run, |row| row["kind"] == "run.finished");
                (lines, Instant::now())
            });
            other.wait_for(&run, |row| {
                row["kind"] == "task.started" && row["message"] == "effect"
            });
            let released = Instant::now();
            fleet.effects.release();
            let (_, heard) = follower.join().unwrap();
            ends.push(heard.duration_since(released));
        });
        assert_eq!(owner.tree(&run)["status"], "succeeded");
    }
    best(kind, "a follower elsewhere sees the end after", &ends);

    for round in 0..TRIES {
        fleet.effects.hold();
        let key = format!("idempotency-key: wait-{round}");
        let path = "/v0/workflows/work/run";
        let (status, answer) = owner.call_with(&[&key], "POST", path, &json!({}));
        assert_eq!(status, 202, "{answer}");
        fleet.effects.waiting(1);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let path = format!("{path}?wait=60s");
                let (_, answer) = other.call_with(&[&key], "POST", &path, &json!({}));
                (answer, Instant::now())
            });
            // Nothing says that the call waits; one that came too late shows nothing, and fails nothing.
            passes(TOLD);
            let released = Instant::now();
            fleet.effects.release();
            let (waited, done) = waiter.join().unwrap();
            assert_eq!(waited["data"]["runId"], answer["data"]["runId"]);
            assert_eq!(waited["data"]["status"], "succeeded", "{waited}");
            waits.push(done.duration_since(released));
        });
    }
    best(kind, "who waits elsewhere is answered after", &waits);

    for _ in 0..TRIES {
        let run = held(&fleet);
        let path = format!("/v0/workflow-runs/{run}/cancel");
        let (status, answer) = other.call("POST", &path, &Value::Null);
        assert!(status < 300, "{status} {answer}");
        let ordered = Instant::now();
        owner.until("it is cancelled", || {
            (owner.tree(&run)["status"] == "cancelled").then_some(())
        });
        cancels.push(ordered.elapsed());
        fleet.effects.release();
    }
    best(
        kind,
        "a cancel from elsewhere is carried out after",
        &cancels,
    );
}

fn the_runs_of_a_daemon_that_died_are_finished_by_another_when_its_lease_has_ended(
    home: Home,
    _: Kind,
) {
    let Some(mut fleet) = Fleet::start(home, 2) else {
        return;
    };
    let run = held(&fleet);
    fleet.daemons[0].kill();
    let died = Instant::now();
    fleet.effects.release();
    let run = fleet.daemons[1].finished(&run);
    println!(
        "rescued and finished after {:?} with a lease of 2s",
        died.elapsed()
    );
    assert_eq!(run["status"], "succeeded", "{run:#}");
    assert_eq!(task(&run, "first")["attempts"].as_array().unwrap().len(), 1);
    assert_eq!(
        task(&run, "effect")["attempts"].as_array().unwrap().len(),
        2
    );
}

/// Its lease of ten minutes is longer than anybody here waits.
fn a_daemon_that_comes_back_has_its_runs_at_once(home: Home, _: Kind) {
    let Some(mut fleet) = Fleet::prepare(home, 2) else {
        return;
    };
    for daemon in &mut fleet.daemons {
        daemon.environment("FLOWWEAVER_ENGINE_LEASE", "10m");
        daemon.start();
        daemon.until("the workflow is live", || daemon.version("work"));
    }
    let run = held(&fleet);
    fleet.daemons[0].kill();
    fleet.effects.release();
    fleet.daemons[0].start();
    let run = fleet.daemons[0].finished(&run);
    assert_eq!(run["status"], "succeeded", "{run:#}");
}

fn another_publisher_takes_over_and_removes_nothing_that_it_does_not_have(home: Home, _: Kind) {
    let Some(mut fleet) = Fleet::prepare(home, 2) else {
        return;
    };
    for daemon in &mut fleet.daemons {
        daemon.environment("FLOWWEAVER_RELOAD_PUBLISH", "true");
    }
    for module in ["add-field.wasm", "http-request.wasm"] {
        let [from, to] = [0, 1].map(|at: usize| fleet.daemons[at].path(&format!("tasks/{module}")));
        fs::copy(from, to).unwrap();
    }
    let shared = work(fleet.effects.address()).replace("\"work\"", "\"shared\"");
    for daemon in &fleet.daemons {
        daemon.write("flows/shared.toml", &shared);
    }
    let (first, other) = fleet.daemons.split_at_mut(1);
    let (first, other): (&mut Rig, &mut Rig) = (&mut first[0], &mut other[0]);
    first.start();
    let log = other.start();
    log.wait("that the other one publishes", |line| {
        line.contains("another daemon publishes; its versions are followed")
    });
    let before = other.version("shared").unwrap();
    assert_eq!(first.version("shared").as_ref(), Some(&before));
    // Not its turn: nothing becomes of an edit.
    other.write(
        "flows/shared.toml",
        shared.replace("value = 1", "value = 7"),
    );
    assert!(first.stop().success());
    log.wait("that it publishes", |line| {
        line.contains("this daemon publishes from now on")
    });
    other.until("its own edit is live", || {
        other.version("shared").filter(|now| *now != before)
    });
    // Time enough to remove what has no file here, if it were removed.
    let last = other.version("shared").unwrap();
    other.write(
        "flows/shared.toml",
        shared.replace("value = 1", "value = 8"),
    );
    other.until("the next edit is live", || {
        other.version("shared").filter(|now| *now != last)
    });
    assert!(other.version("work").is_some(), "it was removed");
    let run = other.run("work", &[]);
    assert_eq!(run["status"], "succeeded", "{run:#}");
}

#[test]
fn a_store_in_a_file_serves_one_daemon_and_the_second_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("shared.db");
    let mut rigs = [Rig::with_add_field(), Rig::with_add_field()];
    for rig in &mut rigs {
        rig.settings(&format!(
            "\n[store]\nurl = \"sqlite:{}\"\n",
            store.display()
        ));
    }
    let [first, second] = &mut rigs;
    first.start();
    let pid = first.pid();
    let refused = second.cli(&["serve"]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(3), "{said}");
    assert!(
        said.contains(&format!("shared.db is in use by process {pid}")),
        "{said}"
    );
    assert!(
        said.contains("several share one in PostgreSQL or MariaDB"),
        "{said}"
    );
    first.kill();
    second.start();
    assert!(second.stop().success());
}
