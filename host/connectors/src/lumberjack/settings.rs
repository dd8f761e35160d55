//! Settings of the `lumberjack` source.

use millstream_rows::batch::column::ColumnSpec;
use millstream_rows::batch::types::ColumnType;
use std::time::Duration;

/// Default of `window_time_max`, in milliseconds.
pub const WINDOW_MS_MAX: u64 = 30_000;

/// Default of `window_bytes_max`.
pub const WINDOW_BYTES_MAX: u64 = 16 << 20;

/// Settings of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LumberjackReads {
    /// `host:port`
    pub listen: String,
    /// Whether all processes of the job listen.
    pub spread: bool,
    /// Maximum bytes of a window after decompression.
    pub window_bytes_max: u64,
    /// Maximum time to receive a window.
    pub window_time_max: Duration,
    /// Maximum open connections; more wait.
    pub connections_max: u64,
}

impl LumberjackReads {
    /// Returns the default columns: what Filebeat sends for a line of a log.
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
