//! A source that listens for messages of syslog.

use crate::batch::column::ColumnSpec;
use crate::batch::types::ColumnType;

/// Where such a source listens, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyslogSpec {
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

impl SyslogSpec {
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
