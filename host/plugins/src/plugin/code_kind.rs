//! What compiled code depends on beside the component.

use millstream_base::limits::PLUGIN_INSTANCES_MAX;
use millstream_base::memory::addresses;

/// Address space of one instance's memory: no limit can be larger. Reserved, not used.
pub const MEMORY_RESERVED_BYTES: usize = 4 << 30;

/// What a pool takes of it, at least.
const POOL_RESERVED_BYTES: usize = PLUGIN_INSTANCES_MAX as usize * MEMORY_RESERVED_BYTES;

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
    /// Whether its memories take little address space, so that its code must compare addresses with their sizes.
    pub compact: bool,
}

impl CodeKind {
    /// As this process can run it.
    pub fn here(metering: Metering, stack_bytes_max: u64) -> CodeKind {
        CodeKind { metering, stack_bytes_max, compact: addresses::are_few(POOL_RESERVED_BYTES) }
    }
}
