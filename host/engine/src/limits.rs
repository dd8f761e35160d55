//! Limits of this crate, with their defaults.

use millstream_base::limits::SliceMax;

/// Bytes of one part once its rows are decoded, unless a single row is larger.
pub const PART_DECODED_BYTES_MAX: u64 = 16 << 20;
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
/// Checkpoints that are kept, the newest included.
pub const CHECKPOINTS_KEPT: usize = 3;
/// Batches behind an upgrade for which the checkpoint before it is kept beside those, with the plans since: so far back
/// `millstream rollback` can go, and so many batches it may have to run again.
pub const ROLLBACK_BATCHES_MAX: u64 = 3_600;
/// Windows of processing time without any row that come out after a pause, one by one; later ones are left out.
pub const EMPTY_WINDOWS_MAX: i64 = 100;
