//! The limits of streams of Arrow Flight.

/// Default of `message_bytes_max`: a server may send a whole table as one record batch.
pub const MESSAGE_BYTES_MAX: u64 = 128 << 20;
/// Most that it may say: Arrow counts with 31 bits.
pub const MESSAGE_BYTES_MAX_MAX: u64 = (1 << 31) - 1;
/// Default of `stall` and `timeout`, in milliseconds: an answer may be a query that somebody computes first.
pub const STALL_MS: u64 = 300_000;
/// Streams of one answer of a server of Arrow Flight, each of which has a position.
pub const ENDPOINTS_MAX: usize = 10_000;
/// How many of them are read at a time.
pub const ENDPOINTS_AT_ONCE: usize = 8;
