//! One attempt: a new Store, a new instance, one call, and an end by result, trap, limit, time or cancel.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wasmtime::{Store, StoreContextMut, UpdateDeadline};

use super::guest::Guest;
use super::limiter::Limiter;
use super::machine::Machines;
use super::meter::Meter;
use super::outcome::{self, LimitReached};
use super::prepare::Module;
use super::ticker::Ticker;
use crate::bindings::TaskFullPre;
use crate::broker::identity::AttemptIdentity;
use crate::broker::journal::Journal;
use crate::broker::{AttemptScope, Broker};
use crate::clock::{Clock as _, SystemClock};
use crate::run::failure::{Failure, FailureSource};
use crate::workflow::grant::Grants;
use crate::workflow::model::TaskLimits;

/// What one call may hand to the host: a request body of 32 MiB in one piece, and no gigabytes.
pub(super) const TRANSFER_BYTES_MAX: usize = 32 << 20;
/// Handles alive at once, of the guest's own resources as well; programs hold a few dozen.
const HANDLES_MAX: usize = 10_000;
/// A deadline farther away than this is none; timers and calendars stay in range.
const TIMEOUT_MAX: Duration = Duration::from_secs(366 * 24 * 3_600);

/// The function to call.
#[derive(Debug)]
pub(super) enum Call {
    /// `run` with this input.
    Run(Arc<str>),
    /// `describe`.
    Describe,
}

/// Everything that one attempt needs.
pub(super) struct Attempt {
    pub(super) module: Arc<Module>,
    pub(super) call: Call,
    pub(super) identity: Arc<AttemptIdentity>,
    pub(super) grants: Arc<Grants>,
    pub(super) limits: TaskLimits,
    pub(super) journal: Arc<Journal>,
    pub(super) cancel: CancellationToken,
    pub(super) meter: Arc<Meter>,
}

impl Attempt {
    /// Runs to the end; the Store is gone when it returns, also when this future is dropped.
    pub(super) async fn run(
        self,
        machines: Arc<Machines>,
        broker: Arc<Broker>,
        ticker: Arc<Ticker>,
    ) -> Result<Arc<str>, Failure> {
        let slot = machines.slot();
        let pre = self
            .module
            .instance_pre(&machines, slot.is_some())
            .map_err(|error| host_failure(&error))?;
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Err(cancelled()),
            () = broker.freshen(&self.grants) => {}
        }
        let timeout = self.limits.timeout.min(TIMEOUT_MAX);
        let deadline = Instant::now() + timeout;
        let ctx = broker.attempt(AttemptScope {
            identity: Arc::clone(&self.identity),
            grants: Arc::clone(&self.grants),
            journal: Arc::clone(&self.journal),
            cancel: self.cancel.clone(),
            deadline: deadline.into_std(),
            deadline_at: SystemClock.now().after(timeout),
        });
        let limiter = Limiter::new(self.limits.memory_bytes, Arc::clone(&self.meter));
        let mut store = Store::new(pre.engine(), Guest::new(ctx, limiter, &self.journal));
        self.limit(&mut store);
        let ended = {
            let call = metered(
                call(&mut store, &pre, &self.call),
                Arc::clone(&self.meter),
                ticker,
            );
            tokio::select! {
                // A cancel is looked at before the guest gets another slice.
                biased;
                () = self.cancel.cancelled() => Err(cancelled()),
                result = call => match result {
                    Ok(Ok(text)) => Ok(text),
                    Ok(Err(error)) => Err(outcome::task_failure(error)),
                    Err(error) => Err(outcome::trap_failure(&error)),
                },
                // After the call: most end in their first slice, and a timer that is never waited for costs nothing.
                () = tokio::time::sleep_until(deadline) => Err(timed_out(self.limits.timeout)),
            }
        };
        // The instance frees its slot before the slot is given to another attempt.
        drop(store);
        drop(slot);
        outcome::checked_output(ended?, self.limits.output_bytes)
    }

    fn limit(&self, store: &mut Store<Guest>) {
        store.limiter(|guest| &mut guest.limiter);
        let output = usize::try_from(self.limits.output_bytes).unwrap_or(usize::MAX);
        store.set_hostcall_fuel(TRANSFER_BYTES_MAX.max(output));
        store.set_max_component_handles(HANDLES_MAX);
        store.set_epoch_deadline(1);
        let meter = Arc::clone(&self.meter);
        store.epoch_deadline_callback(move |_: StoreContextMut<'_, Guest>| {
            if meter.exhausted() {
                return Err(LimitReached::Cpu {
                    budget: meter.budget(),
                }
                .into());
            }
            meter.preempt();
            // This yield lets timers and sockets be looked at, which waking oneself would not.
            Ok(UpdateDeadline::YieldCustom(
                1,
                Box::pin(tokio::task::yield_now()),
            ))
        });
    }
}

type GuestResult = wasmtime::Result<Result<String, crate::bindings::types::types::Error>>;

async fn call(store: &mut Store<Guest>, pre: &TaskFullPre<Guest>, call: &Call) -> GuestResult {
    let task = pre.instantiate_async(&mut *store).await?;
    let entry = task.flowweaver_task_entry();
    match call {
        Call::Run(input) => entry.call_run(&mut *store, input).await,
        Call::Describe => entry.call_describe(&mut *store).await.map(Ok),
    }
}

/// Polls `guest` with the thread's CPU clock read around each poll and the epoch advancing during it.
async fn metered<T>(guest: impl Future<Output = T>, meter: Arc<Meter>, ticker: Arc<Ticker>) -> T {
    let mut guest = pin!(guest);
    let mut in_line = None;
    poll_fn(|context| {
        let poll = {
            let _running = ticker.running();
            let _counted = meter.poll();
            guest.as_mut().poll(context)
        };
        let preempted = meter.take_preempted() && poll.is_pending();
        if preempted != in_line.is_some() {
            in_line = preempted.then(|| ticker.in_line());
        }
        poll
    })
    .await
}

fn cancelled() -> Failure {
    Failure::permanent(
        FailureSource::Cancel,
        "cancelled",
        "the attempt was cancelled",
    )
}

fn timed_out(timeout: Duration) -> Failure {
    Failure::retryable(
        FailureSource::Limit,
        "timeout",
        format!(
            "the attempt did not end within {}",
            crate::units::Span(timeout)
        ),
    )
}

fn host_failure(error: &wasmtime::Error) -> Failure {
    Failure::retryable(
        FailureSource::Host,
        "host.module",
        format!("the module could not be loaded: {error:#}"),
    )
}
