//! What stands for topics as sources in builds without Kafka: a job with one is refused when its file is read.

use millstream_base::batch::chunk::{Chunk, PlannedChunk};
use millstream_base::batch::partition::Share;
use millstream_base::batch::position::Positions;
use millstream_base::built;
use millstream_base::error::{Error, Result};
use millstream_base::inbox::Inbox;
use millstream_base::job::spec::{KafkaSourceSpec, SourceSpec};
use std::path::Path;
use std::sync::Arc;
use tokio::runtime::Handle;

/// What is kept between batches that run again: nothing.
#[derive(Default)]
pub struct RereadClient;

/// What a source reads, and from where.
pub struct ReadOrder<'a> {
    /// The source.
    pub source: &'a SourceSpec,
    /// What it reads.
    pub spec: &'a KafkaSourceSpec,
    /// Where paths of the job start from.
    pub folder: &'a Path,
    /// The partitions that are read here.
    pub share: Share,
}

/// Reads nothing.
pub fn receive(order: &ReadOrder<'_>, _from: &Positions, inbox: &Arc<Inbox>, _runtime: &Handle) {
    inbox.fail(absent(order));
}

/// Reads nothing.
pub fn reread(order: &ReadOrder<'_>, _planned: &[PlannedChunk], _again: &mut RereadClient) -> Result<Vec<Chunk>> {
    Err(absent(order))
}

fn absent(order: &ReadOrder<'_>) -> Error {
    let ReadOrder { source, spec: _, folder: _, share: _ } = order;
    Error::job(format!("source `{}`: {}", source.name, built::absent("kind `kafka`", "kafka")))
}
