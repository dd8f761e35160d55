//! Settings of sources and sinks of kind `rabbitmq`.

use millstream_job::spec::ServerStart;
use millstream_job::spec::{SinkServer, Url};
use millstream_rows::formats::RecordFormat;

/// Settings of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RabbitmqReads {
    /// The server, with user and password.
    pub url: Url,
    /// Names of the queues or streams.
    pub queues: Vec<String>,
    /// Whether they are streams, which keep messages that were read.
    pub streams: bool,
    /// Where to begin to read a stream without a saved position.
    pub start: ServerStart,
}

/// Settings of a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RabbitmqWrites {
    /// The server.
    pub server: SinkServer,
    /// The exchange. The default exchange, which has no name, routes a message to the queue named by its routing key.
    pub exchange: String,
    /// Routing key of the messages.
    pub key: RabbitmqKey,
    /// Format of the messages: JSON, or a single text or binary column.
    pub format: RecordFormat,
}

/// Routing key of the messages of a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RabbitmqKey {
    /// The same for all messages.
    Fixed(String),
    /// A column, which is not part of the message.
    Column(String),
}
