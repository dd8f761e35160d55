//! Limits of sources and sinks of kind `kafka`, with their defaults.

/// Bytes that a client of a Kafka cluster fetches ahead of the job, all partitions together.
pub const AHEAD_BYTES_MAX: u64 = 16 << 20;
/// Topics and partitions that a `kafka` source reads.
pub const PARTITIONS_MAX: usize = 100_000;
/// Bytes of a `kafka` sink that are on their way to the brokers; a batch with more is sent bit by bit.
pub const QUEUE_BYTES_MAX: u64 = 32 << 20;
/// Records of the same.
pub const QUEUE_RECORDS_MAX: u64 = 100_000;
/// Default of `transaction` of a `kafka` sink: how long the transaction of a batch may take, in milliseconds.
pub const TRANSACTION_MS: u64 = 60_000;
/// The same, at least: librdkafka takes no shorter ones.
pub const TRANSACTION_MS_MIN: u64 = 1_000;
/// The same, at most: librdkafka takes no longer ones.
pub const TRANSACTION_MS_MAX: u64 = i32::MAX as u64;
/// Default of `poll` of a `kafka` source: how often it looks for new partitions and topics, in milliseconds.
pub const POLL_MS: u64 = 30_000;
