//! Running one attempt of a task: a fresh WASM instance with limits, then nothing of it remains.
//!
//! What the guest may reach is the broker's decision; when it runs is the engine's. [`Sandbox`] is
//! the whole of it: `prepare` makes a module runnable, `invoke` runs it.

use std::num::NonZeroUsize;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use tokio::runtime::Runtime;
use tokio_util::task::AbortOnDropHandle;

use crate::broker::Broker;
use crate::run::failure::{Failure, FailureSource};
use attempt::{Attempt, Call};
use compiler::{CompileLimits, Compiler};
use invoke::{AttemptReport, HandOver, Invocation, Invoke, host_panicked};
use machine::Machines;
use meter::Meter;
use prepare::Modules;
use ticker::Ticker;

mod attempt;
mod compiled;
pub mod compiler;
mod guest;
pub mod invoke;
mod limiter;
mod machine;
mod meter;
pub mod module;
mod outcome;
mod prepare;
mod stdio;
mod ticker;

/// A JavaScript or Python component carries its interpreter, some 10 to 40 MiB.
const MODULE_BYTES_MAX: usize = 64 << 20;
/// Between two looks at timers and sockets a worker runs at most this many slices of guests (10 ms
/// each); the runtime's own default of 61 would let endless loops delay everyone by more than half a second.
const SLICES_BETWEEN_EVENTS: u32 = 2;

/// The running program, also when an update has replaced its file: another build's code would not load.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// How a [`Sandbox`] is set up.
#[derive(Debug, Clone)]
pub struct SandboxOptions {
    /// The folder of compiled code, the daemon's alone (`state/compiled`). Made when it is missing.
    pub compiled: PathBuf,
    /// Threads on which guests run.
    pub threads: NonZeroUsize,
    /// Modules larger than this are refused, in bytes.
    pub module_bytes_max: usize,
    /// The program whose hidden subcommand compiles: the daemon's own, and the same build of it.
    pub compiler: PathBuf,
    /// What a compilation may use.
    pub compile_limits: CompileLimits,
}

impl SandboxOptions {
    /// The defaults: a thread for each core, modules up to 64 MiB, compiled by this very program.
    pub fn new(compiled: impl Into<PathBuf>) -> Self {
        Self {
            compiled: compiled.into(),
            threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            module_bytes_max: MODULE_BYTES_MAX,
            compiler: OWN_PROGRAM.into(),
            compile_limits: CompileLimits::default(),
        }
    }
}

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The folder of compiled code cannot be used.
    #[error("the folder of compiled code {path} cannot be used: {cause}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// Threads cannot be started.
    #[error("the threads for tasks cannot be started: {0}")]
    Threads(std::io::Error),
    /// The WASM engine refuses its settings or this machine.
    #[error("the WASM engine cannot be started: {0:#}")]
    Engine(wasmtime::Error),
}

/// Everything that runs guests: one a process.
pub struct Sandbox {
    modules: Arc<Modules>,
    machines: Arc<Machines>,
    broker: Arc<Broker>,
    ticker: Arc<Ticker>,
    /// The guests' own runtime, so that endless loops starve only each other. Taken when dropped.
    runtime: Option<Runtime>,
}

impl Sandbox {
    /// A sandbox with no modules.
    ///
    /// # Errors
    /// When the folder, the threads or the engine cannot be had.
    pub fn open(options: SandboxOptions, broker: Arc<Broker>) -> Result<Self, SandboxError> {
        let machines = Machines::new().map_err(SandboxError::Engine)?;
        Self::with_machines(options, broker, machines)
    }

    fn with_machines(
        options: SandboxOptions,
        broker: Arc<Broker>,
        machines: Machines,
    ) -> Result<Self, SandboxError> {
        let machines = Arc::new(machines);
        let compiled =
            compiled::Compiled::open(&options.compiled).map_err(|cause| SandboxError::Folder {
                path: options.compiled.clone(),
                cause,
            })?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(options.threads.get())
            .thread_name("guest")
            .event_interval(SLICES_BETWEEN_EVENTS)
            .enable_all()
            .build()
            .map_err(SandboxError::Threads)?;
        let ticker =
            Ticker::start(machines.engines(), options.threads).map_err(SandboxError::Threads)?;
        let modules = Arc::new(Modules::new(
            compiled,
            Compiler::new(options.compiler, options.compile_limits),
            options.module_bytes_max,
        ));
        Ok(Self {
            modules,
            machines,
            broker,
            ticker,
            runtime: Some(runtime),
        })
    }

    /// Runs `attempt` on the guests' runtime to its end, whatever that is.
    async fn run(&self, attempt: Attempt) -> AttemptReport {
        let Some(runtime) = &self.runtime else {
            return ended_with(&attempt.meter, Err(stopped()));
        };
        let meter = Arc::clone(&attempt.meter);
        let task = runtime.spawn(self.guest(attempt));
        match AbortOnDropHandle::new(task).await {
            Ok(report) => report,
            Err(_) => ended_with(&meter, Err(stopped())),
        }
    }

    /// An attempt to be run on the guests' runtime.
    fn guest(&self, attempt: Attempt) -> impl Future<Output = AttemptReport> + Send + use<> {
        let meter = Arc::clone(&attempt.meter);
        let guest = attempt.run(
            Arc::clone(&self.machines),
            Arc::clone(&self.broker),
            Arc::clone(&self.ticker),
        );
        async move {
            let outcome = AssertUnwindSafe(guest).catch_unwind().await;
            ended_with(&meter, outcome.unwrap_or_else(|_| Err(host_panicked())))
        }
    }

    /// What an invocation asks for, unless its module is not there.
    fn attempt(&self, invocation: Invocation) -> Result<Attempt, Box<AttemptReport>> {
        let meter = Arc::new(Meter::new(invocation.limits.cpu));
        let Some(module) = self.modules.get(&invocation.module) else {
            let why = format!("the module {} is not loaded", invocation.module);
            let failure = Failure::retryable(FailureSource::Host, "host.module", why);
            return Err(Box::new(ended_with(&meter, Err(failure))));
        };
        Ok(Attempt {
            module,
            call: Call::Run(invocation.input),
            identity: invocation.identity,
            grants: invocation.grants,
            limits: invocation.limits,
            journal: invocation.journal,
            cancel: invocation.cancel,
            meter,
        })
    }
}

fn ended_with(meter: &Meter, outcome: Result<Arc<str>, Failure>) -> AttemptReport {
    AttemptReport {
        outcome,
        cpu: meter.spent(),
        memory_peak_bytes: meter.memory_peak(),
    }
}

fn stopped() -> Failure {
    Failure::retryable(
        FailureSource::Interrupt,
        "host.stopped",
        "the daemon stopped during the attempt",
    )
}

#[async_trait]
impl Invoke for Sandbox {
    async fn invoke(&self, invocation: Invocation) -> AttemptReport {
        match self.attempt(invocation) {
            Ok(attempt) => self.run(attempt).await,
            Err(report) => *report,
        }
    }

    fn launch(self: Arc<Self>, invocation: Invocation, hand_over: HandOver) {
        match (self.attempt(invocation), &self.runtime) {
            (Ok(attempt), Some(runtime)) => {
                let guest = self.guest(attempt);
                runtime.spawn(async move { hand_over(guest.await) });
            }
            (Ok(attempt), None) => hand_over(ended_with(&attempt.meter, Err(stopped()))),
            (Err(report), _) => hand_over(*report),
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.ticker.stop();
        // Waiting for the threads is forbidden inside another runtime; they end at their next yield.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandbox").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
