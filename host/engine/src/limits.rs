//! Limits of this crate, with their defaults.

use millstream_base::limits::SliceMax;

/// Bytes of one part once its rows are decoded, unless a single row is larger.
pub const PART_DECODED_BYTES_MAX: u64 = 16 << 20;
/// When event time ends: how many rounds of timers set by other timers are called.
pub const TIMER_ROUNDS_MAX: u64 = 1_000;
/// Rows that a join may produce from one batch on one worker.
pub const JOIN_ROWS_PER_BATCH_MAX: u64 = 50_000_000;
/// Rows of a state table that are copied at a time, for example for a checkpoint.
pub const STATE_SLICE_MAX: SliceMax = SliceMax { rows: 65_536, bytes: 32 << 20 };
/// Bytes of one file of a state table, unless a single key group has more. Also of all files of a checkpoint that wait to be written: a worker with
/// more of them waits. If `state.memory` is small, both are a fraction of it, with a minimum.
pub const STATE_FILE_BYTES_MAX: u64 = 128 << 20;
/// The fraction of `state.memory`, see [`STATE_FILE_BYTES_MAX`].
pub const STATE_FILE_SHARE: u64 = 64;
/// The minimum, see [`STATE_FILE_BYTES_MAX`].
pub const STATE_FILE_BYTES_MIN: u64 = 4 << 20;
/// Files of changes of one worker's part of a state table, before it is rewritten completely.
pub const STATE_DELTAS_MAX: usize = 64;
/// Checkpoints that are kept, including the newest.
pub const CHECKPOINTS_KEPT: usize = 3;
/// Batches after an upgrade for which the checkpoint before it is kept as well, with the plans since. `millstream rollback` can go back that far, and
/// may have to replay that many batches.
pub const ROLLBACK_BATCHES_MAX: u64 = 3_600;
/// Windows of processing time without any row that are emitted after a pause, one by one; later ones are omitted.
pub const EMPTY_WINDOWS_MAX: i64 = 100;
