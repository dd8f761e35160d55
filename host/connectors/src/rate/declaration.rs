//! Declaration of the `rate` source.

use super::{RECORD_BYTES, RateReads};
use crate::limits::ROWS_PER_SECOND_MAX;
use millstream_base::error::Result;
use millstream_connect::receiver::replay::recreate;
use millstream_connect::receiver::{receive, wrong};
use millstream_job::PartErrors;
use millstream_job::connector::{CUT, SourceDeclaration};
use millstream_job::keys::{KeyShape, key};
use millstream_job::spec::{Origin, Replay, SourceConfig, SourceSpec, SourceStart};
use millstream_job::table::Reader;
use millstream_rows::batch::chunk::{Chunk, PlannedChunk};
use millstream_rows::batch::column::{ColumnSpec, TimeForm, TimeUnit};
use millstream_rows::batch::position::Position;
use millstream_rows::batch::types::ColumnType;
use millstream_rows::decode::spec::RecordBounds;
use millstream_rows::formats::Format;

const KIND: &str = "rate";

/// The source kind.
pub const SOURCE: SourceDeclaration = SourceDeclaration {
    kind: KIND,
    doc: "generated rows",
    keys: &[
        key("rows_per_second", KeyShape::Integer(1, ROWS_PER_SECOND_MAX), "Rows generated per second.").required(),
        key("rows_max", KeyShape::Integer(1, i64::MAX as u64), "Number of rows, unlimited by default."),
    ],
    shared: &[CUT],
    read: |r| RateReads::read(r).into(),
};

impl RateReads {
    fn read(r: &Reader<'_>) -> RateReads {
        r.need("rows_per_second", "rows_per_second = 1000");
        RateReads {
            rows_per_second: r.integer("rows_per_second", 1, ROWS_PER_SECOND_MAX).unwrap_or(1),
            rows_max: r.integer("rows_max", 1, i64::MAX as u64),
        }
    }
}

fn columns() -> Vec<ColumnSpec> {
    let time = ColumnSpec::new("timestamp", ColumnType::Timestamp);
    vec![time.written(TimeForm::Number(TimeUnit::Micros)), ColumnSpec::new("value", ColumnType::Int64)]
}

impl SourceConfig for RateReads {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn check(&self, _source: &SourceSpec, part: &PartErrors<'_>) {
        if self.rows_per_second == 0 {
            part.wrong("rows_per_second", "`rows_per_second` is 0; write at least 1");
        }
    }

    fn bounds(&self) -> RecordBounds {
        RecordBounds::Ends
    }

    fn format(&self) -> Format {
        Format::Binary { record_bytes: Some(RECORD_BYTES) }
    }

    fn makes_records(&self) -> bool {
        true
    }

    fn columns(&self) -> Option<Vec<ColumnSpec>> {
        Some(columns())
    }

    fn check_format(&self, source: &SourceSpec, part: &PartErrors<'_>) -> bool {
        if source.schema != columns() {
            part.wrong("schema", "a `rate` source has the columns timestamp and value; remove `schema`");
        }
        false
    }

    fn keeps_rows(&self) -> bool {
        false
    }

    fn replay<'a>(
        &'a self,
        _source: &'a SourceSpec,
        _origin: &'a Origin,
        _moved: &'a [(String, Position)],
    ) -> Option<Box<dyn Replay + 'a>> {
        Some(Box::new(self.clone()))
    }

    fn check_start(&self, source: &SourceSpec, origin: &Origin) -> Result<()> {
        match self.rows_per_second {
            0 => Err(wrong(source, origin, "rows_per_second", "must be at least 1")),
            _ => Ok(()),
        }
    }

    fn start(&self, start: SourceStart<'_>) -> Result<()> {
        let (reads, from, inbox) = (self.clone(), start.from.clone(), start.inbox.clone());
        receive(&start, async move { super::receive(reads, &from, &inbox).await });
        Ok(())
    }
}

impl Replay for RateReads {
    fn chunk(&mut self, planned: &PlannedChunk) -> Result<Chunk, String> {
        recreate(planned, |rows| super::rows(rows, planned.extent.start, self.rows_per_second))
    }
}
