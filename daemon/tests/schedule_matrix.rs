//! Times and decisions against an independent reading: a walk over every minute of the wall, and over every minute of a
//! day with daemons that come and go. Nothing of the daemon is used to say what is expected.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[path = "schedule_matrix/days.rs"]
mod days;
#[path = "schedule_matrix/wall.rs"]
mod wall;

use chrono::{DateTime, Utc};
use flowweaver::clock::Timestamp;

/// Zones whose clocks are moved in every way that there is: by an hour, by half of one, at midnight, not at all any more,
/// by a day.
const ZONES: [&str; 14] = [
    "Asia/Seoul",
    "America/New_York",
    "Europe/London",
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "America/Sao_Paulo",
    "Africa/Casablanca",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "America/St_Johns",
    "America/Havana",
    "Antarctica/Troll",
    "UTC",
];

fn at(text: &str) -> Timestamp {
    text.parse::<DateTime<Utc>>().unwrap().into()
}

fn minute(minutes: i64) -> Timestamp {
    Timestamp::from_micros(minutes * 60_000_000)
}
