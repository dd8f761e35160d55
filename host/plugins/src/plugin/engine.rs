//! The engine: how plugins are compiled and where their instances live.

use super::clock::EpochClock;
use super::code_kind::{CodeKind, MEMORY_RESERVED_BYTES, Metering};
use super::guest::Guest;
use crate::limits::{PLUGIN_FRAMES_MAX, PLUGIN_MEMORIES_MAX, PLUGIN_RESIDENT_BYTES_MAX};
use millstream_base::error::{Error, Result};
use millstream_base::limits::{
    PLUGIN_INSTANCES_MAX, PLUGIN_PARTS_MAX_MAX, PLUGIN_TABLE_ELEMENTS_MAX_MAX, THREAD_STACK_BYTES_RESERVED,
};
use millstream_base::memory::addresses;
use std::num::NonZeroUsize;
use std::sync::Arc;
use wasmtime::component::Linker;
use wasmtime::{
    CacheStore, Config, Enabled, Engine, InstanceAllocationStrategy, OperatorCost, PoolingAllocationConfig, Strategy,
    WasmFeatures,
};

/// Reserved bytes in a process with little address space, also each time that a memory grows beyond it and moves.
const MEMORY_RESERVED_BYTES_COMPACT: u64 = 16 << 20;
/// Inaccessible bytes around a memory, so that accesses with small offsets need no bounds check.
const MEMORY_GUARD_BYTES_COMPACT: u64 = 64 << 10;

/// An engine, and what plugins are offered on it.
pub struct Machine {
    /// The kind of its code.
    pub kind: CodeKind,
    /// The engine.
    pub engine: Engine,
    /// The imports of every plugin.
    pub linker: Linker<Guest>,
    /// The clock that stops calls that take too long, if a clock does.
    pub clock: Option<Arc<EpochClock>>,
}

impl Machine {
    /// Prepares an engine for this kind of code.
    pub fn new(kind: CodeKind) -> Result<Machine> {
        let engine = new(kind)?;
        let mut linker = Linker::new(&engine);
        super::imports::offer(&mut linker)
            .and_then(|()| super::wasi::offer::offer(&mut linker))
            .map_err(|e| Error::bug(format!("the imports of plugins: {e:#}")))?;
        let clock = (kind.metering == Metering::Epochs).then(|| EpochClock::start(&engine)).transpose()?;
        Ok(Machine { kind, engine, linker, clock })
    }
}

/// Creates an engine for this kind of code without a clock, and without memory reserved in advance. Code of functions is read from and
/// written to `functions`.
pub fn compiler(kind: CodeKind, functions: Option<Arc<impl CacheStore + 'static>>) -> Result<Engine> {
    let mut config = deterministic(kind);
    let kept = functions.map_or(Ok(()), |functions| config.enable_incremental_compilation(functions).map(drop));
    kept.and_then(|()| Engine::new(&config))
        .map_err(|e| Error::environment(format!("plugins cannot be compiled on this machine: {e:#}")))
}

fn new(kind: CodeKind) -> Result<Engine> {
    let mut config = deterministic(kind);
    if kind.compact {
        return Engine::new(&config).map_err(|e| {
            Error::environment(format!("plugins cannot run on this machine: {e:#}{}", addresses::advice()))
        });
    }
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
    Ok(engine)
}

/// WebAssembly features that plugins may use: what toolchains emit today. Excluded is what is new, what uses heaps that our limits do not
/// count, and what runs concurrently with the call. So these are off: threads and shared memory, garbage collection, typed function
/// references, exceptions, memories with 64 bits or other page sizes, stack switching, and of the component model everything asynchronous,
/// `error-context`, lists of fixed length, maps and 64 bits.
const FEATURES: WasmFeatures = WasmFeatures::WASM2
    .difference(WasmFeatures::GC_TYPES)
    .union(WasmFeatures::COMPONENT_MODEL)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::MULTI_MEMORY)
    .union(WasmFeatures::RELAXED_SIMD)
    .union(WasmFeatures::TAIL_CALL);

/// A plugin's result depends on nothing but its arguments: no threads, NaNs and relaxed SIMD in one way only. Compiled by
/// Cranelift, the compiler whose faults count as security defects.
fn deterministic(kind: CodeKind) -> Config {
    let mut config = Config::new();
    let stack_bytes_max = usize::try_from(kind.stack_bytes_max).unwrap_or(usize::MAX);
    config
        .strategy(Strategy::Cranelift)
        .wasm_features(WasmFeatures::all().difference(FEATURES), false)
        .wasm_features(FEATURES, true)
        .concurrency_support(false)
        .shared_memory(false)
        .relaxed_simd_deterministic(true)
        .cranelift_nan_canonicalization(true)
        .epoch_interruption(kind.metering == Metering::Epochs)
        .consume_fuel(kind.metering == Metering::Fuel)
        .max_wasm_stack(stack_bytes_max)
        // Unused, but it must not be the smaller one.
        .async_stack_size(stack_bytes_max.saturating_add(THREAD_STACK_BYTES_RESERVED as usize))
        .wasm_backtrace_max_frames(NonZeroUsize::new(PLUGIN_FRAMES_MAX))
        // Backtraces name functions, which needs no map of every instruction.
        .generate_address_map(false)
        .parallel_compilation(true)
        .memory_reservation(MEMORY_RESERVED_BYTES as u64);
    if kind.compact {
        config
            .allocation_strategy(InstanceAllocationStrategy::OnDemand)
            .memory_reservation(MEMORY_RESERVED_BYTES_COMPACT)
            .memory_reservation_for_growth(MEMORY_RESERVED_BYTES_COMPACT)
            .memory_guard_size(MEMORY_GUARD_BYTES_COMPACT);
    }
    if kind.metering == Metering::Fuel {
        config.operator_cost(costs());
    }
    config
}

/// Fuel costs of instructions: at most about a nanosecond per unit, so that the fuel of a second lasts at most one second. Most cost 1;
/// those that are slower, or whose time grows with their operands, cost accordingly. Cache misses cannot be modeled: loads and stores far
/// from any cache take two to four times as long.
fn costs() -> OperatorCost {
    let mut costs = OperatorCost::new();
    for slow in [
        &mut costs.I32DivS,
        &mut costs.I32DivU,
        &mut costs.I32RemS,
        &mut costs.I32RemU,
        &mut costs.I64DivS,
        &mut costs.I64DivU,
        &mut costs.I64RemS,
        &mut costs.I64RemU,
        &mut costs.F32Div,
        &mut costs.F64Div,
        &mut costs.F32Sqrt,
        &mut costs.F64Sqrt,
        &mut costs.F32x4Div,
        &mut costs.F64x2Div,
        &mut costs.F32x4Sqrt,
        &mut costs.F64x2Sqrt,
    ] {
        *slow = 8;
    }
    // These call into the host.
    for call in [
        &mut costs.MemoryCopy,
        &mut costs.MemoryFill,
        &mut costs.MemoryInit,
        &mut costs.DataDrop,
        &mut costs.TableCopy,
        &mut costs.TableFill,
        &mut costs.TableInit,
    ] {
        *call = 10;
    }
    for call in [&mut costs.MemoryGrow, &mut costs.TableGrow, &mut costs.ElemDrop, &mut costs.RefFunc] {
        *call = 50;
    }
    // A byte that is copied or filled costs 1, which is dear, but less is not possible.
    let variable = &mut costs.variable;
    variable.memory_grow_per_page = 255;
    variable.table_copy_per_element = 2;
    variable.table_fill_per_element = 2;
    variable.table_init_per_element = 2;
    variable.table_grow_per_element = 2;
    costs
}

/// An instance lives for one call, so creating the next one must be cheap. A finished instance leaves pages resident. The kernel reports
/// which of them were written (PAGEMAP_SCAN, Linux 6.7). The next instance thus has its memory without page faults, and only written pages
/// are cleared.
fn pool() -> InstanceAllocationStrategy {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(PLUGIN_INSTANCES_MAX)
        .total_core_instances(PLUGIN_INSTANCES_MAX * 16)
        .total_memories(PLUGIN_INSTANCES_MAX)
        .total_tables(PLUGIN_INSTANCES_MAX * 4)
        .max_core_instances_per_component(PLUGIN_PARTS_MAX_MAX as u32)
        .max_memories_per_component(PLUGIN_MEMORIES_MAX)
        .max_tables_per_component(PLUGIN_MEMORIES_MAX)
        .max_memories_per_module(PLUGIN_MEMORIES_MAX)
        .max_tables_per_module(PLUGIN_MEMORIES_MAX)
        .max_memory_size(MEMORY_RESERVED_BYTES)
        .table_elements(PLUGIN_TABLE_ELEMENTS_MAX_MAX as usize)
        .max_unused_warm_slots(8)
        .linear_memory_keep_resident(PLUGIN_RESIDENT_BYTES_MAX)
        .table_keep_resident(64 << 10)
        .pagemap_scan(Enabled::Auto);
    InstanceAllocationStrategy::Pooling(pool)
}
