//! Daemons that are stopped for longer than their lease and go on afterwards (SIGSTOP, SIGCONT): what they bring
//! back is recorded by nobody.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::databases::Kind;
use super::fleet::{Fleet, Home, passes, started, times};
use super::rig::{Rig, task, tasks};

fn signal(rig: &Rig, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(rig.pid()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// Attempts' states of a task.
fn states(run: &Value, name: &str) -> Vec<String> {
    let attempts = task(run, name)["attempts"].as_array().unwrap();
    let state = |attempt: &Value| attempt["status"].as_str().unwrap().to_owned();
    attempts.iter().map(state).collect()
}

/// One daemon begins a run and freezes in the middle of its call; the other one finishes the run; then the
/// first one thaws, and its call is answered.
fn zombies(home: Home, name: &str, variable: &str) {
    let zombies = times(variable, 2);
    let Some(mut fleet) = Fleet::start(home, 2) else {
        return;
    };
    let mut acknowledged = std::collections::BTreeSet::new();
    for round in 0..zombies {
        // Each is the zombie in turn.
        let (frozen, other) = (round % 2, (round + 1) % 2);
        fleet.effects.hold();
        let run = started(&fleet.daemons[frozen]);
        fleet.effects.waiting(1);
        signal(&fleet.daemons[frozen], Signal::STOP);
        // The rescuer's own call is the second that waits.
        fleet.effects.waiting(2);
        fleet.effects.release();
        let rescued = fleet.daemons[other].finished(&run);
        assert_eq!(rescued["status"], "succeeded", "{rescued:#}");
        assert_eq!(states(&rescued, "effect"), ["interrupted", "succeeded"]);
        signal(&fleet.daemons[frozen], Signal::CONT);
        let log = fleet.daemons[frozen].log();
        log.wait("that it has lost the run", |line| {
            line.contains("another daemon owns the run now") && line.contains(&run)
        });
        let after = fleet.daemons[other].json(&["run", "show", &run]);
        assert_eq!(after, rescued, "the zombie has changed something");
        assert_eq!(tasks(&after).len(), 3);
        acknowledged.insert(run.parse().unwrap());
    }
    // Both still do their work.
    for daemon in &mut fleet.daemons {
        let run = daemon.run("work", &[]);
        assert_eq!(run["status"], "succeeded", "{run:#}");
    }
    let verdict = fleet.judged(&acknowledged);
    println!("{name}: {zombies} zombies, {}", verdict.line());
    verdict.must_be_clean();
}

#[test]
fn a_zombie_records_nothing_on_postgres() {
    if let Some(home) = Home::on(Kind::Postgres) {
        zombies(home, "PostgreSQL", "FLOWWEAVER_ZOMBIES_POSTGRES");
    }
}

#[test]
fn a_zombie_records_nothing_on_mariadb() {
    if let Some(home) = Home::on(Kind::Mariadb) {
        zombies(home, "MariaDB", "FLOWWEAVER_ZOMBIES_MARIADB");
    }
}

/// Nobody else is there to take its runs, so it has them still.
#[test]
fn a_lone_daemon_that_was_stopped_past_its_lease_goes_on_where_it_was() {
    let Some(mut fleet) = Fleet::start(Home::Sqlite, 1) else {
        return;
    };
    fleet.effects.hold();
    let run = started(&fleet.daemons[0]);
    fleet.effects.waiting(1);
    signal(&fleet.daemons[0], Signal::STOP);
    // Its lease of two seconds ends; that time has to pass by itself.
    passes(std::time::Duration::from_secs(3));
    signal(&fleet.daemons[0], Signal::CONT);
    fleet.effects.release();
    let run = fleet.daemons[0].finished(&run);
    assert_eq!(run["status"], "succeeded", "{run:#}");
    assert_eq!(states(&run, "effect"), ["succeeded"]);
    assert!(fleet.daemons[0].stop().success());
}
