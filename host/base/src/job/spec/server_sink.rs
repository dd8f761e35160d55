//! Sinks that write to a server which is named by a URL: where it is, and what is written there.

use super::{FlightWrites, NatsWrites, RabbitmqWrites, RecordFormat, TlsSpec};
use crate::limits;
use std::fmt;
use std::time::Duration;

/// Such a sink.
#[derive(Clone, PartialEq)]
pub struct ServerSinkSpec {
    /// Where the server is, and who the job is there.
    pub url: String,
    /// How a server with TLS is spoken to; `None`: it is checked by what the system trusts.
    pub tls: Option<TlsSpec>,
    /// How long the job waits for the server where it is away, at its start and later.
    pub wait: Duration,
    /// What is written.
    pub writes: ServerWrites,
}

impl fmt::Debug for ServerSinkSpec {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerSinkSpec").field("writes", &self.writes).finish_non_exhaustive()
    }
}

/// What is written to which kind of server.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerWrites {
    /// A stream of Redis.
    Redis(RedisWrites),
    /// Topics of a server of MQTT.
    Mqtt(MqttWrites),
    /// A stream of NATS JetStream.
    Nats(NatsWrites),
    /// An exchange of RabbitMQ.
    Rabbitmq(RabbitmqWrites),
    /// A stream of Arrow Flight.
    Flight(FlightWrites),
}

/// What is written to Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisWrites {
    /// The key of the stream.
    pub stream: String,
    /// The field that holds a row as JSON; `None`: a field for each column.
    pub field: Option<String>,
    /// About how many entries the stream keeps; `None`: all.
    pub entries_max: Option<u64>,
}

/// What is written to a server of MQTT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqttWrites {
    /// Who the job is to the server. No two clients may have one name.
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

impl ServerSinkSpec {
    /// With defaults.
    pub fn new(url: impl Into<String>, writes: ServerWrites) -> ServerSinkSpec {
        let wait = Duration::from_millis(limits::SERVER_WAIT_MS);
        ServerSinkSpec { url: url.into(), tls: None, wait, writes }
    }
}

impl ServerWrites {
    /// The kind of the sink as a job file names it.
    pub fn word(&self) -> &'static str {
        match self {
            ServerWrites::Redis(_) => "redis",
            ServerWrites::Mqtt(_) => "mqtt",
            ServerWrites::Nats(_) => "nats",
            ServerWrites::Rabbitmq(_) => "rabbitmq",
            ServerWrites::Flight(_) => "flight",
        }
    }
}
