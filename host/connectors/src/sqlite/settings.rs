//! Settings of `sqlite` sinks.

use millstream_job::spec::TableMode;
use std::path::PathBuf;
use std::time::Duration;

/// Settings of a sink: what it writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqliteWrites {
    /// The file of the database, as in the job file.
    pub path: PathBuf,
    /// The table.
    pub table: String,
    /// What a row does to it.
    pub mode: TableMode,
    /// How long the job waits while other processes write to the database, or the disk is full.
    pub wait: Duration,
}
