//! Streams of NATS JetStream, read and written.

use super::{RecordFormat, ServerStart};
use std::path::PathBuf;

/// Which streams are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatsReads {
    /// Their names.
    pub streams: Vec<String>,
    /// Which subjects are read; none: all.
    pub subjects: Vec<String>,
    /// Where a job begins.
    pub start: ServerStart,
    /// The file that says who the job is, where `url` does not.
    pub credentials: Option<PathBuf>,
}

/// What is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatsWrites {
    /// The stream.
    pub stream: String,
    /// Where messages go.
    pub subject: NatsSubject,
    /// What is in a message: JSON, or a single column of text or bytes.
    pub format: RecordFormat,
    /// Whether the job refuses a stream that takes no batches as a whole; else messages may come again after a crash.
    pub exactly_once: bool,
    /// The file that says who the job is, where `url` does not.
    pub credentials: Option<PathBuf>,
}

/// Where the messages of a sink go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NatsSubject {
    /// All to this subject.
    Fixed(String),
    /// Each to the subject that this column names, which is not in the message.
    Column(String),
}
