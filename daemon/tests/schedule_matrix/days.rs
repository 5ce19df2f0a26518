//! What becomes of each time, by walking over the minutes of some days on which daemons come and go.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use chrono::{DateTime, Utc};
use flowweaver::clock::Timestamp;
use flowweaver::schedule::plan::delay;
use flowweaver::schedule::simulate::{Play, simulate};
use flowweaver::units::Span;
use flowweaver::workflow::schedule::{CatchUp, Overlap, Schedule};
use proptest::prelude::*;
use proptest::sample::select;

use super::wall::Expression;
use super::{ZONES, at, minute};

/// The minute at which it ran, or why it did not.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    Ran(i64),
    Waits,
    Skipped,
    Missed(&'static str),
}

struct Case {
    schedule: Schedule,
    from: i64,
    to: i64,
    down: Vec<(i64, i64)>,
    run_minutes: i64,
}

/// Which of the times that came unseen are started late, and which are missed and why.
fn caught_up(
    schedule: &Schedule,
    come: &[i64],
    has_due: bool,
    now: i64,
) -> (Vec<i64>, Vec<(i64, &'static str)>) {
    let window = i64::try_from(schedule.catch_up_window.0.as_secs() / 60).unwrap();
    let mut chosen: Vec<i64> = match schedule.catch_up {
        CatchUp::Skip => Vec::new(),
        CatchUp::Latest if has_due => Vec::new(),
        CatchUp::Latest => come.last().copied().into_iter().collect(),
        CatchUp::All => {
            let first = come.len().saturating_sub(schedule.catch_up_max as usize);
            come[first..].to_vec()
        }
    };
    chosen.retain(|time| now - time <= window);
    let lost: Vec<i64> = come
        .iter()
        .copied()
        .filter(|time| !chosen.contains(time))
        .collect();
    let reason = match schedule.catch_up {
        CatchUp::Skip => "catch-up.skip",
        // One span has one reason: that of its last time.
        _ if lost.last().is_some_and(|last| now - last > window) => "catch-up.window",
        CatchUp::Latest => "catch-up.latest",
        CatchUp::All => "catch-up.max",
    };
    (
        chosen,
        lost.into_iter().map(|time| (time, reason)).collect(),
    )
}

/// Walks minute by minute; the rules are written down here once more, in other words.
fn expected(case: &Case) -> BTreeMap<i64, Fate> {
    let schedule = &case.schedule;
    let times: Vec<i64> = Expression::read(&schedule.cron)
        .walk(schedule.timezone, case.from * 60, case.to * 60)
        .into_iter()
        .map(|second| second / 60)
        .collect();
    let mut fates = BTreeMap::new();
    let (mut ends, mut queue) = (Vec::<i64>::new(), VecDeque::<i64>::new());
    let mut looked = case.from;
    for now in case.from..=case.to {
        if case
            .down
            .iter()
            .any(|(begin, end)| (*begin..*end).contains(&now))
        {
            continue;
        }
        ends.retain(|end| *end > now);
        while ends.is_empty() && !queue.is_empty() {
            fates.insert(queue.pop_front().unwrap(), Fate::Ran(now));
            ends.extend((case.run_minutes > 0).then_some(now + case.run_minutes));
        }
        let mut come: Vec<i64> = times
            .iter()
            .copied()
            .filter(|time| *time > looked && *time <= now)
            .collect();
        looked = now;
        let due = come.last().copied().filter(|last| now - last <= 1);
        if due.is_some() {
            come.pop();
        }
        let (chosen, missed) = caught_up(schedule, &come, due.is_some(), now);
        fates.extend(missed.iter().map(|(time, why)| (*time, Fate::Missed(why))));
        for (time, late) in chosen
            .iter()
            .map(|time| (*time, true))
            .chain(due.map(|due| (due, false)))
        {
            let busy = !ends.is_empty() || !queue.is_empty();
            let fate = match schedule.overlap {
                Overlap::Allow => Fate::Ran(now),
                _ if !busy => Fate::Ran(now),
                _ if late => Fate::Waits,
                Overlap::Skip => Fate::Skipped,
                Overlap::CancelPrevious if queue.is_empty() => {
                    ends.clear();
                    Fate::Ran(now)
                }
                // A queue that only grows ends somewhere.
                Overlap::Queue | Overlap::CancelPrevious if queue.len() >= 100 => Fate::Skipped,
                Overlap::Queue | Overlap::CancelPrevious => Fate::Waits,
            };
            match fate {
                Fate::Ran(_) => {
                    ends.extend((case.run_minutes > 0).then_some(now + case.run_minutes))
                }
                Fate::Waits => queue.push_back(time),
                _ => {}
            }
            fates.insert(time, fate);
        }
    }
    fates
}

fn found(case: &Case) -> BTreeMap<i64, Fate> {
    let times = case.schedule.times().unwrap();
    let play = Play {
        from: minute(case.from),
        to: minute(case.to),
        down: case
            .down
            .iter()
            .map(|(a, b)| (minute(*a), minute(*b)))
            .collect(),
        run_time: Duration::from_secs(u64::try_from(case.run_minutes).unwrap() * 60),
        limit: 100_000,
    };
    let workflow = "w".parse().unwrap();
    let (decisions, more) = simulate(
        &case.schedule,
        &times,
        delay(&workflow, &case.schedule),
        &play,
    );
    assert!(!more);
    let whole = |at: Timestamp| {
        assert_eq!(at.as_micros() % 60_000_000, 0);
        at.as_micros() / 60_000_000
    };
    let mut fates = BTreeMap::new();
    let mut keep = |time: i64, fate: Fate| {
        let before = fates.insert(time, fate);
        assert!(
            matches!(before, None | Some(Fate::Waits)),
            "two decisions about {time}"
        );
    };
    for decision in decisions {
        let time = whole(decision.nominal);
        match decision.decision {
            "run" | "run-instead" => keep(time, Fate::Ran(whole(decision.at))),
            "wait" => keep(time, Fate::Waits),
            "skip" => keep(time, Fate::Skipped),
            "missed" => {
                let span: Vec<Timestamp> = times
                    .between(minute(time - 1), decision.last)
                    .filter(|at| *at >= decision.nominal)
                    .collect();
                assert_eq!(span.len(), decision.times as usize);
                for at in span {
                    keep(whole(at), Fate::Missed(decision.reason.unwrap()));
                }
            }
            other => panic!("{other}"),
        }
    }
    fates
}

fn schedule(cron: &str, zone: &str, catch_up: CatchUp, overlap: Overlap) -> Schedule {
    Schedule {
        catch_up,
        overlap,
        ..serde_json::from_value(serde_json::json!({ "name": "s", "cron": cron, "timezone": zone }))
            .unwrap()
    }
}

const CATCH_UPS: [CatchUp; 3] = [CatchUp::Skip, CatchUp::Latest, CatchUp::All];
const OVERLAPS: [Overlap; 4] = [
    Overlap::Skip,
    Overlap::Queue,
    Overlap::Allow,
    Overlap::CancelPrevious,
];

#[test]
fn every_zone_change_catch_up_overlap_and_downtime_is_decided_as_a_walk_says() {
    let mut ran = 0;
    for zone in ZONES {
        // A spring and an autumn with a change in most of these zones.
        for day in [
            "2025-03-29T18:00:00Z",
            "2025-11-01T18:00:00Z",
            "2018-11-03T18:00:00Z",
        ] {
            let from = DateTime::<Utc>::from(at(day)).timestamp() / 60;
            let down = [
                vec![],
                vec![(from + 395, from + 561)],
                vec![(from + 1, from + 30), (from + 300, from + 1_201)],
            ];
            for (catch_up, overlap) in CATCH_UPS.iter().flat_map(|c| OVERLAPS.map(|o| (*c, o))) {
                for (cron, run_minutes) in [
                    ("*/20 * * * *", 33),
                    ("0,30 0-4 * * *", 61),
                    ("0 * * * *", 0),
                ] {
                    for down in &down {
                        let case = Case {
                            schedule: Schedule {
                                catch_up_max: 3,
                                catch_up_window: Span(Duration::from_secs(4 * 3_600)),
                                ..schedule(cron, zone, catch_up, overlap)
                            },
                            from,
                            to: from + 1_500,
                            down: down.clone(),
                            run_minutes,
                        };
                        let wanted = expected(&case);
                        ran += wanted
                            .values()
                            .filter(|fate| matches!(fate, Fate::Ran(_)))
                            .count();
                        assert_eq!(
                            found(&case),
                            wanted,
                            "{cron} in {zone} from {day}, {catch_up:?}, {overlap:?}, down {down:?}"
                        );
                    }
                }
            }
        }
    }
    assert!(ran > 10_000, "{ran}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_schedule_with_any_downtime_is_decided_as_a_walk_says(
        cron in select(vec!["* * * * *", "*/5 * * * *", "0 * * * *", "30 2 * * *", "15,45 1-3 * * *"]),
        zone in select(ZONES.to_vec()),
        catch_up in select(CATCH_UPS.to_vec()),
        overlap in select(OVERLAPS.to_vec()),
        start in 29_000_000_i64..29_500_000,
        cuts in proptest::collection::btree_set(1_i64..900, 0..6),
        run_minutes in 0_i64..40,
        max in 1_u32..20,
        window in 1_u64..600,
    ) {
        let cuts: Vec<i64> = cuts.into_iter().map(|cut| start + cut).collect();
        let case = Case {
            schedule: Schedule {
                catch_up_max: max,
                catch_up_window: Span(Duration::from_secs(window * 60)),
                ..schedule(cron, zone, catch_up, overlap)
            },
            from: start,
            to: start + 1_000,
            down: cuts.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect(),
            run_minutes,
        };
        prop_assert_eq!(found(&case), expected(&case));
    }
}
