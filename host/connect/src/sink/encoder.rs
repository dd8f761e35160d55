//! Encodes rows on the worker that has them, so that the process that commits for all workers only copies bytes.

use super::binary;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_base::error::{Error, Result};
use millstream_base::retry::StartupRetry;
use millstream_job::spec::{Origin, SinkSpec, SinkStart};
use millstream_rows::batch::sink::EncodeRows;
use std::io;

/// Encodes rows as bytes, each separately.
#[derive(Clone)]
pub struct Encoder {
    /// Only its name and its encoding of bytes matter here.
    sink: SinkSpec,
    encode: EncodeRows,
}

impl Encoder {
    /// Returns the encoder of a sink to which all workers send their rows of this schema. `None`: the committing process needs the rows
    /// themselves, as the format is not encoded row by row, or the medium decides about the format.
    pub fn new(spec: &SinkSpec, schema: &SchemaRef, origin: &Origin) -> Result<Option<Encoder>> {
        let start = SinkStart::new(spec, origin, StartupRetry::No);
        let encode = spec.kind.encoder(start, &binary::written_schema(spec, schema))?;
        Ok(encode.map(|encode| Encoder { sink: spec.clone(), encode }))
    }

    /// Returns what the sink's commit takes instead of these rows.
    ///
    /// # Errors
    ///
    /// The rows have other columns than the schema.
    pub fn encode(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let rows = binary::encode_rows(&self.sink, rows)?;
        (self.encode)(&rows).map_err(|cause| encode_error(&format!("sink `{}`", self.sink.name), &cause))
    }
}

/// Returns the error for rows that cannot be encoded: they contain unsupported values, or there is a bug.
pub fn encode_error(who: &str, cause: &io::Error) -> Error {
    match cause.kind() {
        io::ErrorKind::InvalidData => Error::plugin(format!(
            "{who}: {cause}; change such rows in a stage before the sink, or drop them with a `filter`"
        )),
        _ => Error::bug(format!("{who}: rows cannot be encoded: {cause}")),
    }
}
