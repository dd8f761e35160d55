//! Writing the batches of a plugin sink: what a sink needs of the writer.

use super::rejected::RejectedRow;
use arrow::array::RecordBatch;
use millstream_base::error::Error;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::owner::Owner;

/// Writes batches.
pub trait WriteBatches: Send {
    /// Returns the last batch of the job with this name and ID that exists. Changes nothing.
    fn committed(&mut self, job: &str, job_id: &str) -> Result<Option<BatchId>, WriteError>;
    /// Returns whether it is open: the writer may be replaced between two batches.
    fn is_open(&self) -> bool;
    /// Takes over from owners of smaller generations; returns the last existing batch.
    fn open(&mut self, owner: &Owner) -> Result<Option<BatchId>, WriteError>;
    /// Begins a batch.
    fn begin(&mut self, batch: BatchId, time: BatchTime) -> Result<(), WriteError>;
    /// Writes rows of the current batch; returns the rejected ones, by their index in these rows.
    fn write(&mut self, rows: &RecordBatch) -> Result<Vec<RejectedRow>, WriteError>;
    /// Completes the current batch and makes it visible.
    fn commit(&mut self) -> Result<(), WriteError>;
    /// Handles an invalid result of the writer: it rejected rows that no sink may reject, or lost what it held. Returns the consequence.
    fn fails(&mut self, error: Error) -> WriteError {
        WriteError::Permanent(error)
    }
}

/// Why writing failed. The writer is no longer open.
#[derive(Debug)]
pub enum WriteError {
    /// The batch is retried from its beginning.
    Transient(String),
    /// The job fails.
    Permanent(Error),
}
