//! What operators and plugins are told of the batch that they work on, and of event time in it.

use crate::ids::{BatchId, BatchTime, ClockId};
use crate::time::TIME_US_MAX;
use serde::{Deserialize, Serialize};

/// The beginning of a batch or, with an odd timestamp, a barrier: worker 0 decides it, all workers see it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Tick {
    /// The worker that this copy is for.
    pub to: u64,
    /// The batch time.
    pub time: BatchTime,
    /// The first new batch of a start: the job was stopped before it.
    pub resumed: bool,
    /// The time before it passed while the job did not run: it was made up, or follows on such batches.
    pub stopped: bool,
    /// It was made up for windows of processing time: sources put nothing into it.
    pub made_up: bool,
    /// Of a barrier: the upgrade whose plugin takes its place behind it, see [`millstream_engine::running::upgrade`].
    pub swap: Option<u64>,
    /// Of a barrier: the upgrade whose plugin runs in a shadow behind it, and for how many batches.
    pub shadow: Option<(u64, u64)>,
    /// Of a barrier: rows that earlier starts received are in no batch yet.
    pub leftover: bool,
}

/// The batch that an operator works on.
#[derive(Clone, Copy, Debug)]
pub struct BatchContext {
    /// Its id.
    pub id: BatchId,
    /// Its time.
    pub time: BatchTime,
    /// It was made up for windows of processing time: sources put nothing into it.
    pub made_up: bool,
    /// Event time, in an operator that has it.
    pub watermark: Watermark,
}

impl BatchContext {
    /// A batch without event time.
    pub fn new(id: BatchId, time: BatchTime) -> BatchContext {
        BatchContext { id, time, made_up: false, watermark: Watermark::default() }
    }

    /// What a plugin is told of it.
    pub fn call(&self) -> CallContext {
        // The languages of plugins have no times as late as the end of time.
        let watermark = self.watermark.now.map(|now| now.min(TIME_US_MAX));
        CallContext { batch: self.id, time: self.time, watermark }
    }
}

/// Event time up to which input is complete, in microseconds; `None`: not known yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watermark {
    /// After the batch before: what was complete then cannot change any more, so older rows are late.
    pub before: Option<i64>,
    /// After this batch: what is complete now is put out with it.
    pub now: Option<i64>,
}

/// What the clocks of stages have to know of a batch.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Progress {
    /// The worker that this copy is for: all get one.
    pub to: u64,
    /// What happened.
    pub what: Event,
}

/// See [`Progress`]. Times are in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Event {
    /// How far event time has come in one part.
    Time {
        /// Whose clock it is.
        clock_id: ClockId,
        /// The greatest time among the rows.
        max_us: i64,
    },
    /// A source has this partition, with a clock of its own from now on, though no row may have come of it.
    Partition(ClockId),
    /// Plans tell of this partition whether it is at its end; until one does, it is not.
    TellsEnd(ClockId),
    /// Whether batches have all of a partition, or of a source of which no partition is known.
    AtEnd {
        /// Its clock.
        clock_id: ClockId,
        /// Nothing more was there. Otherwise there is, or nobody knows.
        at_end: bool,
    },
    /// A source does not have this partition any more.
    PartitionGone(ClockId),
    /// The source of this number has ended: after the batches before, nothing came of it.
    Ended(u32),
    /// What a worker holds back of a stage, after the batch.
    Held {
        /// The stage's place in the job.
        stage: u32,
        /// How far it has come.
        hold: Hold,
    },
}

/// How far a stage has come that puts out rows later than what they are made of came. Times are those of the stage, in
/// microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Hold {
    /// What it puts out from now on is made of nothing older; `None`: that is not known yet.
    pub from_us: Option<i64>,
    /// What it has put out was made of nothing newer.
    pub until_us: Option<i64>,
}

/// The batch of a call.
#[derive(Clone, Copy, Debug)]
pub struct CallContext {
    /// Its id.
    pub batch: BatchId,
    /// Its time.
    pub time: BatchTime,
    /// Event time up to which input is complete, in microseconds; none where the stage has no event time.
    pub watermark: Option<i64>,
}
