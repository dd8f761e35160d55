//! What the checkpoint holds that a start goes on from.

use super::store::Store;
use super::types::{Table, TableOf};
use millstream_base::ids::{BatchId, BatchTime};
use millstream_base::progress::{self, Progress};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The checkpoint that was loaded; where there was none, nothing is held.
pub struct LoadedCheckpoint {
    /// Where its files are.
    pub store: Arc<dyn Store>,
    /// The last batch that it holds, with its time; batch 0 where there is no checkpoint.
    pub last_batch: (BatchId, BatchTime),
    /// The job's tables, with the files of the checkpoint.
    pub tables: Vec<Table>,
    /// Places of the tables that the checkpoint holds, perhaps without a row. Others begin with their initial states.
    pub held: BTreeSet<usize>,
    /// Those of them that have other state columns in the checkpoint, by place, as they are there: the plugin migrates what
    /// is loaded. They have no files in `tables`: none that is there may count for the new columns.
    pub old_columns: BTreeMap<usize, Table>,
    /// How many workers of this process load it.
    pub workers: usize,
    /// How much the workers have loaded so far.
    pub progress: LoadProgress,
}

impl LoadedCheckpoint {
    /// The place of a table among [`LoadedCheckpoint::tables`].
    pub fn place(&self, of: TableOf, name: &str) -> Option<usize> {
        self.tables.iter().position(|table| table.of == of && table.name == name)
    }

    /// The table at this place as the checkpoint holds it; `None` where it does not.
    pub fn table(&self, place: usize) -> Option<&Table> {
        self.held.contains(&place).then(|| self.old_columns.get(&place).or_else(|| self.tables.get(place)))?
    }
}

/// How much the workers of a process have loaded.
pub struct LoadProgress {
    rows: AtomicU64,
    /// Those of them that stay in files of the checkpoint.
    stay: AtomicU64,
    workers: AtomicUsize,
    done: AtomicBool,
    since: Instant,
    /// How far that is, for whoever waits; `None`: all is loaded.
    shown: Mutex<Option<Progress>>,
}

impl LoadProgress {
    /// Of these tables nothing is loaded yet.
    pub fn of<'a>(tables: impl Iterator<Item = &'a Table>) -> LoadProgress {
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

    /// So many rows were read from files, which may hold more than count.
    pub fn read(&self, rows: usize) {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.iter().for_each(|shown| shown.add(rows as u64));
    }

    /// A stage on one worker has so many rows now, of which so many stay in files of the checkpoint.
    pub fn add(&self, rows: usize, stay: u64) {
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
        self.stay.fetch_add(stay, Ordering::Relaxed);
    }

    /// Whether all workers of the process have loaded what they need.
    pub fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    /// One more worker has loaded what it needs. The last of `workers` gets how many rows all have loaded, how many of these stay in
    /// files of the checkpoint, and how long that took.
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
