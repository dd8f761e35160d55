//! Limits of this crate, with their defaults.

/// Default of `--rows` of `millstream infer`.
pub const INFER_ROWS_MAX: u64 = 10_000;
/// Most that it may say.
pub const INFER_BYTES_MAX_MAX: u64 = 1 << 30;
/// Rows of each source that `run --sample` reads.
pub const SAMPLE_ROWS_READ: u64 = 1_000;
/// Rows of each stream that it shows.
pub const SAMPLE_ROWS_SHOWN: usize = 10;
/// Components that Python plugins begin as, which are kept; those that were not used for the longest time go first.
pub const PYTHON_BASES_MAX: usize = 8;
/// Bytes of a file of rejected rows that is given back.
pub const RETRY_FILE_BYTES_MAX: u64 = 1 << 30;
/// How often a worker process tells its supervisor that it lives, in milliseconds.
pub const HEARTBEAT_MS: u64 = 200;
/// A worker process that is silent for this long, in milliseconds, hangs: its supervisor kills it.
pub const HEARTBEAT_SILENCE_MS_MAX: u64 = 1_500;
/// The same, in milliseconds, of one that could run and does not, as others have the processors.
pub const HEARTBEAT_STARVED_MS_MAX: u64 = 15_000;
/// The pause before a failed worker process is started again, in milliseconds; it doubles with every failure.
pub const RESTART_PAUSE_MS: u64 = 100;
/// The longest such pause, in milliseconds.
pub const RESTART_PAUSE_MS_MAX: u64 = 10_000;
/// Restarts in a row in which no batch was committed, until the supervisor gives up.
pub const RESTARTS_MAX: u32 = 10;
/// Records by which the columns of standard input are found where nobody names them.
pub const PIPE_SAMPLE_ROWS: u64 = 1_000;
/// Bytes of these at most.
pub const PIPE_SAMPLE_BYTES_MAX: u64 = 1 << 20;
/// Rejected rows of a pipe that are told with their reason.
pub const PIPE_REASONS_SHOWN: usize = 3;
