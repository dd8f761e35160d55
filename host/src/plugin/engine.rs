//! The engine: how plugins are compiled and where their instances live.

use super::guest::Guest;
use crate::error::{Error, Result};
use crate::limits::{
    PLUGIN_FRAMES_MAX, PLUGIN_INSTANCES_MAX, PLUGIN_PARTS_MAX_MAX, PLUGIN_RESIDENT_BYTES_MAX,
    PLUGIN_TABLE_ELEMENTS_MAX_MAX,
};
use std::num::NonZeroUsize;
use std::time::Duration;
use wasmtime::component::Linker;
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Strategy};

/// How often the clock of time limits ticks; a call is stopped at most two ticks late.
const TICK: Duration = Duration::from_millis(10);

/// Address space of one instance's memory: no limit can be larger. Reserved, not used.
const MEMORY_RESERVED_BYTES: usize = 4 << 30;

/// How calls are stopped that take too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Metering {
    /// Never: code looks at nothing.
    None,
    /// By a clock: code looks at it in every loop.
    Epochs,
    /// By the number of instructions, which is the same whenever a call is repeated.
    Fuel,
}

/// What compiled code depends on beside the component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CodeKind {
    /// How its calls are stopped.
    pub metering: Metering,
    /// Its call stack, in bytes.
    pub stack_bytes_max: u64,
}

/// An engine, and what plugins are offered on it.
pub struct Machine {
    /// What its code is.
    pub kind: CodeKind,
    /// The engine.
    pub engine: Engine,
    /// The imports of every plugin.
    pub linker: Linker<Guest>,
}

impl Machine {
    /// Prepares an engine for this kind of code.
    pub fn new(kind: CodeKind) -> Result<Machine> {
        let engine = new(kind)?;
        let mut linker = Linker::new(&engine);
        super::imports::offer(&mut linker)
            .and_then(|()| super::wasi::offer(&mut linker))
            .map_err(|e| Error::bug(format!("the imports of plugins: {e:#}")))?;
        Ok(Machine { kind, engine, linker })
    }
}

/// Makes an engine. Where a clock stops calls, a thread moves that clock until the engine is gone.
fn new(kind: CodeKind) -> Result<Engine> {
    let mut config = deterministic(kind);
    config.allocation_strategy(pool());
    let engine = match Engine::new(&config) {
        Ok(engine) => engine,
        Err(pool_error) => {
            tracing::warn!("plugin instances are not pooled, so each costs more: {pool_error:#}");
            config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
            Engine::new(&config)
                .map_err(|e| Error::environment(format!("plugins cannot run on this machine: {e:#}")))?
        }
    };
    if kind.metering == Metering::Epochs {
        start_clock(&engine)?;
    }
    Ok(engine)
}

/// The epoch at which a call that begins now is stopped, as a distance from now. One tick more than the limit is
/// long, since the current one has partly passed.
pub fn ticks(limit: Duration) -> u64 {
    // Far beyond the life of any process, and far from overflow.
    const NEVER: u64 = 1 << 60;
    if limit.is_zero() {
        return NEVER;
    }
    let ticks = limit.as_nanos().div_ceil(TICK.as_nanos());
    u64::try_from(ticks).unwrap_or(NEVER).min(NEVER - 1) + 1
}

/// A plugin's result depends on nothing but its arguments: no threads, NaNs and relaxed SIMD in one way only.
fn deterministic(kind: CodeKind) -> Config {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .wasm_component_model(true)
        .wasm_relaxed_simd(true)
        .relaxed_simd_deterministic(true)
        .cranelift_nan_canonicalization(true)
        .epoch_interruption(kind.metering == Metering::Epochs)
        .consume_fuel(kind.metering == Metering::Fuel)
        .max_wasm_stack(usize::try_from(kind.stack_bytes_max).unwrap_or(usize::MAX))
        .wasm_backtrace_max_frames(NonZeroUsize::new(PLUGIN_FRAMES_MAX))
        // Backtraces name functions, which needs no map of every instruction.
        .generate_address_map(false)
        .parallel_compilation(true)
        .memory_reservation(MEMORY_RESERVED_BYTES as u64);
    config
}

/// An instance lives for one call, so what counts is how cheap the next one is. A finished instance leaves pages
/// resident, and the kernel is asked (PAGEMAP_SCAN, Linux 6.7) which of them were written, so that the next one finds
/// its memory without page faults and only what was written is cleared.
fn pool() -> InstanceAllocationStrategy {
    let parts = PLUGIN_PARTS_MAX_MAX as u32;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(PLUGIN_INSTANCES_MAX)
        .total_core_instances(PLUGIN_INSTANCES_MAX * 4)
        .total_memories(PLUGIN_INSTANCES_MAX)
        .total_tables(PLUGIN_INSTANCES_MAX * 4)
        .max_core_instances_per_component(parts)
        .max_memories_per_component(parts)
        .max_tables_per_component(parts)
        .max_memories_per_module(parts)
        .max_tables_per_module(parts)
        .max_memory_size(MEMORY_RESERVED_BYTES)
        .table_elements(PLUGIN_TABLE_ELEMENTS_MAX_MAX as usize)
        .max_unused_warm_slots(8)
        .linear_memory_keep_resident(PLUGIN_RESIDENT_BYTES_MAX)
        .table_keep_resident(64 << 10)
        .pagemap_scan(Enabled::Auto);
    InstanceAllocationStrategy::Pooling(pool)
}

fn start_clock(engine: &Engine) -> Result<()> {
    let weak = engine.weak();
    let clock = std::thread::Builder::new().name("plugin-clock".into()).spawn(move || {
        while let Some(engine) = weak.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(TICK);
        }
    });
    clock.map(drop).map_err(|e| Error::environment(format!("the clock of time limits does not start: {e}")))
}
