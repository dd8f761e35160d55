//! Limits of this crate, with their defaults.

/// How often processes of a job tell each other that they live, in milliseconds.
pub const LIVENESS_MS: u64 = 250;
/// How long a process whose part of the job has failed waits, in milliseconds, until all of it has ended; then it breaks its
/// connections, as the others may wait for it and it for them.
pub const LIVENESS_FAILED_MS_MAX: u64 = 2_000;
/// A process that is silent for this long, in milliseconds, is lost to the others.
pub const LIVENESS_SILENCE_MS_MAX: u64 = 1_500;
/// How long two processes have to make sure of each other, in milliseconds: for all that is said, not for each byte.
pub const HELLO_MS_MAX: u64 = 5_000;
/// Connections to a process of a job that are heard at a time before they have proven that they know its key.
pub const STRANGERS_MAX: usize = 128;
