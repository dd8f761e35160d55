//! Settings of `queue` sinks.

use std::path::PathBuf;

/// A file with one JSON line per batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueWrites {
    /// The file.
    pub path: PathBuf,
}

impl QueueWrites {
    /// Returns settings that write to this file.
    pub fn new(path: impl Into<PathBuf>) -> QueueWrites {
        QueueWrites { path: path.into() }
    }
}
