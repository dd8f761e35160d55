//! Declaration of the `queue` sink: its keys in job files.

use super::QueueSink;
use super::settings::QueueWrites;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_base::error::Result;
use millstream_base::failure::Failure;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_connect::sink::{open_error, wrong};
use millstream_job::connector::SinkDeclaration;
use millstream_job::keys::{KeyShape, key};
use millstream_job::spec::{SinkChanges, SinkConfig, SinkStart, WrittenPath};
use millstream_job::table::Reader;
use millstream_job::{PartErrors, parts};
use millstream_rows::batch::json;
use millstream_rows::batch::sink::{EncodeRows, Sink};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const KIND: &str = "queue";

/// Sinks of kind `queue`.
pub const SINK: SinkDeclaration = SinkDeclaration {
    kind: KIND,
    doc: "a file with one line per batch, for tests",
    keys: &[key("path", KeyShape::Text, "File, relative to the job file.").required()],
    shared: &[],
    read: |r| QueueWrites::read(r).into(),
};

impl QueueWrites {
    fn read(r: &Reader<'_>) -> QueueWrites {
        QueueWrites::new(r.needed_text("path", "path = \"out.jsonl\""))
    }

    fn resolved_path(&self, start: SinkStart<'_>) -> PathBuf {
        start.origin.dir.join(&self.path)
    }
}

impl SinkConfig for QueueWrites {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn check(&self, part: &PartErrors<'_>) {
        parts::file_path("path", &self.path, part);
    }

    fn changes(&self) -> SinkChanges<'_> {
        SinkChanges::PassedOn
    }

    fn path(&self) -> Option<WrittenPath<'_>> {
        Some(WrittenPath { path: &self.path, part: None })
    }

    fn readable(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn check_start(&self, start: SinkStart<'_>, schema: &SchemaRef, keeps_checkpoints: bool) -> Result<()> {
        let SinkStart { spec, origin, job_id, .. } = start;
        json::check(schema).map_err(|message| wrong(spec, origin, "from", message))?;
        super::check(&self.resolved_path(start), keeps_checkpoints, job_id)
            .map_err(|message| wrong(spec, origin, "path", message))
    }

    fn open(&self, start: SinkStart<'_>, _schema: &SchemaRef, failure: &Failure) -> Result<Box<dyn Sink>> {
        Ok(Box::new(QueueSink::open(&start.spec.name, &self.resolved_path(start), start.owner, failure)?))
    }

    fn committed(&self, start: SinkStart<'_>, job_id: &str) -> Result<Option<BatchId>> {
        super::committed(&self.resolved_path(start), job_id)
            .map_err(|message| wrong(start.spec, start.origin, "path", message))
    }

    fn written(&self, start: SinkStart<'_>, batch: BatchId) -> Result<Option<Vec<u8>>> {
        let path = self.resolved_path(start);
        super::written(&path, batch).map_err(|cause| open_error(&start.spec.name, "read", &path, &cause))
    }

    fn render(
        &self,
        _name: &str,
        _schema: &SchemaRef,
        (batch, time): (BatchId, BatchTime),
        rows: &[RecordBatch],
    ) -> io::Result<Vec<u8>> {
        super::render(batch, time, rows)
    }

    fn encoder(&self, _start: SinkStart<'_>, _schema: &SchemaRef) -> Result<Option<EncodeRows>> {
        Ok(Some(Arc::new(json::encode)))
    }
}
