//! What operators and plugins know about the current batch and its event time.

use crate::ids::{BatchId, BatchTime, ClockId};
use crate::time::TIME_US_MAX;
use serde::{Deserialize, Serialize};

/// The beginning of a batch or, with an odd timestamp, a barrier. Worker 0 decides it, all workers see it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Tick {
    /// The worker that this copy is for.
    pub to: u64,
    /// The batch time.
    pub time: BatchTime,
    /// The first new batch after a restart: the job was stopped before it.
    pub resumed: bool,
    /// The time before it passed while the job did not run: the batch was synthesized, or follows such batches.
    pub stopped: bool,
    /// It was synthesized for windows of processing time: sources put nothing into it.
    pub made_up: bool,
    /// For a barrier: the upgrade whose plugin is used after it, see [`millstream_engine::running::upgrade`].
    pub swap: Option<u64>,
    /// For a barrier: the upgrade whose plugin runs as a shadow after it, and for how many batches.
    pub shadow: Option<(u64, u64)>,
    /// For a barrier: some rows that earlier runs received are not in a batch yet.
    pub leftover: bool,
}

/// The current batch of an operator.
#[derive(Clone, Copy, Debug)]
pub struct BatchContext {
    /// Its id.
    pub id: BatchId,
    /// Its time.
    pub time: BatchTime,
    /// It was synthesized for windows of processing time: sources put nothing into it.
    pub made_up: bool,
    /// Event time, in an operator that has it.
    pub watermark: Watermark,
}

impl BatchContext {
    /// Creates the context of a batch without event time.
    pub fn new(id: BatchId, time: BatchTime) -> BatchContext {
        BatchContext { id, time, made_up: false, watermark: Watermark::default() }
    }

    /// Returns the context for a plugin call.
    pub fn call(&self) -> CallContext {
        // The plugin languages cannot represent times as late as the end of time.
        let watermark = self.watermark.now.map(|now| now.min(TIME_US_MAX));
        CallContext { batch: self.id, time: self.time, watermark }
    }
}

/// Event time up to which input is complete, in microseconds; `None` if not known yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watermark {
    /// After the previous batch: what was complete then cannot change any longer, so older rows are late.
    pub before: Option<i64>,
    /// After this batch: what is complete now is emitted with it.
    pub now: Option<i64>,
}

/// What the clocks of stages must know about a batch.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Progress {
    /// The worker that this copy is for: all get one.
    pub to: u64,
    /// The event.
    pub what: Event,
}

/// An event of [`Progress`]. Times are in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Event {
    /// How far event time has come in one part.
    Time {
        /// Whose clock it is.
        clock_id: ClockId,
        /// The greatest time among the rows.
        max_us: i64,
    },
    /// A source has this partition, with its own clock from now on, even if it had no row yet.
    Partition(ClockId),
    /// Plans report whether this partition is at its end; until one does, it is not.
    TellsEnd(ClockId),
    /// Whether batches hold all of a partition, or of a source without known partitions.
    AtEnd {
        /// Its clock.
        clock_id: ClockId,
        /// Nothing more was available. Otherwise there is more, or that is unknown.
        at_end: bool,
    },
    /// A source no longer has this partition.
    PartitionGone(ClockId),
    /// The source with this number has ended: all its rows are in earlier batches.
    Ended(u32),
    /// What a worker holds back of a stage, after the batch.
    Held {
        /// The stage's index in the job.
        stage: u32,
        /// How far it has come.
        hold: Hold,
    },
}

/// How far a stage has come that emits rows later than the rows they depend on arrived. Times are those of the stage, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Hold {
    /// Rows emitted from now on depend on nothing older; `None` if that is not known yet.
    pub from_us: Option<i64>,
    /// Rows emitted so far depend on nothing newer.
    pub until_us: Option<i64>,
}

/// The batch of a call.
#[derive(Clone, Copy, Debug)]
pub struct CallContext {
    /// Its id.
    pub batch: BatchId,
    /// Its time.
    pub time: BatchTime,
    /// Event time up to which input is complete, in microseconds; `None` if the stage has no event time.
    pub watermark: Option<i64>,
}
