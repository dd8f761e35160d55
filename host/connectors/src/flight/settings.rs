//! Settings of sources and sinks of kind `flight`.

use millstream_base::job::spec::{SinkServer, Url};
use std::time::Duration;

/// What is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlightReads {
    /// Where the server is, and the credentials.
    pub url: Url,
    /// What the server is asked for.
    pub wanted: FlightDescriptor,
    /// Sent as `Authorization: Bearer …`.
    pub token: Option<String>,
    /// Where else rows may lie, as URLs in which `*` stands for anything: whoever is there gets the credentials.
    pub locations: Vec<String>,
    /// The longest message that is read, unpacked: one of a server is a record batch.
    pub message_bytes_max: u64,
    /// How long the server may be silent while rows are awaited.
    pub stall: Duration,
}

/// What is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlightWrites {
    /// The server.
    pub server: SinkServer,
    /// Where rows go.
    pub to: FlightDescriptor,
    /// Sent as `Authorization: Bearer …`.
    pub token: Option<String>,
    /// How long the server may take over a batch.
    pub timeout: Duration,
}

/// How a server knows a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlightDescriptor {
    /// By a path, of names.
    Path(Vec<String>),
    /// By a command that it understands, such as a query.
    Command(String),
}
