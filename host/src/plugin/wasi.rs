//! What stands behind the `wasi:` imports of a plugin: virtual clocks, seeded random numbers, the log, and what is granted.

/// The state of one instance.
pub struct Wasi;
