//! Settings of sources of kind `kafka`.

use crate::kafka::cluster::KafkaCluster;
use millstream_job::spec::StreamStart;
use std::time::Duration;

/// Settings of a `kafka` source.
#[derive(Clone, Debug, PartialEq)]
pub struct KafkaReads {
    /// The cluster to read from.
    pub cluster: KafkaCluster,
    /// Which topics.
    pub topics: KafkaTopics,
    /// Where a job begins that has no positions yet.
    pub start: StreamStart,
    /// The consumer group to which positions of checkpoints are committed; `None` without a group.
    pub group: Option<String>,
    /// Interval of looking for new partitions and topics.
    pub poll: Duration,
}

/// Which topics are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KafkaTopics {
    /// Topics by name.
    Named(Vec<String>),
    /// Topics whose names match a pattern, with `*`, `?` and `[…]`.
    Pattern(String),
}
