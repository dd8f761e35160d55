//! Limits of this crate, with their defaults.

/// Rejected rows of a source or stage that are logged when nothing is attached to them; the rest is counted.
pub const REJECTED_ROWS_LOGGED: u64 = 5;
