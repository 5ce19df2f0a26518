//! The whole daemon as its users meet it: the real binary, real modules, a real kill.
//!
//! One binary for all of it; each file shows one kind of promise.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::too_many_lines,
    reason = "a panic in a test is the report, and a table of attacks is long"
)]

#[path = "../guests/mod.rs"]
#[allow(dead_code, reason = "other tests' guests use the rest")]
mod guests;
#[path = "../oracle/mod.rs"]
mod oracle;
mod rig;
mod world;

mod access;
mod attacks_access;
mod basics;
mod brokers;
mod canary;
mod canary_search;
mod command_line;
mod control;
mod databases;
mod defects;
mod disk;
mod durability;
mod effects;
mod fleet;
mod flows;
mod kills;
mod knowledge;
mod letting_go;
mod limits;
mod lineage;
mod many;
mod reload;
mod schedules;
mod secrets;
mod servers;
mod state;
mod zombies;
