//! The table of plugin counters in checkpoints.

/// Its name. It differs from all stages, whose names contain no dot.
pub const TABLE: &str = "millstream.counters";

/// The columns that identify counters, and the one with the count.
pub const COLUMNS: ([&str; 2], &str) = (["stage", "counter"], "count");
