//! Sink `nothing`: rows are counted as those of any other sink, and dropped.

use super::Sink;
use crate::error::Result;
use crate::ids::{BatchId, BatchTime};
use arrow::array::RecordBatch;

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
