//! Counts rows by time, wherever they are, to find the oldest.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Approximate bytes of an entry.
const TIME_BYTES: u64 = 24;

/// The counts by time, in microseconds.
#[derive(Clone, Default)]
pub struct TimeCounts(BTreeMap<i64, u64>);

impl TimeCounts {
    /// Adds a row with this time.
    pub fn add(&mut self, time_us: i64) {
        *self.0.entry(time_us).or_default() += 1;
    }

    /// Removes a row with this time.
    pub fn remove(&mut self, time_us: i64) {
        if let Entry::Occupied(mut count) = self.0.entry(time_us) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// Returns the least time.
    pub fn first(&self) -> Option<i64> {
        self.0.first_key_value().map(|(time, _)| *time)
    }

    /// Returns the approximate memory.
    pub fn bytes(&self) -> u64 {
        self.0.len() as u64 * TIME_BYTES
    }
}
