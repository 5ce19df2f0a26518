//! What a run does next: the state machine of runs, jobs and tasks.
//!
//! Pure: time, chance and outcomes are arguments; nothing here waits, stores, evaluates or calls.
//! The owner of a run does three things in a circle:
//!
//! 1. [`RunState::apply`] an [`Event`](event::Event);
//! 2. [`RunState::next`] until it answers nothing, answering each [`Step`](event::Step) with an event;
//! 3. [`RunState::take_changes`] and write what they name, in one transaction.
//!
//! **The state in memory is a draft until that transaction is known to be durable.** Only then are
//! guests started and waiters answered. If the outcome is anything else, the owner drops the whole
//! state and builds it anew with [`RunState::restore`] from what is stored. Therefore the machine
//! needs no undo and nobody copies a run's state: a step costs what it changes, not what the run
//! holds. It also makes recovery after a crash, a rerun and a new run the same code: all three
//! restore a state from records, of which a new run has none.
//!
//! Work is proportional to what changes: unmet needs are counted, ready things stand in ordered
//! sets, and only a cancel looks at every task once. What is derived (counters and sets) never
//! depends on the order of events, so a restored state decides what the lost one would have decided.
//!
//! [`RunState::apply`]: state::RunState::apply
//! [`RunState::next`]: state::RunState::next
//! [`RunState::take_changes`]: state::RunState::take_changes
//! [`RunState::restore`]: state::RunState::restore

pub mod event;
pub mod failure;
pub mod graph;
mod jobs;
pub mod key;
mod machine;
pub mod rerun;
pub mod retry;
pub mod state;
pub mod status;

#[cfg(test)]
mod properties;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
