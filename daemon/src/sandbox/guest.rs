//! What the host keeps for one instance: the data of its wasmtime Store.

use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::limiter::Limiter;
use super::stdio::LineStream;
use crate::broker::journal::Journal;
use crate::broker::{BrokerCtx, BrokerHost, BrokerView};
use crate::run::status::Level;

/// Handles behind which the host keeps something. Programs hold a few dozen; each may cost kilobytes.
const HANDLES_MAX: usize = 4_096;
/// What one call may ask of the random source; WASI's own functions ask for at most 256 bytes.
const RANDOM_BYTES_MAX: u64 = 1 << 20;

/// The data of a Store.
pub(super) struct Guest {
    wasi: WasiCtx,
    table: ResourceTable,
    broker: BrokerCtx,
    /// Counts memories and tables.
    pub(super) limiter: Limiter,
}

impl Guest {
    /// Standard WASI with nothing in it: no files, sockets, arguments or environment. What is
    /// written to the standard streams goes to the journal.
    pub(super) fn new(broker: BrokerCtx, limiter: Limiter, journal: &Arc<Journal>) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES_MAX);
        let wasi = WasiCtx::builder()
            .stdout(LineStream::new(Arc::clone(journal), Level::Info))
            .stderr(LineStream::new(Arc::clone(journal), Level::Warn))
            .allow_tcp(false)
            .allow_udp(false)
            .max_random_size(RANDOM_BYTES_MAX)
            .build();
        Self {
            wasi,
            table,
            broker,
            limiter,
        }
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl BrokerHost for Guest {
    fn broker(&mut self) -> BrokerView<'_> {
        BrokerView {
            ctx: &mut self.broker,
            table: &mut self.table,
        }
    }
}
