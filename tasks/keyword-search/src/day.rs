//! The day that is asked about.

use flowweaver_task::{Error, Result};
use time::format_description::well_known::{Iso8601, Rfc3339};
use time::{Date, OffsetDateTime, UtcOffset};

/// Korea's offset from UTC, in hours: it has no summer time, so no table of time zones is needed.
const KOREA: i8 = 9;

/// The day as YYYY-MM-DD: the one given, else the day before the run was due in Korea, the newest with a ranking.
///
/// # Errors
/// `input.invalid` for a day that is none; `context.invalid` if the host's own time cannot be read.
pub(crate) fn asked(given: Option<&str>, scheduled_at: &str) -> Result<String> {
    match given {
        Some(day) => {
            let day = day.trim();
            Date::parse(day, &Iso8601::DATE)
                .map(|day| day.to_string())
                .map_err(|error| {
                    Error::permanent(
                        "input.invalid",
                        format!("`date`: `{day}` is not a day like 2026-01-31: {error}"),
                    )
                })
        }
        None => yesterday(scheduled_at),
    }
}

fn yesterday(scheduled_at: &str) -> Result<String> {
    let unreadable = |error: &dyn std::fmt::Display| {
        Error::permanent(
            "context.invalid",
            format!("`{scheduled_at}` is not the time at which a run is due: {error}"),
        )
    };
    let due = OffsetDateTime::parse(scheduled_at, &Rfc3339).map_err(|error| unreadable(&error))?;
    let korea = UtcOffset::from_hms(KOREA, 0, 0).map_err(|error| unreadable(&error))?;
    let today = due.to_offset(korea).date();
    Ok(today.previous_day().unwrap_or(today).to_string())
}

#[cfg(test)]
mod tests {
    use super::asked;

    #[test]
    fn yesterday_is_koreas_not_londons() {
        for (due, expected) in [
            ("2026-11-22T23:00:00Z", "2026-11-22"),
            ("2026-11-22T14:59:59Z", "2026-11-21"),
            ("2026-11-22T15:00:00.123Z", "2026-11-22"),
            ("2026-02-28T15:30:00Z", "2026-02-28"),
            ("2025-12-31T15:00:00Z", "2025-12-31"),
        ] {
            assert_eq!(asked(None, due).unwrap(), expected, "{due}");
        }
    }

    #[test]
    fn a_given_day_is_taken_and_a_day_that_is_none_is_refused() {
        assert_eq!(asked(Some("2026-01-31"), "").unwrap(), "2026-01-31");
        for day in ["2026-02-30", "yesterday", "31.01.2026", ""] {
            assert_eq!(
                asked(Some(day), "").unwrap_err().code,
                "input.invalid",
                "{day}"
            );
        }
    }
}
