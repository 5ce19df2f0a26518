//! Cron expressions in a time zone: parsed, and asked for the next firings.
//!
//! Pure: the instant to look from is an argument. Daylight saving is treated as users of cron
//! expect: a fixed time that falls into the gap fires right after it and a repeated one fires
//! once; a wildcard follows the clock on the wall. What becomes of missed times is `schedule`'s.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::parser::{CronParser, Seconds, Year};

use crate::clock::Timestamp;

/// A cron expression in a zone.
#[derive(Debug, Clone)]
pub struct Cron {
    cron: croner::Cron,
    timezone: Tz,
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
            Ok(cron) => Self { cron, timezone },
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
        let next = self.cron.find_next_occurrence(&after, false).ok()?;
        Some(next.with_timezone(&Utc).into())
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
