//! What plugins count through the import `metrics`.

use millstream_base::ids::BatchId;
use millstream_base::limits::PLUGIN_COUNTERS_MAX_MAX;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts by name of the counter.
pub type CounterValues = BTreeMap<String, u64>;

/// Counters of a stage's plugin on one worker. Cheap to clone; clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct Counters(Arc<Mutex<CounterState>>);

#[derive(Debug, Default)]
struct CounterState {
    sums: CounterValues,
    /// Counts of each batch that were not taken yet; `None` if they will not be taken.
    batches: Option<BTreeMap<BatchId, CounterValues>>,
}

impl Counters {
    /// The sums, now.
    pub fn snapshot(&self) -> CounterValues {
        self.lock().sums.clone()
    }

    /// From now on, what each batch counts is kept until it is taken.
    pub fn keep_batches(&self) {
        self.lock().batches.get_or_insert_default();
    }

    /// Takes what the batches up to this one counted.
    pub fn take(&self, last: BatchId) -> CounterValues {
        let mut taken = CounterValues::new();
        if let Some(batches) = &mut self.lock().batches {
            while let Some(first) = batches.first_entry().filter(|first| *first.key() <= last) {
                add(&mut taken, first.remove());
            }
        }
        taken
    }

    /// Adds what a call counted that succeeded, so that a call that is repeated counts once.
    pub(super) fn merge(&self, batch: BatchId, counted: CounterValues) {
        if counted.is_empty() {
            return;
        }
        let mut inner = self.lock();
        if let Some(batches) = &mut inner.batches {
            add(batches.entry(batch).or_default(), counted.clone());
        }
        add(&mut inner.sums, counted);
    }

    fn lock(&self) -> MutexGuard<'_, CounterState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds counts. The number of names is bounded where a stage creates them. Here, counts of several workers and runs meet, and names beyond
/// that bound are dropped.
pub fn add(sums: &mut CounterValues, counted: CounterValues) {
    for (counter, amount) in counted {
        if let Some(sum) = sums.get_mut(&counter) {
            *sum = sum.saturating_add(amount);
        } else if (sums.len() as u64) < PLUGIN_COUNTERS_MAX_MAX {
            sums.insert(counter, amount);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_taken_once_and_stays_in_the_sums() {
        let counters = Counters::default();
        let counted = |amount: u64| CounterValues::from([("a".to_owned(), amount)]);
        counters.merge(BatchId(1), counted(1));
        assert_eq!(counters.take(BatchId(9)), CounterValues::new(), "batches are not to be kept yet");
        counters.keep_batches();
        for (batch, amount) in [(2, 2), (4, 10), (2, 3)] {
            counters.clone().merge(BatchId(batch), counted(amount));
        }
        assert_eq!(counters.take(BatchId(3)), counted(5));
        assert_eq!(counters.take(BatchId(3)), CounterValues::new());
        assert_eq!((counters.take(BatchId(4)), counters.snapshot()), (counted(10), counted(16)));
    }

    #[test]
    fn a_stage_may_have_as_many_names_as_its_limit_says() {
        let names = |range: std::ops::Range<u64>| range.map(|name| (format!("n{name}"), 1)).collect::<CounterValues>();
        let counters = Counters::default();
        counters.keep_batches();
        (0..3).for_each(|batch| counters.merge(BatchId(batch), names(batch * 100..batch * 100 + 100)));
        assert_eq!((counters.snapshot().len(), counters.take(BatchId(9)).len()), (300, 300));
        counters.merge(BatchId(3), names(0..PLUGIN_COUNTERS_MAX_MAX + 300));
        assert_eq!(counters.snapshot().len() as u64, PLUGIN_COUNTERS_MAX_MAX);
    }
}
