//! Limits of this crate, with their defaults.

/// How long the clock of time limits may not tick before it counts as stopped, in milliseconds.
pub const PLUGIN_CLOCK_GAP_MS_MAX: u64 = 500;
/// How long a call waits for a stopped clock, in milliseconds; then it fails.
pub const PLUGIN_CLOCK_PATIENCE_MS: u64 = 2_000;
/// Bytes that a plugin call may return whatever its input.
pub const PLUGIN_EXPANSION_BYTES_FREE: u64 = 1 << 20;
/// Rows that a plugin call may return whatever its input.
pub const PLUGIN_EXPANSION_ROWS_FREE: u64 = 10_000;
/// Number of instructions that count as one second where limits must be the same on every machine.
pub const PLUGIN_FUEL_PER_SECOND: u64 = 1_000_000_000;
/// Bytes of one logged line; the rest is cut.
pub const PLUGIN_LOG_LINE_BYTES_MAX: usize = 4096;
/// Maximum bytes of a granted file that one call of `files.read` returns; the plugin calls it again for more.
pub const PLUGIN_FILE_READ_BYTES_MAX: u64 = 16 << 20;
/// Instructions that a call of an import counts as, ours or of WASI, in addition to one per byte that it moves: about its real cost.
pub const PLUGIN_IMPORT_FUEL: u64 = 500;
/// Timers that one plugin call may set and cancel.
pub const PLUGIN_TIMER_CHANGES_MAX: usize = 1_000_000;
/// Maximum bytes of a plugin's own text in an error; the rest is cut.
pub const PLUGIN_MESSAGE_BYTES_MAX: usize = 8192;
/// Frames of a plugin's backtrace in an error.
pub const PLUGIN_FRAMES_MAX: usize = 20;
/// Instructions that a core module may take to start when it is built.
pub const SNAPSHOT_FUEL: u64 = 2_000_000_000;
/// Maximum memories, and tables, in one plugin instance. No toolchain creates more than two of a kind, and each memory takes one of the
/// slots that all instances share.
pub const PLUGIN_MEMORIES_MAX: u32 = 16;
/// Maximum duration of a call that is repeated to find its source line, in milliseconds; with fuel, the time that this many instructions
/// take. Never longer than the original call.
pub const PLUGIN_TRACE_TIME_MS_MAX: u64 = 2_000;
/// Maximum source locations for which such a call keeps the call stack, each in one line of the log.
pub const PLUGIN_CALL_LOCATIONS_MAX: usize = 4_096;
/// Maximum fuel of all these calls together, in multiples of the fuel of one call.
pub const PLUGIN_ATTEMPTS_FUEL_CALLS: u64 = 100;
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
/// How long a component that exceeded the limits of compilation is not retried, in seconds.
pub const COMPILE_REFUSED_S: u64 = 3_600;
/// Bytes of one function of a component.
pub const COMPONENT_FUNCTION_BYTES_MAX: u64 = 4 << 20;
/// Maximum random bytes per request of a plugin.
pub const PLUGIN_RANDOM_BYTES_MAX: usize = 1 << 20;
/// Maximum bytes that one call of WASI reads or writes; a plugin that requests more gets this many.
pub const PLUGIN_READ_BYTES_MAX: usize = 64 << 10;
/// How long a plugin without a time limit waits for one HTTP response, in milliseconds.
pub const PLUGIN_WAIT_MS_MAX: u64 = 60_000;
/// Requests over HTTP that one plugin call may make.
pub const PLUGIN_HTTP_REQUESTS_MAX: usize = 10_000;
/// Connections that one plugin instance may have open.
pub const PLUGIN_HTTP_OPEN_MAX: usize = 32;
/// Maximum bytes of the body of a request, and of a response.
pub const PLUGIN_HTTP_BODY_BYTES_MAX: usize = 16 << 20;
/// Bytes of the header fields of a request.
pub const PLUGIN_HTTP_FIELDS_BYTES_MAX: usize = 64 << 10;
/// Bytes that each row of an Arrow type takes, whatever it holds.
pub const PLUGIN_FIXED_BYTES_MAX: u64 = 64 << 10;
/// Columns of one schema that a plugin describes.
pub const PLUGIN_COLUMNS_MAX: usize = 1000;
/// Maximum unused plugins that a process keeps loaded: the most recently loaded ones.
pub const PLUGINS_UNUSED_MAX: usize = 1;
/// Bytes of a file that a plugin is granted.
pub const GRANTED_FILE_BYTES_MAX: u64 = 256 << 20;
/// Memory that a finished instance leaves resident for the next one, in bytes; the rest is returned to the system. A larger value would
/// delay other threads: between instances the kernel protects these pages one by one, and meanwhile no other thread of the process can
/// change the address space.
pub const PLUGIN_RESIDENT_BYTES_MAX: usize = 4 << 20;
/// Calls after which an instance that is kept (`instance = "worker"`) is replaced.
pub const PLUGIN_CALLS_PER_INSTANCE_MAX: u64 = 10_000;
/// Maximum compiled components in the cache; the least recently used ones are deleted first.
pub const COMPILED_FILES_MAX: usize = 512;
/// Bytes of files of one kind in that cache together. Those of a plugin in Python are 10 to 40 MB, in Rust less than 1 MB.
pub const CACHED_CODE_BYTES_MAX: u64 = 2 << 30;
/// Files with compiled functions of large runtimes in the cache; the oldest go first.
pub const FUNCTIONS_FILES_MAX: usize = 12;
/// Bytes of such a file.
pub const FUNCTIONS_KEPT_BYTES_MAX: usize = 256 << 20;
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
