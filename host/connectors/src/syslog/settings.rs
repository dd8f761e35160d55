//! Settings of the `syslog` source.

use millstream_base::limits::HTTP_CONNECTIONS_MAX;
use millstream_rows::batch::column::ColumnSpec;
use millstream_rows::batch::types::ColumnType;

/// Default of `record_bytes_max`.
pub const RECORD_BYTES_MAX: u64 = 64 << 10;

/// Settings of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyslogReads {
    /// `host:port`
    pub listen: String,
    /// Whether all processes of the job listen.
    pub spread: bool,
    /// Whether datagrams are received.
    pub udp: bool,
    /// Whether connections are accepted.
    pub tcp: bool,
    /// Maximum open connections; more wait.
    pub connections_max: u64,
}

impl SyslogReads {
    /// Creates settings for `host:port` with both protocols.
    pub fn new(listen: impl Into<String>) -> SyslogReads {
        SyslogReads {
            listen: listen.into(),
            spread: false,
            udp: true,
            tcp: true,
            connections_max: HTTP_CONNECTIONS_MAX,
        }
    }

    /// Returns the default columns: all that are available.
    pub fn columns() -> Vec<ColumnSpec> {
        let text = |name| ColumnSpec::new(name, ColumnType::Text);
        vec![
            ColumnSpec::new("time", ColumnType::Timestamp),
            text("host"),
            text("app"),
            text("pid"),
            text("id"),
            text("facility"),
            text("severity"),
            ColumnSpec::new("level", ColumnType::Int64),
            text("message"),
            text("data"),
            text("sender"),
        ]
    }
}
