//! The sink interface: commits batches at the end of the graph.

use arrow::array::RecordBatch;
use millstream_base::error::Result;
use millstream_base::ids::{BatchId, BatchTime};
use std::io;
use std::sync::Arc;

/// Encodes each row as bytes, which [`Sink::commit`] takes instead of the rows.
pub type EncodeRows = Arc<dyn Fn(&RecordBatch) -> io::Result<RecordBatch> + Send + Sync>;

/// An open sink, or one worker's part of it. One worker of the job owns it.
pub trait Sink: Send {
    /// Makes the rows of a batch visible atomically. Called once, in order, for every batch after the [committed](Sink::committed) one, even without
    /// rows; `rows` are its parts in order, or what the sink's encoder made of them.
    fn commit(&mut self, batch: BatchId, time: BatchTime, rows: Vec<RecordBatch>) -> Result<()>;

    /// Returns the last batch that the sink's medium is known to hold. It is read when the sink is opened and moved by every commit; `None` if it
    /// holds none or keeps no record. Batches without rows may leave no trace, so after a crash it may be lower than before.
    fn committed(&self) -> Option<BatchId>;

    /// Called periodically while no batch comes, for time-based work of a sink.
    fn idle(&mut self) -> Result<()> {
        Ok(())
    }

    /// Completes what the sink has only begun. Called after the last batch when the job stops cleanly.
    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}
