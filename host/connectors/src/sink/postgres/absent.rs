//! What stands for tables of PostgreSQL as sinks: a job with one is refused when its file is read.

use arrow::datatypes::SchemaRef;
use millstream_base::batch::sink::Sink;
use millstream_base::built;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::ids::BatchId;
use millstream_base::job::spec::{Origin, SinkSpec};
use millstream_base::owner::Owner;
use millstream_base::patience::ServerWait;

pub(super) fn check(_spec: &SinkSpec, _schema: &SchemaRef, _origin: &Origin, _servers: ServerWait) -> Result<()> {
    Err(absent())
}

pub(super) fn open(
    _spec: &SinkSpec,
    _schema: SchemaRef,
    _origin: &Origin,
    _share: Option<usize>,
    _owner: Option<&Owner>,
    _failure: &Failure,
    _servers: ServerWait,
) -> Result<Box<dyn Sink>> {
    Err(absent())
}

pub(super) fn committed(
    _spec: &SinkSpec,
    _origin: &Origin,
    _job_id: &str,
    _servers: ServerWait,
) -> Result<Option<BatchId>> {
    Err(absent())
}

fn absent() -> Error {
    Error::job(built::absent("kind `postgres`", "postgres"))
}
