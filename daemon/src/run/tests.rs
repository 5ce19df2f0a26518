//! The promises of order, failure and control, one by one.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::event::{Decision, Ending, Event, Note, Reason, Refusal, Step, Unit};
use super::failure::{Failure, FailureSource};
use super::graph::Graph;
use super::rerun::{self, Earlier, From};
use super::retry;
use super::state::{Records, RunState, UnitRecord};
use super::status::Status;
use super::testing::{Player, draft, for_each};
use crate::workflow::model::{OnFailure, OnInterrupt, RetryOn, RunOn};

fn broken() -> Failure {
    Failure::permanent(FailureSource::Task, "broken", "it broke")
}

fn flaky() -> Failure {
    Failure::retryable(FailureSource::Task, "flaky", "try again")
}

fn status(player: &Player, name: &str) -> Status {
    player.state.unit(player.unit(name)).status()
}

fn job_statuses(player: &Player) -> Vec<Status> {
    player
        .state
        .jobs
        .iter()
        .map(|job| job.record.status)
        .collect()
}

#[test]
fn tasks_without_needs_run_one_after_the_other_through_all_jobs() {
    let mut run = draft()
        .job("a")
        .task("one")
        .task("two")
        .job("b")
        .task("three")
        .start();
    run.go(9);
    for name in ["one", "two", "three"] {
        assert_eq!(run.running(), [name]);
        run.end(run.unit(name), Ending::Succeeded);
    }
    assert_eq!(run.state.record().status, Status::Succeeded);
}

#[test]
fn tasks_with_empty_needs_start_together_and_the_last_one_waits_for_all() {
    let mut run = draft()
        .job("a")
        .task("one")
        .task_with("two", |t| t.needs.clear())
        .task("three")
        .start();
    let one = run.unit("one").task;
    let two = run.unit("two").task;
    assert_eq!(run.state.graph().task_dependants(one), []);
    run.go(9);
    assert_eq!(run.running(), ["one", "two"]);
    run.end(Unit::whole(two), Ending::Succeeded);
    assert_eq!(run.running(), ["one", "three"]);
}

#[test]
fn after_a_failure_nothing_new_starts_in_the_job_and_running_siblings_finish() {
    let mut run = draft()
        .job("a")
        .task("one")
        .task_with("two", |t| t.needs.clear())
        .task("three")
        .job("b")
        .task("four")
        .start();
    run.go(9);
    run.end(run.unit("one"), Ending::Failed(broken()));
    assert_eq!(run.running(), ["two"]);
    assert_eq!(status(&run, "three"), Status::Skipped);
    assert!(!run.state.record().status.is_final());
    run.end(run.unit("two"), Ending::Succeeded);
    assert_eq!(status(&run, "two"), Status::Succeeded);
    assert_eq!(job_statuses(&run), [Status::Failed, Status::Skipped]);
    assert_eq!(run.state.record().status, Status::Failed);
    let failure = run.state.record().failure.clone().unwrap();
    assert_eq!(
        failure,
        Reason::new("broken", "task `one` failed: it broke")
    );
}

#[test]
fn a_tolerated_failure_lets_dependants_start_and_is_counted() {
    let mut run = draft()
        .job("a")
        .task_with("one", |t| t.on_failure = OnFailure::Continue)
        .task("two")
        .start();
    run.go(9);
    run.end(run.unit("one"), Ending::Failed(broken()));
    run.end(run.unit("two"), Ending::Succeeded);
    assert_eq!(status(&run, "one"), Status::Failed);
    assert_eq!(job_statuses(&run), [Status::Succeeded]);
    assert_eq!(run.state.record().status, Status::Succeeded);
    assert_eq!(run.state.record().tolerated_failures, 1);
}

#[test]
fn a_job_for_failures_runs_after_one_and_is_skipped_without_harm_after_none() {
    let build = || {
        draft()
            .job("a")
            .task("work")
            .job_with("mend", |j| j.run_on = RunOn::Failure)
            .task("repair")
            .job("c")
            .task("rest")
            .job_with("always", |j| j.run_on = RunOn::Always)
            .task("tell")
            .start()
    };
    let mut run = build();
    run.go(9);
    run.end(run.unit("work"), Ending::Succeeded);
    assert_eq!(run.running(), ["rest"]);
    let mut run = build();
    run.go(9);
    run.end(run.unit("work"), Ending::Failed(broken()));
    assert_eq!(run.running(), ["repair"]);
    run.end(run.unit("repair"), Ending::Succeeded);
    assert_eq!(run.running(), ["tell"]);
    run.end(run.unit("tell"), Ending::Succeeded);
    let expected = [
        Status::Failed,
        Status::Succeeded,
        Status::Skipped,
        Status::Succeeded,
    ];
    assert_eq!(job_statuses(&run), expected);
    assert_eq!(run.state.record().status, Status::Failed);
}

#[test]
fn a_task_that_is_not_wanted_is_skipped_and_what_needs_it_runs() {
    let mut run = draft()
        .job("a")
        .task_with("one", |t| t.for_each = for_each(1, 1))
        .task("two")
        .start();
    let task = run.unit("one").task;
    assert_eq!(run.state.next(false), Some(Step::Decide(task)));
    let refusal = Refusal::Skip(Reason::new("when", "its condition is false"));
    run.apply(Event::Decided {
        task,
        decision: Decision::Refuse(refusal),
    });
    run.go(9);
    assert_eq!(status(&run, "one"), Status::Skipped);
    assert_eq!(run.running(), ["two"]);
}

#[test]
fn items_run_so_many_at_once_and_the_whole_ends_with_the_last() {
    let mut run = draft()
        .job("a")
        .task_with("each", |t| t.for_each = for_each(4, 2))
        .task("after")
        .start();
    run.go(9);
    assert_eq!(run.running(), ["each[0]", "each[1]"]);
    let task = run.unit("each").task;
    run.end(Unit::item(task, 1), Ending::Succeeded);
    assert_eq!(run.running(), ["each[0]", "each[2]"]);
    for item in [0, 2, 3] {
        run.end(Unit::item(task, item), Ending::Succeeded);
    }
    assert_eq!(status(&run, "each"), Status::Succeeded);
    assert_eq!(run.running(), ["after"]);
}

#[test]
fn a_for_each_over_nothing_succeeds_at_once() {
    let mut run = draft()
        .job("a")
        .task_with("each", |t| t.for_each = for_each(0, 2))
        .start();
    run.go(0);
    assert_eq!(status(&run, "each"), Status::Succeeded);
    assert_eq!(run.state.record().status, Status::Succeeded);
}

#[test]
fn a_failed_item_lets_running_ones_finish_and_begins_no_others() {
    let mut run = draft()
        .job("a")
        .task_with("each", |t| t.for_each = for_each(5, 2))
        .start();
    run.go(9);
    let task = run.unit("each").task;
    run.end(Unit::item(task, 0), Ending::Failed(broken()));
    assert_eq!(run.running(), ["each[1]"]);
    run.end(Unit::item(task, 1), Ending::Succeeded);
    assert_eq!(status(&run, "each"), Status::Failed);
    assert_eq!(run.started.len(), 2);
    assert_eq!(run.state.record().status, Status::Failed);
}

#[test]
fn tolerated_items_fail_alone() {
    let mut run = draft()
        .job("a")
        .task_with("each", |t| {
            t.for_each = for_each(3, 3);
            t.on_failure = OnFailure::Continue;
        })
        .start();
    run.go(9);
    let task = run.unit("each").task;
    run.end(Unit::item(task, 1), Ending::Failed(broken()));
    run.end(Unit::item(task, 0), Ending::Succeeded);
    run.end(Unit::item(task, 2), Ending::Succeeded);
    assert_eq!(status(&run, "each"), Status::Succeeded);
    assert_eq!(run.state.record().tolerated_failures, 1);
}

#[test]
fn waits_between_attempts_grow_to_their_limit_and_then_it_is_final() {
    let mut run = draft()
        .job("a")
        .task_with("one", |t| {
            t.retry.attempts = 4;
            t.retry.max_delay = Duration::from_secs(3);
        })
        .start();
    run.go(9);
    let one = run.unit("one");
    for expected in [1, 2, 3] {
        run.end(one, Ending::Failed(flaky()));
        assert_eq!(status(&run, "one"), Status::Waiting);
        let due = run.now.after(Duration::from_secs(expected));
        assert_eq!(run.state.next_retry(), Some(due));
        assert!(!run.apply(Event::TimerDue), "too early");
        run.now = due;
        assert!(run.apply(Event::TimerDue));
        run.go(9);
    }
    run.end(one, Ending::Failed(flaky()));
    assert_eq!(status(&run, "one"), Status::Failed);
    assert_eq!(run.started.len(), 4);
}

#[test]
fn only_what_the_policy_names_is_tried_again() {
    let run = draft()
        .job("a")
        .task_with("t", |t| t.retry.attempts = 2)
        .build();
    let mut policy = run.tasks[0].retry.clone();
    let status = |status: u16| Failure {
        details: json!({ "status": status }),
        ..Failure::permanent(FailureSource::Task, "http.status", "")
    };
    assert_eq!(retry::wait(&policy, &broken(), 1, 0.0), None);
    assert!(retry::wait(&policy, &flaky(), 1, 0.0).is_some());
    assert_eq!(retry::wait(&policy, &flaky(), 2, 0.0), None);
    policy.on = vec![RetryOn::Http5xx, RetryOn::HttpStatus(429), RetryOn::Timeout];
    assert_eq!(retry::wait(&policy, &flaky(), 1, 0.0), None);
    assert_eq!(retry::wait(&policy, &status(404), 1, 0.0), None);
    assert!(retry::wait(&policy, &status(503), 1, 0.0).is_some());
    assert!(retry::wait(&policy, &status(429), 1, 0.0).is_some());
    let slow = Failure::permanent(FailureSource::Limit, "http.timeout", "");
    assert!(retry::wait(&policy, &slow, 1, 0.0).is_some());
    policy.on = vec![RetryOn::Code("input.invalid".into())];
    let input = Failure::retryable(FailureSource::Input, "input.invalid", "");
    assert_eq!(retry::wait(&policy, &input, 1, 0.0), None);
}

#[test]
fn jitter_draws_below_the_delay_and_retry_after_is_a_lower_bound_up_to_the_limit() {
    let run = draft()
        .job("a")
        .task_with("t", |t| t.retry.attempts = 9)
        .build();
    let mut policy = run.tasks[0].retry.clone();
    policy.jitter = true;
    assert_eq!(
        retry::wait(&policy, &flaky(), 2, 0.25),
        Some(Duration::from_millis(500))
    );
    let asked = |ms| Failure {
        retry_after_ms: Some(ms),
        ..flaky()
    };
    let wait = |ms| retry::wait(&policy, &asked(ms), 1, 0.0).unwrap();
    assert_eq!(wait(5_000), Duration::from_secs(5));
    assert_eq!(wait(u64::MAX), Duration::from_secs(60));
    policy.factor = f64::MAX;
    assert_eq!(
        retry::wait(&policy, &flaky(), 8, 1.0),
        Some(Duration::from_secs(60))
    );
}

#[test]
fn a_cancel_ends_what_has_not_begun_and_waits_for_what_runs() {
    let mut run = draft()
        .job("a")
        .task("one")
        .task_with("two", |t| {
            t.needs.clear();
            t.retry.attempts = 2;
        })
        .task("three")
        .job("b")
        .task("four")
        .start();
    run.go(9);
    run.end(run.unit("two"), Ending::Failed(flaky()));
    assert_eq!(status(&run, "two"), Status::Waiting);
    assert!(run.apply(Event::Cancel {
        reason: "enough".into()
    }));
    assert!(!run.apply(Event::Cancel {
        reason: "again".into()
    }));
    assert!(run.state.is_stopping());
    for name in ["two", "three", "four"] {
        assert_eq!(status(&run, name), Status::Cancelled, "{name}");
    }
    assert_eq!(run.running(), ["one"]);
    assert!(!run.state.record().status.is_final());
    run.end(
        run.unit("one"),
        Ending::Failed(Failure::cancelled("enough")),
    );
    assert_eq!(status(&run, "one"), Status::Cancelled);
    assert_eq!(job_statuses(&run), [Status::Cancelled, Status::Cancelled]);
    assert_eq!(run.state.record().status, Status::Cancelled);
}

#[test]
fn an_output_that_won_the_race_against_a_cancel_is_kept() {
    let mut run = draft().job("a").task("one").task("two").start();
    run.go(9);
    run.apply(Event::Cancel {
        reason: "enough".into(),
    });
    run.end(run.unit("one"), Ending::Succeeded);
    assert_eq!(status(&run, "one"), Status::Succeeded);
    assert_eq!(run.state.record().status, Status::Cancelled);
}

#[test]
fn a_run_that_used_up_its_time_fails_and_says_so() {
    let mut spec = draft().job("a").task("one").task("two");
    spec.0.timeout = Some(Duration::from_secs(10));
    let mut run = spec.start();
    assert_eq!(run.state.deadline(), None);
    run.go(9);
    assert_eq!(
        run.state.deadline(),
        Some(run.now.after(Duration::from_secs(10)))
    );
    run.apply(Event::TimedOut);
    run.end(run.unit("one"), Ending::Failed(broken()));
    assert_eq!(run.state.record().status, Status::Failed);
    assert_eq!(
        run.state.record().failure.as_ref().unwrap().code,
        "run.timeout"
    );
}

#[test]
fn an_interrupted_attempt_is_tried_again_without_spending_one_until_it_is_poison() {
    let mut run = draft().job("a").task("one").start();
    run.go(9);
    let one = run.unit("one");
    run.end(one, Ending::Interrupted);
    run.end(one, Ending::Interrupted);
    assert_eq!(run.running(), ["one"]);
    for _ in 0..5 {
        run.end(one, Ending::Released);
    }
    assert_eq!(run.running(), ["one"]);
    run.end(one, Ending::Interrupted);
    assert_eq!(status(&run, "one"), Status::Failed);
    assert_eq!(run.state.record().failure.as_ref().unwrap().code, "poison");
}

#[test]
fn an_at_most_once_task_that_was_cut_off_fails() {
    for ending in [Ending::Interrupted, Ending::Released] {
        let mut run = draft()
            .job("a")
            .task_with("one", |t| t.on_interrupt = OnInterrupt::Fail)
            .start();
        run.go(9);
        run.end(run.unit("one"), ending);
        assert_eq!(status(&run, "one"), Status::Failed);
        assert_eq!(run.started.len(), 1);
    }
}

#[test]
fn an_outcome_of_an_attempt_that_is_not_running_means_nothing() {
    let mut run = draft().job("a").task("one").task("two").start();
    run.go(9);
    let unit = run.unit("one");
    let late = |attempt| Event::Ended {
        unit,
        attempt,
        ending: Ending::Succeeded,
        draw: 0.0,
    };
    assert!(!run.apply(late(2)));
    assert!(run.apply(late(1)));
    assert!(!run.apply(late(1)));
    assert_eq!(status(&run, "two"), Status::Queued);
}

#[test]
fn changes_name_each_thing_once_and_only_what_changed() {
    let mut run = draft().job("a").task("one").task("two").start();
    run.go(9);
    let one = run.unit("one");
    let changes = run.state.take_changes();
    assert!(changes.run);
    assert_eq!(changes.units, [one]);
    run.end(one, Ending::Succeeded);
    let changes = run.state.take_changes();
    assert!(!changes.run && changes.jobs.is_empty());
    assert_eq!(changes.units, [one, run.unit("two")]);
    let expected = [Note::TaskSucceeded(one), Note::TaskStarted(run.unit("two"))];
    assert_eq!(changes.notes, expected);
    assert!(run.state.take_changes().is_empty());
}

fn rerun_of(names: &[(&str, Status)], from: &str) -> Vec<String> {
    let workflow = draft()
        .job("a")
        .task("one")
        .task("two")
        .job("b")
        .task("three")
        .build();
    let graph = Graph::new(Arc::clone(&workflow));
    let earlier: Vec<Earlier> = names
        .iter()
        .map(|(name, status)| Earlier {
            unit: Unit::whole(workflow.task_named(name).unwrap()),
            status: *status,
        })
        .collect();
    let from = match from {
        "failed" => From::Failed,
        "start" => From::Start,
        task => From::Task(workflow.task_named(task).unwrap()),
    };
    let mut linked: Vec<_> = rerun::linked(&graph, &earlier, from, true)
        .into_iter()
        .map(|unit| workflow.task(unit.task).name.to_string())
        .collect();
    linked.sort();
    linked
}

#[test]
fn a_rerun_keeps_what_succeeded_except_what_it_is_asked_to_repeat() {
    let all = [
        ("one", Status::Succeeded),
        ("two", Status::Succeeded),
        ("three", Status::Succeeded),
    ];
    let failed = [("one", Status::Succeeded), ("two", Status::Failed)];
    assert_eq!(rerun_of(&failed, "failed"), ["one"]);
    assert_eq!(rerun_of(&all, "two"), ["one"]);
    assert_eq!(rerun_of(&all, "three"), ["one", "two"]);
    assert_eq!(rerun_of(&all, "start"), Vec::<String>::new());
}

#[test]
fn a_run_begins_where_its_linked_tasks_end() {
    let graph = Arc::new(Graph::new(
        draft().job("a").task("one").job("b").task("two").build(),
    ));
    let mut run = Player::new(Arc::clone(&graph));
    let done = UnitRecord {
        status: Status::Succeeded,
        ..UnitRecord::default()
    };
    let records = Records {
        units: vec![(run.unit("one"), done)],
        ..Records::default()
    };
    run.state = RunState::restore(graph, records, run.now);
    run.go(9);
    assert_eq!(run.running(), ["two"]);
}

#[test]
fn a_thousand_tasks_in_a_row_and_ten_thousand_items_end() {
    let mut long = draft().job("a");
    for at in 0..1_000 {
        long = long.task(&format!("t{at}"));
    }
    let mut run = long.start();
    run.go(1);
    while let Some(unit) = run.first_running() {
        run.end(unit, Ending::Succeeded);
        assert!(run.state.take_changes().units.len() <= 3);
    }
    assert_eq!(run.state.record().status, Status::Succeeded);
    let mut run = draft()
        .job("a")
        .task_with("each", |t| t.for_each = for_each(10_000, 8))
        .start();
    run.go(9);
    while let Some(unit) = run.first_running() {
        run.end(unit, Ending::Succeeded);
        assert!(run.state.take_changes().units.len() <= 10);
    }
    assert_eq!(run.state.record().status, Status::Succeeded);
    assert_eq!(run.started.len(), 10_000);
}
