//! Sink `nothing`: rows are counted like those of any other sink, and dropped. It needs no connector, so commands that run a single stage have a
//! sink for it.

use crate::spec::{SinkConfig, SinkStart};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_base::error::Result;
use millstream_base::failure::Failure;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_rows::batch::sink::Sink;

/// Counts and drops rows, for trials and benchmarks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nothing;

impl SinkConfig for Nothing {
    fn kind(&self) -> &'static str {
        "nothing"
    }

    fn keeps_rows(&self) -> bool {
        false
    }

    fn open(&self, _start: SinkStart<'_>, _schema: &SchemaRef, _failure: &Failure) -> Result<Box<dyn Sink>> {
        Ok(Box::new(Nothing))
    }
}

/// It keeps nothing, and therefore no last batch.
impl Sink for Nothing {
    fn commit(&mut self, _: BatchId, _: BatchTime, _: Vec<RecordBatch>) -> Result<()> {
        Ok(())
    }

    fn committed(&self) -> Option<BatchId> {
        None
    }
}
