//! Tables that are loaded ahead: by a process that stands by while others still run the job. It loads what the newest
//! checkpoint holds, follows the checkpoints that come, and so has little left to load when it takes the job over.

use super::spill::budget::StateBudget;
use super::{IdleBy, StateTable};
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

/// What a process that stands by has loaded.
#[derive(Default)]
pub struct TablesAhead {
    /// By worker, those of each by name.
    workers: Mutex<BTreeMap<usize, BTreeMap<String, TableAhead>>>,
    /// Paths of files that were read and are whole. Nobody writes a file of this name again.
    whole: Mutex<BTreeSet<String>>,
}

impl fmt::Debug for TablesAhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TablesAhead")
    }
}

/// A table that is loaded ahead, as the stage that keeps it has it.
#[derive(Clone, Debug)]
pub struct WantedTable {
    /// The table, without files.
    pub table: Table,
    /// After how long without a touch a key is idle, and what tells when that was.
    pub idle: Option<(IdleBy, i64)>,
    /// What its rows in memory count against, where it may have others.
    pub budget: Option<Arc<StateBudget>>,
}

impl TablesAhead {
    /// Brings the tables of these workers, of so many in the whole job, to what a checkpoint holds: all workers at once. With an error, as
    /// of a file that was deleted meanwhile, what was loaded stays, so that less is left the next time.
    pub fn follow(
        &self,
        store: &dyn Store,
        checkpoint: &Checkpoint,
        wanted: &[WantedTable],
        workers: Range<usize>,
        peers: usize,
    ) -> Result<()> {
        let mut held = std::mem::take(&mut *self.workers());
        let first = workers.start;
        let followed: Vec<_> = std::thread::scope(|scope| {
            let following: Vec<_> = workers
                .map(|worker| {
                    let tables = held.remove(&worker).unwrap_or_default();
                    let groups = fold::group_range(worker, peers);
                    scope.spawn(move || Ok(follow(store, checkpoint, wanted, groups, tables)))
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
        self.whole().extend(paths.map(|applied| applied.path.clone()));
        *self.workers() = tables;
        failed.map_or(Ok(()), Err)
    }

    /// Looks at the files of all kept checkpoints that nobody has looked at yet, as a start does.
    pub fn look_at_files(&self, store: &dyn Store, manifest: &Manifest) {
        let tables = manifest.checkpoints.iter().flat_map(|checkpoint| &checkpoint.tables);
        for file in tables.flat_map(|table| &table.files) {
            // What is wrong with one that is not whole is told by the start, if it is still there then.
            if !self.is_whole(file) && is_readable(store, file) {
                self.whole().insert(file.path.clone());
            }
        }
    }

    /// Whether a file was read and was whole.
    pub fn is_whole(&self, file: &StateFile) -> bool {
        self.whole().contains(&file.path)
    }

    /// Gives `table`, that of a worker, what is loaded of it, and says which of the files are still to be loaded: all that count
    /// where nothing is of use.
    pub fn hand_over<'a>(
        &self,
        worker: usize,
        held: &Table,
        live: Vec<LiveFile<'a>>,
        table: &mut StateTable,
    ) -> Vec<LiveFile<'a>> {
        let ahead = self.workers().get_mut(&worker).and_then(|tables| tables.remove(&held.name));
        let Some(ahead) = ahead.filter(|ahead| ahead.is_of(held)) else { return live };
        match ahead.missing(&live) {
            Some(count) if table.take_over(ahead.rows) => live.into_iter().skip(count).collect(),
            _ => live,
        }
    }

    /// A worker has all that it needs.
    pub fn forget(&self, worker: usize) {
        self.workers().remove(&worker);
    }

    fn workers(&self) -> std::sync::MutexGuard<'_, BTreeMap<usize, BTreeMap<String, TableAhead>>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn whole(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.whole.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_readable(store: &dyn Store, file: &StateFile) -> bool {
    matches!(store.read(&file.path), Ok(Some(bytes)) if state_file::decode(file, &bytes).is_ok())
}

/// The tables of one worker, and why some of them lack files that count.
fn follow(
    store: &dyn Store,
    checkpoint: &Checkpoint,
    wanted: &[WantedTable],
    (first, end): (u32, u32),
    mut tables: BTreeMap<String, TableAhead>,
) -> (BTreeMap<String, TableAhead>, Option<Error>) {
    let (mut followed, mut failed) = (BTreeMap::new(), None);
    for wanted in wanted {
        let table = &wanted.table;
        let held = checkpoint.tables.iter().find(|held| held.of == TableOf::Stage && held.name == table.name);
        // Another version's state is loaded when the plugin that migrates it is.
        let Some(held) = held.filter(|held| has_columns_of(held, table)) else { continue };
        let live = fold::live(&held.files, first, end);
        let before = tables.remove(&held.name).filter(|before| before.is_of(held));
        let before = before.filter(|before| before.missing(&live).is_some());
        match before.map_or_else(|| TableAhead::new(held, wanted), Ok) {
            Ok(mut ahead) => {
                let (is_whole, error) = ahead.load(store, held, &live);
                failed = failed.or(error);
                if is_whole {
                    followed.insert(held.name.clone(), ahead);
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

/// A table of one worker that is loaded ahead.
struct TableAhead {
    /// As the checkpoint describes it, without files.
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
    fn of(live: &LiveFile) -> AppliedFile {
        AppliedFile { path: live.file.path.clone(), groups: live.groups.clone() }
    }
}

impl TableAhead {
    fn new(held: &Table, wanted: &WantedTable) -> Result<TableAhead> {
        let state = Arc::new(Schema::new(read::fields(&held.state)?));
        let key = read::fields(held.key.iter().chain(&held.sub))?;
        let mut rows = StateTable::new(key, state, None).map_err(Error::arrow)?;
        if let Some((by, timeout_us)) = wanted.idle {
            rows = rows.idle_by(by, timeout_us);
        }
        rows.track_changes();
        if let Some(budget) = &wanted.budget {
            if !held.sub.is_empty() {
                rows = rows.ordered_by(held.key.len());
            }
            rows = rows.spilling(budget.share(), &Failure::default())?;
        }
        Ok(TableAhead { of: Table { files: Vec::new(), ..held.clone() }, applied: Vec::new(), rows })
    }

    /// Applies the files that are not applied yet, up to one that cannot be read. Whether all that was applied is whole.
    fn load(&mut self, store: &dyn Store, held: &Table, live: &[LiveFile]) -> (bool, Option<Error>) {
        let (mut is_whole, mut failed) = (true, None);
        let TableAhead { applied, rows, .. } = self;
        let restored = rows.restore_each(|restore| {
            for file in live.get(applied.len()..).unwrap_or_default() {
                let mut begun = false;
                let read = read::each_live(store, held, std::slice::from_ref(file), |rows| {
                    begun = true;
                    restore(&rows, file.file.base)
                });
                if let Err(error) = read {
                    (is_whole, failed) = (!begun, Some(error));
                    break;
                }
                applied.push(AppliedFile::of(file));
            }
            Ok(())
        });
        restored.map_or_else(|error| (false, Some(error)), |()| (is_whole, failed))
    }

    fn is_of(&self, held: &Table) -> bool {
        has_columns_of(&self.of, held) && self.of.identity == held.identity
    }

    /// How many of the files that count now are applied already, where the rest can be applied on top of them. A new base cannot:
    /// it does not tell which keys were removed.
    fn missing(&self, live: &[LiveFile]) -> Option<usize> {
        let applied = self.applied.len();
        let same = live.iter().zip(&self.applied).all(|(live, applied)| AppliedFile::of(live) == *applied);
        let rest = live.get(applied..)?;
        (same && rest.iter().all(|live| !live.file.base || applied == 0)).then_some(applied)
    }
}

#[cfg(test)]
mod tests;
