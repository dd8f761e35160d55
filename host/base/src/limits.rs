//! Every limit and its default, in one place.

/// Rows of one part: the unit of decoding, of a plugin call and of an exchange.
pub const PART_ROWS_MAX: usize = 16_384;
/// Bytes of one part as received, unless a single record is larger.
pub const PART_BYTES_MAX: usize = 1 << 20;
/// Default of `rows_per_batch_max` of a source.
pub const ROWS_PER_BATCH_MAX: u64 = 1_000_000;
/// Default of `bytes_per_batch_max` of a source.
pub const BYTES_PER_BATCH_MAX: u64 = 64 << 20;
/// Default of `request_bytes_max` of an `http` source.
pub const HTTP_REQUEST_BYTES_MAX: u64 = 8 << 20;
/// Most that `request_bytes_max` may say.
pub const HTTP_REQUEST_BYTES_MAX_MAX: u64 = 1 << 30;
/// Bytes of the bodies that an `http` source is receiving, of all requests together; one request may have more.
pub const HTTP_BODIES_BYTES_MAX: u64 = 64 << 20;
/// Default of `request_time_max` of an `http` source, in milliseconds.
pub const HTTP_REQUEST_MS_MAX: u64 = 30_000;
/// How long the head of a request may take, or a connection without one may stay, in milliseconds.
pub const HTTP_HEAD_MS_MAX: u64 = 15_000;
/// Bytes of the head of a request.
pub const HTTP_HEAD_BYTES_MAX: usize = 16 << 10;
/// Headers of a request.
pub const HTTP_HEADERS_MAX: usize = 64;
/// Default of `connections_max` of an `http` source.
pub const HTTP_CONNECTIONS_MAX: u64 = 1_000;
/// Most that `connections_max` may say.
pub const HTTP_CONNECTIONS_MAX_MAX: u64 = 100_000;
/// Default of `producers_max` of an `http` source.
pub const HTTP_PRODUCERS_MAX: u64 = 10_000;
/// Most that `producers_max` may say.
pub const HTTP_PRODUCERS_MAX_MAX: u64 = 1_000_000;
/// Default of `rows_per_request_max` of an `http` sink.
pub const HTTP_REQUEST_ROWS_SENT_MAX: u64 = 10_000;
/// Default of `request_bytes_max` of an `http` sink.
pub const HTTP_REQUEST_BYTES_SENT_MAX: u64 = 4 << 20;
/// Default of `timeout` of an `http` sink, in milliseconds.
pub const HTTP_TIMEOUT_MS: u64 = 30_000;
/// How long a stream that an `http` source follows may be silent, in milliseconds, where the job does not say it.
pub const HTTP_STALL_MS: u64 = 30_000;
/// Bytes of an answer, event or message that an `http` source reads, unpacked, where the job does not say it.
pub const HTTP_ANSWER_BYTES_MAX: u64 = 8 << 20;
/// Bytes of the id of an event, or of a cursor, and of what an answer is known by. Longer ones are no positions.
pub const HTTP_PLACE_BYTES_MAX: usize = 1 << 10;
/// Pages of an answer that an `http` source asks for one behind the other, before it rests for as long as between two polls.
pub const HTTP_PAGES_MAX: u32 = 1_000;
/// The longest that an `http` source waits because a server says so (`Retry-After`), in milliseconds.
pub const HTTP_RETRY_AFTER_MS_MAX: u64 = 300_000;
/// Messages that a `websocket` sink keeps for clients that are slow.
pub const WEBSOCKET_MESSAGES_MAX: usize = 64;
/// Bytes of rows after which a `websocket` sink begins another message.
pub const WEBSOCKET_MESSAGE_BYTES: usize = 1 << 20;
/// Default of `rows_per_message_max` of a `websocket` sink.
pub const WEBSOCKET_MESSAGE_ROWS_MAX: u64 = 1_000;
/// Default of `clients_max` of a `websocket` sink.
pub const WEBSOCKET_CLIENTS_MAX: u64 = 100;
/// Bytes of the name of a producer.
pub const HTTP_PRODUCER_BYTES_MAX: usize = 128;
/// How many times `bytes_per_batch_max` the rows of a batch may be once they are decoded: `{}` is two bytes, and with a
/// thousand columns a row of ten thousand.
pub const DECODED_TIMES_MAX: u64 = 2;
/// Bytes of one part once its rows are decoded, unless a single row is larger.
pub const PART_DECODED_BYTES_MAX: u64 = 16 << 20;
/// Default of `record_bytes_max` of a source: a longer line or frame is a rejected row.
pub const RECORD_BYTES_MAX: u64 = 16 << 20;
/// Default of `rejected_bytes_max` of a source: how much of a record that does not decode is kept in its rejected row.
pub const REJECTED_BYTES_MAX: u64 = 1024;
/// Most that `rejected_bytes_max` may say.
pub const REJECTED_BYTES_MAX_MAX: u64 = 16 << 20;
/// Bytes of a file with the schema of records: `schema_file`, `descriptor`.
pub const SCHEMA_FILE_BYTES_MAX: u64 = 16 << 20;
/// Bytes of a block of an Avro file, as it stands and decompressed.
pub const AVRO_BLOCK_BYTES_MAX: u64 = 64 << 20;
/// Default of `--rows` of `millstream infer`.
pub const INFER_ROWS_MAX: u64 = 10_000;
/// Default of `--bytes` of `millstream infer`, which reads them into memory.
pub const INFER_BYTES_MAX: u64 = 64 << 20;
/// Most that it may say.
pub const INFER_BYTES_MAX_MAX: u64 = 1 << 30;
/// Rows of each source that `run --sample` reads.
pub const SAMPLE_ROWS_READ: u64 = 1_000;
/// Rows of each stream that it shows.
pub const SAMPLE_ROWS_SHOWN: usize = 10;
/// Bytes that a source holds for the batches to come before its receiver waits, with `batch = "0s"`; with an interval it
/// holds a whole batch, `bytes_per_batch_max`.
pub const INBOX_BYTES_MAX: u64 = 4 << 20;
/// Default of `memory` of a job, in hundredths of the machine's memory, or of the control group's limit where that is less.
pub const MEMORY_BYTES_DEFAULT_PERCENT: u64 = 75;
/// Least memory that a process of a job can do with: it and its libraries need much of that.
pub const MEMORY_BYTES_MIN: u64 = 128 << 20;
/// Most that `memory` of a job may say.
pub const MEMORY_BYTES_MAX_MAX: u64 = 1 << 50;
/// Least that `state.memory` of a job may say.
pub const STATE_MEMORY_BYTES_MIN: u64 = 1 << 20;
/// Default of `in_flight_max`: batches that have begun and are not yet committed.
pub const IN_FLIGHT_MAX: u64 = 4;
/// Default linear memory of a plugin instance, in bytes.
pub const PLUGIN_MEMORY_BYTES_MAX: u64 = 256 << 20;
/// Default time of one call of a plugin, in milliseconds: of one with at most [`PLUGIN_CALL_ROWS_MAX`] rows. A call with
/// more of them, as for a single large key, has as many times more, so that no limit depends on how much was waiting.
pub const PLUGIN_TIME_MS_MAX: u64 = 10_000;
/// How long the clock of time limits may be silent before it counts as standing still, in milliseconds.
pub const PLUGIN_CLOCK_SILENCE_MS_MAX: u64 = 500;
/// How long a call waits for a clock that stands still, in milliseconds; then it fails.
pub const PLUGIN_CLOCK_PATIENCE_MS: u64 = 2_000;
/// Default output of one plugin call, in bytes.
pub const PLUGIN_OUTPUT_BYTES_MAX: u64 = 256 << 20;
/// Default rows of the output of one plugin call.
pub const PLUGIN_OUTPUT_ROWS_MAX: u64 = 50_000_000;
/// Default of how many times more than its input a plugin call may return. The input counts as its rows or its bytes,
/// whichever are more.
pub const PLUGIN_EXPANSION_MAX: u64 = 1_000;
/// Bytes that a plugin call may return whatever its input.
pub const PLUGIN_EXPANSION_BYTES_FREE: u64 = 1 << 20;
/// Rows that a plugin call may return whatever its input.
pub const PLUGIN_EXPANSION_ROWS_FREE: u64 = 10_000;
/// Instructions that stand for a second where time must be counted alike on every machine.
pub const PLUGIN_FUEL_PER_SECOND: u64 = 1_000_000_000;
/// Default lines a second that a plugin may log, by stage and worker; more are counted and dropped.
pub const PLUGIN_LOG_LINES_PER_SECOND_MAX: u64 = 100;
/// Default bytes a second that a plugin may log, by stage and worker.
pub const PLUGIN_LOG_BYTES_PER_SECOND_MAX: u64 = 256 << 10;
/// Bytes of one logged line; the rest is cut.
pub const PLUGIN_LOG_LINE_BYTES_MAX: usize = 4096;
/// Bytes of a granted file that one call of `files.read` gives; the plugin asks again for more.
pub const PLUGIN_FILE_READ_BYTES_MAX: u64 = 16 << 20;
/// Instructions that a call of an import counts as, of ours or of WASI, beside one for each byte that it moves: about what
/// it costs.
pub const PLUGIN_IMPORT_FUEL: u64 = 500;
/// Default of how many names of counters one stage may make.
pub const PLUGIN_COUNTERS_MAX: u64 = 100;
/// Most that `limits.counters` may say.
pub const PLUGIN_COUNTERS_MAX_MAX: u64 = 10_000;
/// Timers that one plugin call may set and cancel.
pub const PLUGIN_TIMER_CHANGES_MAX: usize = 1_000_000;
/// Rows, keys, states or accumulators that one call of a plugin gets, unless a single key has more rows. At 100 µs a row,
/// which is slow for any language, this is a sixth of the default time.
pub const PLUGIN_CALL_ROWS_MAX: usize = 16_384;
/// Bytes of all that one call of a plugin gets, unless a single row or key has more.
pub const PLUGIN_CALL_BYTES_MAX: usize = 4 << 20;
/// Both, for rows that are cut into calls.
pub const PLUGIN_CALL_MAX: SliceMax = SliceMax { rows: PLUGIN_CALL_ROWS_MAX, bytes: PLUGIN_CALL_BYTES_MAX };
/// Bytes of the reason of one refused row; the rest is cut.
pub const PLUGIN_REASON_BYTES_MAX: usize = 1024;
/// Bytes of a plugin's own words in an error; the rest is cut.
pub const PLUGIN_WORDS_BYTES_MAX: usize = 8192;
/// Frames of a plugin's backtrace in an error.
pub const PLUGIN_FRAMES_MAX: usize = 20;
/// Default call stack of a plugin, in bytes. It lies on the worker's own stack, which must be larger.
pub const PLUGIN_STACK_BYTES_MAX: u64 = 1 << 20;
/// Least that `limits.stack` may say, in bytes.
pub const PLUGIN_STACK_BYTES_MIN: u64 = 64 << 10;
/// Most that `limits.stack` may say, in bytes.
pub const PLUGIN_STACK_BYTES_MAX_MAX: u64 = 8 << 20;
/// Stack of the threads that call plugins, in bytes, in the command `millstream`.
pub const THREAD_STACK_BYTES: u64 = 16 << 20;
/// The same where the address space of the process is limited: room for the default stack of a plugin, and twice that.
pub const THREAD_STACK_BYTES_COMPACT: u64 = 4 << 20;
/// How much of it is for the host, in bytes: below and above the plugin's.
pub const THREAD_STACK_BYTES_RESERVED: u64 = 768 << 10;
/// Default of the elements of all tables of a plugin instance.
pub const PLUGIN_TABLE_ELEMENTS_MAX: u64 = 100_000;
/// Most that `limits.tables` may say.
pub const PLUGIN_TABLE_ELEMENTS_MAX_MAX: u64 = 1_000_000;
/// Default of the core instances in one plugin instance. CPython and its libraries are about 40.
pub const PLUGIN_PARTS_MAX: u64 = 64;
/// Instructions that a core module may take to start when it is built.
pub const SNAPSHOT_FUEL: u64 = 2_000_000_000;
/// Most that `limits.instances` may say.
pub const PLUGIN_PARTS_MAX_MAX: u64 = 128;
/// Memories, and tables, in one plugin instance. No toolchain makes more than two of a kind, and each memory takes one of
/// the places that all instances share.
pub const PLUGIN_MEMORIES_MAX: u32 = 16;
/// Default of the handles of resources that a plugin instance may hold.
pub const PLUGIN_HANDLES_MAX: u64 = 10_000;
/// Most that `limits.handles` may say.
pub const PLUGIN_HANDLES_MAX_MAX: u64 = 1 << 20;
/// Default of the calls that look for the rows which make one call fail.
pub const PLUGIN_ATTEMPTS_MAX: u64 = 50_000;
/// How long a call of a plugin may take, in milliseconds, that is made once more to see where it stands; or how long it takes
/// to run so many instructions. Never longer than the call before it.
pub const PLUGIN_TRACE_TIME_MS_MAX: u64 = 2_000;
/// Places of which it is kept at a time how such a call came there, each in a line of the log.
pub const PLUGIN_PLACES_MAX: usize = 4_096;
/// How many times the fuel of one call all these calls together may burn.
pub const PLUGIN_ATTEMPTS_FUEL_CALLS: u64 = 100;
/// Default bytes of a backtrace that goes with a rejected row.
pub const PLUGIN_BACKTRACE_BYTES_MAX: u64 = 1024;
/// Most that `limits.backtrace` may say.
pub const PLUGIN_BACKTRACE_BYTES_MAX_MAX: u64 = 64 << 10;
/// Default bytes that all calls of a plugin may return in one batch, by stage and worker.
pub const PLUGIN_BATCH_OUTPUT_BYTES_MAX: u64 = 1 << 30;
/// Default bytes of the rows that a stage rejects in one batch, all workers of a process together.
pub const PLUGIN_BATCH_REJECTED_BYTES_MAX: u64 = 256 << 20;
/// Default of how many timers of one key may be set at a time.
pub const PLUGIN_TIMERS_PER_KEY_MAX: u64 = 10_000;
/// Default of how many timers a stage may have set at a time on one worker.
pub const PLUGIN_TIMERS_MAX: u64 = 10_000_000;
/// Default bytes of the state of one key.
pub const PLUGIN_STATE_BYTES_PER_KEY_MAX: u64 = 16 << 20;
/// Default time of compiling a component, in milliseconds.
pub const COMPILE_TIME_MS_MAX: u64 = 300_000;
/// Memory of the process that compiles a component, in bytes.
pub const COMPILE_MEMORY_BYTES_MAX: u64 = 3 << 30;
/// Functions of a component, all its modules together.
pub const COMPONENT_FUNCTIONS_MAX: u64 = 200_000;
/// Core modules of a component, and components inside it.
pub const COMPONENT_MODULES_MAX: u64 = 1_000;
/// Sections of a component, those of its modules included.
pub const COMPONENT_SECTIONS_MAX: u64 = 100_000;
/// Instances of modules and components that a component writes down.
pub const COMPONENT_INSTANCES_MAX: u64 = 10_000;
/// Types of a component, those of its modules included.
pub const COMPONENT_TYPES_MAX: u64 = 200_000;
/// Imports of a component, those of its modules included.
pub const COMPONENT_IMPORTS_MAX: u64 = 200_000;
/// Levels of components within components, and of types within types.
pub const COMPONENT_NESTING_MAX: u64 = 32;
/// Bytes of the code that a component is compiled to.
pub const COMPILED_BYTES_MAX: u64 = 512 << 20;
/// Files that the process which compiles a component may have open.
pub const COMPILE_FILES_MAX: u64 = 64;
/// How long a component that could not be compiled within its limits is not tried again, in seconds.
pub const COMPILE_REFUSED_S: u64 = 3_600;
/// Bytes of one function of a component.
pub const COMPONENT_FUNCTION_BYTES_MAX: u64 = 4 << 20;
/// Random bytes that a plugin may ask for at a time.
pub const PLUGIN_RANDOM_BYTES_MAX: usize = 1 << 20;
/// Bytes that one call of WASI reads or writes at most; a plugin that asks for more gets so many.
pub const PLUGIN_READ_BYTES_MAX: usize = 64 << 10;
/// How long a plugin without a time limit waits for one answer over HTTP, in milliseconds.
pub const PLUGIN_WAIT_MS_MAX: u64 = 60_000;
/// Requests over HTTP that one plugin call may make.
pub const PLUGIN_HTTP_REQUESTS_MAX: usize = 10_000;
/// Connections that one plugin instance may have open.
pub const PLUGIN_HTTP_OPEN_MAX: usize = 32;
/// Bytes of the body of a request, and of an answer.
pub const PLUGIN_HTTP_BODY_BYTES_MAX: usize = 16 << 20;
/// Bytes of the header fields of a request.
pub const PLUGIN_HTTP_FIELDS_BYTES_MAX: usize = 64 << 10;
/// Bytes that each row of an Arrow type takes, whatever it holds.
pub const PLUGIN_FIXED_BYTES_MAX: u64 = 64 << 10;
/// Columns of one schema that a plugin describes.
pub const PLUGIN_COLUMNS_MAX: usize = 1000;
/// Plugin instances alive at a time, of each kind of code: stages × workers where they are kept, else about one a worker.
pub const PLUGIN_INSTANCES_MAX: u32 = 256;
/// Plugins that a process has loaded and keeps though nothing uses them any more: those loaded last.
pub const PLUGINS_UNUSED_MAX: usize = 1;
/// Bytes of a file that a plugin is granted.
pub const GRANTED_FILE_BYTES_MAX: u64 = 256 << 20;
/// Memory that a finished instance leaves resident for the next one, in bytes. What is above goes back to the system. More than
/// a call of some rows writes holds up others: the system protects it, page by page, between instances, and meanwhile no other
/// thread of the process can change or look at the address space.
pub const PLUGIN_RESIDENT_BYTES_MAX: usize = 4 << 20;
/// Calls after which an instance that is kept (`instance = "worker"`) is replaced.
pub const PLUGIN_CALLS_PER_INSTANCE_MAX: u64 = 10_000;
/// Compiled components in the cache; those that were not used for the longest time go first.
pub const COMPILED_FILES_MAX: usize = 512;
/// Bytes of files of one kind in that cache together. Those of a plugin in Python are 10 to 40 MB, in Rust less than 1 MB.
pub const CACHED_CODE_BYTES_MAX: u64 = 2 << 30;
/// Components that Python plugins begin as, which are kept; those that were not used for the longest time go first.
pub const PYTHON_BASES_MAX: usize = 8;
/// Files with compiled functions of large runtimes in the cache; the oldest go first.
pub const FUNCTIONS_FILES_MAX: usize = 12;
/// Bytes of such a file.
pub const FUNCTIONS_KEPT_BYTES_MAX: usize = 256 << 20;
/// Bytes of a README that a component carries.
pub const README_BYTES_MAX: usize = 256 << 10;
/// Bytes of each section in which a component tells its schemas, the schema of its config, and its grants.
pub const DECLARED_BYTES_MAX: usize = 256 << 10;
/// Bytes of the manifest of a package, and of its config.
pub const PACKAGE_MANIFEST_BYTES_MAX: usize = 256 << 10;
/// Bytes of a component file.
pub const COMPONENT_BYTES_MAX: u64 = 64 << 20;
/// Bytes of a job file.
pub const JOB_FILE_BYTES_MAX: u64 = 1 << 20;
/// Bytes of an environment variable or secret file that a job names.
pub const VARIABLE_BYTES_MAX: u64 = 64 << 10;
/// Bytes of a lock file.
pub const LOCK_FILE_BYTES_MAX: u64 = 1 << 20;
/// Signatures of one package that are looked at and kept.
pub const PACKAGE_SIGNATURES_MAX: usize = 64;
/// Mistakes of a job that are shown at once.
pub const JOB_MISTAKES_SHOWN: usize = 20;
/// Sources, stages and sinks of a job, together.
pub const JOB_PARTS_MAX: usize = 1_000;
/// Bytes of the dotted path of a key whose line is kept for messages.
pub const JOB_PATH_BYTES_MAX: usize = 512;
/// Bytes of the name of a job, source, stage or sink.
pub const NAME_BYTES_MAX: usize = 64;
/// Worker threads that a job may ask for.
pub const WORKERS_MAX: u64 = 1_024;
/// Most that `in_flight_max` may say.
pub const IN_FLIGHT_MAX_MAX: u64 = 1_000;
/// Most that `record_bytes_max` and `record_bytes` may say: chunks and Arrow columns count bytes with 31 bits.
pub const RECORD_BYTES_MAX_MAX: u64 = 1 << 30;
/// Default of `events_per_second` of a `nexmark` source.
pub const NEXMARK_EVENTS_PER_SECOND: u64 = 10_000;
/// Most that `bytes` of a `nexmark` source may say.
pub const NEXMARK_BYTES_MAX: u64 = 4_096;
/// Most that `rows_per_second` may say.
pub const RATE_ROWS_PER_SECOND_MAX: u64 = 1_000_000_000;
/// Default of `poll` of a `directory` source, in milliseconds.
pub const DIRECTORY_POLL_MS: u64 = 500;
/// Default of `poll` of a `directory` source in a bucket, in milliseconds: each look is a request, which costs money.
pub const OBJECTS_POLL_MS: u64 = 5_000;
/// How much of an object is asked for at a time, in bytes. A source holds two such pieces.
pub const OBJECT_PIECE_BYTES: u64 = 4 << 20;
/// How often all names below a prefix are listed, at most, where they are more than one answer holds, in milliseconds; looks
/// between only list the names behind the last one.
pub const OBJECTS_LIST_ALL_MS: u64 = 60_000;
/// Default of `poll` of a `file` source that is followed, in milliseconds.
pub const FOLLOW_POLL_MS: u64 = 100;
/// Default of `settle`: how long a file must have stood still before it is read, or before a rotated one is at its end, in
/// milliseconds.
pub const SETTLE_MS: u64 = 1_000;
/// Default of `away_max`: how long a source waits for a file or folder that cannot be read, in milliseconds.
pub const AWAY_MS_MAX: u64 = 300_000;
/// Names of files that a `directory` remembers though they are not there any more. Those that went first are forgotten.
pub const DIRECTORY_NAMES_GONE_MAX: usize = 100_000;

/// Files that a process is told of before it has read them, where files are spread over processes.
pub const FILES_ORDERED_MAX: usize = 256;
/// Folders in the folder of a `directory` source.
pub const DIRECTORY_FOLDERS_MAX: usize = 100_000;
/// How often a job looks for rows that are given back to a stage, in milliseconds.
pub const RETRY_POLL_MS: u64 = 500;
/// Bytes of a file of rejected rows that is given back.
pub const RETRY_FILE_BYTES_MAX: u64 = 1 << 30;
/// Default of `rows` of a `print` sink.
pub const PRINT_ROWS: usize = 10;
/// Most that `rows` of a `print` sink may say.
pub const PRINT_ROWS_MAX: u64 = 1_000_000;
/// Least memory of a plugin instance, in bytes: one page of WebAssembly memory.
pub const PLUGIN_MEMORY_BYTES_MIN: u64 = 64 << 10;
/// Most memory of a plugin instance, in bytes: what 32 bits can address.
pub const PLUGIN_MEMORY_BYTES_MAX_MAX: u64 = 4 << 30;
/// Rejected rows of a source or stage that are logged when nothing is attached to them; the rest is counted.
pub const REJECTED_ROWS_LOGGED: u64 = 5;
/// When event time ends: how often timers may be called that were set by timers which were called then.
pub const TIMER_ROUNDS_MAX: u64 = 1_000;
/// Rows that a join may make of one batch on one worker.
pub const JOIN_ROWS_PER_BATCH_MAX: u64 = 50_000_000;
/// Rows of a state table that are copied at a time, as for a checkpoint.
pub const STATE_SLICE_MAX: SliceMax = SliceMax { rows: 65_536, bytes: 32 << 20 };
/// Bytes of one file of a state table, unless a single key group has more, and of all files of a checkpoint that wait to be written: a
/// worker with more of them waits. Where `state.memory` is small both are one of so many bytes of that, but so many at least.
pub const STATE_FILE_BYTES_MAX: u64 = 128 << 20;
/// See [`STATE_FILE_BYTES_MAX`].
pub const STATE_FILE_SHARE: u64 = 64;
/// See [`STATE_FILE_BYTES_MAX`].
pub const STATE_FILE_BYTES_MIN: u64 = 4 << 20;
/// Files of changes of one worker's part of a state table, before all of it is written again.
pub const STATE_DELTAS_MAX: usize = 64;
/// Bytes of the table of an enrichment: each worker holds all of it.
pub const ENRICH_BYTES_MAX: u64 = 64 << 20;
/// Default of `poll` of a `kafka` source: how often it looks for new partitions and topics, in milliseconds.
pub const KAFKA_POLL_MS: u64 = 30_000;
/// Bytes that a client of a Kafka cluster fetches ahead of the job, all partitions together.
pub const KAFKA_AHEAD_BYTES_MAX: u64 = 16 << 20;
/// Topics and partitions that a `kafka` source reads.
pub const KAFKA_PARTITIONS_MAX: usize = 100_000;
/// Default of `transaction` of a `kafka` sink: how long the transaction of a batch may take, in milliseconds.
pub const KAFKA_TRANSACTION_MS: u64 = 60_000;
/// The same, at least: librdkafka takes no shorter ones.
pub const KAFKA_TRANSACTION_MS_MIN: u64 = 1_000;
/// The same, at most: librdkafka takes no longer ones.
pub const KAFKA_TRANSACTION_MS_MAX: u64 = i32::MAX as u64;
/// Bytes of a `kafka` sink that are on their way to the brokers; a batch with more is sent bit by bit.
pub const KAFKA_QUEUE_BYTES_MAX: u64 = 32 << 20;
/// Records of the same.
pub const KAFKA_QUEUE_RECORDS_MAX: u64 = 100_000;
/// Default of `session` of a source of kind `mqtt`: how long the server keeps messages for a job that is away, in milliseconds.
pub const MQTT_SESSION_MS: u64 = 7 * 24 * 3_600_000;
/// Default of `message_bytes_max` of a source of kind `flight`: a server may send a whole table as one record batch.
pub const FLIGHT_MESSAGE_BYTES_MAX: u64 = 128 << 20;
/// Most that it may say: Arrow counts with 31 bits.
pub const FLIGHT_MESSAGE_BYTES_MAX_MAX: u64 = (1 << 31) - 1;
/// Default of `stall` and `timeout` of kind `flight`, in milliseconds: an answer may be a query that somebody computes first.
pub const FLIGHT_STALL_MS: u64 = 300_000;
/// Streams of one answer of a server of Arrow Flight, each of which has a position.
pub const FLIGHT_ENDPOINTS_MAX: usize = 10_000;
/// How many of them are read at a time.
pub const FLIGHT_ENDPOINTS_AT_ONCE: usize = 8;
/// Default of `wait` of whatever needs a server: how long a job waits for one that is away, in milliseconds.
pub const SERVER_WAIT_MS: u64 = 3_600_000;
/// How long a database may take for what a job asks before it begins, in seconds.
pub const SERVER_START_S_MAX: u64 = 60;
/// How long a database may take for the transaction of one batch, in seconds.
pub const SERVER_COMMIT_S_MAX: u64 = 600;
/// Bytes of the same once its rows are decoded.
pub const ENRICH_DECODED_BYTES_MAX: u64 = 512 << 20;
/// With `--until-idle`, how long all sources must have nothing to read.
pub const IDLE_MS: u64 = 2_000;
/// How often a worker process tells its supervisor that it lives, in milliseconds.
pub const HEARTBEAT_MS: u64 = 200;
/// A worker process that is silent for this long, in milliseconds, hangs: its supervisor kills it.
pub const HEARTBEAT_SILENCE_MS_MAX: u64 = 1_500;
/// The same, in milliseconds, of one that could run and does not, as others have the processors.
pub const HEARTBEAT_STARVED_MS_MAX: u64 = 15_000;
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
/// The pause before a failed worker process is started again, in milliseconds; it doubles with every failure.
pub const RESTART_PAUSE_MS: u64 = 100;
/// The longest such pause, in milliseconds.
pub const RESTART_PAUSE_MS_MAX: u64 = 10_000;
/// Restarts in a row in which no batch was committed, until the supervisor gives up.
pub const RESTARTS_MAX: u32 = 10;
/// Default of `every` of `[checkpoint]`, in milliseconds.
pub const CHECKPOINT_EVERY_MS: u64 = 10_000;
/// Checkpoints that are kept, the newest included.
pub const CHECKPOINTS_KEPT: usize = 3;
/// Batches behind an upgrade for which the checkpoint before it is kept beside those, with the plans since: so far back
/// `millstream rollback` can go, and so many batches it may have to run again.
pub const ROLLBACK_BATCHES_MAX: u64 = 3_600;
/// Batches for which a version of a plugin may run in the shadow of another.
pub const SHADOW_BATCHES_MAX: u64 = 1_000_000;
/// Windows of processing time without any row that come out after a pause, one by one; later ones are left out.
pub const EMPTY_WINDOWS_MAX: i64 = 100;
/// Slides of one window.
pub const WINDOW_SLIDES_MAX: u64 = 100_000;
/// Default of `length_max` of session windows, in milliseconds.
pub const SESSION_LENGTH_MS_MAX: u64 = 24 * 3600 * 1_000;
/// Steps of a pattern, those with `not` included: a row's answers to their conditions are the bits of one number.
pub const PATTERN_STEPS_MAX: usize = 32;
/// Most that a quantifier of a pattern may count to.
pub const PATTERN_REPEATS_MAX: u32 = 100_000;
/// Default of `rows_max` and `partials_max` of a pattern: what one key may keep.
pub const PATTERN_KEPT_MAX: u64 = 100_000;
/// Most that these two may say.
pub const PATTERN_ROWS_MOST: u64 = 10_000_000;
/// Most that `partitions` of a `repartition` stage may say.
pub const PARTITIONS_MAX: u64 = 1_024;
/// Default of `poll` of an enrichment by a file, in milliseconds.
pub const ENRICH_FILE_POLL_MS: u64 = 1_000;
/// Default of `poll` of an enrichment by a query, in milliseconds.
pub const ENRICH_QUERY_POLL_MS: u64 = 30_000;
/// Bytes of an SQL query or expression.
pub const SQL_BYTES_MAX: usize = 64 << 10;
/// Default of the memory of a query on one worker, for rows that it holds and for what one call of a function makes.
pub const SQL_MEMORY_BYTES_MAX: u64 = 1 << 30;
/// Least that `limits.memory` of a query may say.
pub const SQL_MEMORY_BYTES_MIN: u64 = 1 << 20;
/// Most that `limits.memory` of a query may say.
pub const SQL_MEMORY_BYTES_MAX_MAX: u64 = 1 << 40;
/// Default of the time of a query over one batch or window on one worker, in milliseconds.
pub const SQL_TIME_MS_MAX: u64 = 60_000;
/// How long a query may go on when its job is to stop, in milliseconds.
pub const SQL_STOP_MS: u64 = 5_000;
/// What is constant in a query and has at most so many bytes is computed when the job is loaded; more is computed when it
/// runs.
pub const SQL_PLAN_BYTES_MAX: u64 = 1 << 20;
/// How long planning a query or expression may take, in milliseconds.
pub const SQL_PLAN_MS_MAX: u64 = 10_000;
/// Levels of an SQL query or expression: operators and keywords that belong together.
pub const SQL_DEPTH_MAX: usize = 400;
/// How many `cast(…)`, `not (…)` and their kin stand within each other at most: the parser reads each of them twice where
/// something in it is wrong.
pub const SQL_TRIED_TWICE_MAX: usize = 16;
/// Bytes of a list of a registry: of tags, of packages, of manifests.
pub const REGISTRY_INDEX_BYTES_MAX: u64 = 16 << 20;
/// Packages of a registry, versions of a package, and files of a folder, each.
pub const REGISTRY_ENTRIES_MAX: usize = 10_000;
/// How long one question to a registry may take, a whole package included, in seconds.
pub const REGISTRY_TIME_S: u64 = 300;
/// How long a registry may be silent in the middle of it, in seconds.
pub const REGISTRY_SILENCE_S: u64 = 30;
/// How long a connection to a registry may take, in seconds.
pub const REGISTRY_CONNECT_S: u64 = 10;
/// Memory of the process that talks to a registry, in bytes.
pub const REGISTRY_MEMORY_BYTES_MAX: u64 = 512 << 20;
/// Files and connections that it may have open.
pub const REGISTRY_FILES_MAX: u64 = 64;
/// Packages of a registry that a search looks at.
pub const REGISTRY_SEARCHED_MAX: usize = 500;
/// Bytes of a policy of registries and signers.
pub const POLICY_FILE_BYTES_MAX: u64 = 1 << 20;
/// The bytes of a file of a sink that rolls, where the job does not say.
pub const ROLL_BYTES: u64 = 128 << 20;
/// The least that it may say.
pub const ROLL_BYTES_MIN: u64 = 1 << 10;
/// The most: object stores copy objects of up to 5 GiB.
pub const ROLL_BYTES_MAX: u64 = 4 << 30;
/// How long after its first batch such a file is complete, where the job does not say, in milliseconds.
pub const ROLL_MS: u64 = 300_000;
/// Files that roll and are open at a time, where the job does not say.
pub const OPEN_PARTS: usize = 100;
/// The most that it may say: each is an open file of the process.
pub const OPEN_PARTS_MAX: u64 = 1_000;
/// Folders of `partition_by` into which the rows of a batch go.
pub const FOLDERS_PER_BATCH_MAX: usize = 10_000;
/// The longest name of a folder of `partition_by`, in bytes: file systems have no longer ones.
pub const FOLDER_NAME_BYTES_MAX: usize = 255;

/// How large a slice may be, unless it is a single row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceMax {
    /// Rows.
    pub rows: usize,
    /// Bytes of their columns.
    pub bytes: usize,
}

/// Bytes that a plugin reads from a connection at a time.
pub const PLUGIN_NET_READ_BYTES_MAX: u32 = 1 << 20;
/// Bytes that a plugin writes to a connection at a time.
pub const PLUGIN_NET_WRITE_BYTES_MAX: usize = 1 << 20;
/// Bytes of a position of a source plugin.
pub const PLUGIN_POSITION_BYTES_MAX: usize = 4 << 10;
/// Bytes of the name of a partition of a source plugin.
pub const PLUGIN_PARTITION_NAME_BYTES_MAX: usize = 256;
/// The largest id of a batch that a sink plugin may say it holds: no job comes so far, and no number that JSON has is larger.
pub const PLUGIN_BATCH_ID_MAX: u64 = 1 << 53;
/// Servers that one socket source reads, each of which has a connection.
pub const SOCKET_ADDRESSES_MAX: usize = 256;
/// Partitions of a source that is polled: each has a thread, and an instance of a plugin or a connection.
pub const POLLED_PARTITIONS_MAX: usize = 64;
/// How long a poll of such a source waits for rows, in milliseconds.
pub const POLL_WAIT_MS: u64 = 500;
/// The same while somebody waits to hear that rows are safe.
pub const POLL_WAIT_SHORT_MS: u64 = 10;
/// Bytes of a window of events that a Beat sends, unpacked, where a job says nothing else.
pub const LUMBERJACK_WINDOW_BYTES_MAX: u64 = 16 << 20;
/// How long such a window may take to come in, in milliseconds, where a job says nothing else.
pub const LUMBERJACK_WINDOW_MS_MAX: u64 = 30_000;
/// Bytes of a message of syslog, where a job says nothing else.
pub const SYSLOG_BYTES_MAX: u64 = 64 << 10;

/// Bytes of the header of a message in a stream of Arrow IPC, where a stream comes through a pipe.
pub const ARROW_HEADER_BYTES_MAX: usize = 16 << 20;
/// Bytes of such a message, unpacked as well.
pub const ARROW_MESSAGE_BYTES_MAX: usize = 512 << 20;

/// Records by which the columns of standard input are found where nobody names them.
pub const PIPE_SAMPLE_ROWS: u64 = 1_000;
/// Bytes of these at most.
pub const PIPE_SAMPLE_BYTES_MAX: u64 = 1 << 20;
/// Rejected rows of a pipe that are told with their reason.
pub const PIPE_REASONS_SHOWN: usize = 3;
