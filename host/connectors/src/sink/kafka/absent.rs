//! What stands for topics as sinks in builds without Kafka: a job with one is refused when its file is read.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_base::batch::sink::Sink;
use millstream_base::built;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::ids::BatchId;
use millstream_base::job::spec::{KafkaCluster, Origin, SinkSpec};
use millstream_base::owner::Owner;
use millstream_base::patience::ServerWait;
use std::io;
use std::path::Path;
use std::time::Instant;

/// What makes records of rows: there is none.
#[derive(Clone, Debug)]
pub(in crate::sink) enum RecordEncoder {}

impl RecordEncoder {
    /// The records of rows.
    pub fn encode_ahead(&self, _rows: &RecordBatch) -> io::Result<RecordBatch> {
        match *self {}
    }
}

/// Waits for nothing.
pub fn await_cluster(_who: &str, _cluster: &KafkaCluster, _folder: &Path, _until: Option<Instant>) -> Result<()> {
    Ok(())
}

pub(super) fn check(_spec: &SinkSpec, _schema: &SchemaRef, _origin: &Origin, _servers: ServerWait) -> Result<()> {
    Err(absent())
}

pub(super) fn encoder(_spec: &SinkSpec, _schema: &SchemaRef, _origin: &Origin) -> Result<RecordEncoder> {
    Err(absent())
}

pub(super) fn open(
    _spec: &SinkSpec,
    _schema: SchemaRef,
    _origin: &Origin,
    _share: Option<usize>,
    _owner: Option<&Owner>,
    _failure: &Failure,
) -> Result<Box<dyn Sink>> {
    Err(absent())
}

pub(super) fn committed(_spec: &SinkSpec, _origin: &Origin, _job_id: &str) -> Result<Option<BatchId>> {
    Err(absent())
}

pub(super) fn not_encoded(who: &str, cause: &io::Error) -> Error {
    Error::bug(format!("{who}: rows cannot be encoded: {cause}"))
}

fn absent() -> Error {
    Error::job(built::absent("kind `kafka`", "kafka"))
}
