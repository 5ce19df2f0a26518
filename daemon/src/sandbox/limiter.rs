//! Memory of one attempt: all linear memories and tables together, against one limit.

use std::sync::Arc;

use wasmtime::ResourceLimiter;

use super::meter::Meter;
use super::outcome::LimitReached;

/// An element of a table is a pointer.
const ELEMENT_BYTES: usize = size_of::<usize>();
/// Composed components have a few dozen; a flood of instances has no use.
const INSTANCES_MAX: usize = 256;
/// As instances.
const TABLES_MAX: usize = 256;
/// Each memory costs the host a mapping.
const MEMORIES_MAX: usize = 32;

/// Counts what the attempt holds and refuses what is too much.
pub(super) struct Limiter {
    held: usize,
    /// Granted last, and given back if the growth then fails.
    granted: usize,
    limit: usize,
    meter: Arc<Meter>,
}

impl Limiter {
    /// `limit` is in bytes.
    pub(super) fn new(limit: u64, meter: Arc<Meter>) -> Self {
        Self {
            held: 0,
            granted: 0,
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            meter,
        }
    }

    fn grow(&mut self, by: usize) -> wasmtime::Result<bool> {
        let held = self.held.saturating_add(by);
        if held > self.limit {
            return Err(LimitReached::Memory { bytes: self.limit }.into());
        }
        self.held = held;
        self.granted = by;
        self.meter.memory(held);
        Ok(true)
    }

    fn give_back(&mut self) {
        self.held = self.held.saturating_sub(self.granted);
        self.granted = 0;
    }
}

/// A growth past the attempt's limit ends the attempt with a clear cause, instead of a -1 that most
/// programs answer with an anonymous abort. A growth past the module's own maximum is the -1.
impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let by = desired.saturating_sub(current);
        if maximum.is_some_and(|maximum| desired > maximum)
            && self.held.saturating_add(by) <= self.limit
        {
            return Ok(false);
        }
        self.grow(by)
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.give_back();
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let by = desired
            .saturating_sub(current)
            .saturating_mul(ELEMENT_BYTES);
        if maximum.is_some_and(|maximum| desired > maximum)
            && self.held.saturating_add(by) <= self.limit
        {
            return Ok(false);
        }
        self.grow(by)
    }

    fn table_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.give_back();
        Ok(())
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}
