//! Sink `nothing`: rows are counted as those of any other sink, and dropped.

use arrow::array::RecordBatch;
use millstream_base::batch::sink::Sink;
use millstream_base::error::Result;
use millstream_base::ids::{BatchId, BatchTime};

/// A sink that keeps nothing, and so remembers no batch.
pub struct NothingSink;

impl Sink for NothingSink {
    fn commit(&mut self, _: BatchId, _: BatchTime, _: Vec<RecordBatch>) -> Result<()> {
        Ok(())
    }

    fn committed(&self) -> Option<BatchId> {
        None
    }
}
