//! Who works: operators tell for how long they worked on which batch, for the part of the job that they belong to.

use super::batch_facts::PartPlace;
use super::batches::{Batches, Clocks};
use arrow::array::RecordBatch;
use millstream_base::ids::BatchId;
use millstream_plugins::plugin::calls;
use std::cell::{Cell, RefCell};
use std::time::Instant;

thread_local! {
    /// The part whose operators this thread builds.
    static BUILT: RefCell<Option<(Batches, PartPlace)>> = const { RefCell::new(None) };
    /// For how long the operators of this thread have worked.
    static BUSY_US: Cell<u64> = const { Cell::new(0) };
}

/// For how long the operators of this thread have worked since it began.
pub fn busy_us() -> u64 {
    BUSY_US.get()
}

/// Operators that this thread builds belong to this part, until what this gives is dropped.
#[must_use]
pub fn building(batches: &Batches, part: PartPlace) -> Building {
    BUILT.with_borrow_mut(|built| *built = Some((batches.clone(), part)));
    Building(())
}

/// See [`building`].
pub struct Building(());

impl Drop for Building {
    fn drop(&mut self) {
        BUILT.with_borrow_mut(|built| *built = None);
    }
}

/// The work of one operator.
#[derive(Clone, Default)]
pub struct OperatorWork(Option<(Batches, PartPlace)>);

impl OperatorWork {
    /// Of the part whose operators this thread builds; of none, where it builds something else.
    pub fn of_built() -> OperatorWork {
        OperatorWork(BUILT.with_borrow(Clone::clone))
    }

    /// Of this part.
    pub fn of(batches: &Batches, part: PartPlace) -> OperatorWork {
        OperatorWork(Some((batches.clone(), part)))
    }

    /// Where to tell more of the part.
    pub fn place(self) -> Option<(Batches, PartPlace)> {
        self.0
    }

    /// It begins now; `None` where nobody wants to know.
    pub fn begin(&self) -> Option<Instant> {
        self.0.as_ref().map(|_| Instant::now())
    }

    /// It was for this batch, and is done for now.
    pub fn end(&self, batch: BatchId, begun: Option<Instant>) {
        if let (Some((batches, part)), Some(begun)) = (&self.0, begun) {
            let busy_us = batches.worked(*part, batch, begun);
            BUSY_US.set(BUSY_US.get().saturating_add(busy_us));
            if calls::wanted() {
                let noted = calls::take();
                if noted.all > 0 {
                    batches.called(*part, batch, &noted);
                }
            }
        }
    }

    /// The event time up to which the input is complete. `clocks`: those of partitions that it is made of, asked for now and then.
    pub fn watermark(&self, watermark_us: Option<i64>, clocks: impl FnOnce() -> Clocks) {
        if let Some((batches, part)) = &self.0
            && batches.watermark(*part, watermark_us)
        {
            let clocks = clocks();
            if !clocks.is_empty() {
                batches.clocks(*part, clocks);
            }
        }
    }

    /// These rows were rejected, or came too late.
    pub fn refused(&self, batch: BatchId, rows: &RecordBatch, late: bool) {
        if let Some((batches, part)) = &self.0 {
            batches.refused(*part, batch, rows, late);
        }
    }
}
