//! Cron expressions in a time zone: parsed, and asked for the next firings.
//!
//! Pure: the instant to look from is an argument. croner says which times on the wall match; what
//! becomes of them when the clock on the wall is moved is decided here, by the rules of Vixie cron:
//!
//! * An expression without `*` in hours, minutes and seconds names *fixed times*. One that falls into
//!   a gap of less than three hours fires at the first instant after the gap (several that fall into
//!   it fire once together); one that comes twice fires the first time only.
//! * Any other *follows the wall*: it fires whenever the clock on the wall shows a time that matches.
//!   What a gap leaves out does not fire, what comes twice fires twice.
//! * A longer gap is no daylight saving: a day that a zone left out had no times at all.
//!
//! What becomes of missed times is `schedule`'s.

use chrono::{DateTime, NaiveDateTime, Offset as _, TimeDelta, TimeZone as _, Timelike as _, Utc};
use chrono_tz::{GapInfo, Tz};
use croner::parser::{CronParser, Seconds, Year};

use crate::clock::Timestamp;

/// A cron expression in a zone.
#[derive(Debug, Clone)]
pub struct Cron {
    cron: croner::Cron,
    timezone: Tz,
    /// Whether it names times of day, rather than following the clock on the wall.
    fixed: bool,
}

/// Why a text is no cron expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvalidCron {
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub help: &'static str,
}

const FORMAT: &str = "5 fields (minute hour day month weekday), 6 with seconds first, or @hourly, @daily, @weekly, @monthly, @yearly";
/// From here a new expression is asked for its first firing, so that the answer does not depend on
/// the day of asking: 2025-01-01T00:00:00Z.
const REFERENCE: Timestamp = Timestamp::from_micros(1_735_689_600_000_000);
/// An expression that does not fire for so long is a slip of the pen: the rarest sensible date,
/// 29 February on a given weekday aside, comes every four or eight years.
const RAREST_DAYS: i64 = 10 * 366;
/// Vixie cron takes a change of the wall clock by less than three hours for daylight saving.
const GAP_MAX: TimeDelta = TimeDelta::hours(3);
const NICKNAMES: [&str; 6] = [
    "@hourly",
    "@daily",
    "@weekly",
    "@monthly",
    "@yearly",
    "@annually",
];

impl Cron {
    /// Parses an expression, which must fire within ten years.
    pub fn parse(text: &str, timezone: Tz) -> Result<Self, InvalidCron> {
        let invalid = |message: String, help| Err(InvalidCron { message, help });
        let trimmed = text.trim();
        if trimmed.starts_with('@') && !NICKNAMES.contains(&trimmed) {
            return invalid(format!("there is no \"{trimmed}\""), FORMAT);
        }
        if !trimmed.starts_with('@') {
            let fields = trimmed.split_whitespace().count();
            if fields == 7 {
                let message = "a cron expression has no year field here".to_owned();
                return invalid(message, FORMAT);
            }
            if !(5..=6).contains(&fields) {
                return invalid(
                    format!("a cron expression has 5 or 6 fields, not {fields}"),
                    FORMAT,
                );
            }
        }
        let parser = CronParser::builder()
            .seconds(Seconds::Optional)
            .year(Year::Disallowed)
            .build();
        let cron = match parser.parse(trimmed) {
            Ok(cron) => Self {
                cron,
                timezone,
                fixed: names_times(trimmed),
            },
            Err(error) => {
                let message = error.to_string();
                let message = message
                    .trim_start_matches("Component error: ")
                    .trim_start_matches("Invalid pattern: ")
                    .trim_start_matches("Pattern contains illegal characters: ")
                    .trim_end_matches('.');
                return invalid(format!("this is no cron expression: {message}"), FORMAT);
            }
        };
        let first = cron.next_after(REFERENCE);
        let horizon = REFERENCE.as_micros() + RAREST_DAYS * 86_400_000_000;
        if first.is_none_or(|first| first.as_micros() > horizon) {
            return invalid(
                "this never fires: no such day comes within ten years".to_owned(),
                "check day and month",
            );
        }
        Ok(cron)
    }

    /// The first firing after an instant; none when there is none in this millennium.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let after = DateTime::<Utc>::from(after).with_timezone(&self.timezone);
        let next = match self.fixed {
            true => self.next_fixed(&after),
            false => self.next_on_the_wall(after),
        };
        next.map(|next| next.with_timezone(&Utc).into())
    }

    /// The next time on the wall that matches, whether or not a clock ever shows it.
    fn matching(&self, wall: NaiveDateTime, inclusive: bool) -> Option<NaiveDateTime> {
        self.cron.find_next_occurrence(&wall, inclusive).ok()
    }

    /// Later times on the wall never come earlier, so the first that is late enough is the next.
    fn next_fixed(&self, after: &DateTime<Tz>) -> Option<DateTime<Tz>> {
        let mut wall = self.matching(whole_seconds(after.naive_local()), false)?;
        loop {
            let instant = self.instant_of(wall);
            if let Some(instant) = instant.filter(|instant| instant > after) {
                return Some(instant);
            }
            wall = self.matching(wall, false)?;
        }
    }

    /// When a fixed time comes: the first time if it comes twice, right after the gap if it falls into one.
    fn instant_of(&self, wall: NaiveDateTime) -> Option<DateTime<Tz>> {
        if let Some(instant) = self.timezone.from_local_datetime(&wall).earliest() {
            return Some(instant);
        }
        let gap = GapInfo::new(&wall, &self.timezone)?;
        let (begin, _) = gap.begin?;
        gap.end.filter(|end| end.naive_local() - begin < GAP_MAX)
    }

    /// Goes from one change of the offset to the next, because within one the wall runs evenly.
    fn next_on_the_wall(&self, after: DateTime<Tz>) -> Option<DateTime<Tz>> {
        let mut from = after;
        let mut inclusive = false;
        loop {
            let wall = whole_seconds(from.naive_local());
            let next = self.matching(wall, inclusive)?;
            let shown = from.checked_add_signed(next - from.naive_local())?;
            if shown.naive_local() == next {
                return Some(shown);
            }
            from = change_between(from, shown)?;
            inclusive = true;
        }
    }

    /// The next `count` firings after an instant.
    pub fn upcoming(&self, after: Timestamp, count: usize) -> Vec<Timestamp> {
        std::iter::successors(self.next_after(after), |last| self.next_after(*last))
            .take(count)
            .collect()
    }

    /// Its zone.
    pub fn timezone(&self) -> Tz {
        self.timezone
    }
}

/// Whether the fields for the time of day hold no wildcard. Nicknames name a time of day, but for one.
fn names_times(text: &str) -> bool {
    if text.starts_with('@') {
        return text != "@hourly";
    }
    let fields = text.split_whitespace();
    // Minutes and hours, after the seconds where there are six.
    let of_day = fields.clone().count().saturating_sub(3);
    !fields.take(of_day).any(|field| field.contains(['*', '?']))
}

fn whole_seconds(wall: NaiveDateTime) -> NaiveDateTime {
    wall.with_nanosecond(0).unwrap_or(wall)
}

/// The first instant after `from` with another offset than it has, at most `to`.
fn change_between(from: DateTime<Tz>, to: DateTime<Tz>) -> Option<DateTime<Tz>> {
    let offset = |at: &DateTime<Tz>| at.offset().fix();
    let before = offset(&from);
    let (mut same, mut other) = (from, to);
    // Day by day, so that of two changes the first is found.
    loop {
        let next = same.checked_add_signed(TimeDelta::days(1))?;
        if next >= other {
            break;
        }
        if offset(&next) == before {
            same = next;
        } else {
            other = next;
            break;
        }
    }
    if offset(&other) == before {
        return None;
    }
    while other.timestamp() - same.timestamp() > 1 {
        let half = TimeDelta::seconds((other.timestamp() - same.timestamp()) / 2);
        let middle = same.checked_add_signed(half)?;
        match offset(&middle) == before {
            true => same = middle,
            false => other = middle,
        }
    }
    let whole = other.timestamp();
    DateTime::from_timestamp(whole, 0).map(|at| at.with_timezone(&other.timezone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fires(text: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let zone: Tz = zone.parse().unwrap();
        let after: DateTime<Utc> = after.parse().unwrap();
        Cron::parse(text, zone)
            .unwrap()
            .upcoming(after.into(), count)
            .into_iter()
            .map(|at| {
                DateTime::<Utc>::from(at)
                    .with_timezone(&zone)
                    .format("%m-%d %H:%M:%S %Z")
                    .to_string()
            })
            .collect()
    }

    #[test]
    fn what_never_fires_or_names_a_year_is_refused() {
        let seoul = chrono_tz::Asia::Seoul;
        for bad in [
            "",
            "0 0 30 2 *",
            "*/0 * * * *",
            "0 0 * *",
            "0 0 0 1 1 * 9999",
            "60 * * * *",
            "@midnight",
            "@reboot",
            "0 0 32 * *",
            "a b c d e",
            "0 8 * * * * * *",
            "٠ 0 * * *",
        ] {
            assert!(Cron::parse(bad, seoul).is_err(), "{bad:?}");
        }
        for good in [
            "0 0 29 2 *",
            "0 0 8 * * *",
            "*/5 * * * *",
            "@daily",
            "0 0 L * *",
            "0 9 * * MON-FRI",
        ] {
            assert!(Cron::parse(good, seoul).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn a_fixed_time_in_the_gap_fires_once_after_it_and_a_repeated_one_fires_once() {
        // Berlin, 2025-03-30: 02:00 becomes 03:00.
        assert_eq!(
            fires("30 2 * * *", "Europe/Berlin", "2025-03-29T12:00:00Z", 2),
            ["03-30 03:00:00 CEST", "03-31 02:30:00 CEST"]
        );
        // Berlin, 2025-10-26: 03:00 becomes 02:00 again.
        assert_eq!(
            fires("30 2 * * *", "Europe/Berlin", "2025-10-25T12:00:00Z", 2),
            ["10-26 02:30:00 CEST", "10-27 02:30:00 CET"]
        );
    }

    #[test]
    fn every_half_hour_follows_the_clock_on_the_wall() {
        assert_eq!(
            fires("*/30 * * * *", "Europe/Berlin", "2025-03-30T00:45:00Z", 2),
            ["03-30 03:00:00 CEST", "03-30 03:30:00 CEST"]
        );
        assert_eq!(
            fires("*/30 * * * *", "Europe/Berlin", "2025-10-26T00:15:00Z", 4),
            [
                "10-26 02:30:00 CEST",
                "10-26 02:00:00 CET",
                "10-26 02:30:00 CET",
                "10-26 03:00:00 CET"
            ]
        );
    }

    #[test]
    fn eight_in_seoul_is_eight_in_seoul() {
        assert_eq!(
            fires("0 0 8 * * *", "Asia/Seoul", "2025-06-01T00:00:00Z", 2),
            ["06-02 08:00:00 KST", "06-03 08:00:00 KST"]
        );
    }
}
