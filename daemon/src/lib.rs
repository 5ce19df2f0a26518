//! FlowWeaver: hot-reloaded TOML workflows whose tasks are sandboxed WASM components.
//!
//! The library behind the `flowweaver` command. ARCHITECTURE.md is the map; the order below is the
//! order of the levels, and an import may only point down (`tests/tidy.rs` checks it).

// The unit tests share guests with `tests/`, which know the crate by its name.
#[cfg(test)]
extern crate self as flowweaver;

// Level 0: words.
pub mod clock;
pub mod diagnostic;
pub mod id;
pub mod units;
// Level 1: pure meaning.
pub mod catalog;
pub mod run;
pub mod workflow;
// Level 2: effects. The generated code names the brokers' resource types.
pub mod bindings;
pub mod broker;
pub mod config;
pub mod sandbox;
pub mod schedule;
pub mod store;
pub mod telemetry;
// Level 3: decisions over effects.
pub mod access;
pub mod engine;
// Level 4: the edge.
pub mod api;
pub mod reload;
// Level 5: the program.
pub mod cli;
pub mod daemon;
