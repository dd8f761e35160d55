//! Distributes the chunks of a source.

use super::CutChunk;
use super::spread::{Spread, WaitingChunk};
use crate::running::Running;
use millstream_base::ids::{BatchId, PartOrder};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;
use timely::dataflow::operators::Capability;
use timely::scheduling::SyncActivator;

/// The chunks of a source that no worker has yet. They are distributed in order. Chunks of later batches wait for those of earlier ones, so that a
/// worker gets batches in order.
pub struct ChunkDistributor {
    source: usize,
    /// The worker that distributes them.
    pub worker: u64,
    /// Determines the worker of each chunk.
    spread: Spread,
    running: Arc<Running>,
    /// The waiting chunks, with the worker that must have each.
    waiting: VecDeque<(Capability<u64>, Option<u64>, CutChunk)>,
    waiting_bytes: u64,
}

impl ChunkDistributor {
    /// Creates it on this worker.
    pub fn new(source: usize, worker: usize, spread: Spread, running: &Arc<Running>) -> ChunkDistributor {
        let running = running.clone();
        ChunkDistributor { source, worker: worker as u64, spread, running, waiting: VecDeque::new(), waiting_bytes: 0 }
    }

    /// Registers the operator to wake.
    pub fn begin(&self, operator: SyncActivator) {
        self.running.loads.set_distributor(self.source, operator);
    }

    /// Registers a batch that was cut, see [`Spread::batch`].
    pub fn batch(&mut self, batch: BatchId, chunks: &[(&PartOrder, usize)]) -> Vec<Option<u64>> {
        self.spread.batch(batch, chunks, Instant::now(), !self.waiting.is_empty())
    }

    /// Adds a chunk to the queue. `required_worker`: the worker that must have it.
    pub fn add(&mut self, capability: Capability<u64>, required_worker: Option<u64>, cut: CutChunk) {
        self.waiting_bytes += cut.bytes;
        self.waiting.push_back((capability, required_worker, cut));
    }

    /// Distributes as many chunks as possible; the operator is woken when there are more.
    pub fn hand_out(&mut self, give: impl FnMut(&Capability<u64>, CutChunk)) {
        if !self.waiting.is_empty() {
            self.hand_out_waiting(give);
            self.running.loads.set_left(self.source, self.waiting_bytes);
        }
    }

    fn hand_out_waiting(&mut self, mut give: impl FnMut(&Capability<u64>, CutChunk)) {
        let inbox = self.running.endpoints.inboxes.get(self.source).and_then(Option::as_ref);
        let inbox_bytes = inbox.map_or(0, |inbox| inbox.fill().0);
        self.running.loads.set_waiting(self.source, true);
        let (now, loads) = (Instant::now(), self.running.loads.of_source(self.source));
        while let Some((capability, required_worker, mut cut)) = self.waiting.pop_front() {
            let bytes = cut.bytes;
            let waiting_bytes = self.waiting_bytes;
            let chunk = WaitingChunk {
                required_worker,
                bytes,
                waiting_bytes,
                left_bytes: waiting_bytes.saturating_add(inbox_bytes),
            };
            let Some(to) = self.spread.next(chunk, now, &loads) else {
                return self.waiting.push_front((capability, required_worker, cut));
            };
            self.waiting_bytes -= bytes;
            cut.to = to;
            give(&capability, cut);
        }
        self.running.loads.set_waiting(self.source, false);
    }
}
