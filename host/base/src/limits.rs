//! Limits that two crates share, with their defaults. Those of one crate are in its own `limits`.

/// Rows of one part: the unit of decoding, of a plugin call and of an exchange.
pub const PART_ROWS_MAX: usize = 16_384;
/// Bytes of one part as received, unless a single record is larger.
pub const PART_BYTES_MAX: usize = 1 << 20;
/// Default of `rows_per_batch_max` of a source.
pub const ROWS_PER_BATCH_MAX: u64 = 1_000_000;
/// Default of `bytes_per_batch_max` of a source.
pub const BYTES_PER_BATCH_MAX: u64 = 64 << 20;
/// Maximum of `request_bytes_max`.
pub const HTTP_REQUEST_BYTES_MAX_MAX: u64 = 1 << 30;
/// Default of `connections_max` of an `http` source.
pub const HTTP_CONNECTIONS_MAX: u64 = 1_000;
/// Maximum of `connections_max`.
pub const HTTP_CONNECTIONS_MAX_MAX: u64 = 100_000;
/// Default of `timeout` of an `http` sink, in milliseconds.
pub const HTTP_TIMEOUT_MS: u64 = 30_000;
/// How many times `bytes_per_batch_max` the decoded rows of a batch may take: `{}` is two bytes, and with a thousand columns a row of ten thousand.
pub const DECODED_TIMES_MAX: u64 = 2;
/// Default of `record_bytes_max` of a source: a longer line or frame is a rejected row.
pub const RECORD_BYTES_MAX: u64 = 16 << 20;
/// Default of `rejected_bytes_max` of a source: how much of a record that does not decode is kept in its rejected row.
pub const REJECTED_BYTES_MAX: u64 = 1024;
/// Maximum of `rejected_bytes_max`.
pub const REJECTED_BYTES_MAX_MAX: u64 = 16 << 20;
/// Bytes of a file with the schema of records: `schema_file`, `descriptor`.
pub const SCHEMA_FILE_BYTES_MAX: u64 = 16 << 20;
/// Bytes that a source holds for the next batches before its receiver waits, with `batch = "0s"`. With an interval it holds a full batch,
/// `bytes_per_batch_max`.
pub const INBOX_BYTES_MAX: u64 = 4 << 20;
/// Default of `memory` of a job, in percent of the machine's memory, or of the control group's limit if that is less.
pub const MEMORY_BYTES_DEFAULT_PERCENT: u64 = 75;
/// Minimum memory of a process of a job: the process and its libraries need much of that.
pub const MEMORY_BYTES_MIN: u64 = 128 << 20;
/// Maximum of `memory` of a job.
pub const MEMORY_BYTES_MAX_MAX: u64 = 1 << 50;
/// Minimum of `state.memory` of a job.
pub const STATE_MEMORY_BYTES_MIN: u64 = 1 << 20;
/// Default of `in_flight_max`: batches that have begun and are not yet committed.
pub const IN_FLIGHT_MAX: u64 = 4;
/// Default linear memory of a plugin instance, in bytes.
pub const PLUGIN_MEMORY_BYTES_MAX: u64 = 256 << 20;
/// Default time of one call of a plugin, in milliseconds, for at most [`PLUGIN_CALL_ROWS_MAX`] rows. A call with more of them, for example for a
/// single large key, has proportionally more time, so that no limit depends on how much was waiting.
pub const PLUGIN_TIME_MS_MAX: u64 = 10_000;
/// Default output of one plugin call, in bytes.
pub const PLUGIN_OUTPUT_BYTES_MAX: u64 = 256 << 20;
/// Default rows of the output of one plugin call.
pub const PLUGIN_OUTPUT_ROWS_MAX: u64 = 50_000_000;
/// Default of the maximum ratio of a plugin call's output to its input. The input counts as its rows or its bytes, whichever are more.
pub const PLUGIN_EXPANSION_MAX: u64 = 1_000;
/// Default log lines/s of a plugin, by stage and worker; more are counted and dropped.
pub const PLUGIN_LOG_LINES_PER_SECOND_MAX: u64 = 100;
/// Default log bytes/s of a plugin, by stage and worker.
pub const PLUGIN_LOG_BYTES_PER_SECOND_MAX: u64 = 256 << 10;
/// Default of the number of counter names of one stage.
pub const PLUGIN_COUNTERS_MAX: u64 = 100;
/// Maximum of `limits.counters`.
pub const PLUGIN_COUNTERS_MAX_MAX: u64 = 10_000;
/// Rows, keys, states or accumulators in one call of a plugin, unless a single key has more rows. At 100 µs per row, which is slow for any language,
/// this is a sixth of the default time.
pub const PLUGIN_CALL_ROWS_MAX: usize = 16_384;
/// Bytes in one call of a plugin, unless a single row or key has more.
pub const PLUGIN_CALL_BYTES_MAX: usize = 4 << 20;
/// Both limits, for cutting rows into calls.
pub const PLUGIN_CALL_MAX: SliceMax = SliceMax { rows: PLUGIN_CALL_ROWS_MAX, bytes: PLUGIN_CALL_BYTES_MAX };
/// Bytes of the reason of one rejected row; the rest is cut.
pub const PLUGIN_REASON_BYTES_MAX: usize = 1024;
/// Default call stack of a plugin, in bytes. It is part of the worker's own stack, which must be larger.
pub const PLUGIN_STACK_BYTES_MAX: u64 = 1 << 20;
/// Minimum of `limits.stack`, in bytes.
pub const PLUGIN_STACK_BYTES_MIN: u64 = 64 << 10;
/// Maximum of `limits.stack`, in bytes.
pub const PLUGIN_STACK_BYTES_MAX_MAX: u64 = 8 << 20;
/// Stack of the threads that call plugins, in bytes, in the command `millstream`.
pub const THREAD_STACK_BYTES: u64 = 16 << 20;
/// The same if the address space of the process is limited: room for twice the default stack of a plugin.
pub const THREAD_STACK_BYTES_COMPACT: u64 = 4 << 20;
/// How much of it is for the host, in bytes: below and above the plugin's.
pub const THREAD_STACK_BYTES_RESERVED: u64 = 768 << 10;
/// Default of the elements of all tables of a plugin instance.
pub const PLUGIN_TABLE_ELEMENTS_MAX: u64 = 100_000;
/// Maximum of `limits.tables`.
pub const PLUGIN_TABLE_ELEMENTS_MAX_MAX: u64 = 1_000_000;
/// Default of the core instances in one plugin instance. CPython and its libraries take about 40.
pub const PLUGIN_PARTS_MAX: u64 = 64;
/// Maximum of `limits.instances`.
pub const PLUGIN_PARTS_MAX_MAX: u64 = 128;
/// Default of the handles of resources that a plugin instance may hold.
pub const PLUGIN_HANDLES_MAX: u64 = 10_000;
/// Maximum of `limits.handles`.
pub const PLUGIN_HANDLES_MAX_MAX: u64 = 1 << 20;
/// Default of the calls that search for the rows which make one call fail.
pub const PLUGIN_ATTEMPTS_MAX: u64 = 50_000;
/// Default bytes of the backtrace of a rejected row.
pub const PLUGIN_BACKTRACE_BYTES_MAX: u64 = 1024;
/// Maximum of `limits.backtrace`.
pub const PLUGIN_BACKTRACE_BYTES_MAX_MAX: u64 = 64 << 10;
/// Default bytes that all calls of a plugin may return in one batch, by stage and worker.
pub const PLUGIN_BATCH_OUTPUT_BYTES_MAX: u64 = 1 << 30;
/// Default bytes of the rows that a stage rejects in one batch, for all workers of a process together.
pub const PLUGIN_BATCH_REJECTED_BYTES_MAX: u64 = 256 << 20;
/// Default of the number of pending timers of one key.
pub const PLUGIN_TIMERS_PER_KEY_MAX: u64 = 10_000;
/// Default of the number of pending timers of a stage on one worker.
pub const PLUGIN_TIMERS_MAX: u64 = 10_000_000;
/// Default bytes of the state of one key.
pub const PLUGIN_STATE_BYTES_PER_KEY_MAX: u64 = 16 << 20;
/// Default time of compiling a component, in milliseconds.
pub const COMPILE_TIME_MS_MAX: u64 = 300_000;
/// Concurrent plugin instances of each kind of code: stages × workers if they are kept, otherwise about one per worker.
pub const PLUGIN_INSTANCES_MAX: u32 = 256;
/// Bytes of a README in a component.
pub const README_BYTES_MAX: usize = 256 << 10;
/// Bytes of each section of a component that declares its schemas, the schema of its config, and its permissions.
pub const DECLARED_BYTES_MAX: usize = 256 << 10;
/// Bytes of a component file.
pub const COMPONENT_BYTES_MAX: u64 = 64 << 20;
/// Bytes of a job file.
pub const JOB_FILE_BYTES_MAX: u64 = 1 << 20;
/// Bytes of an environment variable or secret file that a job names.
pub const VARIABLE_BYTES_MAX: u64 = 64 << 10;
/// Number of errors of a job that are shown together.
pub const JOB_ERRORS_SHOWN: usize = 20;
/// Number of sources, stages and sinks of a job together.
pub const JOB_PARTS_MAX: usize = 1_000;
/// Bytes of the dotted path of a key whose line is kept for messages.
pub const JOB_PATH_BYTES_MAX: usize = 512;
/// Bytes of the name of a job, source, stage or sink.
pub const NAME_BYTES_MAX: usize = 64;
/// Maximum worker threads of a job.
pub const WORKERS_MAX: u64 = 1_024;
/// Maximum of `in_flight_max`.
pub const IN_FLIGHT_MAX_MAX: u64 = 1_000;
/// Maximum of `record_bytes_max` and `record_bytes`: chunks and Arrow columns count bytes with 31 bits.
pub const RECORD_BYTES_MAX_MAX: u64 = 1 << 30;
/// Default of `away_max`: how long a source waits for a file or directory that cannot be read, in milliseconds.
pub const AWAY_MS_MAX: u64 = 300_000;
/// How often a job checks for retried rows of a stage, in milliseconds.
pub const RETRY_POLL_MS: u64 = 500;
/// Minimum memory of a plugin instance, in bytes: one page of WebAssembly memory.
pub const PLUGIN_MEMORY_BYTES_MIN: u64 = 64 << 10;
/// Maximum memory of a plugin instance, in bytes: what 32 bits can address.
pub const PLUGIN_MEMORY_BYTES_MAX_MAX: u64 = 4 << 30;
/// Bytes of the table of an enrichment: each worker holds all of it.
pub const ENRICH_BYTES_MAX: u64 = 64 << 20;
/// Default of `wait` of everything that needs a server: how long a job waits for an unreachable one, in milliseconds.
pub const SERVER_WAIT_MS: u64 = 3_600_000;
/// With `--until-idle`, how long all sources must have nothing to read.
pub const IDLE_MS: u64 = 2_000;
/// Default of `every` of `[checkpoint]`, in milliseconds.
pub const CHECKPOINT_EVERY_MS: u64 = 10_000;
/// Maximum batches for which a plugin version may run as a shadow of another.
pub const SHADOW_BATCHES_MAX: u64 = 1_000_000;
/// Slides of one window.
pub const WINDOW_SLIDES_MAX: u64 = 100_000;
/// Default of `length_max` of session windows, in milliseconds.
pub const SESSION_LENGTH_MS_MAX: u64 = 24 * 3600 * 1_000;
/// Maximum steps of a pattern, including those with `not`: the results of a row's conditions are the bits of one number.
pub const PATTERN_STEPS_MAX: usize = 32;
/// Maximum of a quantifier of a pattern.
pub const PATTERN_REPEATS_MAX: u32 = 100_000;
/// Default of `rows_max` and `partials_max` of a pattern, per key.
pub const PATTERN_KEPT_MAX: u64 = 100_000;
/// Maximum of these two.
pub const PATTERN_ROWS_MAX_MAX: u64 = 10_000_000;
/// Maximum of `partitions` of a `repartition` stage.
pub const PARTITIONS_MAX: u64 = 1_024;
/// Default of `poll` of an enrichment by a file, in milliseconds.
pub const ENRICH_FILE_POLL_MS: u64 = 1_000;
/// Default of `poll` of an enrichment by a query, in milliseconds.
pub const ENRICH_QUERY_POLL_MS: u64 = 30_000;
/// Bytes of an SQL query or expression.
pub const SQL_BYTES_MAX: usize = 64 << 10;
/// Default of the memory of a query on one worker, for rows that it holds and for the results of one function call.
pub const SQL_MEMORY_BYTES_MAX: u64 = 1 << 30;
/// Minimum of `limits.memory` of a query.
pub const SQL_MEMORY_BYTES_MIN: u64 = 1 << 20;
/// Maximum of `limits.memory` of a query.
pub const SQL_MEMORY_BYTES_MAX_MAX: u64 = 1 << 40;
/// Default of the time of a query over one batch or window on one worker, in milliseconds.
pub const SQL_TIME_MS_MAX: u64 = 60_000;
/// Servers that one socket source reads, each of which has a connection.
pub const SOCKET_ADDRESSES_MAX: usize = 256;
/// Partitions of a polled source: each has a thread, and an instance of a plugin or a connection.
pub const POLLED_PARTITIONS_MAX: usize = 64;

/// Maximum size of a slice, unless it is a single row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceMax {
    /// Rows.
    pub rows: usize,
    /// Bytes of their columns.
    pub bytes: usize,
}
