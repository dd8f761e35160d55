//! The watermark of a stage: pure functions over what batches showed. As in Flink and the Dataflow model, the least of the
//! clocks that are not idle counts, and the watermark never goes back.

use crate::ids::ClockId;
use std::collections::BTreeMap;

/// How far event time has come, by clock and as a whole. Times are in microseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watermarks {
    lateness_us: i64,
    idle_us: Option<i64>,
    clocks: BTreeMap<ClockId, Clock>,
    watermark: Option<i64>,
}

/// How far one clock has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// The greatest time seen.
    pub max_us: Option<i64>,
    /// Batch time since its last row, or since the first of all batches.
    pub quiet_us: i64,
}

impl Watermarks {
    /// Nothing was seen of these clocks.
    pub fn new(clocks: impl Iterator<Item = ClockId>, lateness_us: i64, idle_us: Option<i64>) -> Watermarks {
        let clocks = clocks.map(|id| (id, Clock::default())).collect();
        Watermarks { lateness_us, idle_us, clocks, watermark: None }
    }

    /// Goes on from what a checkpoint holds of a clock, and from the watermark that it was part of.
    pub fn restore(&mut self, id: Option<ClockId>, clock: Clock, watermark: Option<i64>) {
        if let Some(own) = id.and_then(|id| self.clocks.get_mut(&id)) {
            *own = clock;
        }
        self.watermark = self.watermark.max(watermark);
    }

    /// As it stands.
    pub fn watermark(&self) -> Option<i64> {
        self.watermark
    }

    /// The clocks, as they stand.
    pub fn clocks(&self) -> impl Iterator<Item = (ClockId, Clock)> + '_ {
        self.clocks.iter().map(|(id, clock)| (*id, *clock))
    }

    /// A batch is complete, so much batch time after the one before, in which event time came so far.
    pub fn batch(&mut self, lapse_us: i64, progress: impl Iterator<Item = (ClockId, i64)>) -> Option<i64> {
        for clock in self.clocks.values_mut() {
            clock.quiet_us = clock.quiet_us.saturating_add(lapse_us);
        }
        for (id, max_us) in progress {
            let clock = self.clocks.entry(id).or_default();
            clock.max_us = clock.max_us.max(Some(max_us));
            clock.quiet_us = 0;
        }
        let idle_us = self.idle_us;
        let awake = self.clocks.values().filter(|clock| idle_us.is_none_or(|idle_us| clock.quiet_us < idle_us));
        // A clock that has shown nothing yet holds the watermark back: `None` is the least.
        if let Some(least) = awake.map(|clock| clock.max_us).min() {
            self.watermark = self.watermark.max(least.map(|least| least.saturating_sub(self.lateness_us)));
        }
        self.watermark
    }
}

#[cfg(test)]
mod tests;
