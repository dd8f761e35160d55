//! Streams of Kinesis, as sources and sinks name them. Where they are and who asks stands in the environment (`AWS_…`).

use super::KafkaStart;
use std::time::Duration;

/// Which stream of Kinesis is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KinesisReads {
    /// Its name.
    pub stream: String,
    /// Its region; `None`: that of the environment.
    pub region: Option<String>,
    /// Where a job begins.
    pub start: KafkaStart,
}

/// What a `kinesis` sink writes, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KinesisSinkSpec {
    /// The stream.
    pub stream: String,
    /// Its region; `None`: that of the environment.
    pub region: Option<String>,
    /// The column that is the partition key of records; `None`: each has one of its own.
    pub key: Option<String>,
    /// How long the job waits where the stream takes nothing.
    pub wait: Duration,
}
