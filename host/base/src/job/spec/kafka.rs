//! A Kafka cluster, as sources and sinks name it.

use super::StreamStart;
use super::TlsSpec;
use std::fmt;
use std::time::Duration;

/// A Kafka cluster, and who the job is there.
#[derive(Clone, Debug, PartialEq)]
pub struct KafkaCluster {
    /// Brokers to ask for all others: `host:port`.
    pub brokers: Vec<String>,
    /// TLS with them; `None`: plain TCP.
    pub tls: Option<TlsSpec>,
    /// Who the job is; `None`: nobody.
    pub sasl: Option<SaslSpec>,
    /// How long the job waits where no broker answers, at its start and later.
    pub wait: Duration,
}

/// Who a job is to a Kafka cluster.
#[derive(Clone, PartialEq, Eq)]
pub struct SaslSpec {
    /// How it proves that.
    pub mechanism: SaslMechanism,
    /// The user.
    pub user: String,
    /// The user's password.
    pub password: String,
}

impl fmt::Debug for SaslSpec {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SaslSpec").field("mechanism", &self.mechanism).field("user", &self.user).finish_non_exhaustive()
    }
}

/// How a password is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaslMechanism {
    /// It is sent as it is.
    Plain,
    /// By a challenge, with SHA-256.
    ScramSha256,
    /// By a challenge, with SHA-512.
    ScramSha512,
}

impl SaslMechanism {
    /// All of them.
    pub const ALL: [SaslMechanism; 3] = [SaslMechanism::Plain, SaslMechanism::ScramSha256, SaslMechanism::ScramSha512];

    /// The name that Kafka and job files have for it.
    pub fn word(self) -> &'static str {
        match self {
            SaslMechanism::Plain => "PLAIN",
            SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
            SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// What a source reads of a Kafka cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct KafkaSourceSpec {
    /// Where it reads.
    pub cluster: KafkaCluster,
    /// Which topics.
    pub topics: KafkaTopics,
    /// Where a job begins that has not read them yet.
    pub start: StreamStart,
    /// The consumer group that is told how far checkpoints have come; `None`: none is.
    pub group: Option<String>,
    /// How often it looks for new partitions and topics.
    pub poll: Duration,
}

/// Which topics are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KafkaTopics {
    /// These.
    Named(Vec<String>),
    /// Those whose names are like this, with `*`, `?` and `[…]`.
    Pattern(String),
}
