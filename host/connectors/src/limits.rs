//! Limits of this crate, with their defaults.

/// Bytes of the bodies that an `http` source is receiving, of all requests together; one request may have more.
pub const HTTP_BODIES_BYTES_MAX: u64 = 64 << 20;
/// How long the head of a request may take, or a connection without one may stay, in milliseconds.
pub const HTTP_HEAD_MS_MAX: u64 = 15_000;
/// Bytes of the head of a request.
pub const HTTP_HEAD_BYTES_MAX: usize = 16 << 10;
/// Headers of a request.
pub const HTTP_HEADERS_MAX: usize = 64;
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
/// Bytes of the name of a producer.
pub const HTTP_PRODUCER_BYTES_MAX: usize = 128;
/// Bytes of a block of an Avro file, as it stands and decompressed.
pub const AVRO_BLOCK_BYTES_MAX: u64 = 64 << 20;
/// How much of an object is asked for at a time, in bytes. A source holds two such pieces.
pub const OBJECT_PIECE_BYTES: u64 = 4 << 20;
/// How often all names below a prefix are listed, at most, where they are more than one answer holds, in milliseconds; looks
/// between only list the names behind the last one.
pub const OBJECTS_LIST_ALL_MS: u64 = 60_000;
/// Names of files that a `directory` remembers though they are not there any more. Those that went first are forgotten.
pub const DIRECTORY_NAMES_GONE_MAX: usize = 100_000;
/// Files that a process is told of before it has read them, where files are spread over processes.
pub const FILES_ORDERED_MAX: usize = 256;
/// Folders in the folder of a `directory` source.
pub const DIRECTORY_FOLDERS_MAX: usize = 100_000;
/// How long a database may take for what a job asks before it begins, in seconds.
pub const SERVER_START_S_MAX: u64 = 60;
/// How long a database may take for the transaction of one batch, in seconds.
pub const SERVER_COMMIT_S_MAX: u64 = 600;
/// Bytes of the same once its rows are decoded.
pub const ENRICH_DECODED_BYTES_MAX: u64 = 512 << 20;
/// Folders of `partition_by` into which the rows of a batch go.
pub const FOLDERS_PER_BATCH_MAX: usize = 10_000;
/// The longest name of a folder of `partition_by`, in bytes: file systems have no longer ones.
pub const FOLDER_NAME_BYTES_MAX: usize = 255;
/// How long a poll of such a source waits for rows, in milliseconds.
pub const POLL_WAIT_MS: u64 = 500;
/// The same while somebody waits to hear that rows are safe.
pub const POLL_WAIT_SHORT_MS: u64 = 10;
/// Bytes of the header of a message in a stream of Arrow IPC, where a stream comes through a pipe.
pub const ARROW_HEADER_BYTES_MAX: usize = 16 << 20;
/// Bytes of such a message, unpacked as well.
pub const ARROW_MESSAGE_BYTES_MAX: usize = 512 << 20;
/// Most that `rows_per_second` may say.
pub const ROWS_PER_SECOND_MAX: u64 = 1_000_000_000;
/// Default of `request_bytes_max` of an `http` source.
pub const HTTP_REQUEST_BYTES_MAX: u64 = 8 << 20;
/// Default of `request_time_max` of an `http` source, in milliseconds.
pub const HTTP_REQUEST_MS_MAX: u64 = 30_000;
/// Default of `producers_max` of an `http` source.
pub const HTTP_PRODUCERS_MAX: u64 = 10_000;
/// Most that `producers_max` may say.
pub const HTTP_PRODUCERS_MAX_MAX: u64 = 1_000_000;
/// How long a stream that an `http` source follows may be silent, in milliseconds, where the job does not say it.
pub const HTTP_STALL_MS: u64 = 30_000;
/// Bytes of an answer, event or message that an `http` source reads, unpacked, where the job does not say it.
pub const HTTP_ANSWER_BYTES_MAX: u64 = 8 << 20;
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
/// Most that `rows` of a `print` sink may say.
pub const PRINT_ROWS_MAX: u64 = 1_000_000;
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
