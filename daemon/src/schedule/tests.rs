//! What the matrix in `tests/` does not reach: bounds, delays, clocks that jump.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::plan::{COUNTED, Plan, Progress, Reason, Verdict, delay, plan};
use super::simulate::{Play, simulate};
use super::{idempotency_key, trace_id};
use crate::clock::Timestamp;
use crate::id::ScheduleId;
use crate::units::Span;
use crate::workflow::schedule::{CatchUp, Schedule};

fn at(text: &str) -> Timestamp {
    text.parse::<DateTime<Utc>>().unwrap().into()
}

fn schedule(cron: &str, catch_up: CatchUp) -> Schedule {
    let named = serde_json::json!({ "name": "s", "cron": cron, "timezone": "UTC" });
    Schedule {
        catch_up,
        ..serde_json::from_value(named).unwrap()
    }
}

fn looked(schedule: &Schedule, delay: Duration, from: &str, now: &str) -> Plan {
    let progress = Progress {
        decided_until: at(from),
        looked_at: at(from),
    };
    let times = schedule.times().unwrap();
    plan(schedule, &times, delay, progress, at(now))
}

#[test]
fn a_schedule_of_seconds_that_nobody_looked_at_for_years_is_decided_by_a_handful_of_rows() {
    for (catch_up, runs) in [
        (CatchUp::Skip, 1),
        (CatchUp::Latest, 1),
        (CatchUp::All, 101),
    ] {
        let every_second = schedule("* * * * * *", catch_up);
        let plan = looked(
            &every_second,
            Duration::ZERO,
            "2016-01-01T00:00:00Z",
            "2026-01-01T00:00:00Z",
        );
        let (missed, rest) = plan.verdicts.split_first().unwrap();
        let Verdict::Missed(missed) = missed else {
            panic!("{missed:?}");
        };
        assert_eq!(
            (missed.first, missed.times),
            (at("2016-01-01T00:00:01Z"), COUNTED)
        );
        assert_eq!(rest.len(), runs);
        assert_eq!(rest.last(), Some(&Verdict::Due(at("2026-01-01T00:00:00Z"))));
        assert_eq!(plan.next, Some(at("2026-01-01T00:00:01Z")));
    }
}

#[test]
fn a_delay_is_less_than_the_jitter_the_same_for_everybody_and_moves_the_time_only() {
    let mut hourly = schedule("0 * * * *", CatchUp::Skip);
    assert_eq!(delay(&"w".parse().unwrap(), &hourly), Duration::ZERO);
    hourly.jitter = Span(Duration::from_secs(600));
    let delays: Vec<Duration> = (0..50)
        .map(|n| delay(&format!("w{n}").parse().unwrap(), &hourly))
        .collect();
    assert!(delays.iter().all(|delay| *delay < hourly.jitter.0));
    let spread: std::collections::BTreeSet<_> = delays.iter().collect();
    assert!(spread.len() > 40, "{spread:?}");
    assert_eq!(delays[7], delay(&"w7".parse().unwrap(), &hourly));
    let late = Duration::from_secs(300);
    let early = looked(
        &hourly,
        late,
        "2026-01-01T00:30:00Z",
        "2026-01-01T01:04:59Z",
    );
    assert!(early.verdicts.is_empty());
    assert_eq!(early.next, Some(at("2026-01-01T01:05:00Z")));
    let due = looked(
        &hourly,
        late,
        "2026-01-01T00:30:00Z",
        "2026-01-01T01:05:00Z",
    );
    assert_eq!(due.verdicts, [Verdict::Due(at("2026-01-01T01:00:00Z"))]);
}

#[test]
fn a_clock_that_is_a_little_behind_decides_nothing_again_and_one_that_was_set_back_does() {
    let minutely = schedule("* * * * *", CatchUp::Skip);
    let times = minutely.times().unwrap();
    let progress = Progress {
        decided_until: at("2026-01-01T10:00:00Z"),
        looked_at: at("2026-01-01T10:00:00Z"),
    };
    let behind = at("2026-01-01T09:59:30Z");
    let plan_of = |now| plan(&minutely, &times, Duration::ZERO, progress, now);
    assert_eq!(
        plan_of(behind).progress.decided_until,
        progress.decided_until
    );
    let set_back = at("2026-01-01T08:00:30Z");
    // The minute just past may have come before anybody saw that the clock went back.
    assert_eq!(
        plan_of(set_back).verdicts,
        [Verdict::Due(at("2026-01-01T08:00:00Z"))]
    );
    assert_eq!(plan_of(set_back).progress.decided_until, set_back);
    assert_eq!(plan_of(set_back).next, Some(at("2026-01-01T08:01:00Z")));
}

#[test]
fn the_window_and_the_cap_leave_out_what_is_old() {
    let mut hourly = schedule("0 * * * *", CatchUp::All);
    hourly.catch_up_window = Span(Duration::from_secs(2 * 3_600));
    let plan = looked(
        &hourly,
        Duration::ZERO,
        "2026-01-01T00:30:00Z",
        "2026-01-01T05:30:00Z",
    );
    let Some((Verdict::Missed(missed), runs)) = plan.verdicts.split_first() else {
        panic!("{:?}", plan.verdicts);
    };
    assert_eq!((missed.times, missed.reason), (3, Reason::CatchUpWindow));
    assert_eq!(
        runs,
        [
            Verdict::CaughtUp(at("2026-01-01T04:00:00Z")),
            Verdict::CaughtUp(at("2026-01-01T05:00:00Z"))
        ]
    );
}

#[test]
fn a_play_ends_at_its_limit_and_says_so() {
    let play = Play {
        from: at("2026-01-01T00:00:00Z"),
        to: at("2026-01-02T00:00:00Z"),
        down: Vec::new(),
        run_time: Duration::ZERO,
        limit: 10,
    };
    let every_second = schedule("* * * * * *", CatchUp::Skip);
    let times = every_second.times().unwrap();
    let (decisions, more) = simulate(&every_second, &times, Duration::ZERO, &play);
    assert_eq!((decisions.len(), more), (10, true));
}

#[test]
fn key_and_trace_of_a_time_are_its_own() {
    let (one, other) = (ScheduleId::generate(), ScheduleId::generate());
    let (early, late) = (at("2026-01-01T00:00:00Z"), at("2026-01-02T00:00:00Z"));
    assert_eq!(idempotency_key(one, early), idempotency_key(one, early));
    assert_eq!(trace_id(one, early), trace_id(one, early));
    let all = [(one, early), (one, late), (other, early)];
    let traces: std::collections::BTreeSet<_> = all.iter().map(|(s, t)| trace_id(*s, *t)).collect();
    assert_eq!(traces.len(), 3);
    assert!(traces.iter().all(|trace| trace.len() == 32));
}
