//! How many rows have which time, wherever they are: for who has to know the oldest.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// What a time takes, about.
const TIME_BYTES: u64 = 24;

/// By time, in microseconds.
#[derive(Clone, Default)]
pub struct TimeCounts(BTreeMap<i64, u64>);

impl TimeCounts {
    /// One more row has this time.
    pub fn add(&mut self, time_us: i64) {
        *self.0.entry(time_us).or_default() += 1;
    }

    /// One that has it is gone.
    pub fn remove(&mut self, time_us: i64) {
        if let Entry::Occupied(mut count) = self.0.entry(time_us) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// The least time.
    pub fn first(&self) -> Option<i64> {
        self.0.first_key_value().map(|(time, _)| *time)
    }

    /// The memory that it takes, about.
    pub fn bytes(&self) -> u64 {
        self.0.len() as u64 * TIME_BYTES
    }
}
