//! A mutex whose lock always succeeds: the data here stays usable after a panic elsewhere, because every change
//! to it is a single insert or removal.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Data shared between requests. Never held across an await.
#[derive(Default)]
pub struct Guarded<T>(Mutex<T>);

impl<T> Guarded<T> {
    /// Wraps the data.
    pub fn new(data: T) -> Self {
        Self(Mutex::new(data))
    }

    /// Waits for the other holders, then gives the data.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
