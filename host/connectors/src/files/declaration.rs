//! Declarations of the `files` and `delta` sinks: their keys in job files.

use super::settings::{FileWrites, FilesLayout, FilesRoll};
use super::sink::{self, FileSettings};
use crate::limits;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_base::error::Result;
use millstream_base::failure::Failure;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_connect::sink::{encode, open_error, wrong};
use millstream_job::connector::{CHANGES, COMPRESSIONS, ENCODING, PARTS_SHAPE, SinkDeclaration, TABLE};
use millstream_job::keys::{KeyShape, TableKey, key};
use millstream_job::spec::{PartWriter, SinkChanges, SinkConfig, SinkStart, TableMode, WrittenPath, bucket_url};
use millstream_job::table::Reader;
use millstream_job::{PartErrors, parts};
use millstream_rows::batch::json;
use millstream_rows::batch::sink::{EncodeRows, Sink};
use millstream_rows::formats::{Compression, FileFormat};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const FILES_KIND: &str = "files";
const DELTA_KIND: &str = "delta";

const PATH: TableKey = key(
    "path",
    KeyShape::Text,
    "Directory, relative to the job file, or \"s3://bucket/prefix\", gs://, az:// or hdfs://.",
)
.required();
const PARTITION_BY: TableKey = key(
    "partition_by",
    KeyShape::TextList,
    "Columns that partition the files into directories, as in Hive (`day=2026-11-21/part-….parquet`); the files do not contain \
     these columns.",
);
const ROLL: TableKey = key(
    "roll",
    KeyShape::Table(ROLL_KEYS),
    "Let files grow over many batches, until they have this size or age: { size = \"128MiB\", time = \"5m\" }. Without it, each \
     batch writes its own files.",
);
const OPEN_PARTS_MAX: TableKey = key(
    "open_parts_max",
    KeyShape::Integer(1, limits::OPEN_PARTS_MAX),
    "Maximum files that grow at the same time, 100 by default; with more, the file that has been idle longest is \
     completed.",
);
const PARTS: TableKey = key(
    "parts",
    PARTS_SHAPE,
    "Files of a batch: one, with its rows in order (`batch`), or one per worker that has rows (`worker`). With `worker`, workers write \
     at the same time, each with its own marker. `batch` by default.",
);
const ROLL_KEYS: &[TableKey] = &[
    key("size", KeyShape::Size, "Size from which a file is complete, 128MiB by default."),
    key("time", KeyShape::Time, "Time after its first batch at which a file is complete, 5m by default."),
];

/// Sinks of kind `files`.
pub const FILES: SinkDeclaration = SinkDeclaration {
    kind: FILES_KIND,
    doc: "files in a directory or bucket",
    keys: &[
        PATH,
        key(
            "format",
            KeyShape::Word(&["text", "json", "csv", "parquet", "avro"]),
            "Format of the files, `json` by default.",
        ),
        PARTS,
        PARTITION_BY,
        ROLL,
        OPEN_PARTS_MAX,
        key("compression", COMPRESSIONS, "Compression of Parquet pages, `snappy` by default."),
    ],
    shared: &[CHANGES, ENCODING],
    read: |r| FileWrites::of_files(r).into(),
};

/// Sinks of kind `delta`, which write a Delta table.
pub const DELTA: SinkDeclaration = SinkDeclaration {
    kind: DELTA_KIND,
    doc: "a Delta table",
    keys: &[
        PATH,
        PARTS,
        PARTITION_BY,
        ROLL,
        OPEN_PARTS_MAX,
        key("compression", COMPRESSIONS, "Compression of Parquet pages, `snappy` by default."),
    ],
    shared: &[TABLE],
    read: |r| FileWrites::of_delta(r).into(),
};

impl FileWrites {
    fn of_files(r: &Reader<'_>) -> FileWrites {
        let formats = [
            ("json", FileFormat::Json),
            ("text", FileFormat::Text),
            ("csv", FileFormat::Csv),
            ("parquet", FileFormat::Parquet(Compression::Snappy)),
            ("avro", FileFormat::Avro),
        ];
        FileWrites {
            path: r.needed_text("path", "path = \"output\"").into(),
            format: compressed(r.choice("format", &formats, &["arrow", "orc"]), r),
            parts: r.parts_by(),
            layout: layout(r),
        }
    }

    fn of_delta(r: &Reader<'_>) -> FileWrites {
        FileWrites {
            path: r.needed_text("path", "path = \"lake/orders\"").into(),
            format: compressed(Some(FileFormat::Parquet(Compression::Snappy)), r),
            parts: r.parts_by(),
            layout: FilesLayout { delta: true, mode: r.table_mode(), ..layout(r) },
        }
    }

    /// Returns the sink's path, resolved against the job file's directory. A bucket URL is returned unchanged.
    fn resolved_path(&self, start: SinkStart<'_>) -> PathBuf {
        if bucket_url(&self.path).is_some() { self.path.clone() } else { start.origin.dir.join(&self.path) }
    }

    /// Returns the settings with which the sink writes rows of this schema.
    fn settings(&self, start: SinkStart<'_>, schema: &SchemaRef) -> FileSettings {
        FileSettings {
            name: start.spec.name.clone(),
            path: self.resolved_path(start),
            format: self.format,
            schema: schema.clone(),
            layout: self.layout.clone(),
        }
    }
}

/// Applies the `compression` key to a file format.
fn compressed(format: Option<FileFormat>, r: &Reader<'_>) -> FileFormat {
    if !r.has("compression") {
        return format.unwrap_or(FileFormat::Json);
    }
    let by = r.choice("compression", &Compression::ALL, &[]);
    match format {
        Some(FileFormat::Parquet(usual)) => FileFormat::Parquet(by.unwrap_or(usual)),
        other => {
            // An invalid format has an error of its own.
            if other.is_some() || !r.has("format") {
                let message = "`compression` is for format `parquet`; remove it, or write format = \"parquet\"";
                r.wrong("compression", message);
            }
            other.unwrap_or(FileFormat::Json)
        }
    }
}

/// Reads `partition_by`, `roll` and `open_parts_max`.
fn layout(r: &Reader<'_>) -> FilesLayout {
    let partition_by = r.list("partition_by", "partition_by = [\"day\"], names of columns");
    let roll = r.inner("roll", "roll = { size = \"128MiB\", time = \"5m\" }").map(|roll| {
        roll.check_keys(ROLL_KEYS, &[], None);
        let bytes = roll.size("size", limits::ROLL_BYTES_MIN, limits::ROLL_BYTES_MAX);
        FilesRoll {
            bytes: bytes.unwrap_or(limits::ROLL_BYTES),
            time: roll.time("time").unwrap_or(Duration::from_millis(limits::ROLL_MS)),
        }
    });
    let open = r.integer("open_parts_max", 1, limits::OPEN_PARTS_MAX).and_then(|max| usize::try_from(max).ok());
    if open.is_some() && roll.is_none() {
        r.wrong("open_parts_max", "`open_parts_max` is for files that `roll`; write that, or remove it");
    }
    FilesLayout { partition_by, roll, open_parts_max: open.unwrap_or(limits::OPEN_PARTS), ..FilesLayout::default() }
}

impl SinkConfig for FileWrites {
    fn kind(&self) -> &'static str {
        if self.layout.delta { DELTA_KIND } else { FILES_KIND }
    }

    fn check(&self, part: &PartErrors<'_>) {
        match bucket_url(&self.path) {
            Some(url) => parts::url_of_bucket(url, part),
            None => parts::file_path("path", &self.path, part),
        }
        parts::check_duplicates("partition_by", &self.layout.partition_by, part);
        part.table_mode(&self.layout.mode);
        let keyed = matches!(self.layout.mode, TableMode::Upsert { .. });
        if keyed && !self.layout.partition_by.is_empty() {
            let message = "a table whose rows are replaced by key (mode = \"upsert\") has no partitions in this \
                version; remove one of them";
            part.wrong("partition_by", message);
        }
        if keyed && self.by_worker() {
            let message = "mode = \"upsert\" needs the order of all rows, but with parts = \"worker\" workers do \
                           not wait for each other; remove one of them";
            part.wrong("parts", message);
        }
    }

    fn promises(&self) -> Vec<String> {
        let once = "exactly once, with [checkpoint]: each commit of the table contains its batch ID".to_owned();
        match &self.layout {
            FilesLayout { delta: false, .. } => Vec::new(),
            FilesLayout { mode: TableMode::Append, .. } => vec![once],
            FilesLayout { mode: TableMode::Upsert { key, .. }, .. } => {
                vec![once, format!("the last row of each {} is in the table", key.join(", "))]
            }
        }
    }

    fn is_text(&self) -> bool {
        !matches!(self.format, FileFormat::Parquet(_) | FileFormat::Avro)
    }

    fn table_mode(&self) -> Option<&TableMode> {
        Some(&self.layout.mode).filter(|_| self.layout.delta)
    }

    fn changes(&self) -> SinkChanges<'_> {
        match self.table_mode() {
            Some(mode) => mode.changes(),
            None => SinkChanges::Unknown {
                key: "from",
                help: "write to a `postgres` or `kafka` sink with op = \"OP\"",
                appends: true,
            },
        }
    }

    fn by_worker(&self) -> bool {
        self.parts == PartWriter::Worker
    }

    fn path(&self) -> Option<WrittenPath<'_>> {
        let dirs: PathBuf = self.layout.partition_by.iter().map(|column| format!("{column}=value")).collect();
        let part = dirs.join(format!("part-0000000001.{}", encode::extension(self.format)));
        Some(WrittenPath { path: &self.path, part: Some(part) })
    }

    fn readable(&self) -> Option<&Path> {
        let has_rows = matches!(self.format, FileFormat::Json | FileFormat::Csv | FileFormat::Parquet(_));
        let is_flat = self.layout.partition_by.is_empty() && !self.layout.delta && bucket_url(&self.path).is_none();
        (has_rows && is_flat).then_some(&self.path)
    }

    fn check_start(&self, start: SinkStart<'_>, schema: &SchemaRef, _keeps_checkpoints: bool) -> Result<()> {
        sink::check(&self.settings(start, schema), start.job_id)
            .map_err(|(key, message)| wrong(start.spec, start.origin, key, message))
    }

    fn open(&self, start: SinkStart<'_>, schema: &SchemaRef, failure: &Failure) -> Result<Box<dyn Sink>> {
        sink::open(self.settings(start, schema), start.share, start.owner, failure)
    }

    fn committed(&self, start: SinkStart<'_>, job_id: &str) -> Result<Option<BatchId>> {
        sink::committed(&self.resolved_path(start), &self.layout, job_id)
            .map_err(|message| wrong(start.spec, start.origin, "path", message))
    }

    fn written(&self, start: SinkStart<'_>, batch: BatchId) -> Result<Option<Vec<u8>>> {
        // With several parts, it is unknown which of them exist.
        if self.by_worker() || !sink::is_plain(&self.path, &self.layout) {
            return Ok(None);
        }
        let path = self.resolved_path(start);
        sink::read_part(&path, batch, self.format).map_err(|cause| open_error(&start.spec.name, "read", &path, &cause))
    }

    fn render(
        &self,
        _name: &str,
        schema: &SchemaRef,
        _of: (BatchId, BatchTime),
        rows: &[RecordBatch],
    ) -> io::Result<Vec<u8>> {
        sink::render(self.format, schema, rows)
    }

    fn encoder(&self, _start: SinkStart<'_>, _schema: &SchemaRef) -> Result<Option<EncodeRows>> {
        // Parts that grow over several batches keep rows, not bytes, until they are complete.
        if !sink::is_plain(&self.path, &self.layout) {
            return Ok(None);
        }
        Ok(match self.format {
            FileFormat::Json => Some(Arc::new(json::encode)),
            FileFormat::Csv => Some(Arc::new(encode::csv::encode)),
            // Text is already bytes.
            FileFormat::Text | FileFormat::Parquet(_) | FileFormat::Avro => None,
        })
    }
}
