//! When an expression fires, by walking over the clock on the wall.

use std::collections::{BTreeSet, HashSet};

use chrono::{DateTime, Datelike, NaiveDateTime, Timelike, Utc};
use chrono_tz::Tz;
use flowweaver::clock::Timestamp;
use flowweaver::workflow::cron::Cron;
use proptest::prelude::*;
use proptest::sample::select;

use super::{ZONES, at};

/// An expression, read by this test alone: lists, ranges, steps and stars.
pub struct Expression {
    seconds: Option<BTreeSet<u32>>,
    fields: [BTreeSet<u32>; 5],
    day_and_weekday: bool,
    fixed: bool,
}

fn field(text: &str, low: u32, high: u32) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    for part in text.split(',') {
        let (range, step) = part.split_once('/').unwrap_or((part, "1"));
        let (from, to) = match range.split_once('-') {
            Some((from, to)) => (from.parse().unwrap(), to.parse().unwrap()),
            None if range == "*" => (low, high),
            None => (range.parse().unwrap(), range.parse().unwrap()),
        };
        found.extend((from..=to).step_by(step.parse().unwrap()));
    }
    found
}

impl Expression {
    pub fn read(text: &str) -> Self {
        let parts: Vec<&str> = text.split(' ').collect();
        let (seconds, rest) = match parts.as_slice() {
            [seconds, rest @ ..] if parts.len() == 6 => (Some(*seconds), rest),
            rest => (None, rest),
        };
        let stars = rest[..2]
            .iter()
            .chain(&seconds)
            .any(|part| part.contains('*'));
        Self {
            seconds: seconds.map(|text| field(text, 0, 59)),
            fields: [
                field(rest[0], 0, 59),
                field(rest[1], 0, 23),
                field(rest[2], 1, 31),
                field(rest[3], 1, 12),
                field(rest[4], 0, 6),
            ],
            day_and_weekday: rest[2] == "*" || rest[4] == "*",
            fixed: !stars,
        }
    }

    fn matches(&self, wall: NaiveDateTime) -> bool {
        let [minutes, hours, days, months, weekdays] = &self.fields;
        let day = days.contains(&wall.day());
        let weekday = weekdays.contains(&wall.weekday().num_days_from_sunday());
        let days_match = match self.day_and_weekday {
            true => day && weekday,
            false => day || weekday,
        };
        let seconds = self.seconds.as_ref();
        seconds.map_or(wall.second() == 0, |seconds| {
            seconds.contains(&wall.second())
        }) && minutes.contains(&wall.minute())
            && hours.contains(&wall.hour())
            && months.contains(&wall.month())
            && days_match
    }

    fn step(&self) -> i64 {
        if self.seconds.is_some() { 1 } else { 60 }
    }

    /// Walks from one instant to another, both whole minutes, and notes when it fires; the first is left out.
    pub fn walk(&self, zone: Tz, from: i64, to: i64) -> Vec<i64> {
        let step = self.step();
        let shown = |second: i64| {
            DateTime::from_timestamp(second, 0)
                .unwrap()
                .with_timezone(&zone)
                .naive_local()
        };
        let mut fired = Vec::new();
        // What the wall showed on the day before may come again.
        let mut seen: HashSet<NaiveDateTime> = HashSet::new();
        let mut before: Option<NaiveDateTime> = None;
        let mut second = from - 26 * 3600;
        while second <= to {
            let wall = shown(second);
            let first_time = !self.fixed || seen.insert(wall);
            let mut fires = self.matches(wall) && first_time;
            if let Some(before) = before.filter(|_| self.fixed) {
                let left_out = (wall - before).num_seconds() - step;
                if left_out > 0 && left_out < 3 * 3600 {
                    let mut missing = before + chrono::Duration::seconds(step);
                    while missing < wall {
                        fires |= self.matches(missing);
                        missing += chrono::Duration::seconds(step);
                    }
                }
            }
            if fires && second > from {
                fired.push(second);
            }
            before = Some(wall);
            second += step;
        }
        fired
    }
}

fn asked(text: &str, zone: Tz, from: i64, to: i64) -> Vec<i64> {
    let cron = Cron::parse(text, zone).unwrap();
    let instant = |second: i64| Timestamp::from_micros(second * 1_000_000);
    std::iter::successors(cron.next_after(instant(from)), |last| {
        cron.next_after(*last)
    })
    .map(|at| at.as_micros() / 1_000_000)
    .take_while(|second| *second <= to)
    .collect()
}

/// The whole hours within these years after which the zone has another offset.
fn changes(zone: Tz, years: std::ops::Range<i32>) -> Vec<i64> {
    let begin =
        |year: i32| DateTime::<Utc>::from(at(&format!("{year}-01-01T00:00:00Z"))).timestamp();
    let offset = |second: i64| {
        let utc = DateTime::from_timestamp(second, 0).unwrap().naive_utc();
        let local = DateTime::from_timestamp(second, 0)
            .unwrap()
            .with_timezone(&zone);
        (local.naive_local() - utc).num_seconds()
    };
    (begin(years.start)..begin(years.end))
        .step_by(3600)
        .filter(|second| offset(*second) != offset(second + 3600))
        .collect()
}

const EXPRESSIONS: [&str; 18] = [
    "30 2 * * *",
    "0 0 * * *",
    "30 0 * * *",
    "15 1 * * *",
    "0 2,14 * * *",
    "0,30 1-3 * * *",
    "59 23 * * *",
    "0 8 * * 1-5",
    "0 3 1 * *",
    "*/30 * * * *",
    "0 * * * *",
    "*/7 2 * * *",
    "5 */3 * * *",
    "* 1 * * 0",
    "45 1 * * 0",
    "0 0-23 * * *",
    "10 0,1,2,3,4 * * 6",
    "20 2 15 * 0",
];

#[test]
fn every_expression_fires_around_every_change_of_every_zone_as_a_walk_over_the_wall_says() {
    let mut compared = 0;
    for name in ZONES {
        let zone: Tz = name.parse().unwrap();
        let mut moments = changes(zone, 2011..2012);
        moments.extend(changes(zone, 2018..2020));
        moments.extend(changes(zone, 2025..2026));
        if moments.is_empty() {
            moments.push(DateTime::<Utc>::from(at("2025-03-30T00:00:00Z")).timestamp());
        }
        for moment in moments {
            let (from, to) = (moment - 2 * 86_400, moment + 2 * 86_400);
            for text in EXPRESSIONS {
                let wanted = Expression::read(text).walk(zone, from, to);
                let found = asked(text, zone, from, to);
                assert_eq!(found, wanted, "{text} in {name} around {moment}");
                compared += wanted.len();
            }
        }
    }
    assert!(compared > 10_000, "{compared}");
}

#[test]
fn seconds_fire_through_the_gap_and_the_fold_as_a_walk_says() {
    for (name, moment) in [
        ("America/New_York", "2025-03-09T07:00:00Z"),
        ("America/New_York", "2025-11-02T06:00:00Z"),
        ("Australia/Lord_Howe", "2025-04-05T15:00:00Z"),
        ("Asia/Seoul", "2025-04-05T15:00:00Z"),
    ] {
        let zone: Tz = name.parse().unwrap();
        let moment = DateTime::<Utc>::from(at(moment)).timestamp();
        for text in [
            "* * * * * *",
            "*/17 * 1-2 * * *",
            "30 30 1,2 * * *",
            "5,6 59 0-3 * * *",
        ] {
            let (from, to) = (moment - 7_200, moment + 7_200);
            let wanted = Expression::read(text).walk(zone, from, to);
            assert_eq!(asked(text, zone, from, to), wanted, "{text} in {name}");
        }
    }
}

#[test]
fn a_day_that_a_zone_left_out_has_no_times_and_the_next_one_has() {
    let apia: Tz = "Pacific/Apia".parse().unwrap();
    // After 29 December 2011 came the 31st.
    let from = DateTime::<Utc>::from(at("2011-12-29T12:00:00Z")).timestamp();
    let days: Vec<String> = asked("0 8 * * *", apia, from, from + 4 * 86_400)
        .into_iter()
        .map(|second| {
            let at = DateTime::from_timestamp(second, 0).unwrap();
            at.with_timezone(&apia).format("%m-%d %H:%M").to_string()
        })
        .collect();
    assert_eq!(days[..3], ["12-29 08:00", "12-31 08:00", "01-01 08:00"]);
}

fn expression() -> impl Strategy<Value = String> {
    let minute = select(vec!["0", "30", "59", "*/20", "1-59/13", "5,35", "*"]);
    let hour = select(vec!["0", "1", "2", "3", "23", "*", "*/2", "0-4", "1,2,13"]);
    let day = select(vec!["*", "1-15", "*/2", "28,29,30,31"]);
    let month = select(vec!["*", "3,4,10,11", "*/2"]);
    let weekday = select(vec!["*", "0", "1-5", "0,6"]);
    (minute, hour, day, month, weekday).prop_map(|(a, b, c, d, e)| format!("{a} {b} {c} {d} {e}"))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_expression_in_any_zone_fires_as_a_walk_over_the_wall_says(
        text in expression(),
        zone in select(ZONES.to_vec()),
        // 2010 to 2030, by the minute.
        minute in 21_038_400_i64..31_557_600,
    ) {
        let zone: Tz = zone.parse().unwrap();
        let (from, to) = (minute * 60, minute * 60 + 3 * 86_400);
        let wanted = Expression::read(&text).walk(zone, from, to);
        prop_assert_eq!(asked(&text, zone, from, to), wanted, "{} in {}", text, zone);
    }
}
