//! The limits of this crate, with their defaults.

/// How often the processes of a job send signs of life, in milliseconds.
pub const LIVENESS_MS: u64 = 250;
/// How long a process whose part of the job has failed waits, in milliseconds, until all of it has ended. Then it
/// closes its connections, since processes may wait for each other.
pub const LIVENESS_FAILED_MS_MAX: u64 = 2_000;
/// A process that is silent for this long, in milliseconds, is considered lost.
pub const LIVENESS_TIMEOUT_MS: u64 = 1_500;
/// How long two processes may take to authenticate each other, in milliseconds: in total, not per byte.
pub const HELLO_MS_MAX: u64 = 5_000;
/// Maximum number of connections to a process that are read at a time before they have proven that they know the key.
pub const STRANGERS_MAX: usize = 128;
