//! Event time of a stage: one clock a worker, which shows the same on each. No I/O; the clock of the machine is not read.

mod watermark;

pub use watermark::Watermarks;

use crate::error::Result;
use crate::ids::{BatchId, BatchTime, ClockId};
use crate::state::keeper::Keeper;
use crate::timely_ext::{Changes, Progress, Watermark};

/// The clock of one stage on one worker: its watermarks, and what checkpoints hold of them.
pub struct EventClock {
    watermarks: Watermarks,
    keeper: Option<Keeper>,
}

impl EventClock {
    /// A clock that goes on from these watermarks. `keeper`: of the table of watermarks, where the job keeps checkpoints.
    pub fn new(watermarks: Watermarks, keeper: Option<Keeper>) -> EventClock {
        EventClock { watermarks, keeper }
    }

    /// A batch of this time is complete; `progress` is that of all workers.
    pub fn batch(&mut self, time: BatchTime, progress: &[Progress]) -> Watermark {
        let before = self.watermarks.watermark();
        let progress = progress.iter().map(|progress| (progress.clock_id, progress.max_us));
        Watermark { before, now: self.watermarks.batch(time, progress) }
    }

    /// What a checkpoint has to hold of it: rows of the key groups that this worker owns.
    pub fn barrier(&mut self, after: BatchId) -> Result<Option<Changes>> {
        let _ = (&self.keeper, after);
        Ok(None)
    }
}

/// The clocks whose rows a stage may see, so that none of them is left out before its first row.
pub type ClockIds = std::collections::BTreeSet<ClockId>;
