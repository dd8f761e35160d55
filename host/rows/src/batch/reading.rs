//! Reading a partition of a polled source (a plugin or a server): what a receiver needs of the reader.

use super::ready::ReadyRows;
use arrow::array::RecordBatch;
use bytes::Bytes;
use millstream_base::error::{self, Error};
use std::sync::Arc;
use std::time::Duration;

/// Reads a partition.
pub trait ReadPartition: Send {
    /// Receives the positions of earlier runs, by partition. Called once on the reader that lists the partitions, before that.
    fn set_positions(&mut self, positions: &[(String, Vec<u8>)]) {
        let _ = positions;
    }
    /// Receives partitions that were read to their ends, here or in another process, and whose rows are in earlier batches than all that is read
    /// from now on. Called on the reader that lists the partitions, before that.
    fn ended(&mut self, partitions: &[String]) {
        let _ = partitions;
    }
    /// Lists the existing partitions.
    fn partitions(&mut self) -> Result<Vec<String>, ReadError>;
    /// Starts reading a partition at this position.
    fn open(&mut self, partition: &str, position: Option<&[u8]>) -> Result<(), ReadError>;
    /// Returns whether a partition is open: the reader may be replaced between two calls.
    fn is_open(&self) -> bool;
    /// Returns whether another reader must continue. It first receives what was read, then the partition is reopened.
    fn is_replaced(&self) -> bool {
        false
    }
    /// Returns the next rows, at most `rows_max`; waits no longer than `wait`.
    fn poll(&mut self, rows_max: u32, wait: Duration) -> Result<ReadRows, ReadError>;
    /// Returns whether the job resumes at its positions. If a server hands out each message until it is acknowledged as durable, positions only name
    /// what was read.
    fn keeps_positions(&self) -> bool {
        true
    }
    /// Returns the part of a text position that is meaningful to people; the rest is only for the reader.
    fn shown<'a>(&self, position: &'a str) -> &'a str {
        position
    }
    /// Returns whether a position that moved without rows should be published soon: the server releases something once it is notified.
    fn notes_are_batches(&self) -> bool {
        false
    }
    /// Returns whether more rows are expected, although none came: then there is something to read.
    fn has_more(&self) -> bool {
        false
    }
    /// Called when the rows up to this position are in a durable plan. Most servers do not need this.
    fn durable(&mut self, position: &[u8]) -> Result<(), ReadError> {
        let _ = position;
        Ok(())
    }
    /// Called when a checkpoint with this position is published. Most servers do not need this.
    fn published(&mut self, position: &[u8]) -> Result<(), ReadError> {
        let _ = position;
        Ok(())
    }
}

/// Creates a reader of a partition, or of the list of partitions.
pub type MakeReader = Arc<dyn Fn() -> error::Result<Box<dyn ReadPartition>> + Send + Sync>;

/// The result of a poll.
pub struct ReadRows {
    /// The received rows.
    pub content: ReadContent,
    /// Received content that is not a row, with the reason.
    pub rejected: Vec<(Vec<u8>, String)>,
    /// The position after all of it, if that has changed.
    pub position: Option<Vec<u8>>,
    /// How long there is nothing more; `None` if there is never anything more.
    pub pause: Option<Duration>,
}

/// The content that becomes rows.
pub enum ReadContent {
    /// Rows.
    Rows(RecordBatch),
    /// Rows whose columns have the source's types.
    Ready(ReadyRows),
    /// Messages, each a record in the source's format.
    Messages(Vec<Message>),
}

impl ReadContent {
    /// Returns the maximum number of rows.
    pub fn rows(&self) -> usize {
        match self {
            ReadContent::Rows(rows) => rows.num_rows(),
            ReadContent::Ready(rows) => rows.rows().num_rows(),
            ReadContent::Messages(messages) => messages.len(),
        }
    }
}

/// A message of a server.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// The record; `None` if there is none, which differs from an empty one.
    pub value: Option<Bytes>,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its headers, in order.
    pub headers: Vec<(String, Option<Bytes>)>,
    /// Its time, in milliseconds since 1970.
    pub time_ms: Option<i64>,
    /// Its number, if the server numbers its messages.
    pub offset: u64,
    /// Its topic.
    pub topic: Option<String>,
}

/// Why reading failed.
#[derive(Debug)]
pub enum ReadError {
    /// It is retried.
    Transient(String),
    /// The job fails.
    Permanent(Error),
}
