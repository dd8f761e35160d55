//! What the calls of a plugin cost.

use std::sync::{Arc, Mutex};

/// What the calls of one plugin for one stage on one worker cost. Cheap to clone; clones count together.
#[derive(Clone, Debug, Default)]
pub struct Account(#[allow(dead_code)] Arc<Mutex<Costs>>);

/// Costs of calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Costs {
    /// Calls.
    pub calls: u64,
}
