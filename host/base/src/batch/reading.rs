//! Reading a partition of a source that is polled, a plugin or a server: what a receiver needs of who does it.

use super::ready::ReadyRows;
use crate::error::{self, Error};
use arrow::array::RecordBatch;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// One who reads a partition.
pub trait ReadPartition: Send {
    /// Where earlier starts have come to, by partition: told once, to who is asked which partitions there are, before that.
    fn known(&mut self, positions: &[(String, Vec<u8>)]) {
        let _ = positions;
    }
    /// These partitions were read to their ends, here or in another process, and batches before all that is read from now on hold
    /// their rows: told to who is asked which partitions there are, before that.
    fn ended(&mut self, partitions: &[String]) {
        let _ = partitions;
    }
    /// Which partitions there are.
    fn partitions(&mut self) -> Result<Vec<String>, ReadTrouble>;
    /// Begins to read a partition from here on.
    fn open(&mut self, partition: &str, position: Option<&[u8]>) -> Result<(), ReadTrouble>;
    /// Whether a partition is open: whoever reads it may be replaced between two calls.
    fn is_open(&self) -> bool;
    /// Whether somebody else is to go on where this one is: what was read is to be told it first, then the partition is opened anew.
    fn is_replaced(&self) -> bool {
        false
    }
    /// The next rows, at most so many; waits no longer than this.
    fn poll(&mut self, rows_max: u32, wait: Duration) -> Result<ReadRows, ReadTrouble>;
    /// Whether the job goes on at its positions. They are names for what was read, and no more, where a server hands out each message
    /// until it is told that it is safe.
    fn keeps_positions(&self) -> bool {
        true
    }
    /// What of a position, where it is text, says to people where that is: beside it may stand what only its reader needs.
    fn shown<'a>(&self, position: &'a str) -> &'a str {
        position
    }
    /// Whether a position that moved without rows is to be known soon: whoever hears that it is published lets go of something.
    fn notes_are_batches(&self) -> bool {
        false
    }
    /// Whether more rows follow, as far as is known, though none came: then there is something to read.
    fn has_more(&self) -> bool {
        false
    }
    /// The rows up to this position are in a durable plan. Most servers need not know.
    fn durable(&mut self, position: &[u8]) -> Result<(), ReadTrouble> {
        let _ = position;
        Ok(())
    }
    /// A checkpoint with this position is published. Most servers need not know.
    fn published(&mut self, position: &[u8]) -> Result<(), ReadTrouble> {
        let _ = position;
        Ok(())
    }
}

/// Makes one who reads a partition, or asks which there are.
pub type MakeReader = Arc<dyn Fn() -> error::Result<Box<dyn ReadPartition>> + Send + Sync>;

/// What a poll gave.
pub struct ReadRows {
    /// What came.
    pub content: ReadContent,
    /// What came and is no row, with the reason.
    pub refused: Vec<(Vec<u8>, String)>,
    /// Where to go on behind all of it, where that has changed.
    pub position: Option<Vec<u8>>,
    /// For how long there is nothing more; `None`: there is never anything more.
    pub pause: Option<Duration>,
}

/// What rows are made of.
pub enum ReadContent {
    /// They are rows.
    Rows(RecordBatch),
    /// They are rows whose columns the source has as they are.
    Ready(ReadyRows),
    /// Messages, each of which is a record in the format of the source.
    Messages(Vec<Message>),
}

impl ReadContent {
    /// How many rows it is at most.
    pub fn rows(&self) -> usize {
        match self {
            ReadContent::Rows(rows) => rows.num_rows(),
            ReadContent::Ready(rows) => rows.rows().num_rows(),
            ReadContent::Messages(messages) => messages.len(),
        }
    }
}

/// What a server keeps, or hands out.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// The record; `None`: there is none, which is not the same as an empty one.
    pub value: Option<Bytes>,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its headers, in order.
    pub headers: Vec<(String, Option<Bytes>)>,
    /// Its time, in milliseconds since 1970.
    pub time_ms: Option<i64>,
    /// Its number, where the server numbers its messages.
    pub offset: u64,
    /// What it was sent to.
    pub topic: Option<String>,
}

/// Why something did not work.
#[derive(Debug)]
pub enum ReadTrouble {
    /// It is tried again.
    Passing(String),
    /// The job ends.
    Lasting(Error),
}
