//! The start of a source, and the replay of its chunks.

use super::{Origin, SourceSpec};
use millstream_base::owner::Owner;
use millstream_base::retry::StartupRetry;
use millstream_rows::batch::chunk::{Chunk, PlannedChunk};
use millstream_rows::batch::partition::Share;
use millstream_rows::batch::position::{Extent, Positions};
use millstream_rows::inbox::Inbox;
use std::any::Any;
use std::sync::Arc;
use tokio::runtime::Handle;

/// A source whose receiver starts.
pub struct SourceStart<'a> {
    /// The source.
    pub source: &'a SourceSpec,
    /// The origin of the job.
    pub origin: &'a Origin,
    /// The destination of its records.
    pub inbox: Arc<Inbox>,
    /// The runtime of receivers.
    pub runtime: &'a Handle,
    /// The positions of an earlier startup.
    pub from: &'a Positions,
    /// The partitions that this process reads, if the source has partitions.
    pub share: Share,
    /// Its job.
    pub job: JobFacts<'a>,
}

/// What a receiver must know about its job.
#[derive(Clone, Copy)]
pub struct JobFacts<'a> {
    /// The job's identity for other systems, if anything of it is stored.
    pub owner: Option<&'a Owner>,
    /// Whether to wait for the unreachable database of a table.
    pub servers: StartupRetry,
    /// Number of processes.
    pub processes: usize,
}

/// What a source keeps from one batch to the next during a replay, for example a connection.
#[derive(Default)]
pub struct RereadClient(pub Option<Box<dyn Any + Send>>);

/// Recreates the chunks of a planned batch.
pub trait Replay {
    /// Returns a chunk that its plan does not hold, or why it cannot be recreated.
    fn chunk(&mut self, planned: &PlannedChunk) -> Result<Chunk, String>;

    /// Returns the prefix of messages about an extent.
    fn message_prefix(&self, extent: &Extent) -> String {
        format!("rows from {} on: ", extent.row)
    }
}
