//! Settings of sources of kind `syslog`.

use millstream_base::batch::column::ColumnSpec;
use millstream_base::batch::types::ColumnType;
use millstream_base::limits::HTTP_CONNECTIONS_MAX;

/// Bytes of a message of syslog, where a job says nothing else.
pub const RECORD_BYTES_MAX: u64 = 64 << 10;

/// Where such a source listens, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyslogReads {
    /// `host:port`
    pub listen: String,
    /// Whether all processes of the job listen there.
    pub spread: bool,
    /// For datagrams.
    pub udp: bool,
    /// For connections.
    pub tcp: bool,
    /// Connections at a time; more wait.
    pub connections_max: u64,
}

impl SyslogReads {
    /// At `host:port`, for both.
    pub fn new(listen: impl Into<String>) -> SyslogReads {
        SyslogReads {
            listen: listen.into(),
            spread: false,
            udp: true,
            tcp: true,
            connections_max: HTTP_CONNECTIONS_MAX,
        }
    }

    /// The columns of a source whose job names none: all that there are.
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
