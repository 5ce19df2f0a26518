//! The SQL broker against hostile guests, on every database that it speaks to: the denial before the
//! permission, and every call recorded.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a panic in a test is the report"
)]

mod broker_world;

#[path = "broker_sql/attacks.rs"]
mod attacks;
#[path = "broker_sql/changes.rs"]
mod changes;
#[path = "broker_sql/denials.rs"]
mod denials;
#[path = "broker_sql/pasted.rs"]
mod pasted;
#[path = "broker_sql/reading.rs"]
mod reading;
#[path = "broker_sql/values.rs"]
mod values;
#[path = "broker_sql/world.rs"]
mod world;
