//! The SQL broker on PostgreSQL and MariaDB as a guest meets it: policy, driver and records together.
//! What a session does without the policy is tested beside the drivers.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::too_many_lines,
    reason = "a panic in a test is the report, and a skipped test says so"
)]

mod broker_world;

#[path = "broker_sql_servers/attacks.rs"]
mod attacks;
#[path = "broker_sql_servers/denials.rs"]
mod denials;
#[path = "broker_sql_servers/names.rs"]
mod names;
#[path = "broker_sql/pasted.rs"]
mod pasted;
#[path = "broker_sql_servers/ways.rs"]
mod ways;
#[path = "broker_sql_servers/world.rs"]
mod world;
