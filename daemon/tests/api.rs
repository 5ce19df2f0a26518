//! The API over TCP, in one process with its test: who gets what from which route, and what nobody gets.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    reason = "a panic in a test is the report, and a day of an administrator is long"
)]

#[path = "api/attacks.rs"]
mod attacks;
#[path = "api/attacks_browser.rs"]
mod attacks_browser;
#[path = "api/attacks_wire.rs"]
mod attacks_wire;
#[path = "api/matrix.rs"]
mod matrix;
#[path = "api/people.rs"]
mod people;
#[path = "api/world.rs"]
mod world;
