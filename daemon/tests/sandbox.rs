//! Hostile and ordinary guests in the real sandbox.
//!
//! Brokers have their own tests. No test here measures time; bounds are there to end a broken run.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test's helpers may panic as its body may"
)]

#[path = "sandbox/attacks/mod.rs"]
mod attacks;
#[path = "sandbox/behaviour.rs"]
mod behaviour;
#[path = "guests/broker.rs"]
mod broker;
#[path = "sandbox/compiler.rs"]
mod compiler;
mod guests;
#[path = "sandbox/modules.rs"]
mod modules;
#[path = "sandbox/world.rs"]
mod world;
