//! The limits of this crate, with their defaults.

/// Default of `--rows` of `millstream infer`.
pub const INFER_ROWS_MAX: u64 = 10_000;
/// Maximum of `--bytes` of `millstream infer`.
pub const INFER_BYTES_MAX_MAX: u64 = 1 << 30;
/// Rows of each source that `run --sample` reads.
pub const SAMPLE_ROWS_READ: u64 = 1_000;
/// Rows of each stream that it shows.
pub const SAMPLE_ROWS_SHOWN: usize = 10;
/// Maximum number of cached base components of Python plugins. The least recently used ones are deleted first.
pub const PYTHON_BASES_MAX: usize = 8;
/// Maximum bytes of a file of rejected rows that are retried.
pub const RETRY_FILE_BYTES_MAX: u64 = 1 << 30;
/// How often a worker process sends a sign of life to its supervisor, in milliseconds.
pub const HEARTBEAT_MS: u64 = 200;
/// A worker process that is silent for this long, in milliseconds, does not respond: its supervisor kills it.
pub const HEARTBEAT_TIMEOUT_MS: u64 = 1_500;
/// The same, in milliseconds, for a process that is ready to run while others use the processors.
pub const HEARTBEAT_STARVED_MS_MAX: u64 = 15_000;
/// The pause before a failed worker process is restarted, in milliseconds. It doubles with every failure.
pub const RESTART_PAUSE_MS: u64 = 100;
/// The longest such pause, in milliseconds.
pub const RESTART_PAUSE_MS_MAX: u64 = 10_000;
/// Maximum consecutive restarts without a committed batch, until the supervisor stops the job.
pub const RESTARTS_MAX: u32 = 10;
/// Maximum records from which the columns of standard input are inferred.
pub const PIPE_SAMPLE_ROWS: u64 = 1_000;
/// Maximum bytes of these records.
pub const PIPE_SAMPLE_BYTES_MAX: u64 = 1 << 20;
/// Maximum rejected rows of a pipe that are shown with their reason.
pub const PIPE_REASONS_SHOWN: usize = 3;
