//! Declaration of the `print` sink.

use super::settings::PrintWrites;
use super::sink::{self, PrintSink};
use crate::limits;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_base::error::Result;
use millstream_base::failure::Failure;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::terminal;
use millstream_job::connector::SinkDeclaration;
use millstream_job::keys::{KeyShape, key};
use millstream_job::spec::{SinkConfig, SinkStart};
use millstream_job::table::Reader;
use millstream_rows::batch::sink::Sink;
use std::io;

const KIND: &str = "print";

/// The sink kind.
pub const SINK: SinkDeclaration = SinkDeclaration {
    kind: KIND,
    doc: "standard output",
    keys: &[key(
        "rows",
        KeyShape::Integer(0, limits::PRINT_ROWS_MAX),
        "Maximum rows of a batch that are printed, 10 by default.",
    )],
    shared: &[],
    read: |r| PrintWrites::read(r).into(),
};

impl PrintWrites {
    fn read(r: &Reader<'_>) -> PrintWrites {
        let rows = r.integer("rows", 0, limits::PRINT_ROWS_MAX).and_then(|rows| usize::try_from(rows).ok());
        let defaults = PrintWrites::default();
        PrintWrites { rows: rows.unwrap_or(defaults.rows), ..defaults }
    }
}

impl SinkConfig for PrintWrites {
    fn kind(&self) -> &'static str {
        if self.once { "sample" } else { KIND }
    }

    fn is_sample(&self) -> bool {
        self.once
    }

    fn keeps_rows(&self) -> bool {
        false
    }

    fn open(&self, start: SinkStart<'_>, schema: &SchemaRef, _failure: &Failure) -> Result<Box<dyn Sink>> {
        let name = &start.spec.name;
        if start.owner.is_some() {
            tracing::info!("sink `{name}` prints at least once: after a crash it may show some batches again");
        }
        let sink = PrintSink::new(name, self.rows, schema.clone(), Box::new(terminal::Output));
        Ok(Box::new(if self.once { sink.limited_to_rows() } else { sink }))
    }

    fn render(
        &self,
        name: &str,
        schema: &SchemaRef,
        batch: (BatchId, BatchTime),
        rows: &[RecordBatch],
    ) -> io::Result<Vec<u8>> {
        sink::render(name, self.rows, schema, batch, rows)
    }
}
