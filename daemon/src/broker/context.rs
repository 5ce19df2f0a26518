//! `flowweaver:context`: who and where the attempt is, and its progress.

use super::BrokerView;
use super::journal::Progress;
use crate::bindings::context::context::Host;
use crate::clock::{Clock as _, SystemClock};

impl Host for BrokerView<'_> {
    fn run_id(&mut self) -> wasmtime::Result<String> {
        Ok(self.ctx.identity.run_id.to_string())
    }

    fn workflow(&mut self) -> wasmtime::Result<String> {
        Ok(self.ctx.identity.workflow.to_string())
    }

    fn job(&mut self) -> wasmtime::Result<String> {
        Ok(self.ctx.identity.job.to_string())
    }

    fn task(&mut self) -> wasmtime::Result<String> {
        Ok(self.ctx.identity.task.to_string())
    }

    fn item_index(&mut self) -> wasmtime::Result<Option<u32>> {
        Ok(self.ctx.identity.item_index)
    }

    fn attempt(&mut self) -> wasmtime::Result<u32> {
        Ok(self.ctx.identity.attempt)
    }

    fn trace_id(&mut self) -> wasmtime::Result<String> {
        Ok(self.ctx.identity.trace_id.clone())
    }

    fn idempotency_key(&mut self) -> wasmtime::Result<String> {
        Ok(self.ctx.identity.idempotency_key.clone())
    }

    fn scheduled_at(&mut self) -> wasmtime::Result<String> {
        Ok(self.ctx.identity.scheduled_at.to_string())
    }

    fn deadline_ms(&mut self) -> wasmtime::Result<u64> {
        Ok(u64::try_from(self.ctx.deadline_at.as_micros() / 1_000).unwrap_or(0))
    }

    fn cancelled(&mut self) -> wasmtime::Result<bool> {
        Ok(self.ctx.cancel.is_cancelled())
    }

    fn progress(&mut self, done: u64, total: Option<u64>, note: String) -> wasmtime::Result<()> {
        self.ctx.journal.progress(Progress {
            at: SystemClock.now(),
            done,
            total,
            note,
        });
        Ok(())
    }
}
