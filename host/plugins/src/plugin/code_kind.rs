//! What compiled code depends on in addition to the component.

use millstream_base::limits::PLUGIN_INSTANCES_MAX;
use millstream_base::memory::addresses;

/// Address space of one instance's memory: no limit can be larger. Reserved, not used.
pub const MEMORY_RESERVED_BYTES: usize = 4 << 30;

/// Minimum bytes of address space that a pool reserves.
const POOL_RESERVED_BYTES: usize = PLUGIN_INSTANCES_MAX as usize * MEMORY_RESERVED_BYTES;

/// How calls that take too long are stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Metering {
    /// Never: code has no checks.
    None,
    /// By a clock that code checks in every loop.
    Epochs,
    /// By the number of instructions, which is the same for each repetition of a call.
    Fuel,
}

/// What compiled code depends on in addition to the component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CodeKind {
    /// How its calls are stopped.
    pub metering: Metering,
    /// Size of the call stack, in bytes.
    pub stack_bytes_max: u64,
    /// Whether its memories take little address space, so that its code must compare addresses with their sizes.
    pub compact: bool,
}

impl CodeKind {
    /// Returns the kind of code that this process can run.
    pub fn for_this_process(metering: Metering, stack_bytes_max: u64) -> CodeKind {
        CodeKind { metering, stack_bytes_max, compact: addresses::are_few(POOL_RESERVED_BYTES) }
    }
}
