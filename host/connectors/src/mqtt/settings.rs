//! Settings of sources and sinks of kind `mqtt`.

use millstream_base::job::spec::RecordFormat;
use millstream_base::job::spec::{SinkServer, Url};
use std::time::Duration;

/// Which topics are read, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqttReads {
    /// Where the server is, and the credentials.
    pub url: Url,
    /// Filters of topics, with `+` and `#`.
    pub topics: Vec<String>,
    /// Under which name the server keeps what the job has not acknowledged. No two clients may have one name.
    pub client_id: String,
    /// Whether the server keeps messages until they are acknowledged (QoS 1); else they are sent once and forgotten (QoS 0).
    pub acknowledged: bool,
    /// How long the server keeps them while the job is away.
    pub session: Duration,
}

/// What is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqttWrites {
    /// The server.
    pub server: SinkServer,
    /// The name of the job at the server. No two clients may have one name.
    pub client_id: String,
    /// Where messages go.
    pub topic: MqttTopic,
    /// What is in a message: JSON, or a single column of text or bytes.
    pub format: RecordFormat,
    /// Whether the server keeps the last message of each topic for those who subscribe later.
    pub retain: bool,
}

/// Where the messages of a sink go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MqttTopic {
    /// All to this topic.
    Fixed(String),
    /// Each to the topic that this column names, which is not in the message.
    Column(String),
}
