//! Declarations of the sources `directory` and `file`: their keys in job files.

mod directory;
mod file;
mod log;

use super::file_facts::FileFacts;
use super::settings::{DirectoryReads, FileReads, LogReads};
use millstream_base::batch::position::Position;
use millstream_base::job::PartErrors;
use millstream_base::job::connector::{ROWS, SourceDeclaration};
use millstream_base::job::keys::{KeyShape, key};
use millstream_base::job::table::Reader;
use millstream_base::units;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const DIRECTORY_KIND: &str = "directory";
const FILE_KIND: &str = "file";

/// The keys of both kinds.
const FILES: &[&str] =
    &["path", "schema", "header", "separator", "record_bytes", "descriptor", "message", "poll", "settle", "away_max"];

/// Sources of kind `directory`.
pub const DIRECTORY: SourceDeclaration = SourceDeclaration {
    kind: DIRECTORY_KIND,
    doc: "the files of a directory, and new ones as they arrive",
    keys: &[
        key("subfolders", KeyShape::Flag, "Also read the files of subdirectories; false by default."),
        key(
            "spread",
            KeyShape::Flag,
            "Share the files among all processes of the job; each file then has its own watermark. If false, one process reads them \
             one after the other. false by default.",
        ),
    ],
    shared: &[ROWS, FILES, &["pattern"]],
    read: |r| Arc::new(DirectoryReads::read(r)),
};

/// Sources of kind `file`.
pub const FILE: SourceDeclaration = SourceDeclaration {
    kind: FILE_KIND,
    doc: "one file",
    keys: &[key(
        "follow",
        KeyShape::Flag,
        "Follow the file as a log: it is read indefinitely, through rotations. Its rotated files next to it (`app.log.1`, \
         `app.log-20261121`) are read first.",
    )],
    shared: &[ROWS, FILES],
    read: |r| {
        if r.flag("follow") == Some(true) {
            let log = LogReads::read(r);
            return if is_one_file(&log.path, r) { Arc::new(log) } else { Arc::new(FileReads { path: log.path }) };
        }
        let file = FileReads::read(r);
        is_one_file(&file.path, r);
        Arc::new(file)
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
