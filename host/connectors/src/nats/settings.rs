//! Settings of sources and sinks of kind `nats`.

use millstream_base::job::spec::{RecordFormat, ServerStart};
use millstream_base::job::spec::{SinkServer, Url};
use std::path::PathBuf;

/// Which streams are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatsReads {
    /// Where the server is, and the credentials.
    pub url: Url,
    /// The names of the streams.
    pub streams: Vec<String>,
    /// Which subjects are read; none: all.
    pub subjects: Vec<String>,
    /// Where a job begins.
    pub start: ServerStart,
    /// The file with the credentials, where `url` has none.
    pub credentials: Option<PathBuf>,
}

/// What is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatsWrites {
    /// The server.
    pub server: SinkServer,
    /// The stream.
    pub stream: String,
    /// Where messages go.
    pub subject: NatsSubject,
    /// What is in a message: JSON, or a single column of text or bytes.
    pub format: RecordFormat,
    /// Whether the job refuses a stream that takes no batches as a whole; else messages may come again after a crash.
    pub exactly_once: bool,
    /// The file with the credentials, where the URL has none.
    pub credentials: Option<PathBuf>,
}

/// Where the messages of a sink go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NatsSubject {
    /// All to this subject.
    Fixed(String),
    /// Each to the subject that this column names, which is not in the message.
    Column(String),
}
