//! What is made of rows on the worker that has them, so that whoever commits for all workers only copies bytes.

use super::binary;
use super::encode::csv;
use super::http;
use super::kafka::{self, RecordEncoder};
use super::written_by;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_base::batch::json;
use millstream_base::error::Result;
use millstream_base::job::spec::{FileFormat, Origin, SinkKind, SinkSpec};

/// Makes bytes of rows, each by itself.
#[derive(Clone, Debug)]
pub struct Encoder {
    /// Of which only the name and what is said of bytes counts here.
    sink: SinkSpec,
    form: EncoderKind,
}

#[derive(Clone, Debug)]
enum EncoderKind {
    Json,
    Csv,
    Records(RecordEncoder),
}

impl Encoder {
    /// That of a sink to which all workers send their rows of this schema. `None`: whoever commits needs the rows themselves, as
    /// for a format that is not made row by row, or where the medium tells how they are written.
    pub fn of(spec: &SinkSpec, schema: &SchemaRef, origin: &Origin) -> Result<Option<Encoder>> {
        let schema = &binary::written(spec, schema);
        let form = match &spec.kind {
            // What grows over batches is kept as rows until it is complete.
            SinkKind::Files { .. } if !written_by(spec, schema.clone(), origin)?.is_plain() => return Ok(None),
            // Of the rows of a key the last is chosen first.
            SinkKind::Http(spec) if http::keyed(spec).is_some() => return Ok(None),
            SinkKind::Files { format: FileFormat::Json, .. } | SinkKind::Queue { .. } | SinkKind::Http(_) => EncoderKind::Json,
            SinkKind::Clickhouse(_) => EncoderKind::Json,
            SinkKind::Files { format: FileFormat::Csv, .. } => EncoderKind::Csv,
            // Which schema the registry has is known to who opened the sink.
            SinkKind::Kafka(kafka) if kafka.registry.is_some() => return Ok(None),
            SinkKind::Kafka(_) => EncoderKind::Records(kafka::encoder(spec, schema, origin)?),
            // Text is bytes already.
            SinkKind::Files { format: FileFormat::Text | FileFormat::Parquet(_) | FileFormat::Avro, .. }
            | SinkKind::Postgres { .. }
            | SinkKind::Declared(_)
            | SinkKind::Print { .. }
            | SinkKind::Sample { .. }
            | SinkKind::Nothing
            | SinkKind::Plugin(_)
            // Mostly nobody listens.
            | SinkKind::Websocket(_) => return Ok(None),
        };
        Ok(Some(Encoder { sink: spec.clone(), form }))
    }

    /// What the sink's commit takes instead of these rows.
    ///
    /// # Errors
    ///
    /// The rows have other columns than the schema.
    pub fn encode(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let rows = binary::encoded(&self.sink, rows)?;
        let encoded = match &self.form {
            EncoderKind::Json => json::encode(&rows),
            EncoderKind::Csv => csv::encode(&rows),
            EncoderKind::Records(encoder) => encoder.encode_ahead(&rows),
        };
        encoded.map_err(|cause| kafka::not_encoded(&format!("sink `{}`", self.sink.name), &cause))
    }
}
