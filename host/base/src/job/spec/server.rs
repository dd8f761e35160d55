//! Sources that read messages of a server, partition by partition: how each names its server, and what is read there.

use super::{FlightReads, KinesisReads, NatsReads, RabbitmqReads, ZeromqReads};
use crate::batch::column::ColumnSource;
use crate::limits;
use std::fmt;
use std::time::Duration;

/// Such a source.
#[derive(Clone, PartialEq)]
pub struct ServerSourceSpec {
    /// Where the server is, and who the job is there; empty where the environment says so.
    pub url: String,
    /// What is read.
    pub reads: ServerReads,
}

impl fmt::Debug for ServerSourceSpec {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerSourceSpec").field("reads", &self.reads).finish_non_exhaustive()
    }
}

/// What is read of which kind of server.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerReads {
    /// Streams of Redis.
    Redis(RedisReads),
    /// A stream of Kinesis.
    Kinesis(KinesisReads),
    /// Topics of a server of MQTT.
    Mqtt(MqttReads),
    /// Streams of NATS JetStream.
    Nats(NatsReads),
    /// Queues or streams of RabbitMQ.
    Rabbitmq(RabbitmqReads),
    /// What sockets of ZeroMQ send.
    Zeromq(ZeromqReads),
    /// A stream of Arrow Flight.
    Flight(FlightReads),
    /// Changes of tables of PostgreSQL.
    Changes(ChangesReads),
}

/// Which streams of Redis are read.
#[derive(Clone, Debug, PartialEq)]
pub struct RedisReads {
    /// Their keys.
    pub streams: Vec<String>,
    /// The field that holds a record; `None`: all fields are one.
    pub field: Option<String>,
    /// Where a job begins.
    pub start: ServerStart,
}

/// Which topics of a server of MQTT are read, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqttReads {
    /// Filters of topics, with `+` and `#`.
    pub topics: Vec<String>,
    /// Under which name the server keeps what the job has not acknowledged. No two clients may have one name.
    pub client_id: String,
    /// Whether the server keeps messages until they are acknowledged (QoS 1); else they are sent once and forgotten (QoS 0).
    pub acknowledged: bool,
    /// How long the server keeps them while the job is away.
    pub session: Duration,
}

impl MqttReads {
    /// With defaults.
    pub fn new(client_id: impl Into<String>, topics: Vec<String>) -> MqttReads {
        let session = Duration::from_millis(limits::MQTT_SESSION_MS);
        MqttReads { topics, client_id: client_id.into(), acknowledged: true, session }
    }
}

/// Which tables of PostgreSQL are followed.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangesReads {
    /// They, as `table` or `schema.table`.
    pub tables: Vec<String>,
    /// The publication that has them; `None`: the job makes one.
    pub publication: Option<String>,
    /// Whether the rows that are there come before the changes.
    pub start: ServerStart,
    /// By which columns of the tables the job keeps rows: they have to come with a delete. Not from the job file.
    pub keys: Vec<ChangesKey>,
}

/// The key by which a sink or stage keeps the rows of tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangesKey {
    /// As ``sink `copy` ``.
    pub who: String,
    /// Columns of the tables.
    pub columns: Vec<String>,
}

/// Where a job begins to read that has not read yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerStart {
    /// At the oldest messages that are there.
    #[default]
    Earliest,
    /// Behind the newest ones.
    Latest,
}

impl ServerReads {
    /// Whether there may be several streams or queues, each read by itself.
    pub fn has_partitions(&self) -> bool {
        match self {
            ServerReads::Redis(_)
            | ServerReads::Kinesis(_)
            | ServerReads::Nats(_)
            | ServerReads::Rabbitmq(_)
            | ServerReads::Flight(_) => true,
            ServerReads::Mqtt(_) | ServerReads::Zeromq(_) | ServerReads::Changes(_) => false,
        }
    }

    /// Whether each of these can be read by another process of a job. What a stream of Flight is made of is told anew to each who asks.
    pub fn is_spread(&self) -> bool {
        self.has_partitions() && !matches!(self, ServerReads::Flight(_))
    }

    /// The kind of the source as a job file names it.
    pub fn word(&self) -> &'static str {
        match self {
            ServerReads::Redis(_) => "redis",
            ServerReads::Kinesis(_) => "kinesis",
            ServerReads::Mqtt(_) => "mqtt",
            ServerReads::Nats(_) => "nats",
            ServerReads::Rabbitmq(_) => "rabbitmq",
            ServerReads::Zeromq(_) => "zeromq",
            ServerReads::Flight(_) => "flight",
            ServerReads::Changes(_) => "postgres-changes",
        }
    }

    /// Whether a message is made of fields with names, and no bytes of any format.
    pub fn are_fields(&self) -> bool {
        match self {
            ServerReads::Redis(reads) => reads.field.is_none(),
            ServerReads::Changes(_) | ServerReads::Flight(_) => true,
            _ => false,
        }
    }

    /// Whether this comes with each message.
    pub fn gives(&self, part: &ColumnSource) -> bool {
        match self {
            ServerReads::Redis(_) => {
                matches!(part, ColumnSource::Id | ColumnSource::Timestamp | ColumnSource::Topic)
            }
            ServerReads::Kinesis(_) => matches!(part, ColumnSource::Id | ColumnSource::Timestamp | ColumnSource::Key),
            ServerReads::Mqtt(_) => {
                matches!(part, ColumnSource::Topic | ColumnSource::Headers | ColumnSource::Header(_))
            }
            ServerReads::Flight(_) => false,
            ServerReads::Zeromq(_) => matches!(part, ColumnSource::Topic),
            ServerReads::Rabbitmq(reads) => match part {
                ColumnSource::Offset => reads.streams,
                part => matches!(
                    part,
                    ColumnSource::Topic
                        | ColumnSource::Id
                        | ColumnSource::Timestamp
                        | ColumnSource::Headers
                        | ColumnSource::Header(_)
                ),
            },
            ServerReads::Nats(_) => matches!(
                part,
                ColumnSource::Topic
                    | ColumnSource::Offset
                    | ColumnSource::Timestamp
                    | ColumnSource::Headers
                    | ColumnSource::Header(_)
            ),
            ServerReads::Changes(_) => matches!(
                part,
                ColumnSource::Op
                    | ColumnSource::Table
                    | ColumnSource::Timestamp
                    | ColumnSource::Offset
                    | ColumnSource::Id
            ),
        }
    }

    /// Whether binary values in its records are hexadecimal digits.
    pub fn writes_hex(&self) -> bool {
        matches!(self, ServerReads::Changes(_) | ServerReads::Flight(_))
    }
}
