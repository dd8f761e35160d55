//! Hands out the chunks of a source.

use super::CutChunk;
use super::spread::{Spread, WaitingChunk};
use crate::running::Running;
use millstream_base::ids::{BatchId, PartOrder};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;
use timely::dataflow::operators::Capability;
use timely::scheduling::SyncActivator;

/// The chunks of a source that nobody has yet. They go in their order to the workers that are to have them; those of later batches wait behind
/// those of earlier ones, so that a worker sees batches in their order.
pub struct HandOut {
    source: usize,
    /// The worker that does it.
    pub worker: u64,
    /// Who gets which chunk.
    spread: Spread,
    running: Arc<Running>,
    /// With the worker that must have it.
    waiting: VecDeque<(Capability<u64>, Option<u64>, CutChunk)>,
    waiting_bytes: u64,
}

impl HandOut {
    /// By this worker.
    pub fn new(source: usize, worker: usize, spread: Spread, running: &Arc<Running>) -> HandOut {
        let running = running.clone();
        HandOut { source, worker: worker as u64, spread, running, waiting: VecDeque::new(), waiting_bytes: 0 }
    }

    /// This operator hands out, and is to be woken.
    pub fn begin(&self, operator: SyncActivator) {
        self.running.loads.handed_out_by(self.source, operator);
    }

    /// A batch was cut, see [`Spread::batch`].
    pub fn batch(&mut self, batch: BatchId, chunks: &[(&PartOrder, usize)]) -> Vec<Option<u64>> {
        self.spread.batch(batch, chunks, Instant::now(), !self.waiting.is_empty())
    }

    /// A chunk behind those that wait. `must`: the worker that must have it.
    pub fn add(&mut self, capability: Capability<u64>, must: Option<u64>, cut: CutChunk) {
        self.waiting_bytes += cut.bytes;
        self.waiting.push_back((capability, must, cut));
    }

    /// Hands out what can be; the operator is woken when there is more.
    pub fn hand_out(&mut self, give: impl FnMut(&Capability<u64>, CutChunk)) {
        if !self.waiting.is_empty() {
            self.hand_out_waiting(give);
            self.running.loads.left(self.source, self.waiting_bytes);
        }
    }

    fn hand_out_waiting(&mut self, mut give: impl FnMut(&Capability<u64>, CutChunk)) {
        let inbox = self.running.ends.inboxes.get(self.source).and_then(Option::as_ref);
        let inbox_bytes = inbox.map_or(0, |inbox| inbox.fill().0);
        self.running.loads.waits(self.source, true);
        let (now, loads) = (Instant::now(), self.running.loads.of_source(self.source));
        while let Some((capability, must, mut cut)) = self.waiting.pop_front() {
            let bytes = cut.bytes;
            let waiting_bytes = self.waiting_bytes;
            let chunk =
                WaitingChunk { must, bytes, waiting_bytes, left_bytes: waiting_bytes.saturating_add(inbox_bytes) };
            let Some(to) = self.spread.next(chunk, now, &loads) else {
                return self.waiting.push_front((capability, must, cut));
            };
            self.waiting_bytes -= bytes;
            cut.to = to;
            give(&capability, cut);
        }
        self.running.loads.waits(self.source, false);
    }
}
