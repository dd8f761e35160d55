//! The log of plans, which is also the write-ahead log of sources that cannot be read again: written by a thread of its
//! own, many plans with one write, and read at a start.

use super::store::Store;
use super::types::Piece;
use crate::error::{Error, Result};
use crate::ids::{BatchId, BatchTime, Generation};
use crate::run::Failure;
use std::sync::Arc;

/// Writes the plans of the sources of one process. Cheap to clone; the thread ends when the last clone is dropped.
#[derive(Clone)]
pub struct PlanWriter {}

impl PlanWriter {
    /// Starts the thread. The first log is made with the first piece.
    pub fn start(
        _store: Arc<dyn Store>,
        _generation: Generation,
        _process: usize,
        _after: BatchId,
        _failure: Failure,
    ) -> Result<PlanWriter> {
        Err(Error::bug("not yet"))
    }

    /// Writes a piece. `durable` is called, on the writer's thread, when it is durable.
    pub fn add(&self, _piece: Piece, _durable: Box<dyn FnOnce() + Send>) {}

    /// Pieces of later batches go to a new log, so that this one can be deleted when nothing needs it any more.
    pub fn rotate(&self, _after: BatchId) {}
}

/// One log in a store, told by its path: `plans/<generation>-<process>-<after>.log`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogName {
    /// Who wrote it.
    pub generation: Generation,
    /// Which process.
    pub process: u32,
    /// It holds plans of later batches only.
    pub after: BatchId,
}

/// What a log says of a piece, without its chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The batch.
    pub batch: BatchId,
    /// Its time.
    pub time: BatchTime,
    /// The source.
    pub source: String,
}

/// The heads of all whole pieces of all logs. An error where a log is damaged other than by being cut short at its end;
/// it names the log and the last batch before the damage.
pub fn read_heads(_store: &dyn Store) -> Result<Vec<(LogName, Vec<Head>)>> {
    Err(Error::bug("not yet"))
}

/// Calls `take` for every whole piece that `wanted` wants, log by log.
pub fn read_pieces(
    _store: &dyn Store,
    _wanted: impl Fn(&LogName, &Head) -> bool,
    _take: impl FnMut(&LogName, Piece),
) -> Result<()> {
    Err(Error::bug("not yet"))
}
