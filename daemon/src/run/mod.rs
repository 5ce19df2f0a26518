//! What a run does next: the state machine of runs, jobs and tasks.
//!
//! Pure: time and outcomes are arguments; nothing here waits, stores or calls.

pub mod failure;
pub mod status;
