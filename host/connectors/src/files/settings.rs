//! Settings of the `files` and `delta` sinks.

use crate::limits;
use millstream_job::spec::{PartWriter, TableMode};
use millstream_rows::formats::FileFormat;
use std::path::PathBuf;
use std::time::Duration;

/// Settings of a sink that writes files of rows to a directory or a bucket prefix, possibly those of a Delta table.
#[derive(Clone, Debug, PartialEq)]
pub struct FileWrites {
    /// The directory, or `s3://bucket/prefix`.
    pub path: PathBuf,
    /// The format of the files.
    pub format: FileFormat,
    /// Which processes write parts.
    pub parts: PartWriter,
    /// How rows are distributed over files.
    pub layout: FilesLayout,
}

impl FileWrites {
    /// Returns settings that write one file per batch into this directory.
    pub fn new(path: impl Into<PathBuf>, format: FileFormat) -> FileWrites {
        FileWrites { path: path.into(), format, parts: PartWriter::default(), layout: FilesLayout::default() }
    }
}

/// How rows are distributed over files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilesLayout {
    /// The columns whose values name the directories, outermost first.
    pub partition_by: Vec<String>,
    /// When a file is complete; `None`: at the end of its batch.
    pub roll: Option<FilesRoll>,
    /// The maximum number of open files that grow over several batches.
    pub open_parts_max: usize,
    /// Whether the directory is a Delta table, whose log lists its files: kind `delta`.
    pub delta: bool,
    /// What a row does to the Delta table.
    pub mode: TableMode,
}

impl Default for FilesLayout {
    fn default() -> FilesLayout {
        FilesLayout {
            partition_by: Vec::new(),
            roll: None,
            open_parts_max: limits::OPEN_PARTS,
            delta: false,
            mode: TableMode::Append,
        }
    }
}

/// When a file that grows over several batches is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilesRoll {
    /// Maximum size in bytes.
    pub bytes: u64,
    /// Maximum time since its first batch.
    pub time: Duration,
}
