//! The last seconds: how many batches and rows, how long batches took, and how long each part worked.

use super::batch_facts::{BatchWaits, PartIndex};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Seconds that are kept, including the current one.
const SECONDS: usize = 61;
/// Buckets of times: four for each doubling, up to an hour.
const BUCKETS: usize = 132;
/// Bucket limits of [`BatchDurations`], in microseconds.
pub const TOOK_BOUNDS_US: [u64; 15] = [
    100, 500, 1_000, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000, 60_000_000,
];

/// How long all batches took.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchDurations {
    /// Their number.
    pub count: u64,
    /// Their sum.
    pub sum_us: u64,
    /// How many took no longer than each of [`TOOK_BOUNDS_US`] and longer than the previous one.
    pub buckets: [u64; TOOK_BOUNDS_US.len()],
}

impl BatchDurations {
    /// Adds one duration.
    pub fn add(&mut self, us: u64) {
        self.count = self.count.saturating_add(1);
        self.sum_us = self.sum_us.saturating_add(us);
        if let Some(bucket) =
            TOOK_BOUNDS_US.iter().position(|bound| us <= *bound).and_then(|at| self.buckets.get_mut(at))
        {
            *bucket = bucket.saturating_add(1);
        }
    }
}

/// What happened within some time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Recent {
    /// The length of that time.
    pub span_us: u64,
    /// Batches that were committed.
    pub batches: u64,
    /// Records that sources put into batches, and their bytes.
    pub rows: u64,
    /// See `rows`.
    pub bytes: u64,
    /// Half of the batches took no longer, from their beginning to their commit.
    pub took_p50_us: u64,
    /// 90 of 100 took no longer.
    pub took_p90_us: u64,
    /// 99 of 100 took no longer.
    pub took_p99_us: u64,
    /// None took longer.
    pub took_max_us: u64,
    /// How long no batch was begun, and why.
    pub waits: BatchWaits,
    /// How long each part worked, for all workers together.
    pub busy_us: Vec<u64>,
}

impl Recent {
    /// Adds the report of another process; only process 0 has batches.
    pub fn add(&mut self, other: &Recent) {
        self.span_us = self.span_us.max(other.span_us);
        self.rows = self.rows.saturating_add(other.rows);
        self.bytes = self.bytes.saturating_add(other.bytes);
        for (sum, more) in self.busy_us.iter_mut().zip(&other.busy_us) {
            *sum = sum.saturating_add(*more);
        }
    }
}

/// Counts by second.
#[derive(Default)]
pub struct Seconds(VecDeque<SecondCounts>);

/// What happened in one second.
pub struct SecondCounts {
    second: u64,
    batches: u64,
    rows: u64,
    bytes: u64,
    took: [u32; BUCKETS],
    took_max_us: u64,
    waits: BatchWaits,
    busy_us: Vec<u64>,
}

impl SecondCounts {
    /// A source put records into a batch.
    pub fn cut(&mut self, rows: u64, bytes: u64) {
        self.rows = self.rows.saturating_add(rows);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// A batch was committed that took `took_us`.
    pub fn committed(&mut self, took_us: u64, waits: &BatchWaits) {
        self.batches = self.batches.saturating_add(1);
        self.took_max_us = self.took_max_us.max(took_us);
        self.waits.add_all(waits);
        if let Some(bucket) = self.took.get_mut(bucket(took_us)) {
            *bucket = bucket.saturating_add(1);
        }
    }

    /// One of `parts` parts worked.
    pub fn worked(&mut self, part: PartIndex, parts: usize, busy_us: u64) {
        if self.busy_us.len() != parts {
            self.busy_us = vec![0; parts];
        }
        if let Some(sum) = self.busy_us.get_mut(usize::from(part)) {
            *sum = sum.saturating_add(busy_us);
        }
    }
}

impl Seconds {
    /// Returns the second of this time.
    pub fn at(&mut self, now_us: u64) -> &mut SecondCounts {
        let second = now_us / 1_000_000;
        // Another thread may have come with a later time.
        let index = match self.0.iter().rposition(|known| known.second <= second) {
            Some(index) if self.0.get(index).is_some_and(|known| known.second == second) => index,
            index => {
                let index = index.map_or(0, |index| index + 1);
                self.0.insert(index, SecondCounts::new(second));
                index
            }
        };
        let over = self.0.len().saturating_sub(SECONDS);
        self.0.drain(..over.min(index));
        let index = index - over.min(index);
        &mut self.0[index]
    }

    /// Returns the sum of the last `seconds` seconds.
    pub fn recent(&self, now_us: u64, seconds: u64, parts: usize) -> Recent {
        let from = (now_us / 1_000_000).saturating_sub(seconds);
        let mut recent = Recent {
            span_us: now_us.saturating_sub(from * 1_000_000).max(1),
            busy_us: vec![0; parts],
            ..Recent::default()
        };
        let mut took = [0_u64; BUCKETS];
        for second in self.0.iter().filter(|second| second.second >= from) {
            recent.batches = recent.batches.saturating_add(second.batches);
            recent.took_max_us = recent.took_max_us.max(second.took_max_us);
            recent.waits.add_all(&second.waits);
            recent.add(&Recent {
                rows: second.rows,
                bytes: second.bytes,
                busy_us: second.busy_us.clone(),
                ..Recent::default()
            });
            took.iter_mut().zip(&second.took).for_each(|(sum, more)| *sum += u64::from(*more));
        }
        let max_us = recent.took_max_us;
        let at = |share: u64| percentile(&took, recent.batches, share).min(max_us);
        (recent.took_p50_us, recent.took_p90_us, recent.took_p99_us) = (at(50), at(90), at(99));
        recent
    }
}

impl SecondCounts {
    fn new(second: u64) -> SecondCounts {
        SecondCounts {
            second,
            batches: 0,
            rows: 0,
            bytes: 0,
            took: [0; BUCKETS],
            took_max_us: 0,
            waits: BatchWaits::default(),
            busy_us: Vec::new(),
        }
    }
}

/// Returns the bucket of a time: its power of two, and the two bits after the first.
fn bucket(us: u64) -> usize {
    let us = us.max(4);
    let power = us.ilog2();
    let quarter = (us >> (power - 2)) & 3;
    ((u64::from(power - 2) * 4 + quarter) as usize).min(BUCKETS - 1)
}

/// Returns the upper bound of a bucket.
fn bound_us(bucket: usize) -> u64 {
    let (power, quarter) = (bucket / 4 + 2, bucket as u64 % 4);
    (5 + quarter) << (power - 2)
}

/// Returns the time that `share` of a hundred do not exceed, within a quarter.
fn percentile(buckets: &[u64; BUCKETS], count: u64, share: u64) -> u64 {
    let wanted = (count * share).div_ceil(100).max(1);
    let mut sum = 0;
    let at = buckets.iter().position(|in_bucket| {
        sum += in_bucket;
        sum >= wanted
    });
    at.map_or(0, bound_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_span_within_a_quarter() {
        let mut seconds = Seconds::default();
        for tick in 0..1000_u64 {
            seconds.at(tick * 10_000).committed(tick, &BatchWaits::default());
        }
        let recent = seconds.recent(9_999_999, 60, 2);
        assert_eq!((recent.batches, recent.took_max_us, recent.busy_us.len()), (1000, 999, 2));
        for (estimate, real) in [(recent.took_p50_us, 500), (recent.took_p90_us, 900), (recent.took_p99_us, 990)] {
            assert!(estimate >= real && estimate <= real * 5 / 4, "{estimate} for {real}");
        }
        let last = seconds.recent(12_000_000, 5, 2);
        assert_eq!((last.batches, last.span_us), (300, 5_000_000));
        assert_eq!(seconds.recent(100_000_000, 10, 2).batches, 0);
    }

    #[test]
    fn seconds_are_forgotten_and_may_come_in_any_order() {
        let mut seconds = Seconds::default();
        for second in [5, 3, 4, 3, 200, 199] {
            seconds.at(second * 1_000_000).cut(1, 1);
        }
        let order: Vec<u64> = seconds.0.iter().map(|second| second.second).collect();
        assert_eq!(order, [3, 4, 5, 199, 200]);
        (300..500).for_each(|second| seconds.at(second * 1_000_000).cut(1, 1));
        assert_eq!(seconds.0.len(), SECONDS);
    }
}
