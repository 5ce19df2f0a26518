//! How often, and how many at once, requests go to a host: the operator's `[hosts]`, shared by all
//! workflows.
//!
//! A request waits for its turn within its own time; one whose turn cannot come in time is answered
//! at once. Turns are taken in the order of arrival, and a request that stops waiting costs none.
//! (The `governor` crate counts in the same way but keeps no order among those that wait, so it
//! cannot tell on arrival whether a turn will come in time.)

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::policy::Target;
use crate::broker::error::Refusal;
use crate::workflow::grant::HostPattern;

/// Nobody knows when another request will end; this keeps retries from spinning.
const RETRY_AFTER_MS: u64 = 1_000;

/// One entry of `[hosts]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostLimit {
    /// The hosts that share the limit.
    pub host: HostPattern,
    /// How often.
    pub rate: Option<Rate>,
    /// How many at once, from sending to the last byte of the answer.
    pub concurrent: Option<u32>,
}

/// So many requests in each period, evenly, and `burst` at once after a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests, at least 1.
    pub calls: u32,
    /// The period.
    pub per: Duration,
    /// At least 1.
    pub burst: u32,
}

/// A turn that was taken; its place is free when it is dropped.
pub(super) struct Turn {
    _place: Option<OwnedSemaphorePermit>,
}

/// The limits of all hosts that have one.
pub(super) struct Turns(Vec<Queue>);

struct Queue {
    host: HostPattern,
    places: Option<Arc<Semaphore>>,
    pace: Option<Pace>,
    /// Those that have not got their turn yet.
    waiting: AtomicU32,
}

impl Turns {
    pub(super) fn new(limits: Vec<HostLimit>) -> Self {
        let mut queues: Vec<Queue> = limits
            .into_iter()
            .map(|limit| Queue {
                host: limit.host,
                places: limit
                    .concurrent
                    .map(|places| Arc::new(Semaphore::new(places as usize))),
                pace: limit.rate.map(|rate| Pace::new(rate, Instant::now())),
                waiting: AtomicU32::new(0),
            })
            .collect();
        // A host's own entry comes before wildcards, and a longer wildcard before a shorter.
        queues.sort_by_key(|queue| match &queue.host {
            HostPattern::Exact(_) => (0, std::cmp::Reverse(0)),
            HostPattern::Suffix(suffix) => (1, std::cmp::Reverse(suffix.len())),
        });
        Self(queues)
    }

    /// Waits for the turn of a request to this target. None: the host has no limit.
    pub(super) async fn take(
        &self,
        target: &Target,
        ends_at: Instant,
        cancel: &CancellationToken,
    ) -> Result<Option<Turn>, Refusal> {
        let Some(queue) = self.0.iter().find(|queue| target.is_at(&queue.host)) else {
            return Ok(None);
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Refusal::cancelled()),
            turn = queue.turn(target.host(), ends_at) => turn.map(Some),
        }
    }
}

impl Queue {
    async fn turn(&self, host: &str, ends_at: Instant) -> Result<Turn, Refusal> {
        let ahead = Waiting::join(&self.waiting);
        if let Some(pace) = &self.pace {
            let now = Instant::now();
            let at = pace.after(ahead.before_me, now);
            if at > ends_at {
                return Err(limited(host, whole_ms(at.saturating_duration_since(now))));
            }
        }
        let place = match &self.places {
            None => None,
            Some(places) => {
                let place = timeout_at(ends_at.into(), places.clone().acquire_owned()).await;
                // The semaphore is never closed, so the only way to miss a place is the time.
                let place = place.ok().and_then(Result::ok);
                Some(place.ok_or_else(|| limited(host, RETRY_AFTER_MS))?)
            }
        };
        if let Some(pace) = &self.pace {
            pace.wait(ends_at)
                .await
                .map_err(|wait| limited(host, wait))?;
        }
        Ok(Turn { _place: place })
    }
}

fn limited(host: &str, retry_after_ms: u64) -> Refusal {
    let message = format!(
        "no turn at {host} in time: the operator limits requests to it in flowweaver.toml, [hosts]"
    );
    Refusal {
        retry_after_ms: Some(retry_after_ms),
        ..Refusal::retryable("http.rate-limited", message)
    }
}

fn whole_ms(wait: Duration) -> u64 {
    u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// One of those that wait, until it is dropped.
struct Waiting<'a> {
    count: &'a AtomicU32,
    before_me: u32,
}

impl<'a> Waiting<'a> {
    fn join(count: &'a AtomicU32) -> Self {
        let before_me = count.fetch_add(1, Ordering::Relaxed);
        Self { count, before_me }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Evenly spaced times with a tolerance: the generic cell rate algorithm (ITU-T I.371).
struct Pace {
    start: Instant,
    spacing: Duration,
    /// How far ahead of the even spacing a burst may run.
    tolerance: Duration,
    /// The next evenly spaced time, in nanoseconds after `start`.
    due: AtomicU64,
    /// Whoever holds it is the next; tokio's lock is handed on in the order of arrival.
    line: Mutex<()>,
}

impl Pace {
    fn new(rate: Rate, start: Instant) -> Self {
        let spacing = rate.per / rate.calls.max(1);
        Self {
            start,
            spacing,
            tolerance: spacing.saturating_mul(rate.burst.saturating_sub(1)),
            due: AtomicU64::new(0),
            line: Mutex::new(()),
        }
    }

    fn due(&self) -> Instant {
        self.start + Duration::from_nanos(self.due.load(Ordering::Relaxed))
    }

    /// When one that has so many before it may go, at the earliest.
    fn after(&self, before: u32, now: Instant) -> Instant {
        let due = self.due().max(now) + self.spacing.saturating_mul(before);
        due.checked_sub(self.tolerance).unwrap_or(now).max(now)
    }

    /// Notes that one goes now.
    fn go(&self, now: Instant) {
        let next = self.due().max(now) + self.spacing;
        let since = next.saturating_duration_since(self.start).as_nanos();
        let since = u64::try_from(since).unwrap_or(u64::MAX);
        self.due.store(since, Ordering::Relaxed);
    }

    /// Waits for the next time, or answers how many milliseconds it is away.
    async fn wait(&self, ends_at: Instant) -> Result<(), u64> {
        let _next = timeout_at(ends_at.into(), self.line.lock())
            .await
            .map_err(|_| whole_ms(self.spacing))?;
        loop {
            let now = Instant::now();
            let at = self.after(0, now);
            if at > ends_at {
                return Err(whole_ms(at.saturating_duration_since(now)));
            }
            if at <= now {
                self.go(now);
                return Ok(());
            }
            sleep_until(at.into()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn queue(rate: Option<Rate>, concurrent: Option<u32>) -> Turns {
        Turns::new(vec![HostLimit {
            host: HostPattern::Suffix(".example.com".to_owned()),
            rate,
            concurrent,
        }])
    }

    fn target(url: &str) -> Target {
        Target::parse(url).unwrap()
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(200)
    }

    const HOURLY: Rate = Rate {
        calls: 1,
        per: Duration::from_secs(3_600),
        burst: 1,
    };

    #[tokio::test]
    async fn a_turn_that_cannot_come_in_time_is_refused_at_once_with_the_time_it_takes() {
        let turns = queue(Some(HOURLY), None);
        let cancel = CancellationToken::new();
        let ask = async |url| turns.take(&target(url), soon(), &cancel).await;
        assert!(ask("https://a.example.com/").await.unwrap().is_some());
        // Every host of a wildcard is in one queue.
        let refusal = ask("https://b.example.com/").await.err().unwrap();
        assert_eq!(
            (refusal.code.as_str(), refusal.retryable),
            ("http.rate-limited", true)
        );
        let wait = refusal.retry_after_ms.unwrap();
        assert!((3_500_000..=3_600_000).contains(&wait), "{wait}");
        assert!(ask("https://example.com/").await.unwrap().is_none());
        assert!(ask("https://aexample.com/").await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_cancel_ends_the_wait_and_costs_nobody_a_turn() {
        let turns = Arc::new(queue(None, Some(1)));
        let (cancel, never) = (CancellationToken::new(), CancellationToken::new());
        let late = Instant::now() + Duration::from_secs(600);
        let a = target("https://a.example.com/");
        let held = turns.take(&a, late, &never).await.unwrap();
        let (queued, token, to) = (turns.clone(), cancel.clone(), a.clone());
        let waiting = tokio::spawn(async move { queued.take(&to, late, &token).await.err() });
        while turns.0[0].waiting.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
        assert_eq!(waiting.await.unwrap().unwrap().code, "cancelled");
        drop(held);
        assert!(turns.take(&a, late, &never).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_place_that_does_not_become_free_in_time_is_refused() {
        let turns = queue(None, Some(1));
        let cancel = CancellationToken::new();
        let a = target("https://a.example.com/");
        let _held = turns.take(&a, soon(), &cancel).await.unwrap();
        let refusal = turns.take(&a, soon(), &cancel).await.err().unwrap();
        assert_eq!(refusal.code, "http.rate-limited");
        assert_eq!(refusal.retry_after_ms, Some(RETRY_AFTER_MS));
    }

    #[test]
    fn a_hosts_own_entry_is_used_before_a_wildcard() {
        let limit = |host| HostLimit {
            host,
            rate: Some(HOURLY),
            concurrent: None,
        };
        let turns = Turns::new(vec![
            limit(HostPattern::Suffix(".com".to_owned())),
            limit(HostPattern::Suffix(".example.com".to_owned())),
            limit(HostPattern::Exact("a.example.com".to_owned())),
        ]);
        let order: Vec<_> = turns.0.iter().map(|queue| &queue.host).collect();
        assert_eq!(*order[0], HostPattern::Exact("a.example.com".to_owned()));
        assert_eq!(*order[1], HostPattern::Suffix(".example.com".to_owned()));
    }

    proptest! {
        #[test]
        fn no_period_ever_sees_more_than_its_requests_and_the_burst(
            calls in 1u32..20, burst in 1u32..8, pauses in prop::collection::vec(0u64..400, 1..120),
        ) {
            let per = Duration::from_millis(1_000);
            let start = Instant::now();
            let pace = Pace::new(Rate { calls, per, burst }, start);
            let (mut now, mut went) = (start, Vec::new());
            for pause in pauses {
                now += Duration::from_millis(pause);
                if pace.after(0, now) <= now {
                    pace.go(now);
                    went.push(now);
                }
            }
            for (at, first) in went.iter().enumerate() {
                let within = went[at..].iter().filter(|time| **time < *first + per).count();
                prop_assert!(within <= (calls + burst) as usize, "{within} in one period");
            }
            prop_assert!(went.len() >= burst.min(1) as usize);
        }
    }
}
