//! Settings of sinks of kind `files` and `delta`.

use crate::limits;
use millstream_base::job::spec::{FileFormat, PartsBy, TableMode};
use std::path::PathBuf;
use std::time::Duration;

/// A folder, or the like of it in a bucket, with files of rows, which may be those of a table of Delta.
#[derive(Clone, Debug, PartialEq)]
pub struct FileWrites {
    /// The folder, or `s3://bucket/prefix`.
    pub path: PathBuf,
    /// What is in the files.
    pub format: FileFormat,
    /// Who writes them.
    pub parts: PartsBy,
    /// Which rows are in a file.
    pub layout: FilesLayout,
}

impl FileWrites {
    /// Into this folder, with a file a batch.
    pub fn new(path: impl Into<PathBuf>, format: FileFormat) -> FileWrites {
        FileWrites { path: path.into(), format, parts: PartsBy::default(), layout: FilesLayout::default() }
    }
}

/// Which rows are in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilesLayout {
    /// The columns by whose values rows lie in folders, in the order of the folders.
    pub partition_by: Vec<String>,
    /// When a file is complete; `None`: with its batch.
    pub roll: Option<FilesRoll>,
    /// How many files that roll are open at a time.
    pub open_parts_max: usize,
    /// The folder is a table of Delta, whose log says which files are there: kind `delta`.
    pub delta: bool,
    /// What a row does to that table.
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

/// When a file that grows over batches is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilesRoll {
    /// With so many bytes.
    pub bytes: u64,
    /// So long after its first batch.
    pub time: Duration,
}
