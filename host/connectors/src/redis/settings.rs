//! Settings of `redis` sources and sinks.

use millstream_job::spec::ServerStart;
use millstream_job::spec::{SinkServer, Url};

/// Settings of a source: which streams are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisReads {
    /// The URL of the server, with credentials.
    pub url: Url,
    /// The keys of the streams.
    pub streams: Vec<String>,
    /// The field that contains a record; `None`: all fields form a record.
    pub field: Option<String>,
    /// The start position of a new job.
    pub start: ServerStart,
}

/// Settings of a sink: what it writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisWrites {
    /// The server.
    pub server: SinkServer,
    /// The key of the stream.
    pub stream: String,
    /// The field that contains a row as JSON; `None`: a field for each column.
    pub field: Option<String>,
    /// Approximate maximum number of entries in the stream; `None`: unlimited.
    pub entries_max: Option<u64>,
}
