//! Settings of sinks of kind `queue`.

use std::path::PathBuf;

/// A file with one JSON line a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueWrites {
    /// The file.
    pub path: PathBuf,
}

impl QueueWrites {
    /// Into this file.
    pub fn new(path: impl Into<PathBuf>) -> QueueWrites {
        QueueWrites { path: path.into() }
    }
}
