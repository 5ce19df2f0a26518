//! PostgreSQL's days and microseconds since 2000 as RFC 3339.
//!
//! What that form cannot say (infinity, years before 1 and after 9999) is written as PostgreSQL does.

use crate::broker::sql::Value;

/// Days from 1970-01-01 to 2000-01-01, which PostgreSQL counts from.
const EPOCH_DAYS: i64 = 10_957;
const DAY_US: i64 = 86_400_000_000;

/// A `timestamp`, or a `timestamptz` when `zoned`.
pub(super) fn timestamp(micros: i64, zoned: bool) -> Value {
    let name = if zoned { "timestamptz" } else { "timestamp" };
    if let Some(infinity) = infinity(micros == i64::MAX, micros == i64::MIN) {
        return Value::Other((name.to_owned(), infinity));
    }
    let clock = clock(micros.rem_euclid(DAY_US));
    let (year, month, day) = civil(micros.div_euclid(DAY_US) + EPOCH_DAYS);
    let zone = match (zoned, in_rfc(year)) {
        (false, _) => "",
        (true, true) => "Z",
        (true, false) => "+00",
    };
    if in_rfc(year) {
        return Value::Timestamp(format!("{year:04}-{month:02}-{day:02}T{clock}{zone}"));
    }
    let (year, era) = era(year);
    Value::Other((
        name.to_owned(),
        format!("{year:04}-{month:02}-{day:02} {clock}{zone}{era}"),
    ))
}

/// A `date`.
pub(super) fn date(days: i32) -> Value {
    if let Some(infinity) = infinity(days == i32::MAX, days == i32::MIN) {
        return Value::Other(("date".to_owned(), infinity));
    }
    let (year, month, day) = civil(i64::from(days) + EPOCH_DAYS);
    if in_rfc(year) {
        return Value::Timestamp(format!("{year:04}-{month:02}-{day:02}"));
    }
    let (year, era) = era(year);
    Value::Other((
        "date".to_owned(),
        format!("{year:04}-{month:02}-{day:02}{era}"),
    ))
}

/// A `time`.
pub(super) fn time(micros: i64) -> Value {
    Value::Timestamp(clock(micros))
}

fn infinity(positive: bool, negative: bool) -> Option<String> {
    match (positive, negative) {
        (true, _) => Some("infinity".to_owned()),
        (_, true) => Some("-infinity".to_owned()),
        _ => None,
    }
}

fn in_rfc(year: i64) -> bool {
    (1..=9999).contains(&year)
}

/// There is no year 0: the year before 1 is 1 BC.
fn era(year: i64) -> (i64, &'static str) {
    if year > 0 {
        (year, "")
    } else {
        (1 - year, " BC")
    }
}

fn clock(micros: i64) -> String {
    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let whole = format!("{hour:02}:{minute:02}:{second:02}");
    if micros == 0 {
        return whole;
    }
    let fraction = format!("{micros:06}");
    format!("{whole}.{}", fraction.trim_end_matches('0'))
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar
/// (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}
