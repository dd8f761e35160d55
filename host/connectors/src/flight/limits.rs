//! Limits of Arrow Flight streams.

/// Default of `message_bytes_max`: a server may send an entire table as one record batch.
pub const MESSAGE_BYTES_MAX: u64 = 128 << 20;
/// Maximum of `message_bytes_max`: Arrow uses 31-bit lengths.
pub const MESSAGE_BYTES_MAX_MAX: u64 = (1 << 31) - 1;
/// Default of `stall` and `timeout`, in milliseconds: a response may require a query to be computed first.
pub const STALL_MS: u64 = 300_000;
/// Maximum number of endpoints of a Flight stream, each of which has a position.
pub const ENDPOINTS_MAX: usize = 10_000;
/// How many of them are read concurrently.
pub const ENDPOINTS_AT_ONCE: usize = 8;
