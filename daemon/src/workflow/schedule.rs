//! One schedule: when it fires and what its runs get. Files and the API say it in the same words; stored schedules
//! are this, as JSON.
//!
//! Pure. What becomes of each time is `schedule`'s business, where each key stands in a file `triggers`'.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Datelike as _, NaiveDate, NaiveDateTime, NaiveTime, TimeZone as _, Utc};
use chrono_tz::{GapInfo, Tz};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::cron::Cron;
use crate::clock::Timestamp;
use crate::id::{ScheduleName, TaskName, VariableName};
use crate::units::Span;

/// How far back missed times are caught up unless the schedule says otherwise: a monthly schedule is caught up after
/// a long holiday.
pub const WINDOW: Duration = Duration::from_secs(31 * 86_400);
/// Longer than this back, nobody waits for what was missed.
pub const WINDOW_MAX: Duration = Duration::from_secs(366 * 86_400);
/// How many missed times `all` catches up unless the schedule says otherwise.
pub const CATCH_UP: u32 = 100;
/// What one look may catch up at most: each is a run of its own.
pub const CATCH_UP_MAX: u32 = 1_000;
/// A delay longer than a day is another schedule.
pub const JITTER_MAX: Duration = Duration::from_secs(86_400);
/// Dates beyond the third millennium are slips of the pen.
const YEARS: std::ops::RangeInclusive<i32> = 1970..=2999;

/// When a workflow starts by itself, and with what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Schedule {
    /// Its name.
    pub name: ScheduleName,
    /// The cron expression as written.
    pub cron: String,
    /// The IANA zone.
    #[serde(with = "zone")]
    pub timezone: Tz,
    /// Whether it fires.
    #[serde(default = "yes", alias = "isActive")]
    pub enabled: bool,
    /// What becomes of missed times.
    #[serde(default)]
    pub catch_up: CatchUp,
    /// Times missed longer ago are not caught up.
    #[serde(default = "window")]
    pub catch_up_window: Span,
    /// Only the latest so many are caught up.
    #[serde(default = "cap")]
    pub catch_up_max: u32,
    /// What becomes of a time that comes while a run is active.
    #[serde(default)]
    pub overlap: Overlap,
    /// It fires later than its times by a part of this, the same for each of them.
    #[serde(default = "no_jitter")]
    pub jitter: Span,
    /// As written: no time before this instant counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// As written: no time from this instant on counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    /// The inputs of its runs.
    #[serde(default)]
    pub inputs: BTreeMap<VariableName, Value>,
    /// Overrides of task inputs, by task.
    #[serde(default)]
    pub config: BTreeMap<TaskName, Value>,
}

/// What becomes of times that passed while no daemon looked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CatchUp {
    /// Recorded as missed.
    #[default]
    Skip,
    /// Only the latest runs.
    Latest,
    /// All run, one after the other.
    All,
}

/// What becomes of a time that comes while an earlier run of the schedule is active.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overlap {
    /// Recorded as skipped.
    #[default]
    Skip,
    /// Waits for its turn.
    Queue,
    /// Runs beside it.
    Allow,
    /// Cancels the earlier run.
    CancelPrevious,
}

/// Something of a schedule that cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleProblem {
    /// The key in a file.
    pub key: &'static str,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub help: String,
}

/// The times of a schedule, ready to be asked.
#[derive(Debug, Clone)]
pub struct Times {
    cron: Cron,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
}

impl Schedule {
    /// Its times, or everything that is wrong with what does not depend on the workflow.
    pub fn times(&self) -> Result<Times, Vec<ScheduleProblem>> {
        let mut problems = self.quantities();
        let mut problem = |key, message: String, help: String| {
            problems.push(ScheduleProblem { key, message, help });
        };
        let cron = match Cron::parse(&self.cron, self.timezone) {
            Ok(cron) => Some(cron),
            Err(wrong) => {
                problem("cron", wrong.message, wrong.help.to_owned());
                None
            }
        };
        let mut bound = |key, text: &Option<String>| {
            let text = text.as_deref()?;
            match instant(text, self.timezone) {
                Ok(at) => Some(at),
                Err(message) => {
                    let help = "write \"2026-03-01\", \"2026-03-01T09:00:00\" (both in the schedule's zone) or \
                        \"2026-03-01T09:00:00Z\"";
                    problem(key, message, help.to_owned());
                    None
                }
            }
        };
        let start = bound("start", &self.start);
        let end = bound("end", &self.end);
        if let (Some(start), Some(end)) = (start, end)
            && start >= end
        {
            let message = "it ends before it begins, so it never fires".to_owned();
            problem("end", message, "write an `end` after `start`".to_owned());
        }
        match cron {
            Some(cron) if problems.is_empty() => Ok(Times { cron, start, end }),
            _ => Err(problems),
        }
    }

    fn quantities(&self) -> Vec<ScheduleProblem> {
        let mut problems = Vec::new();
        let mut longest = |key, value: Duration, max: Duration| {
            if value > max {
                problems.push(ScheduleProblem {
                    key,
                    message: format!("`{key}` may be at most {}", Span(max)),
                    help: format!("write {}, or less", Span(max)),
                });
            }
        };
        longest("jitter", self.jitter.0, JITTER_MAX);
        longest("catch_up_window", self.catch_up_window.0, WINDOW_MAX);
        if !(1..=CATCH_UP_MAX).contains(&self.catch_up_max) {
            problems.push(ScheduleProblem {
                key: "catch_up_max",
                message: format!("`catch_up_max` must be from 1 to {CATCH_UP_MAX}"),
                help: "leave it out for 100".to_owned(),
            });
        }
        problems
    }

    /// Whether the other one fires at the same times.
    pub fn same_times(&self, other: &Self) -> bool {
        self.cron == other.cron
            && self.timezone == other.timezone
            && self.start == other.start
            && self.end == other.end
            && self.jitter == other.jitter
    }
}

impl Times {
    /// The first time after an instant.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let before_start = |start: Timestamp| Timestamp::from_micros(start.as_micros() - 1);
        let from = self
            .start
            .map_or(after, |start| after.max(before_start(start)));
        let next = self.cron.next_after(from)?;
        self.end.is_none_or(|end| next < end).then_some(next)
    }

    /// The times after one instant, up to and including another.
    pub fn between(&self, after: Timestamp, until: Timestamp) -> impl Iterator<Item = Timestamp> {
        std::iter::successors(self.next_after(after), |last| self.next_after(*last))
            .take_while(move |at| *at <= until)
    }

    /// The zone in which they are written.
    pub fn timezone(&self) -> Tz {
        self.cron.timezone()
    }
}

/// An instant as people write it: with an offset, or on the wall of a zone.
pub fn instant(text: &str, timezone: Tz) -> Result<Timestamp, String> {
    let text = text.trim();
    let at = DateTime::parse_from_rfc3339(text)
        .map(|at| at.with_timezone(&Utc))
        .ok()
        .or_else(|| on_the_wall(text).and_then(|wall| first_at(wall, timezone)))
        .ok_or_else(|| {
            format!(
                "\"{}\" is no date or time",
                text.chars().take(40).collect::<String>()
            )
        })?;
    if !YEARS.contains(&at.year()) {
        return Err("only the years 1970 to 2999 are taken".to_owned());
    }
    Ok(at.into())
}

fn on_the_wall(text: &str) -> Option<NaiveDateTime> {
    let formats = [
        "%Y-%m-%dT%H:%M:%S",
        "%Y-%m-%dT%H:%M",
        "%Y-%m-%d %H:%M:%S",
        "%Y-%m-%d %H:%M",
    ];
    let time = formats
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok());
    let day = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok();
    time.or_else(|| day().map(|day| day.and_time(NaiveTime::MIN)))
}

fn first_at(wall: NaiveDateTime, timezone: Tz) -> Option<DateTime<Utc>> {
    let shown = timezone.from_local_datetime(&wall).earliest();
    // A time that the wall never shows stands for the first after it.
    let shown = shown.or_else(|| GapInfo::new(&wall, &timezone)?.end);
    shown.map(|at| at.with_timezone(&Utc))
}

fn yes() -> bool {
    true
}

fn window() -> Span {
    Span(WINDOW)
}

fn no_jitter() -> Span {
    Span(Duration::ZERO)
}

fn cap() -> u32 {
    CATCH_UP
}

mod zone {
    use chrono_tz::Tz;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub fn serialize<S: Serializer>(zone: &Tz, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(zone.name())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Tz, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(d)?;
        text.parse().map_err(|_| {
            D::Error::custom(format!(
                "there is no time zone \"{}\": write an IANA name like \"Asia/Seoul\" or \"UTC\"",
                text.chars().take(40).collect::<String>()
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse::<DateTime<Utc>>().unwrap().into()
    }

    fn daily() -> Schedule {
        serde_json::from_value(serde_json::json!({
            "name": "daily", "cron": "0 8 * * *", "timezone": "Asia/Seoul",
        }))
        .unwrap()
    }

    #[test]
    fn a_schedule_without_a_zone_or_with_an_unknown_key_is_none() {
        for wrong in [
            serde_json::json!({ "name": "a", "cron": "@daily" }),
            serde_json::json!({ "name": "a", "cron": "@daily", "timezone": "KST" }),
            serde_json::json!({ "name": "a", "cron": "@daily", "timezone": "UTC", "isAdmin": true }),
            serde_json::json!({ "name": "A b", "cron": "@daily", "timezone": "UTC" }),
        ] {
            assert!(
                serde_json::from_value::<Schedule>(wrong.clone()).is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn every_mistake_is_told_at_once_with_its_key() {
        let wrong = Schedule {
            cron: "0 0 30 2 *".to_owned(),
            jitter: Span(JITTER_MAX + Duration::from_secs(1)),
            catch_up_window: Span(WINDOW_MAX + Duration::from_secs(1)),
            catch_up_max: 0,
            start: Some("9999-01-01".to_owned()),
            end: Some("soon".to_owned()),
            ..daily()
        };
        let keys: Vec<_> = wrong.times().unwrap_err().iter().map(|p| p.key).collect();
        assert_eq!(
            keys,
            [
                "jitter",
                "catch_up_window",
                "catch_up_max",
                "cron",
                "start",
                "end"
            ]
        );
        let turned = Schedule {
            start: Some("2026-03-02".to_owned()),
            end: Some("2026-03-01T15:00:00Z".to_owned()),
            ..daily()
        };
        assert_eq!(turned.times().unwrap_err()[0].key, "end");
    }

    #[test]
    fn it_fires_from_its_start_to_its_end() {
        let bounded = Schedule {
            // Midnight of the day in Seoul.
            start: Some("2026-03-02".to_owned()),
            end: Some("2026-03-04T08:00:00+09:00".to_owned()),
            ..daily()
        };
        let times: Vec<_> = bounded
            .times()
            .unwrap()
            .between(at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z"))
            .collect();
        assert_eq!(
            times,
            [at("2026-03-01T23:00:00Z"), at("2026-03-02T23:00:00Z")]
        );
        let from_its_time = Schedule {
            start: Some("2026-03-02T08:00".to_owned()),
            ..daily()
        };
        let first = from_its_time
            .times()
            .unwrap()
            .next_after(at("2026-01-01T00:00:00Z"));
        assert_eq!(first, Some(at("2026-03-01T23:00:00Z")));
    }

    #[test]
    fn a_schedule_survives_its_stored_form() {
        let schedule = Schedule {
            enabled: false,
            catch_up: CatchUp::All,
            overlap: Overlap::CancelPrevious,
            jitter: Span(Duration::from_secs(90)),
            end: Some("2030-01-01".to_owned()),
            ..daily()
        };
        let stored = serde_json::to_string(&schedule).unwrap();
        assert!(
            stored.contains(r#""overlap":"cancel-previous""#),
            "{stored}"
        );
        assert_eq!(serde_json::from_str::<Schedule>(&stored).unwrap(), schedule);
    }
}
