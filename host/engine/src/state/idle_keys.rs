//! The keys of a table that have not been touched for a long time.

use super::idle::{IdleTracker, TouchSource};
use super::keys::Slot;
use super::table::StateTable;
use millstream_base::error::Result;
use millstream_base::ids::BatchTime;
use millstream_rows::batch::keys;

impl StateTable {
    /// Makes the table's keys idle this long after a time from the given source.
    #[must_use]
    pub fn with_touch_source(mut self, by: TouchSource, timeout_us: i64) -> StateTable {
        let mut idle = IdleTracker::new(timeout_us, by);
        idle.touched.resize(self.slots(), IdleTracker::NEVER);
        self.idle = Some(idle);
        let slots: Vec<Slot> = self.all().collect();
        slots.into_iter().for_each(|slot| self.touch_by_row(slot));
        self
    }

    /// Returns whether touches, or due times, of keys are tracked.
    pub fn has_times(&self) -> bool {
        self.idle.is_some()
    }

    /// Stops tracking idle keys.
    pub fn never_idle(&mut self) {
        self.idle = None;
    }

    /// Records when the key of a slot was touched if its row contains that time.
    pub(super) fn touch_by_row(&mut self, slot: Slot) {
        let time = match self.idle.as_ref().map(|idle| idle.source) {
            None | Some(TouchSource::Touch) => return,
            Some(TouchSource::State(column)) => {
                self.columns.get(column).and_then(|column| column.word(slot as usize)).unwrap_or_default() as i64
            }
            Some(TouchSource::Key(numbers)) => keys::number_before(self.key(slot), numbers),
        };
        if let Some(idle) = &mut self.idle {
            idle.touch(slot, time.max(IdleTracker::NEVER + 1));
        }
    }

    /// Records that the keys of these slots had rows in the batch of this time, and still have a state.
    pub fn touch(&mut self, slots: &[Slot], now: BatchTime) {
        self.before_change(slots);
        let Some(idle) = &mut self.idle else { return };
        for slot in slots.iter().filter(|slot| self.known[**slot as usize]) {
            idle.touch(*slot, now.0);
            if let Some(changes) = &mut self.changes {
                changes.changed(*slot);
            }
        }
    }

    /// Touches the keys without a known last touch: they were restored from files without touches, as the stage had no timeout then.
    pub fn touch_restored(&mut self, now: BatchTime) -> Result<()> {
        self.touch_untouched(&self.all().collect::<Vec<_>>(), now);
        if self.idle.is_none() {
            return Ok(());
        }
        self.each_untouched(|table, slots| {
            table.touch_untouched(slots, now);
            Ok(())
        })
    }

    /// Touches those of these keys that were never touched: a call without rows may give a key its first state.
    pub fn touch_untouched(&mut self, slots: &[Slot], now: BatchTime) {
        let Some(idle) = &self.idle else { return };
        let is_untouched = |slot: &Slot| idle.touched[*slot as usize] == IdleTracker::NEVER;
        let never: Vec<Slot> = slots.iter().copied().filter(is_untouched).collect();
        self.touch(&never, now);
    }

    /// Returns the keys that have been idle for the timeout at this time. Each is returned once, and must be removed or touched.
    pub fn take_idle(&mut self, now: BatchTime) -> Result<Vec<Slot>> {
        self.take_some_idle(now, usize::MAX)
    }

    /// Does the same, with those that are not in memory in parts of about `cold_max`: call it until there are none.
    pub fn take_some_idle(&mut self, now: BatchTime, cold_max: usize) -> Result<Vec<Slot>> {
        let mut slots = self.warm_some_idle(now, cold_max)?;
        slots.extend(self.take_idle_in_memory(now));
        slots.sort_unstable();
        Ok(slots)
    }

    /// Loads those of them into memory that are elsewhere, about `cold_max` at a time, and returns their slots: call it until there are none.
    pub fn warm_some_idle(&mut self, now: BatchTime, cold_max: usize) -> Result<Vec<Slot>> {
        match self.idle_since(now) {
            Some(limit) => self.warm_idle(limit, cold_max),
            None => Ok(Vec::new()),
        }
    }

    /// Returns those of them that are in memory anyway.
    pub fn take_idle_in_memory(&mut self, now: BatchTime) -> Vec<Slot> {
        let limit = self.idle_since(now);
        let expired = self.idle.as_mut().zip(limit).map(|(idle, limit)| idle.take(limit)).unwrap_or_default();
        let slot = |(slot, touched)| {
            self.copy_before_change(slot, Some(touched));
            slot
        };
        expired.into_iter().map(slot).collect()
    }

    fn idle_since(&self, now: BatchTime) -> Option<i64> {
        self.idle.as_ref().map(|idle| now.0.saturating_sub(idle.timeout_us))
    }
}
