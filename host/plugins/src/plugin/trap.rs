//! What ends a call.

/// What ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
// Statuses and metrics call the one that WebAssembly calls so a trap, too.
#[allow(clippy::enum_variant_names)]
pub enum Trap {
    /// It ran for too long.
    Time,
    /// It ran too many instructions.
    Fuel,
    /// It needed too much memory.
    Memory,
    /// Its tables got too large.
    Tables,
    /// Its call stack overflowed.
    Stack,
    /// It returned too much.
    Output,
    /// It held too many handles.
    Handles,
    /// It consists of too many instances, memories or tables.
    Instances,
    /// It panicked or aborted, or did what WebAssembly does not allow, as a division by zero.
    Trap,
    /// What it returned is not valid.
    Invalid,
    /// It returned an error by itself.
    Error,
    /// Its call broke the component model's rules.
    Rules,
}

impl Trap {
    /// Its name in statuses and metrics.
    pub fn word(self) -> &'static str {
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
    /// What it counts as.
    pub trap: Trap,
    /// What happened.
    pub words: String,
    /// What to do.
    pub advice: &'static str,
}

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.words)
    }
}

impl std::error::Error for Stopped {}
