//! Declarations of the sources `directory` and `file`: their keys in job files.

mod directory;
mod file;
mod log;

use super::file_facts::FileFacts;
use super::settings::{DirectoryReads, FileReads, LogReads};
use millstream_base::limits::RECORD_BYTES_MAX_MAX;
use millstream_base::units;
use millstream_job::PartErrors;
use millstream_job::connector::{ROWS, SourceDeclaration};
use millstream_job::keys::{DESCRIPTOR, KeyShape, MESSAGE, SEPARATOR, TableKey, columns, key};
use millstream_job::table::Reader;
use millstream_rows::batch::position::Position;
use std::path::{Path, PathBuf};
use std::time::Duration;

const DIRECTORY_KIND: &str = "directory";
const FILE_KIND: &str = "file";

/// The key `format` of both kinds.
const FORMAT: TableKey = key(
    "format",
    KeyShape::Word(&["text", "json", "csv", "binary", "parquet", "avro", "protobuf"]),
    "Format of the files. With `text`, each line is one column. `text` by default.",
);
/// The other keys of both kinds.
const FILES: &[TableKey] = &[
    columns(&[]),
    key(
        "header",
        KeyShape::Flag,
        "Format csv: whether the first record of each file names the columns; true by default.",
    ),
    SEPARATOR,
    key(
        "record_bytes",
        KeyShape::Integer(1, RECORD_BYTES_MAX_MAX),
        "Format binary: bytes per record, by default the sum of the columns' widths.",
    ),
    DESCRIPTOR,
    MESSAGE,
];

/// Sources of kind `directory`.
pub const DIRECTORY: SourceDeclaration = SourceDeclaration {
    kind: DIRECTORY_KIND,
    doc: "the files of a directory, and new ones as they arrive",
    keys: &[
        key(
            "path",
            KeyShape::Text,
            "Directory, relative to the job file, or \"s3://bucket/prefix\", gs://, az:// or hdfs://. It may end in a pattern: \
             \"logs/**/*.jsonl\".",
        )
        .required(),
        FORMAT,
        key(
            "pattern",
            KeyShape::Text,
            "Files to read: a pattern for names such as \"*.jsonl\", or, with a `/`, for paths within the directory such as \
             \"**/*.jsonl\".",
        ),
        key("subfolders", KeyShape::Flag, "Also read the files of subdirectories; false by default."),
        key(
            "spread",
            KeyShape::Flag,
            "Share the files among all processes of the job; each file then has its own watermark. If false, one process reads them \
             one after the other. false by default.",
        ),
        key(
            "poll",
            KeyShape::Time,
            "Time between checks for new files, by default 500ms in a directory and 5s in a bucket.",
        ),
        key(
            "settle",
            KeyShape::Time,
            "How long the size and time of a file must be unchanged before it is read, 1s by default; \"0s\" does not wait. Not \
             for buckets.",
        ),
        key(
            "away_max",
            KeyShape::Time,
            "How long the job waits if the directory, a file or the bucket becomes unreadable, 5m by default; then it fails.",
        ),
    ],
    shared: &[ROWS, FILES],
    read: |r| DirectoryReads::read(r).into(),
};

/// Sources of kind `file`.
pub const FILE: SourceDeclaration = SourceDeclaration {
    kind: FILE_KIND,
    doc: "one file",
    keys: &[
        key("path", KeyShape::Text, "File, relative to the job file.").required(),
        FORMAT,
        key(
            "follow",
            KeyShape::Flag,
            "Follow the file as a log: read it indefinitely, through rotations. Its rotated files next to it (`app.log.1`, \
             `app.log-20261121`) are read first. false by default.",
        ),
        key("poll", KeyShape::Time, "With `follow`: time between checks of the file, 100ms by default."),
        key(
            "settle",
            KeyShape::Time,
            "With `follow`: how long the size and time of a rotated file must be unchanged before it counts as complete, 1s by \
             default; \"0s\" does not wait.",
        ),
        key(
            "away_max",
            KeyShape::Time,
            "How long the job waits if the file becomes unreadable, 5m by default; then it fails.",
        ),
    ],
    shared: &[ROWS, FILES],
    read: |r| {
        if r.flag("follow") == Some(true) {
            let log = LogReads::read(r);
            return if is_one_file(&log.path, r) { log.into() } else { FileReads { path: log.path }.into() };
        }
        let file = FileReads::read(r);
        is_one_file(&file.path, r);
        file.into()
    },
};

/// Reads the path of a source.
fn read_path(r: &Reader<'_>, example: &str) -> PathBuf {
    r.need("path", example);
    r.path("path", example).unwrap_or_default()
}

/// Checks how long files must be unchanged.
fn check_settle(settle: Duration, part: &PartErrors<'_>) {
    if settle > Duration::from_secs(86_400) {
        part.wrong("settle", format!("`settle` is {}; write at most 1d", units::show_time(settle)));
    }
}

/// Returns the path in the identity of a source: as written in the job file.
pub(super) fn path_as_written<'a>(path: &Path, written: &dyn Fn(&str) -> Option<&'a str>) -> String {
    written("path").map_or_else(|| path.display().to_string(), str::to_owned)
}

/// Returns whether a path is that of one file, and records an error if it is a pattern.
fn is_one_file(path: &Path, r: &Reader<'_>) -> bool {
    let is_pattern = super::settings::split_pattern(path).is_some();
    if is_pattern {
        let what = format!(
            "`path = \"{}\"` is a pattern, and a source of kind `file` reads one file; write kind = \"directory\" for all \
             files of a pattern",
            path.display()
        );
        r.wrong("path", what);
    }
    !is_pattern
}

/// Returns the end of a file whose batches are replayed: if the file was restored for that, it is not new. Reading it reports a missing file.
pub(super) fn restored_end(path: Option<PathBuf>, end: Position) -> Position {
    let metadata = path.and_then(|path| std::fs::metadata(path).ok()).filter(std::fs::Metadata::is_file);
    metadata.map_or(end, |metadata| FileFacts::of(&metadata).restored(end))
}
