//! Running one attempt of a task: a fresh WASM instance with limits, then nothing of it remains.
//!
//! What the guest may reach is the broker's decision; when it runs is the engine's.

pub mod invoke;
