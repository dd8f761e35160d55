//! Settings of `mqtt` sources and sinks.

use millstream_job::spec::{SinkServer, Url};
use millstream_rows::formats::RecordFormat;
use std::time::Duration;

/// Settings of a source: which topics are read, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqttReads {
    /// The URL of the server, with credentials.
    pub url: Url,
    /// Topic filters, with `+` and `#`.
    pub topics: Vec<String>,
    /// The client id under which the server keeps unacknowledged messages. It must be unique.
    pub client_id: String,
    /// Whether the server keeps messages until they are acknowledged (QoS 1); otherwise they are sent once and dropped (QoS 0).
    pub acknowledged: bool,
    /// How long the server keeps them while the job is not connected.
    pub session: Duration,
}

/// Settings of a sink: what it writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqttWrites {
    /// The server.
    pub server: SinkServer,
    /// The job's client id. It must be unique.
    pub client_id: String,
    /// The topics of messages.
    pub topic: MqttTopic,
    /// The format of messages: JSON, or a single column of text or bytes.
    pub format: RecordFormat,
    /// Whether the server retains the last message of each topic for later subscribers.
    pub retain: bool,
}

/// The topics of a sink's messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MqttTopic {
    /// The same topic for all.
    Fixed(String),
    /// The topic in this column, which is not part of the message.
    Column(String),
}
