//! Settings of `kinesis` sources and sinks.

use millstream_job::spec::StreamStart;
use std::time::Duration;

/// Settings of a source: the stream it reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KinesisReads {
    /// The stream's name.
    pub stream: String,
    /// Its region; `None`: that of the environment.
    pub region: Option<String>,
    /// The start position of a new job.
    pub start: StreamStart,
}

/// Settings of a sink: what it writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KinesisWrites {
    /// The stream's name.
    pub stream: String,
    /// Its region; `None`: that of the environment.
    pub region: Option<String>,
    /// The column with the partition keys of records; `None`: each record has its own.
    pub key: Option<String>,
    /// How long the job waits if the stream accepts nothing.
    pub wait: Duration,
}
