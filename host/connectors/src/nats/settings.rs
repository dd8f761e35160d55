//! Settings of sources and sinks of kind `nats`.

use millstream_job::spec::ServerStart;
use millstream_job::spec::{SinkServer, Url};
use millstream_rows::formats::RecordFormat;
use std::path::PathBuf;

/// Settings of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatsReads {
    /// The server, with user, password or token.
    pub url: Url,
    /// Names of the streams.
    pub streams: Vec<String>,
    /// Subjects to read; all if empty.
    pub subjects: Vec<String>,
    /// Where to begin without a saved position.
    pub start: ServerStart,
    /// Path to the credentials file, if `url` has no credentials.
    pub credentials: Option<PathBuf>,
}

/// Settings of a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatsWrites {
    /// The server.
    pub server: SinkServer,
    /// The stream.
    pub stream: String,
    /// Subject of the messages.
    pub subject: NatsSubject,
    /// Format of the messages: JSON, or a single text or binary column.
    pub format: RecordFormat,
    /// Whether the stream must support atomic batches. If not, messages may be duplicated after a crash.
    pub exactly_once: bool,
    /// Path to the credentials file, if `url` has no credentials.
    pub credentials: Option<PathBuf>,
}

/// Subject of the messages of a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NatsSubject {
    /// The same for all messages.
    Fixed(String),
    /// A column, which is not part of the message.
    Column(String),
}
