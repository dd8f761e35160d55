//! Writing the batches of a sink that somebody wrote: what a sink needs of who does it.

use super::rejected::RefusedRow;
use crate::error::Error;
use crate::ids::{BatchId, BatchTime};
use crate::owner::Owner;
use arrow::array::RecordBatch;

/// One who writes batches.
pub trait WriteBatches: Send {
    /// The last batch of the job with this name and id that is there. Changes nothing.
    fn committed(&mut self, job: &str, job_id: &str) -> Result<Option<BatchId>, WriteTrouble>;
    /// Whether it is open: whoever writes may be replaced between two batches.
    fn is_open(&self) -> bool;
    /// Takes over from owners of smaller generations; returns the last batch that is there.
    fn open(&mut self, owner: &Owner) -> Result<Option<BatchId>, WriteTrouble>;
    /// A batch begins.
    fn begin(&mut self, batch: BatchId, time: BatchTime) -> Result<(), WriteTrouble>;
    /// Rows of the batch that has begun; returns those that are refused, by their place in these rows.
    fn write(&mut self, rows: &RecordBatch) -> Result<Vec<RefusedRow>, WriteTrouble>;
    /// The batch that has begun is complete, and becomes visible.
    fn commit(&mut self) -> Result<(), WriteTrouble>;
    /// What it said cannot be: it refuses rows that no sink may refuse, or has forgotten what it held. What comes of that.
    fn fails(&mut self, error: Error) -> WriteTrouble {
        WriteTrouble::Lasting(error)
    }
}

/// Why something did not work. Whoever wrote is open no more.
#[derive(Debug)]
pub enum WriteTrouble {
    /// It is tried again, the batch from its beginning.
    Passing(String),
    /// The job ends.
    Lasting(Error),
}
