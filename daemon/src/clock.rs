//! Time as an argument: timestamps, and the clock that real code and tests share.
//!
//! Calendars and cron live in `workflow::cron`; this file knows only instants.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// An instant in UTC, in microseconds since 1970-01-01T00:00:00Z. Stored as that integer, shown
/// and serialized as RFC 3339.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since the epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// This instant moved into the future; stops at the end of representable time.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)),
        )
    }

    /// This instant moved into the past; stops at the beginning of representable time.
    #[must_use]
    pub fn before(self, by: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)),
        )
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(time: DateTime<Utc>) -> Self {
        Self(time.timestamp_micros())
    }
}

impl From<Timestamp> for DateTime<Utc> {
    fn from(time: Timestamp) -> Self {
        DateTime::from_timestamp_micros(time.0).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&DateTime::<Utc>::from(*self).to_rfc3339_opts(SecondsFormat::Micros, true))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        DateTime::<Utc>::deserialize(d).map(Self::from)
    }
}

/// Where time comes from.
#[async_trait::async_trait]
pub trait Clock: Send + Sync + 'static {
    /// The current instant.
    fn now(&self) -> Timestamp;
    /// Returns at or after `time`, at once if it has passed.
    async fn wait_until(&self, time: Timestamp);
    /// Returns after this span, also where the clock is set back meanwhile.
    async fn pass(&self, span: Duration);
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

/// A wall clock may be set back or forward while someone waits; looking again this often bounds
/// the error to a minute.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

#[async_trait::async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Utc::now().into()
    }

    async fn wait_until(&self, time: Timestamp) {
        loop {
            let left = time.since(self.now());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(LOOK_AGAIN)).await;
        }
    }

    async fn pass(&self, span: Duration) {
        tokio::time::sleep(span).await;
    }
}

/// A clock that moves only when told to; clones share the time. For tests and simulations.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<watch::Sender<Timestamp>>);

impl ManualClock {
    /// A clock that stands at `start`.
    pub fn new(start: Timestamp) -> Self {
        Self(Arc::new(watch::Sender::new(start)))
    }

    /// Moves the clock forward and wakes those whose time has come.
    pub fn advance(&self, by: Duration) {
        self.0.send_modify(|now| *now = now.after(by));
    }

    /// Sets the clock, also back, as an administrator or a time server does.
    pub fn set(&self, time: Timestamp) {
        self.0.send_replace(time);
    }
}

#[async_trait::async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.borrow()
    }

    async fn wait_until(&self, time: Timestamp) {
        // The sender lives in `self`, so waiting cannot end before the time has come.
        let _ = self.0.subscribe().wait_for(|now| *now >= time).await;
    }

    async fn pass(&self, span: Duration) {
        let begun = self.now();
        let end = begun.after(span);
        let passed = |now: &Timestamp| *now >= end || *now < begun;
        let _ = self.0.subscribe().wait_for(passed).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_manual_clock_wakes_the_waiter_when_its_time_comes_and_not_before() {
        let clock = ManualClock::new(Timestamp::from_micros(0));
        let due = clock.now().after(Duration::from_secs(2));
        let waiter = clock.clone();
        let mut wait = tokio_test_poll(async move { waiter.wait_until(due).await });
        assert!(!wait.poll_once());
        clock.advance(Duration::from_secs(1));
        assert!(!wait.poll_once());
        clock.advance(Duration::from_secs(1));
        assert!(wait.poll_once());
    }

    struct Polled(std::pin::Pin<Box<dyn Future<Output = ()>>>);
    fn tokio_test_poll(future: impl Future<Output = ()> + 'static) -> Polled {
        Polled(Box::pin(future))
    }
    impl Polled {
        fn poll_once(&mut self) -> bool {
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            self.0.as_mut().poll(&mut context).is_ready()
        }
    }
}
