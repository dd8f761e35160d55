//! When the next checkpoint begins: a pure decision over facts, so that time can be simulated.

use millstream_base::ids::BatchTime;
use millstream_job::spec::{CheckpointEvery, ClockSpec};
use std::time::Duration;

/// The checkpoint rules of a job, and the state of its checkpoints.
#[derive(Clone, Debug)]
pub struct Barriers {
    every: CheckpointEvery,
    clock: ClockSpec,
    /// Batches begun since the last barrier.
    batches: u64,
    /// When the last barrier was begun, by the job's clock.
    last: BatchTime,
    /// The timestamp of the last barrier.
    stamp: u64,
}

/// The next action for checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarrierStep {
    /// Begin a checkpoint after the last batch that was begun.
    Begin,
    /// Do nothing for this long, or until something happens.
    Wait(Option<Duration>),
}

impl Barriers {
    /// Creates the rules of a job whose last checkpoint was written at `since`, by the job's clock, after a batch with the time `last_time`. So even
    /// a run that crashes soon, like the previous ones, makes a checkpoint when one is due.
    pub fn new(every: CheckpointEvery, clock: ClockSpec, since: BatchTime, last_time: BatchTime) -> Barriers {
        let last = if clock == ClockSpec::Manual { BatchTime(last_time.0.max(0)) } else { since };
        Barriers { every, clock, batches: 0, last, stamp: 0 }
    }

    /// Decides. `last_time` is the time of the last batch begun, `finished` the first timestamp that is not done. `held_up`: rows that an earlier run
    /// received are not in batches of this one yet, so only its logs hold them. `soon`: a checkpoint is requested as soon as possible.
    pub fn step(&self, now: BatchTime, last_time: BatchTime, finished: u64, held_up: bool, soon: bool) -> BarrierStep {
        // One checkpoint at a time.
        let is_under_way = self.stamp > 0 && self.stamp >= finished;
        if self.batches == 0 || is_under_way || held_up {
            return BarrierStep::Wait(None);
        }
        if soon {
            return BarrierStep::Begin;
        }
        match self.every {
            CheckpointEvery::Batches(batches) if self.batches >= batches => BarrierStep::Begin,
            CheckpointEvery::Batches(_) => BarrierStep::Wait(None),
            CheckpointEvery::Time(every) => {
                let virtual_time = self.clock == ClockSpec::Manual;
                let since = if virtual_time { last_time } else { now }.0.saturating_sub(self.last.0);
                let since = Duration::from_micros(since.max(0).unsigned_abs());
                match every.checked_sub(since).filter(|left| !left.is_zero()) {
                    None => BarrierStep::Begin,
                    Some(left) => BarrierStep::Wait((!virtual_time).then_some(left)),
                }
            }
        }
    }

    /// Counts a batch that was begun.
    pub fn record_batch(&mut self) {
        self.batches += 1;
    }

    /// Records that the barrier of this timestamp was begun.
    pub fn record_barrier(&mut self, stamp: u64, now: BatchTime, last_time: BatchTime) {
        self.last = if self.clock == ClockSpec::Manual { last_time } else { now };
        self.batches = 0;
        self.stamp = stamp;
    }

    /// Returns whether batches were begun that no checkpoint holds.
    pub fn has_unsaved_batches(&self) -> bool {
        self.batches > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000;

    #[test]
    fn a_checkpoint_is_due_by_the_time_of_the_last_one_whoever_wrote_it() {
        let every = CheckpointEvery::Time(Duration::from_secs(10));
        // Written by an earlier run.
        let mut barriers = Barriers::new(every, ClockSpec::Wall, BatchTime(7 * S), BatchTime(6 * S));
        let step =
            |barriers: &Barriers, now, held_up| barriers.step(BatchTime(now * S), BatchTime(0), 1, held_up, false);
        assert_eq!(step(&barriers, 90, false), BarrierStep::Wait(None), "no batch was begun");
        barriers.record_batch();
        assert_eq!(step(&barriers, 12, false), BarrierStep::Wait(Some(Duration::from_secs(5))));
        assert_eq!(step(&barriers, 17, false), BarrierStep::Begin);
        assert_eq!(step(&barriers, 90, true), BarrierStep::Wait(None), "logs hold what no batch does");
        barriers.record_barrier(3, BatchTime(90 * S), BatchTime(0));
        barriers.record_batch();
        assert_eq!(step(&barriers, 120, false), BarrierStep::Wait(None), "one at a time");
    }
}
