//! Settings of sources of kind `kafka`.

use crate::kafka::cluster::KafkaCluster;
use millstream_base::job::spec::StreamStart;
use std::time::Duration;

/// What a source reads of a Kafka cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct KafkaReads {
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
