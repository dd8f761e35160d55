//! Where a receiver puts chunks and a worker takes them: bounded, so that a slow job slows the receiver.

use crate::batch::chunk::Chunk;
use crate::error::Error;

/// Chunks of one source that wait for a batch.
pub struct Inbox {}

/// What a worker needs to know to decide about the next batch.
#[derive(Clone, Debug, Default)]
pub struct InboxState {
    /// Rows that wait.
    pub rows: u64,
    /// Whether a batch can be cut: rows wait or, for a queue, a line that may have no rows.
    pub ready: bool,
    /// Nothing more will come (what waits may still be taken).
    pub finished: bool,
    /// The source has nothing to read for now: connected but silent, or no new files; since when, in milliseconds.
    pub idle_ms: u64,
    /// The source failed for good.
    pub failed: Option<Error>,
}

impl Inbox {
    /// An empty inbox. `wake` is called, from the receiver's thread, when something arrives in an empty inbox, when
    /// the source finishes and when it fails.
    pub fn new(_wake: Box<dyn Fn() + Send + Sync>) -> Inbox {
        Inbox {}
    }

    /// Receiver: adds records, waiting while more than [`crate::limits::INBOX_BYTES_MAX`] bytes wait. Small chunks
    /// with the same header are joined. `false`: the inbox is closed, the receiver ends.
    pub async fn put(&self, _chunk: Chunk) -> bool {
        false
    }

    /// Receiver: as `put`, but these chunks are one batch by themselves (queue sources).
    pub async fn put_batch(&self, _chunks: Vec<Chunk>) -> bool {
        false
    }

    /// Receiver: nothing more will come.
    pub fn finish(&self) {}

    /// Receiver: the source failed for good; the job stops with this error.
    pub fn fail(&self, _error: Error) {}

    /// Receiver: whether it has nothing to read for now.
    pub fn idle(&self, _idle: bool) {}

    /// Worker: how things stand.
    pub fn state(&self) -> InboxState {
        InboxState::default()
    }

    /// Worker: takes what one batch holds, at most so many rows and bytes (but at least one chunk if one waits, cut
    /// where that is needed for `rows_max`).
    pub fn take(&self, _rows_max: u64, _bytes_max: u64) -> Vec<Chunk> {
        Vec::new()
    }

    /// Worker: no more is wanted; receivers end.
    pub fn close(&self) {}
}
