//! What stands for streams of Kinesis as sinks: a job with one is refused when its file is read.

use super::Sink;
use arrow::datatypes::SchemaRef;
use millstream_base::built;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::job::spec::{Origin, SinkSpec};
use millstream_base::owner::Owner;

pub(super) fn check(_spec: &SinkSpec, _schema: &SchemaRef, _origin: &Origin) -> Result<()> {
    Err(absent())
}

pub(super) fn open(
    _spec: &SinkSpec,
    _schema: &SchemaRef,
    _origin: &Origin,
    _owner: Option<&Owner>,
    _failure: &Failure,
) -> Result<Box<dyn Sink>> {
    Err(absent())
}

fn absent() -> Error {
    Error::job(built::absent("kind `kinesis`", "brokers"))
}
