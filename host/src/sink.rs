//! Where rows leave: a sink commits the rows of a batch together with the batch id.

use crate::error::Result;
use crate::ids::{BatchId, BatchTime};
use crate::job::spec::{Origin, SinkSpec};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

/// An open sink. One worker of the job owns it.
pub trait Sink {
    /// Makes the rows of a batch visible, whole or not at all. Called once for every batch, in order, also where it
    /// has no rows; `rows` are its parts in order.
    fn commit(&mut self, batch: BatchId, time: BatchTime, rows: Vec<RecordBatch>) -> Result<()>;
}

/// Checks what can be checked before anything runs (that a folder can be written, that the schema suits the format).
pub fn check(_spec: &SinkSpec, _schema: &SchemaRef, _origin: &Origin) -> Result<()> {
    Ok(())
}

/// Opens a sink for rows of this schema.
pub fn open(_spec: &SinkSpec, _schema: SchemaRef, _origin: &Origin) -> Result<Box<dyn Sink>> {
    Err(crate::error::Error::bug("not yet"))
}
