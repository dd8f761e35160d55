//! What calls pass and return: rows, groups of them by key, and timers.

use arrow::array::{BooleanArray, RecordBatch, UInt32Array};
use arrow::buffer::ScalarBuffer;
use millstream_rows::batch::rejected::RejectedRow;

/// The result of `process`.
pub struct Processed {
    /// The rows, with the described output schema.
    pub rows: RecordBatch,
    /// Rejected input rows.
    pub rejections: Vec<RejectedRow>,
}

/// The groups of an update call; see `groups` in `wit/update.wit`.
#[derive(Clone)]
pub struct Groups {
    /// Key columns, one row a group.
    pub keys: RecordBatch,
    /// The columns that the plugin reads, sorted by group.
    pub rows: RecordBatch,
    /// End of each group's rows.
    pub ends: UInt32Array,
    /// The old states, one row a group.
    pub states: RecordBatch,
    /// Whether the key had a state.
    pub known: BooleanArray,
    /// Whether this is the last call of an idle key.
    pub timed_out: BooleanArray,
    /// Whether the timeout would be due if the key had no new rows.
    pub overdue: BooleanArray,
    /// Number of timers that each group's key has set; empty if the stage has none.
    pub timers: Vec<u32>,
    /// The timers for which groups are called; without meaning for a plugin that does not import `timers`.
    pub due: DueTimes,
    /// Whether each key with a state is called, with rows or without.
    pub all: bool,
}

/// Timers that are due, by group; see `due-times` in `wit/timers.wit`.
#[derive(Clone, Debug, Default)]
pub struct DueTimes {
    /// End of each group's times.
    pub ends: ScalarBuffer<u32>,
    /// The times, in microseconds.
    pub times_us: ScalarBuffer<i64>,
}

/// A timer that a call of `update` sets or cancels for a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerChange {
    /// The group.
    pub group: u32,
    /// When, in microseconds.
    pub at_us: i64,
    /// Whether it is set; otherwise cancelled.
    pub is_set: bool,
}

/// The result of `update`; see `updated` in `wit/update.wit`.
pub struct Updated {
    /// The new states, one row a group.
    pub states: RecordBatch,
    /// Whether the state is kept.
    pub kept: BooleanArray,
    /// Emitted rows.
    pub output: RecordBatch,
    /// Rejected rows of the groups.
    pub rejections: Vec<RejectedRow>,
    /// Timers set and cancelled, in order.
    pub timers: Vec<TimerChange>,
    /// Groups that were not called after all, as none of their rows was left; their states are the old ones.
    pub untouched: Vec<u32>,
    /// Groups whose rows were all rejected, whether they were called or not.
    pub emptied: Vec<u32>,
}

/// The groups of a cogroup call; see `groups` in `wit/cogroup.wit`.
pub struct Cogroups {
    /// Key columns, one row a group.
    pub keys: RecordBatch,
    /// For each input the columns that the plugin reads, sorted by group, and where each group's rows end.
    pub inputs: Vec<(RecordBatch, UInt32Array)>,
}

/// The result of `cogroup`.
pub struct Cogrouped {
    /// Emitted rows.
    pub rows: RecordBatch,
    /// Rejected rows of each input.
    pub rejections: Vec<Vec<RejectedRow>>,
}
