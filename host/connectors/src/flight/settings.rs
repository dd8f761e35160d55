//! Settings of `flight` sources and sinks.

use millstream_job::spec::{SinkServer, Url};
use std::time::Duration;

/// Settings of a source: what it reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlightReads {
    /// The URL of the server, with credentials.
    pub url: Url,
    /// The requested stream.
    pub requested: FlightDescriptor,
    /// Sent as `Authorization: Bearer …`.
    pub token: Option<String>,
    /// Other servers that may have rows, as URLs in which `*` matches anything. They receive the credentials.
    pub locations: Vec<String>,
    /// Maximum bytes of a decompressed message: one message of a server is a record batch.
    pub message_bytes_max: u64,
    /// How long the server may be silent while rows are awaited.
    pub stall: Duration,
}

/// Settings of a sink: what it writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlightWrites {
    /// The server.
    pub server: SinkServer,
    /// The destination of rows.
    pub to: FlightDescriptor,
    /// Sent as `Authorization: Bearer …`.
    pub token: Option<String>,
    /// Maximum time per batch.
    pub timeout: Duration,
}

/// The descriptor of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlightDescriptor {
    /// A path of names.
    Path(Vec<String>),
    /// A command that the server understands, such as a query.
    Command(String),
}
