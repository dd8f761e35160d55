//! Records how long operators work on which batch, for the part of the job that they belong to.

use super::batch_facts::PartIndex;
use super::batches::{Batches, ClockTimes};
use arrow::array::RecordBatch;
use millstream_base::ids::BatchId;
use millstream_plugins::plugin::calls;
use std::cell::{Cell, RefCell};
use std::time::Instant;

thread_local! {
    /// The part whose operators this thread builds.
    static BUILT: RefCell<Option<(Batches, PartIndex)>> = const { RefCell::new(None) };
    /// How long the operators of this thread have worked.
    static BUSY_US: Cell<u64> = const { Cell::new(0) };
}

/// Returns how long the operators of this thread have worked since it began.
pub fn busy_us() -> u64 {
    BUSY_US.get()
}

/// Assigns operators that this thread builds to this part, until the result is dropped.
#[must_use]
pub fn building(batches: &Batches, part: PartIndex) -> BuildGuard {
    BUILT.with_borrow_mut(|built| *built = Some((batches.clone(), part)));
    BuildGuard(())
}

/// Guard of [`building`].
pub struct BuildGuard(());

impl Drop for BuildGuard {
    fn drop(&mut self) {
        BUILT.with_borrow_mut(|built| *built = None);
    }
}

/// Records the work of one operator.
#[derive(Clone, Default)]
pub struct OperatorWork(Option<(Batches, PartIndex)>);

impl OperatorWork {
    /// Creates it for the part whose operators this thread builds; without a part if there is none.
    pub fn of_built() -> OperatorWork {
        OperatorWork(BUILT.with_borrow(Clone::clone))
    }

    /// Creates it for this part.
    pub fn new(batches: &Batches, part: PartIndex) -> OperatorWork {
        OperatorWork(Some((batches.clone(), part)))
    }

    /// Returns the history and the index of the part.
    pub fn part(self) -> Option<(Batches, PartIndex)> {
        self.0
    }

    /// Begins now; `None` if it is not recorded.
    pub fn begin(&self) -> Option<Instant> {
        self.0.as_ref().map(|_| Instant::now())
    }

    /// Ends work on this batch.
    pub fn end(&self, batch: BatchId, begun: Option<Instant>) {
        if let (Some((batches, part)), Some(begun)) = (&self.0, begun) {
            let busy_us = batches.record_work(*part, batch, begun);
            BUSY_US.set(BUSY_US.get().saturating_add(busy_us));
            if calls::are_requested() {
                let noted = calls::take();
                if noted.all > 0 {
                    batches.record_calls(*part, batch, &noted);
                }
            }
        }
    }

    /// Reports the event time up to which the input is complete. `clocks` returns those of partitions that it depends on; it is called periodically.
    pub fn watermark(&self, watermark_us: Option<i64>, clocks: impl FnOnce() -> ClockTimes) {
        if let Some((batches, part)) = &self.0
            && batches.watermark(*part, watermark_us)
        {
            let clocks = clocks();
            if !clocks.is_empty() {
                batches.record_clocks(*part, clocks);
            }
        }
    }

    /// Records rows that were rejected, or came too late.
    pub fn record_rejected(&self, batch: BatchId, rows: &RecordBatch, late: bool) {
        if let Some((batches, part)) = &self.0 {
            batches.record_rejected(*part, batch, rows, late);
        }
    }
}
