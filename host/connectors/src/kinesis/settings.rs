//! Settings of sources and sinks of kind `kinesis`.

use millstream_base::job::spec::StreamStart;
use std::time::Duration;

/// Which stream is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KinesisReads {
    /// Its name.
    pub stream: String,
    /// Its region; `None`: that of the environment.
    pub region: Option<String>,
    /// Where a job begins.
    pub start: StreamStart,
}

/// What is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KinesisWrites {
    /// The stream.
    pub stream: String,
    /// Its region; `None`: that of the environment.
    pub region: Option<String>,
    /// The column that is the partition key of records; `None`: each has one of its own.
    pub key: Option<String>,
    /// How long the job waits where the stream takes nothing.
    pub wait: Duration,
}
