//! Declaration of the `queue` source: its keys in job files.

use super::QueueReads;
use super::replay::LineReplay;
use millstream_base::error::Result;
use millstream_connect::receiver::{check_path, receive_on_thread};
use millstream_job::connector::{REJECTING, SourceDeclaration};
use millstream_job::keys::{JSON_FORMAT, KeyShape, RECORD_BYTES_MAX, REJECTED_BYTES_MAX, columns, key};
use millstream_job::spec::{InputPath, Origin, Replay, SourceConfig, SourceSpec, SourceStart};
use millstream_job::table::Reader;
use millstream_job::{PartErrors, parts};
use millstream_rows::batch::position::Position;
use millstream_rows::decode::spec::RecordBounds;
use millstream_rows::formats::Format;

const KIND: &str = "queue";

/// Sources of kind `queue`.
pub const SOURCE: SourceDeclaration = SourceDeclaration {
    kind: KIND,
    doc: "a file of test batches",
    keys: &[
        key("path", KeyShape::Text, "File, relative to the job file.").required(),
        key("format", JSON_FORMAT, "Format of the records. Only `json` is allowed."),
        columns(&[]).required(),
        key(
            "away_max",
            KeyShape::Time,
            "How long the job waits if the file becomes unreadable, 5m by default; then it fails.",
        ),
    ],
    shared: &[&[RECORD_BYTES_MAX, REJECTED_BYTES_MAX], REJECTING],
    read: |r| QueueReads::read(r).into(),
};

impl QueueReads {
    fn read(r: &Reader<'_>) -> QueueReads {
        let example = "path = \"input.jsonl\"";
        r.need("path", example);
        QueueReads { path: r.path("path", example).unwrap_or_default() }
    }
}

impl SourceConfig for QueueReads {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn check(&self, _source: &SourceSpec, part: &PartErrors<'_>) {
        parts::file_path("path", &self.path, part);
    }

    fn bounds(&self) -> RecordBounds {
        RecordBounds::Ends
    }

    fn format(&self) -> Format {
        Format::Json
    }

    fn check_format(&self, source: &SourceSpec, part: &PartErrors<'_>) -> bool {
        if source.format != Format::Json {
            let word = source.format.keyword();
            part.wrong(
                "format",
                format!("a `queue` source holds JSON, not {word}; remove `format`, or use kind `file`"),
            );
            return false;
        }
        if source.schema.is_empty() {
            let message =
                "a `queue` source needs its columns; write schema = { user = \"text\", amount = \"float64\" }";
            part.wrong("schema", message);
        }
        !source.schema.is_empty()
    }

    fn accepts_values(&self) -> bool {
        true
    }

    fn is_batch_source(&self) -> bool {
        true
    }

    fn input(&self) -> Option<InputPath<'_>> {
        Some(InputPath::File(&self.path))
    }

    fn identity<'a>(&'a self, written: &dyn Fn(&str) -> Option<&'a str>) -> String {
        format!("{KIND} {}", written("path").map_or_else(|| self.path.display().to_string(), str::to_owned))
    }

    fn keeps_rows(&self) -> bool {
        false
    }

    fn replay<'a>(
        &'a self,
        _source: &'a SourceSpec,
        origin: &'a Origin,
        _moved: &'a [(String, Position)],
    ) -> Option<Box<dyn Replay + 'a>> {
        Some(Box::new(LineReplay::new(self, origin)))
    }

    fn check_start(&self, source: &SourceSpec, origin: &Origin) -> Result<()> {
        check_path(source, &origin.dir.join(&self.path), false, origin)
    }

    fn start(&self, start: SourceStart<'_>) -> Result<()> {
        let (source, from) = (start.source.clone(), start.from.clone());
        let path = start.origin.dir.join(&self.path);
        receive_on_thread(&start, move |inbox, runtime| super::receive(&source, &path, &from, inbox, runtime));
        Ok(())
    }
}
