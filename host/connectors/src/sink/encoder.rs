//! What is made of rows on the worker that has them, so that whoever commits for all workers only copies bytes.

use super::binary;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_base::batch::sink::EncodeRows;
use millstream_base::error::{Error, Result};
use millstream_base::job::spec::{Origin, SinkSpec, SinkStart};
use millstream_base::patience::ServerWait;
use std::io;

/// Makes bytes of rows, each by itself.
#[derive(Clone)]
pub struct Encoder {
    /// Of which only the name and what is said of bytes counts here.
    sink: SinkSpec,
    encode: EncodeRows,
}

impl Encoder {
    /// That of a sink to which all workers send their rows of this schema. `None`: whoever commits needs the rows themselves, as
    /// for a format that is not made row by row, or where the medium tells how they are written.
    pub fn of(spec: &SinkSpec, schema: &SchemaRef, origin: &Origin) -> Result<Option<Encoder>> {
        let start = SinkStart::new(spec, origin, ServerWait::No);
        let encode = spec.kind.encoder(start, &binary::written(spec, schema))?;
        Ok(encode.map(|encode| Encoder { sink: spec.clone(), encode }))
    }

    /// What the sink's commit takes instead of these rows.
    ///
    /// # Errors
    ///
    /// The rows have other columns than the schema.
    pub fn encode(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let rows = binary::encoded(&self.sink, rows)?;
        (self.encode)(&rows).map_err(|cause| not_encoded(&format!("sink `{}`", self.sink.name), &cause))
    }
}

/// What becomes of rows of which no bytes can be made: they hold what these cannot, or it is our mistake.
pub(crate) fn not_encoded(who: &str, cause: &io::Error) -> Error {
    match cause.kind() {
        io::ErrorKind::InvalidData => Error::plugin(format!(
            "{who}: {cause}; change such rows in a stage before the sink, or leave them out with a `filter`"
        )),
        _ => Error::bug(format!("{who}: rows cannot be encoded: {cause}")),
    }
}
