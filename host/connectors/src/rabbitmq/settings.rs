//! Settings of sources and sinks of kind `rabbitmq`.

use millstream_base::job::spec::{RecordFormat, ServerStart};
use millstream_base::job::spec::{SinkServer, Url};

/// Which queues or streams are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RabbitmqReads {
    /// Where the server is, and the credentials.
    pub url: Url,
    /// The names of queues or streams.
    pub queues: Vec<String>,
    /// Whether they are streams, which keep what was read.
    pub streams: bool,
    /// Where a job begins, of streams.
    pub start: ServerStart,
}

/// What is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RabbitmqWrites {
    /// The server.
    pub server: SinkServer,
    /// The exchange; empty: the one without a name, which takes a message to the queue that its routing key names.
    pub exchange: String,
    /// The routing keys of messages.
    pub key: RabbitmqKey,
    /// What is in a message: JSON, or a single column of text or bytes.
    pub format: RecordFormat,
}

/// The routing keys of the messages of a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RabbitmqKey {
    /// All have this one.
    Fixed(String),
    /// Each has what this column says, which is not in the message.
    Column(String),
}
