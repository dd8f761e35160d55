//! Sink `nothing`: rows are counted as those of any other sink, and dropped. It needs no connector, so whoever looks at a stage alone
//! has a sink for it.

use crate::batch::sink::Sink;
use crate::error::Result;
use crate::failure::Failure;
use crate::ids::{BatchId, BatchTime};
use crate::job::spec::{SinkConfig, SinkStart};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

/// Nowhere: rows are counted and dropped, for trials and benchmarks.
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

/// It keeps nothing, and so remembers no batch.
impl Sink for Nothing {
    fn commit(&mut self, _: BatchId, _: BatchTime, _: Vec<RecordBatch>) -> Result<()> {
        Ok(())
    }

    fn committed(&self) -> Option<BatchId> {
        None
    }
}
