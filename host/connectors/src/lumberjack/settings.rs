//! Settings of sources of kind `lumberjack`.

use millstream_base::batch::column::ColumnSpec;
use millstream_base::batch::types::ColumnType;
use std::time::Duration;

/// How long such a window may take to come in, in milliseconds, where a job says nothing else.
pub const WINDOW_MS_MAX: u64 = 30_000;

/// Bytes of a window of events that a Beat sends, unpacked, where a job says nothing else.
pub const WINDOW_BYTES_MAX: u64 = 16 << 20;

/// Where such a source listens, and what it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LumberjackReads {
    /// `host:port`
    pub listen: String,
    /// Whether all processes of the job listen there.
    pub spread: bool,
    /// Bytes of a window, unpacked: what its sender waits for an answer to.
    pub window_bytes_max: u64,
    /// How long a window may take to come in.
    pub window_time_max: Duration,
    /// Connections at a time; more wait.
    pub connections_max: u64,
}

impl LumberjackReads {
    /// The columns of a source whose job names none: what Filebeat tells of a line of a log.
    pub fn columns() -> Vec<ColumnSpec> {
        let text = |name, path: &[&str]| ColumnSpec::new(name, ColumnType::Text).at(path.iter().copied());
        vec![
            ColumnSpec::new("time", ColumnType::Timestamp).at(["@timestamp"]),
            ColumnSpec::new("message", ColumnType::Text),
            text("host", &["host", "name"]),
            text("file", &["log", "file", "path"]),
        ]
    }
}
