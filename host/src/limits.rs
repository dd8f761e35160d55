//! Every limit and its default, in one place.

/// Rows of one part: the unit of decoding, of a plugin call and of an exchange.
pub const PART_ROWS_MAX: usize = 16_384;
/// Bytes of one part as received, unless a single record is larger.
pub const PART_BYTES_MAX: usize = 1 << 20;
/// Default of `rows_per_batch_max` of a source.
pub const ROWS_PER_BATCH_MAX: u64 = 1_000_000;
/// Default of `bytes_per_batch_max` of a source.
pub const BYTES_PER_BATCH_MAX: u64 = 64 << 20;
/// Default of `record_bytes_max` of a source: a longer line or frame is a rejected row.
pub const RECORD_BYTES_MAX: u64 = 16 << 20;
/// How much of a rejected record is kept, in bytes.
pub const REJECTED_BYTES_KEPT: usize = 1024;
/// Bytes that a source holds for the batches to come before its receiver waits.
pub const INBOX_BYTES_MAX: u64 = 16 << 20;
/// Default of `in_flight_max`: batches that have begun and are not yet committed.
pub const IN_FLIGHT_MAX: u64 = 4;
/// Default linear memory of a plugin instance, in bytes.
pub const PLUGIN_MEMORY_BYTES_MAX: u64 = 256 << 20;
/// Default time of one plugin call, in milliseconds.
pub const PLUGIN_TIME_MS_MAX: u64 = 10_000;
/// Default output of one plugin call, in bytes.
pub const PLUGIN_OUTPUT_BYTES_MAX: u64 = 256 << 20;
/// Lines that one plugin call may log; more are counted and dropped.
pub const PLUGIN_LOG_LINES_MAX: u32 = 100;
/// Bytes of one logged line; the rest is cut.
pub const PLUGIN_LOG_LINE_BYTES_MAX: usize = 4096;
/// Names of counters that one stage may make.
pub const PLUGIN_COUNTERS_MAX: usize = 100;
/// Bytes of the reason of one refused row; the rest is cut.
pub const PLUGIN_REASON_BYTES_MAX: usize = 1024;
/// Bytes of a plugin's own words in an error; the rest is cut.
pub const PLUGIN_WORDS_BYTES_MAX: usize = 8192;
/// Frames of a plugin's backtrace in an error.
pub const PLUGIN_FRAMES_MAX: usize = 20;
/// Call stack of a plugin, in bytes. It lies on the worker's own stack, which must be larger.
pub const PLUGIN_STACK_BYTES_MAX: usize = 1 << 20;
/// Elements of one table of a plugin.
pub const PLUGIN_TABLE_ELEMENTS_MAX: usize = 100_000;
/// Core modules, memories and tables, each, in one plugin.
pub const PLUGIN_PARTS_MAX: u32 = 16;
/// Columns of one schema that a plugin describes.
pub const PLUGIN_COLUMNS_MAX: usize = 1000;
/// Plugin instances alive in the process: stages × workers where they are kept, else about one a worker.
pub const PLUGIN_INSTANCES_MAX: u32 = 256;
/// Memory that a finished instance leaves resident for the next one, in bytes. What is above goes back to the system.
pub const PLUGIN_RESIDENT_BYTES_MAX: usize = 8 << 20;
/// Calls after which an instance that is kept (`instance = "worker"`) is replaced.
pub const PLUGIN_CALLS_PER_INSTANCE_MAX: u64 = 10_000;
/// Compiled components in the cache; the oldest go first.
pub const COMPILED_FILES_MAX: usize = 64;
/// Bytes of a component file.
pub const COMPONENT_BYTES_MAX: u64 = 64 << 20;
/// Bytes of a job file.
pub const JOB_FILE_BYTES_MAX: u64 = 1 << 20;
/// Rejected rows of a source or stage that are logged when nothing is attached to them; the rest is counted.
pub const REJECTED_ROWS_LOGGED: u64 = 5;
