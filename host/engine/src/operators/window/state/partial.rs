//! What comes into windows, and what comes out of them.

use super::panes::KeyId;
use arrow::array::{ArrayRef, RecordBatch};

/// A batch, and the windows that end. Times are batch times, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchEnd {
    /// The beginning of the job's first batch.
    pub origin_us: i64,
    /// The batch's own time.
    pub time_us: i64,
    /// Whether it is in any window.
    pub holds: bool,
    /// The end of the window that comes out with it.
    pub end_us: Option<i64>,
    /// When the next window is to end.
    pub next_us: i64,
}

/// What a window holds, by key in the order of key hashes.
pub struct Window {
    /// The first moment in it, in microseconds; without meaning in processing time.
    pub start: i64,
    /// The first moment behind it.
    pub end: i64,
    /// The keys' numbers.
    pub ids: Vec<KeyId>,
    /// The key columns.
    pub keys: Vec<ArrayRef>,
    /// Their accumulators.
    pub accumulators: RecordBatch,
}

/// Partial results as they come in: key columns (with the pane behind them in event time), and what
/// [`Accumulate::merge`](super::panes::Accumulate::merge) takes.
pub struct PartialRows {
    /// The key columns.
    pub keys: Vec<ArrayRef>,
    /// The other columns.
    pub partial: Vec<ArrayRef>,
    /// How many rows.
    pub rows: usize,
}
