//! What a job counts while it runs: rows and rejected rows of each source, stage and sink, and plugins' counters.

use crate::ids::BatchId;
use crate::limits::REJECTED_ROWS_LOGGED;
use crate::plugin::Counters;
use arrow::array::RecordBatch;
use arrow::util::display::array_value_to_string;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The counts of a process, by name of source, stage or sink.
#[derive(Clone, Default)]
pub struct Metrics {
    by_name: Arc<Mutex<BTreeMap<String, Counts>>>,
    progress: Arc<AtomicU64>,
}

/// The counts of one source, stage or sink; shared by all workers of the process.
#[derive(Clone, Default)]
pub struct Counts(Arc<CountsInner>);

#[derive(Default)]
struct CountsInner {
    rows: AtomicU64,
    rejected: AtomicU64,
    unread_rejected: AtomicU64,
    counters: Mutex<Vec<Counters>>,
}

/// The counts at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Rows put out (of a sink: taken in).
    pub rows: u64,
    /// Rows rejected.
    pub rejected: u64,
    /// Rejected rows that nothing reads.
    pub unread_rejected: u64,
    /// Counters of the plugin.
    pub counters: BTreeMap<String, u64>,
}

impl Metrics {
    /// The counts of this source, stage or sink.
    pub fn of(&self, name: &str) -> Counts {
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        by_name.entry(name.to_owned()).or_default().clone()
    }

    /// Something was achieved that is not done again after a restart: a batch is committed for the first time, or this
    /// process's part of a checkpoint is durable.
    pub fn progressed(&self) {
        self.progress.fetch_add(1, Ordering::Relaxed);
    }

    /// How often [`Metrics::progressed`] was called.
    pub fn progress(&self) -> u64 {
        self.progress.load(Ordering::Relaxed)
    }

    /// All counts as they stand.
    pub fn snapshot(&self) -> BTreeMap<String, Snapshot> {
        let by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        by_name.iter().map(|(name, counts)| (name.clone(), counts.snapshot())).collect()
    }
}

impl Counts {
    /// Counts rows put out.
    pub fn add_rows(&self, rows: usize) {
        self.0.rows.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// Takes back rows that were counted as put out: the stage's `filter` held them.
    pub fn drop_rows(&self, rows: usize) {
        self.0.rows.fetch_sub(rows as u64, Ordering::Relaxed);
    }

    /// Counts rejected rows.
    pub fn add_rejected(&self, rows: usize) {
        self.0.rejected.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// Counters of a caller of the stage's plugin; they are summed over callers.
    pub fn share_counters(&self, counters: Counters) {
        self.0.counters.lock().unwrap_or_else(PoisonError::into_inner).push(counters);
    }

    /// Tells the operator about rejected rows that nothing reads: the first ones in words, all of them as a count.
    pub fn tell_rejected(&self, name: &str, batch: BatchId, rejected: &RecordBatch) {
        let before = self.0.unread_rejected.fetch_add(rejected.num_rows() as u64, Ordering::Relaxed);
        let room = REJECTED_ROWS_LOGGED.saturating_sub(before) as usize;
        for row in 0..rejected.num_rows().min(room) {
            let cell = |column: usize| {
                let text = array_value_to_string(rejected.column(column), row).unwrap_or_default();
                text.chars().take(120).collect::<String>()
            };
            let columns = rejected.num_columns();
            let values: Vec<String> = (0..columns.saturating_sub(1)).map(cell).collect();
            let reason = cell(columns.saturating_sub(1));
            tracing::warn!("`{name}` rejected a row in batch {batch}: {reason}; the row: {:?}", values.join(", "));
        }
        if before < REJECTED_ROWS_LOGGED && before + rejected.num_rows() as u64 > REJECTED_ROWS_LOGGED {
            tracing::warn!("`{name}` rejects more rows; to see them all, read `{name}.rejected` with a sink");
        }
    }

    fn snapshot(&self) -> Snapshot {
        let mut counters = BTreeMap::new();
        for shared in self.0.counters.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            for (name, count) in shared.snapshot() {
                *counters.entry(name).or_default() += count;
            }
        }
        Snapshot {
            rows: self.0.rows.load(Ordering::Relaxed),
            rejected: self.0.rejected.load(Ordering::Relaxed),
            unread_rejected: self.0.unread_rejected.load(Ordering::Relaxed),
            counters,
        }
    }
}
