//! Limits of this crate, with their defaults.

/// Maximum bytes of a block of an Avro file, both stored and decompressed.
pub const AVRO_BLOCK_BYTES_MAX: u64 = 64 << 20;
/// Maximum bytes of a lookup table once its rows are decoded.
pub const ENRICH_DECODED_BYTES_MAX: u64 = 512 << 20;
/// How long a poll of a polled source waits for rows, in milliseconds.
pub const POLL_WAIT_MS: u64 = 500;
/// The same while a client waits until rows are durable.
pub const POLL_WAIT_SHORT_MS: u64 = 10;
/// Maximum bytes of a message header in an Arrow IPC stream through a pipe.
pub const ARROW_HEADER_BYTES_MAX: usize = 16 << 20;
/// Maximum bytes of such a message, both stored and decompressed.
pub const ARROW_MESSAGE_BYTES_MAX: usize = 512 << 20;
