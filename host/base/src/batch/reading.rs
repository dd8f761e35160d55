//! Reading a partition of a source that somebody wrote: what a receiver needs of who does it.

use crate::error::Error;
use arrow::array::RecordBatch;
use std::time::Duration;

/// One who reads a partition.
pub trait ReadPartition: Send {
    /// Which partitions there are.
    fn partitions(&mut self) -> Result<Vec<String>, ReadTrouble>;
    /// Begins to read a partition from here on.
    fn open(&mut self, partition: &str, position: Option<&[u8]>) -> Result<(), ReadTrouble>;
    /// Whether a partition is open: whoever reads it may be replaced between two calls.
    fn is_open(&self) -> bool;
    /// The next rows, at most so many; waits no longer than this.
    fn poll(&mut self, rows_max: u32, wait: Duration) -> Result<ReadRows, ReadTrouble>;
    /// The rows up to this position are in a durable plan.
    fn durable(&mut self, position: &[u8]) -> Result<(), ReadTrouble>;
    /// A checkpoint with this position is published.
    fn published(&mut self, position: &[u8]) -> Result<(), ReadTrouble>;
}

/// What a poll gave.
pub struct ReadRows {
    /// The rows.
    pub rows: RecordBatch,
    /// What came and is no row, with the reason.
    pub refused: Vec<(Vec<u8>, String)>,
    /// Where to go on behind all of it, where that has changed.
    pub position: Option<Vec<u8>>,
    /// For how long there is nothing more; `None`: there is never anything more.
    pub pause: Option<Duration>,
}

/// Why something did not work.
#[derive(Debug)]
pub enum ReadTrouble {
    /// It is tried again.
    Passing(String),
    /// The job ends.
    Lasting(Error),
}
