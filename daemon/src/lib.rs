//! FlowWeaver: hot-reloaded TOML workflows whose tasks are sandboxed WASM components.
//!
//! The library behind the `flowweaver` command. ARCHITECTURE.md is the map; the order below is the
//! order of the levels, and an import may only point down (`tests/tidy.rs` checks it).

// Level 0: words.
pub mod clock;
pub mod diagnostic;
pub mod id;
pub mod units;
// Level 1: pure meaning.
pub mod run;
pub mod workflow;
// Level 2: effects. The generated code names the brokers' resource types.
pub mod bindings;
pub mod broker;
pub mod sandbox;
pub mod store;
// Level 3: decisions over effects.
pub mod engine;
