//! The table of what plugins counted, in checkpoints.

/// Its name. No stage can be called so: names of stages hold no dot.
pub const TABLE: &str = "millstream.counters";

/// The columns that tell counters apart, and the one with the count.
pub const COLUMNS: ([&str; 2], &str) = (["stage", "counter"], "count");
