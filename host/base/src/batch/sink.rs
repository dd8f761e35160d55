//! What commits batches at the end of their path.

use crate::error::Result;
use crate::ids::{BatchId, BatchTime};
use arrow::array::RecordBatch;
use std::io;
use std::sync::Arc;

/// Makes bytes of rows, each by itself: what [`Sink::commit`] takes instead of them.
pub type EncodeRows = Arc<dyn Fn(&RecordBatch) -> io::Result<RecordBatch> + Send + Sync>;

/// An open sink, or what one worker has of it. One worker of the job owns it.
pub trait Sink: Send {
    /// Makes the rows of a batch visible, whole or not at all. Called once for every batch that comes after the
    /// [committed](Sink::committed) one, in order, also where it has no rows; `rows` are its parts in order, or what the sink's encoder made of them.
    fn commit(&mut self, batch: BatchId, time: BatchTime, rows: Vec<RecordBatch>) -> Result<()>;

    /// The last batch that the sink's medium is known to hold, as found when the sink was opened and moved by every
    /// commit; `None`: it holds none, or remembers nothing. Batches without rows may leave no trace, so it may be less
    /// after a crash than it was before.
    fn committed(&self) -> Option<BatchId>;

    /// Called now and then while no batch comes, for what a sink does by the clock.
    fn idle(&mut self) -> Result<()> {
        Ok(())
    }

    /// The job ends in order, behind its last batch: what the sink has only begun comes to its end.
    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}
