//! A source of a job that starts, and what of it is read a second time.

use super::{Origin, SourceSpec};
use crate::batch::chunk::{Chunk, PlannedChunk};
use crate::batch::partition::Share;
use crate::batch::position::{Extent, Positions};
use crate::inbox::Inbox;
use crate::owner::Owner;
use crate::patience::ServerWait;
use std::any::Any;
use std::sync::Arc;
use tokio::runtime::Handle;

/// A source that starts to be received.
pub struct SourceStart<'a> {
    /// The source.
    pub source: &'a SourceSpec,
    /// Where the job comes from.
    pub origin: &'a Origin,
    /// Where its records go.
    pub inbox: Arc<Inbox>,
    /// Where receivers run.
    pub runtime: &'a Handle,
    /// Where an earlier start has left off.
    pub from: &'a Positions,
    /// The partitions that are read here, of a source that has some.
    pub share: Share,
    /// Its job.
    pub job: JobFacts<'a>,
}

/// What a receiver has to know of its job.
#[derive(Clone, Copy)]
pub struct JobFacts<'a> {
    /// Who the job is to others, where anything is kept of it.
    pub owner: Option<&'a Owner>,
    /// Whether the database of a table that is away is waited for.
    pub servers: ServerWait,
    /// How many processes it has.
    pub processes: usize,
}

/// What tells the records of a source from each other, once they lie in chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordBounds {
    /// The format does: ends of lines, or lengths.
    Format,
    /// The format, as it is in files, where messages of Protobuf have their lengths in front.
    File,
    /// The format, or nothing: what was sent at once may be one record.
    Body,
    /// A length in front of each, which stays with it.
    Prefix,
    /// An envelope (`batch::envelope`): the value is a part of a message.
    Envelope,
    /// Nothing in them: where they end stands beside them.
    Ends,
}

/// What a source keeps from one batch to the next while batches are read again, as a connection.
#[derive(Default)]
pub struct RereadClient(pub Option<Box<dyn Any + Send>>);

/// Makes the chunks of a planned batch again.
pub trait Replay {
    /// A chunk that its plan does not hold, or why it cannot be made.
    fn chunk(&mut self, planned: &PlannedChunk) -> Result<Chunk, String>;

    /// What messages about an extent begin with.
    fn place(&self, extent: &Extent) -> String {
        format!("rows from {} on: ", extent.row)
    }
}
