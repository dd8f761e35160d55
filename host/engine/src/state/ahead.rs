//! Tables loaded ahead of time by a standby process, while other processes still run the job. It loads the newest checkpoint and follows later ones,
//! so that little is left to load when it takes the job over.

use super::spill::budget::StateBudget;
use super::{StateTable, TouchSource};
use crate::checkpoint::fold::{self, LiveFile};
use crate::checkpoint::store::Store;
use crate::checkpoint::types::{Checkpoint, Manifest, StateFile, Table, TableOf};
use crate::checkpoint::{read, state_file};
use arrow::datatypes::Schema;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::threads;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// The tables that a standby process has loaded.
#[derive(Default)]
pub struct TablesAhead {
    /// The tables by worker and name.
    workers: Mutex<BTreeMap<usize, BTreeMap<String, TableAhead>>>,
    /// Paths of files that were read and are intact. File names are never reused.
    intact: Mutex<BTreeSet<String>>,
}

impl fmt::Debug for TablesAhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TablesAhead")
    }
}

/// A table to load ahead of time, as its stage keeps it.
#[derive(Clone, Debug)]
pub struct TableRequest {
    /// The table, without files.
    pub table: Table,
    /// The timeout after which a key is idle, and the source of touches.
    pub idle: Option<(TouchSource, i64)>,
    /// The budget of its rows in memory, if some may be elsewhere.
    pub budget: Option<Arc<StateBudget>>,
}

impl TablesAhead {
    /// Updates the tables of these workers, of `peers` in the job, to a checkpoint, all workers in parallel. After an error, for example a file
    /// deleted meanwhile, what was loaded stays, so that less is left the next time.
    pub fn follow(
        &self,
        store: &dyn Store,
        checkpoint: &Checkpoint,
        requests: &[TableRequest],
        workers: Range<usize>,
        peers: usize,
    ) -> Result<()> {
        let mut saved = std::mem::take(&mut *self.workers());
        let first = workers.start;
        let followed: Vec<_> = std::thread::scope(|scope| {
            let following: Vec<_> = workers
                .map(|worker| {
                    let tables = saved.remove(&worker).unwrap_or_default();
                    let groups = fold::group_range(worker, peers);
                    scope.spawn(move || Ok(follow(store, checkpoint, requests, groups, tables)))
                })
                .collect();
            let ended = |thread: std::thread::ScopedJoinHandle<'_, _>| {
                thread.join().unwrap_or_else(|panic| Err(threads::panicked("a thread that loaded state", &*panic)))
            };
            following.into_iter().map(ended).collect()
        });
        let mut failed = None;
        let mut tables = BTreeMap::new();
        for (worker, followed) in (first..).zip(followed) {
            let (of_worker, error) = followed.unwrap_or_else(|error| (BTreeMap::new(), Some(error)));
            tables.insert(worker, of_worker);
            failed = failed.or(error);
        }
        let paths = tables.values().flat_map(BTreeMap::values).flat_map(|table| &table.applied);
        self.intact().extend(paths.map(|applied| applied.path.clone()));
        *self.workers() = tables;
        failed.map_or(Ok(()), Err)
    }

    /// Checks the files of all kept checkpoints that were not checked yet, as startup does.
    pub fn check_files(&self, store: &dyn Store, manifest: &Manifest) {
        let tables = manifest.checkpoints.iter().flat_map(|checkpoint| &checkpoint.tables);
        for file in tables.flat_map(|table| &table.files) {
            // If a file is damaged, startup reports it, provided it still exists then.
            if !self.is_intact(file) && is_readable(store, file) {
                self.intact().insert(file.path.clone());
            }
        }
    }

    /// Returns whether a file was read and is intact.
    pub fn is_intact(&self, file: &StateFile) -> bool {
        self.intact().contains(&file.path)
    }

    /// Moves what is loaded of a worker's table into `table`. Returns the files that are still to be loaded: all live ones if nothing is usable.
    pub fn hand_over<'a>(
        &self,
        worker: usize,
        saved: &Table,
        live: Vec<LiveFile<'a>>,
        table: &mut StateTable,
    ) -> Vec<LiveFile<'a>> {
        let ahead = self.workers().get_mut(&worker).and_then(|tables| tables.remove(&saved.name));
        let Some(ahead) = ahead.filter(|ahead| ahead.is_of(saved)) else { return live };
        match ahead.missing(&live) {
            Some(count) if table.take_over(ahead.rows) => live.into_iter().skip(count).collect(),
            _ => live,
        }
    }

    /// Releases the tables of a worker, which has what it needs.
    pub fn release(&self, worker: usize) {
        self.workers().remove(&worker);
    }

    fn workers(&self) -> std::sync::MutexGuard<'_, BTreeMap<usize, BTreeMap<String, TableAhead>>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn intact(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.intact.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_readable(store: &dyn Store, file: &StateFile) -> bool {
    matches!(store.read(&file.path), Ok(Some(bytes)) if state_file::decode(file, &bytes).is_ok())
}

/// Updates the tables of one worker. Returns why some of them lack live files.
fn follow(
    store: &dyn Store,
    checkpoint: &Checkpoint,
    requests: &[TableRequest],
    (first, end): (u32, u32),
    mut tables: BTreeMap<String, TableAhead>,
) -> (BTreeMap<String, TableAhead>, Option<Error>) {
    let (mut followed, mut failed) = (BTreeMap::new(), None);
    for request in requests {
        let table = &request.table;
        let saved = checkpoint.tables.iter().find(|saved| saved.of == TableOf::Stage && saved.name == table.name);
        // State of another version is loaded with the plugin that migrates it.
        let Some(saved) = saved.filter(|saved| has_columns_of(saved, table)) else { continue };
        let live = fold::live(&saved.files, first, end);
        let before = tables.remove(&saved.name).filter(|before| before.is_of(saved));
        let before = before.filter(|before| before.missing(&live).is_some());
        match before.map_or_else(|| TableAhead::new(saved, request), Ok) {
            Ok(mut ahead) => {
                let (is_intact, error) = ahead.load(store, saved, &live);
                failed = failed.or(error);
                if is_intact {
                    followed.insert(saved.name.clone(), ahead);
                }
            }
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    (followed, failed)
}

fn has_columns_of(one: &Table, other: &Table) -> bool {
    (&one.key, &one.sub, &one.state) == (&other.key, &other.sub, &other.state)
}

/// A table of one worker that is loaded ahead of time.
struct TableAhead {
    /// The table as the checkpoint describes it, without files.
    of: Table,
    /// The files that were applied, in order.
    applied: Vec<AppliedFile>,
    rows: StateTable,
}

/// A file, and the key groups of which its rows were applied.
#[derive(PartialEq, Eq)]
struct AppliedFile {
    path: String,
    groups: Vec<Range<u32>>,
}

impl AppliedFile {
    fn new(live: &LiveFile) -> AppliedFile {
        AppliedFile { path: live.file.path.clone(), groups: live.groups.clone() }
    }
}

impl TableAhead {
    fn new(saved: &Table, request: &TableRequest) -> Result<TableAhead> {
        let state = Arc::new(Schema::new(read::fields(&saved.state)?));
        let key = read::fields(saved.key.iter().chain(&saved.sub))?;
        let mut rows = StateTable::new(key, state, None).map_err(Error::arrow)?;
        if let Some((by, timeout_us)) = request.idle {
            rows = rows.with_touch_source(by, timeout_us);
        }
        rows.track_changes();
        if let Some(budget) = &request.budget {
            if !saved.sub.is_empty() {
                rows = rows.ordered_by(saved.key.len());
            }
            rows = rows.spilling(budget.share(), &Failure::default())?;
        }
        Ok(TableAhead { of: Table { files: Vec::new(), ..saved.clone() }, applied: Vec::new(), rows })
    }

    /// Applies further files, up to one that cannot be read. Returns whether everything applied is intact.
    fn load(&mut self, store: &dyn Store, saved: &Table, live: &[LiveFile]) -> (bool, Option<Error>) {
        let (mut is_intact, mut failed) = (true, None);
        let TableAhead { applied, rows, .. } = self;
        let restored = rows.restore_each(|restore| {
            for file in live.get(applied.len()..).unwrap_or_default() {
                let mut begun = false;
                let read = read::each_live(store, saved, std::slice::from_ref(file), |rows| {
                    begun = true;
                    restore(&rows, file.file.base)
                });
                if let Err(error) = read {
                    (is_intact, failed) = (!begun, Some(error));
                    break;
                }
                applied.push(AppliedFile::new(file));
            }
            Ok(())
        });
        restored.map_or_else(|error| (false, Some(error)), |()| (is_intact, failed))
    }

    fn is_of(&self, saved: &Table) -> bool {
        has_columns_of(&self.of, saved) && self.of.identity == saved.identity
    }

    /// Returns how many of the live files are applied already, if the rest can be applied to them. A new base cannot: it does not list removed keys.
    fn missing(&self, live: &[LiveFile]) -> Option<usize> {
        let applied = self.applied.len();
        let same = live.iter().zip(&self.applied).all(|(live, applied)| AppliedFile::new(live) == *applied);
        let rest = live.get(applied..)?;
        (same && rest.iter().all(|live| !live.file.base || applied == 0)).then_some(applied)
    }
}

#[cfg(test)]
mod tests;
