//! Settings of sources and sinks of kind `redis`.

use millstream_base::job::spec::ServerStart;
use millstream_base::job::spec::{SinkServer, Url};

/// Which streams are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisReads {
    /// Where the server is, and the credentials.
    pub url: Url,
    /// The keys of the streams.
    pub streams: Vec<String>,
    /// The field that holds a record; `None`: all fields are one.
    pub field: Option<String>,
    /// Where a job begins.
    pub start: ServerStart,
}

/// What is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisWrites {
    /// The server.
    pub server: SinkServer,
    /// The key of the stream.
    pub stream: String,
    /// The field that holds a row as JSON; `None`: a field for each column.
    pub field: Option<String>,
    /// About how many entries the stream keeps; `None`: all.
    pub entries_max: Option<u64>,
}
