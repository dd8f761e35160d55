//! The watermark of a stage: pure functions over what batches showed.

use super::ClockIds;
use crate::ids::{BatchTime, ClockId};
use std::collections::BTreeMap;

/// How far event time has come, by clock and as a whole.
#[derive(Clone, Debug)]
pub struct Watermarks {
    lateness_us: i64,
    idle_us: Option<i64>,
    clocks: BTreeMap<ClockId, Clock>,
    watermark: Option<i64>,
}

/// How far one clock has come.
#[derive(Clone, Copy, Debug, Default)]
struct Clock {
    /// The greatest time seen.
    max_us: Option<i64>,
    /// The last batch with rows, or the first of all.
    active: Option<BatchTime>,
}

impl Watermarks {
    /// Nothing was seen of these clocks.
    pub fn new(clocks: &ClockIds, lateness_us: i64, idle_us: Option<i64>) -> Watermarks {
        let clocks = clocks.iter().map(|id| (*id, Clock::default())).collect();
        Watermarks { lateness_us, idle_us, clocks, watermark: None }
    }

    /// As it stands.
    pub fn watermark(&self) -> Option<i64> {
        self.watermark
    }

    /// A batch of this time is complete, in which event time came so far: the least of the clocks that are not idle
    /// counts. It never goes back.
    pub fn batch(&mut self, time: BatchTime, progress: impl Iterator<Item = (ClockId, i64)>) -> Option<i64> {
        for (id, max_us) in progress {
            let clock = self.clocks.entry(id).or_default();
            clock.max_us = clock.max_us.max(Some(max_us));
            clock.active = Some(time);
        }
        let mut least = Some(i64::MAX);
        let mut any = false;
        for clock in self.clocks.values_mut() {
            let quiet_us = time.0.saturating_sub(clock.active.get_or_insert(time).0);
            if self.idle_us.is_none_or(|idle_us| quiet_us < idle_us) {
                any = true;
                least = least.min(clock.max_us);
            }
        }
        if any {
            self.watermark = self.watermark.max(least.map(|least| least.saturating_sub(self.lateness_us)));
        }
        self.watermark
    }
}
