//! The contents of the checkpoint from which a startup continues.

use super::store::Store;
use super::types::{Table, TableOf};
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::progress::{self, Progress};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The loaded checkpoint; empty if there was none.
pub struct LoadedCheckpoint {
    /// The store of its files.
    pub store: Arc<dyn Store>,
    /// The last batch that it holds, with its time; batch 0 if there is no checkpoint.
    pub last_batch: (BatchId, BatchTime),
    /// The job's tables, with the files of the checkpoint.
    pub tables: Vec<Table>,
    /// Indices of the tables that the checkpoint holds, perhaps without a row. Others begin with their initial states.
    pub readable: BTreeSet<usize>,
    /// Those of them with other state columns in the checkpoint, by index, as stored: the plugin migrates them. They have no files in `tables`, as
    /// existing files must not be used for the new columns.
    pub old_columns: BTreeMap<usize, Table>,
    /// The number of workers of this process that load it.
    pub workers: usize,
    /// The loading progress of the workers.
    pub progress: LoadProgress,
}

impl LoadedCheckpoint {
    /// Returns the index of a table in [`LoadedCheckpoint::tables`].
    pub fn index_of(&self, of: TableOf, name: &str) -> Option<usize> {
        self.tables.iter().position(|table| table.of == of && table.name == name)
    }

    /// Returns the table at this index if the checkpoint holds it.
    pub fn table(&self, index: usize) -> Option<&Table> {
        self.readable.contains(&index).then(|| self.old_columns.get(&index).or_else(|| self.tables.get(index)))?
    }
}

/// The loading progress of the workers of a process.
pub struct LoadProgress {
    rows: AtomicU64,
    /// Rows that stay in files of the checkpoint.
    stay: AtomicU64,
    workers: AtomicUsize,
    done: AtomicBool,
    since: Instant,
    /// The progress shown to users; `None`: everything is loaded.
    shown: Mutex<Option<Progress>>,
}

impl LoadProgress {
    /// Creates the progress of loading these tables.
    pub fn new<'a>(tables: impl Iterator<Item = &'a Table>) -> LoadProgress {
        let stages = tables.filter(|table| table.of == TableOf::Stage);
        let rows = stages.flat_map(|table| &table.files).map(|file| file.rows).fold(0, u64::saturating_add);
        let shown = (rows > 0).then(|| progress::of_steps("rows of state loaded", rows));
        LoadProgress {
            rows: AtomicU64::new(0),
            stay: AtomicU64::new(0),
            workers: AtomicUsize::new(0),
            done: AtomicBool::new(false),
            since: Instant::now(),
            shown: Mutex::new(shown),
        }
    }

    /// Counts rows read from files, which may include rows that are not valid.
    pub fn read(&self, rows: usize) {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.iter().for_each(|shown| shown.add(rows as u64));
    }

    /// Counts the rows that a stage has on one worker, and those of them that stay in files of the checkpoint.
    pub fn add(&self, rows: usize, stay: u64) {
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
        self.stay.fetch_add(stay, Ordering::Relaxed);
    }

    /// Returns whether all workers of the process have loaded what they need.
    pub fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    /// Records that another worker has loaded what it needs. The last of `workers` gets the number of rows that all have loaded, how many of these
    /// stay in files of the checkpoint, and how long it took.
    pub fn worker_done(&self, workers: usize) -> Option<(u64, u64, Duration)> {
        let last = self.workers.fetch_add(1, Ordering::AcqRel) + 1 >= workers;
        if last {
            self.done.store(true, Ordering::Release);
            self.shown.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
        let rows = |rows: &AtomicU64| rows.load(Ordering::Relaxed);
        last.then(|| (rows(&self.rows), rows(&self.stay), self.since.elapsed()))
    }
}
