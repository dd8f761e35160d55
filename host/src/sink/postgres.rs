//! Sink `postgres`: a table of a PostgreSQL database, a transaction a batch.

use super::Sink;
use crate::checkpoint::Owner;
use crate::error::{Error, Result};
use crate::ids::BatchId;
use crate::job::spec::{Origin, SinkSpec};
use crate::run::Failure;
use arrow::datatypes::SchemaRef;

pub(super) fn check(_spec: &SinkSpec, _schema: &SchemaRef, _origin: &Origin) -> Result<()> {
    Err(Error::bug("not yet"))
}

pub(super) fn open(
    _spec: &SinkSpec,
    _schema: SchemaRef,
    _origin: &Origin,
    _owner: Option<&Owner>,
    _failure: &Failure,
) -> Result<Box<dyn Sink>> {
    Err(Error::bug("not yet"))
}

pub(super) fn committed(_spec: &SinkSpec, _origin: &Origin, _job_id: &str) -> Result<Option<BatchId>> {
    Err(Error::bug("not yet"))
}
