//! Runs and their records: claims, starts, outcomes, retries, cancels, recovery.
//!
//! What comes next is decided by `run`; what a file means by `workflow`; this module acts.
