//! What ends a call.

/// Why a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
// Statuses and metrics also use "trap" for WebAssembly's own traps.
#[allow(clippy::enum_variant_names)]
pub enum Trap {
    /// The time limit.
    Time,
    /// The limit on instructions.
    Fuel,
    /// The memory limit.
    Memory,
    /// The limit on tables.
    Tables,
    /// A stack overflow.
    Stack,
    /// The limit on output.
    Output,
    /// The limit on handles.
    Handles,
    /// The limit on instances, memories or tables.
    Instances,
    /// A panic, an abort, or a WebAssembly trap such as a division by zero.
    Trap,
    /// An invalid result.
    Invalid,
    /// An error that the plugin returned.
    Error,
    /// A violation of the component model's rules.
    Rules,
}

impl Trap {
    /// The name in statuses and metrics.
    pub fn keyword(self) -> &'static str {
        match self {
            Trap::Time => "time",
            Trap::Fuel => "fuel",
            Trap::Memory => "memory",
            Trap::Tables => "tables",
            Trap::Stack => "stack",
            Trap::Output => "output",
            Trap::Handles => "handles",
            Trap::Instances => "instances",
            Trap::Trap => "trap",
            Trap::Invalid => "invalid",
            Trap::Error => "error",
            Trap::Rules => "rules",
        }
    }
}

/// Why a host call ends the call of a plugin.
#[derive(Debug)]
pub struct Stopped {
    /// The kind of trap.
    pub trap: Trap,
    /// What happened.
    pub message: String,
    /// What to do.
    pub advice: &'static str,
}

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Stopped {}
