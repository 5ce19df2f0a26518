//! The drivers against real servers, called with statements that no policy has seen: what the session
//! itself refuses, bounds and cleans up.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a panic in a test is the report"
)]

mod attacks;
mod conduct;
mod ends;
mod values;
mod values_mariadb;
mod values_postgres;
mod world;
