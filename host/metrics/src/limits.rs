//! Limits of this crate, with their defaults.

/// Rejected rows of a source or stage that are logged if no stage or sink reads them; the rest is counted.
pub const REJECTED_ROWS_LOGGED: u64 = 5;
