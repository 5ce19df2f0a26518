//! The WASM engines: their settings, what they link, and the slots of the pool.
//!
//! Two engines share one kind of compiled code: the pooled one starts an instance in microseconds and has
//! a fixed number of slots; the spare one takes what does not fit into a slot, or comes when all are taken.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::component::Linker;
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
    WasmFeatures,
};

use super::guest::Guest;

/// Attempts that run in the pool at once. More run in the spare engine, a little slower to start.
const SLOTS: u32 = 128;
/// A component with an adapter has four core instances; composed ones have more.
const CORE_INSTANCES: u32 = 24;
/// One for the program; a second for a composed one. Each reserves 4 GiB of addresses, not of memory.
const MEMORIES: u32 = 2;
/// Indirect calls of each core module.
const TABLES: u32 = 8;
/// Function pointers of a large interpreter; wasmtime's own advice.
const TABLE_ELEMENTS: usize = 20_000;
/// Pages that a slot keeps for its next instance instead of returning them to the kernel.
const KEEP_RESIDENT_BYTES: usize = 256 << 10;
/// Slots that may keep pages of a module that is not running: bounds what idling costs.
const WARM_SLOTS: u32 = 16;
/// What guest code may use of the stack; deep recursion in ordinary programs fits.
const GUEST_STACK_BYTES: usize = 512 << 10;
/// Guest stack and the host functions above it.
const STACK_BYTES: usize = 2 << 20;

/// One engine with everything that a guest may import.
pub(super) struct Machine {
    pub(super) engine: Engine,
    pub(super) linker: Linker<Guest>,
}

/// The engines of the process.
pub(super) struct Machines {
    /// None where the kernel does not give that much address space.
    pub(super) pooled: Option<Machine>,
    pub(super) spare: Machine,
    slots: Arc<Semaphore>,
}

impl Machines {
    pub(super) fn new() -> wasmtime::Result<Self> {
        let spare = Machine::new(&settings())?;
        let pooled = Machine::new(
            settings().allocation_strategy(InstanceAllocationStrategy::Pooling(pool())),
        )
        .inspect_err(|error| {
            tracing::warn!(
                error = format!("{error:#}"),
                "no address space for a pool; tasks start slower"
            );
        })
        .ok();
        Ok(Self {
            pooled,
            spare,
            slots: Arc::new(Semaphore::new(SLOTS as usize)),
        })
    }

    /// A slot of the pool, held for as long as the instance lives; none when all are taken.
    pub(super) fn slot(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.slots).try_acquire_owned().ok()
    }

    /// All engines, for the ticker.
    pub(super) fn engines(&self) -> Vec<Engine> {
        self.pooled
            .iter()
            .chain([&self.spare])
            .map(|machine| machine.engine.clone())
            .collect()
    }

    /// The engine that compiles; its code fits both.
    pub(super) fn compiler(&self) -> &Engine {
        &self.spare.engine
    }
}

impl Machine {
    fn new(config: &Config) -> wasmtime::Result<Self> {
        let engine = Engine::new(config)?;
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        crate::broker::add_to_linker(&mut linker)?;
        Ok(Self { engine, linker })
    }
}

/// Proposals that are off: each widens what hostile code can do, and no published toolchain for tasks needs it. Some
/// are not even compiled in; they are named all the same, because what wasmtime has on by default changes.
const REFUSED: WasmFeatures = WasmFeatures::THREADS
    .union(WasmFeatures::SHARED_EVERYTHING_THREADS)
    .union(WasmFeatures::MEMORY64)
    .union(WasmFeatures::GC)
    .union(WasmFeatures::FUNCTION_REFERENCES)
    .union(WasmFeatures::EXCEPTIONS)
    .union(WasmFeatures::LEGACY_EXCEPTIONS)
    .union(WasmFeatures::RELAXED_SIMD)
    .union(WasmFeatures::CUSTOM_PAGE_SIZES)
    .union(WasmFeatures::WIDE_ARITHMETIC)
    .union(WasmFeatures::STACK_SWITCHING)
    .union(WasmFeatures::CM_ASYNC)
    .union(WasmFeatures::CM_ERROR_CONTEXT);

/// What both engines have in common, and what the compiled code depends on.
pub(super) fn settings() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .concurrency_support(false)
        .wasm_features(REFUSED, false)
        .max_wasm_stack(GUEST_STACK_BYTES)
        .async_stack_size(STACK_BYTES)
        .memory_init_cow(true)
        .cranelift_opt_level(OptLevel::Speed)
        // A trap is reported by name; frames of a stripped module tell nobody anything.
        .wasm_backtrace_max_frames(None)
        .generate_address_map(false)
        .native_unwind_info(false);
    config
}

fn pool() -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(SLOTS)
        .total_stacks(SLOTS)
        .max_core_instances_per_component(CORE_INSTANCES)
        .total_core_instances(SLOTS * CORE_INSTANCES)
        .max_memories_per_component(MEMORIES)
        .total_memories(SLOTS * MEMORIES)
        .max_tables_per_component(TABLES)
        .total_tables(SLOTS * TABLES)
        .table_elements(TABLE_ELEMENTS)
        .max_unused_warm_slots(WARM_SLOTS)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(KEEP_RESIDENT_BYTES / 8)
        .pagemap_scan(Enabled::Auto);
    pool
}
