//! The clock that interrupts guests: a thread that advances the engines' epoch while guest code runs
//! and sleeps while none does.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::Duration;

use wasmtime::Engine;

/// The slice of time after which a guest yields to the others.
const TICK: Duration = Duration::from_millis(10);
/// The shortest slice; below it switching costs more than it gives.
const TICK_MIN: Duration = Duration::from_millis(1);
/// Every guest that wants to run does so once in this time, so that a cancel is seen within 100 ms.
const ROUND: Duration = Duration::from_millis(60);

/// The state that polls and the thread share.
#[derive(Debug)]
pub(super) struct Ticker {
    /// Polls under way.
    running: AtomicUsize,
    /// Attempts that used up their last slice and wait for another.
    hogs: AtomicUsize,
    idle: AtomicBool,
    stopped: AtomicBool,
    thread: OnceLock<Thread>,
    threads: usize,
}

impl Ticker {
    /// Starts the thread. `threads` is the number of threads on which guests run.
    pub(super) fn start(engines: Vec<Engine>, threads: NonZeroUsize) -> std::io::Result<Arc<Self>> {
        let ticker = Arc::new(Self {
            running: AtomicUsize::new(0),
            hogs: AtomicUsize::new(0),
            idle: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            thread: OnceLock::new(),
            threads: threads.get(),
        });
        let shared = Arc::clone(&ticker);
        let handle = thread::Builder::new()
            .name("epoch".to_owned())
            .spawn(move || shared.tick(&engines))?;
        // Set here only, so it cannot have been set before.
        let _ = ticker.thread.set(handle.thread().clone());
        Ok(ticker)
    }

    fn tick(&self, engines: &[Engine]) {
        while !self.stopped.load(SeqCst) {
            if self.running.load(SeqCst) == 0 {
                self.idle.store(true, SeqCst);
                // A poll that began before `idle` was set does not wake us: look again.
                if self.running.load(SeqCst) == 0 && !self.stopped.load(SeqCst) {
                    thread::park();
                }
                self.idle.store(false, SeqCst);
                continue;
            }
            thread::park_timeout(self.interval());
            for engine in engines {
                engine.increment_epoch();
            }
        }
    }

    /// Short enough that all who want to run get their slice within a round.
    fn interval(&self) -> Duration {
        let in_line = self.hogs.load(SeqCst).div_ceil(self.threads).max(1);
        (ROUND / u32::try_from(in_line).unwrap_or(u32::MAX)).clamp(TICK_MIN, TICK)
    }

    /// Guest code runs until the guard is dropped.
    pub(super) fn running(&self) -> Running<'_> {
        self.running.fetch_add(1, SeqCst);
        if self.idle.load(SeqCst) {
            self.wake();
        }
        Running(self)
    }

    /// An attempt is in line for another slice until the guard is dropped.
    pub(super) fn in_line(self: &Arc<Self>) -> InLine {
        self.hogs.fetch_add(1, SeqCst);
        InLine(Arc::clone(self))
    }

    /// Ends the thread.
    pub(super) fn stop(&self) {
        self.stopped.store(true, SeqCst);
        self.wake();
    }

    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

/// A poll under way.
pub(super) struct Running<'a>(&'a Ticker);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
    }
}

/// An attempt in line.
pub(super) struct InLine(Arc<Ticker>);

impl Drop for InLine {
    fn drop(&mut self) {
        self.0.hogs.fetch_sub(1, SeqCst);
    }
}
