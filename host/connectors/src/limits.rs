//! Limits of this crate, with their defaults.

/// Maximum bytes of bodies that an `http` source is receiving, of all requests together; one request may have more.
pub const HTTP_BODIES_BYTES_MAX: u64 = 64 << 20;
/// Maximum time of a request's head, and of a connection without a request, in milliseconds.
pub const HTTP_HEAD_MS_MAX: u64 = 15_000;
/// Maximum bytes of a request's head.
pub const HTTP_HEAD_BYTES_MAX: usize = 16 << 10;
/// Maximum headers of a request.
pub const HTTP_HEADERS_MAX: usize = 64;
/// Maximum bytes of an event id, a cursor, or a response's validator. Longer ones are not used as positions.
pub const HTTP_POSITION_BYTES_MAX: usize = 1 << 10;
/// Maximum pages of a response that an `http` source requests in a row, before it pauses for the poll interval.
pub const HTTP_PAGES_MAX: u32 = 1_000;
/// Maximum time that an `http` source waits because of the server's `Retry-After`, in milliseconds.
pub const HTTP_RETRY_AFTER_MS_MAX: u64 = 300_000;
/// Messages that a `websocket` sink keeps for slow clients.
pub const WEBSOCKET_MESSAGES_MAX: usize = 64;
/// Bytes of rows after which a `websocket` sink begins another message.
pub const WEBSOCKET_MESSAGE_BYTES: usize = 1 << 20;
/// Maximum bytes of a producer's name.
pub const HTTP_PRODUCER_BYTES_MAX: usize = 128;
/// Bytes of an object that are requested at a time. A source holds two such pieces.
pub const OBJECT_PIECE_BYTES: u64 = 4 << 20;
/// Minimum interval between full listings of a prefix whose names do not fit into one response, in milliseconds. In between, only names
/// after the last one are listed.
pub const OBJECTS_LIST_ALL_MS: u64 = 60_000;
/// Default of `poll` of a `directory` source, in milliseconds.
pub const DIRECTORY_POLL_MS: u64 = 500;
/// Default of `poll` of a `directory` source in a bucket, in milliseconds: each poll is a request, which costs money.
pub const OBJECTS_POLL_MS: u64 = 5_000;
/// Default of `poll` of a `file` source that is followed, in milliseconds.
pub const FOLLOW_POLL_MS: u64 = 100;
/// Default of `settle`: how long a file must be unchanged before it is read, or before a rotated one is at its end, in milliseconds.
pub const SETTLE_MS: u64 = 1_000;
/// Names of deleted files that a `directory` source tracks. The oldest are dropped.
pub const DIRECTORY_NAMES_REMOVED_MAX: usize = 100_000;
/// Maximum number of files assigned to a process before it has read them, if files are distributed over processes.
pub const FILES_ORDERED_MAX: usize = 256;
/// Subdirectories in the directory of a `directory` source.
pub const DIRECTORY_DIRS_MAX: usize = 100_000;
/// How long a database may take for what a job asks before it begins, in seconds.
pub const SERVER_START_S_MAX: u64 = 60;
/// Timeout of a database for the transaction of one batch, in seconds.
pub const SERVER_COMMIT_S_MAX: u64 = 600;
/// Maximum directories of `partition_by` into which the rows of a batch go.
pub const DIRS_PER_BATCH_MAX: usize = 10_000;
/// Maximum bytes of a directory name of `partition_by`, as in file systems.
pub const DIR_NAME_BYTES_MAX: usize = 255;
/// Maximum of `rows_per_second`.
pub const ROWS_PER_SECOND_MAX: u64 = 1_000_000_000;
/// Default of `request_bytes_max` of an `http` source.
pub const HTTP_REQUEST_BYTES_MAX: u64 = 8 << 20;
/// Default of `request_time_max` of an `http` source, in milliseconds.
pub const HTTP_REQUEST_MS_MAX: u64 = 30_000;
/// Default of `producers_max` of an `http` source.
pub const HTTP_PRODUCERS_MAX: u64 = 10_000;
/// Maximum of `producers_max`.
pub const HTTP_PRODUCERS_MAX_MAX: u64 = 1_000_000;
/// Default time that a stream of an `http` source may be silent, in milliseconds.
pub const HTTP_STALL_MS: u64 = 30_000;
/// Default maximum bytes of a response, event or message that an `http` source reads, decompressed.
pub const HTTP_RESPONSE_BYTES_MAX: u64 = 8 << 20;
/// Default of `rows_per_request_max` of an `http` sink.
pub const HTTP_REQUEST_ROWS_SENT_MAX: u64 = 10_000;
/// Default of `request_bytes_max` of an `http` sink.
pub const HTTP_REQUEST_BYTES_SENT_MAX: u64 = 4 << 20;
/// Default of `rows_per_message_max` of a `websocket` sink.
pub const WEBSOCKET_MESSAGE_ROWS_MAX: u64 = 1_000;
/// Default of `clients_max` of a `websocket` sink.
pub const WEBSOCKET_CLIENTS_MAX: u64 = 100;
/// Default of `rows` of a `print` sink.
pub const PRINT_ROWS: usize = 10;
/// Maximum of `rows` of a `print` sink.
pub const PRINT_ROWS_MAX: u64 = 1_000_000;
/// The bytes of a file of a sink that rolls, where the job does not say.
pub const ROLL_BYTES: u64 = 128 << 20;
/// Minimum of this setting.
pub const ROLL_BYTES_MIN: u64 = 1 << 10;
/// Maximum of this setting: object stores copy objects of up to 5 GiB.
pub const ROLL_BYTES_MAX: u64 = 4 << 30;
/// Default time after its first batch when such a file is complete, in milliseconds.
pub const ROLL_MS: u64 = 300_000;
/// Default number of open files that roll.
pub const OPEN_PARTS: usize = 100;
/// Maximum of this setting: each is an open file of the process.
pub const OPEN_PARTS_MAX: u64 = 1_000;
