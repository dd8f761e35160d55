//! What checkpoints hold of a table on one worker: loads it, and says at each barrier what has to be written.

use super::StateTable;
use super::ahead::TablesAhead;
use super::files::{Files, TableSlice};
use crate::batch::keys::KeyHash;
use crate::checkpoint::changes::Changes;
use crate::checkpoint::loaded::LoadedCheckpoint;
use crate::checkpoint::types::{StateFile, Table, TableOf};
use crate::checkpoint::writer::CheckpointWriter;
use crate::checkpoint::{JobCheckpoints, fold, positions, read};
use crate::error::Result;
use crate::ids::{BatchId, BatchTime};
use crate::limits::{STATE_FILE_BYTES_MAX, STATE_SLICE_MAX};
use arrow::array::RecordBatch;
use std::sync::Arc;

/// A table's place among the job's, and the files that make up this worker's part of it.
pub struct TableCheckpoint {
    loaded: Arc<LoadedCheckpoint>,
    place: usize,
    files: Vec<StateFile>,
    groups: (u32, u32),
    worker: usize,
    writer: CheckpointWriter,
    /// What was loaded before this process took the job over.
    ahead: Option<Arc<TablesAhead>>,
    /// A key has several rows, told apart by columns beside it. The table's order is that of both together then, and says
    /// nothing about key groups.
    several: bool,
}

impl TableCheckpoint {
    /// Of the table of this name; `None` where the job keeps no such table. `worker`: this one, of `peers`.
    pub fn open(checkpoints: &JobCheckpoints, name: &str, worker: usize, peers: usize) -> Option<TableCheckpoint> {
        TableCheckpoint::open_ahead(checkpoints, None, name, (worker, peers))
    }

    /// The same, of a table of which some may be loaded already.
    pub fn open_ahead(
        checkpoints: &JobCheckpoints,
        ahead: Option<&Arc<TablesAhead>>,
        name: &str,
        (worker, peers): (usize, usize),
    ) -> Option<TableCheckpoint> {
        let loaded = checkpoints.loaded.clone();
        let place = loaded.place(TableOf::Stage, name)?;
        let table = loaded.tables.get(place)?;
        let (files, several) = (table.files.clone(), !table.sub.is_empty());
        let (groups, writer) = (fold::group_range(worker, peers), checkpoints.writers.checkpoints.clone());
        Some(TableCheckpoint { loaded, place, files, groups, worker, writer, ahead: ahead.cloned(), several })
    }

    /// The rows of the checkpoint that is loaded, of the key groups that this worker owns, file by file in the order in
    /// which they apply; `None` where it does not hold the table.
    pub fn load(&self) -> Result<Option<Vec<RecordBatch>>> {
        self.load_groups(self.groups)
    }

    /// As [`TableCheckpoint::load`], of all key groups: for what every worker has to know.
    pub fn load_all(&self) -> Result<Option<Vec<RecordBatch>>> {
        self.load_groups(positions::ALL_GROUPS)
    }

    fn load_groups(&self, (first, end): (u32, u32)) -> Result<Option<Vec<RecordBatch>>> {
        let Some(table) = self.loaded.table(self.place) else { return Ok(None) };
        let rows = read::load_table(&*self.loaded.store, table, first, end, None)?;
        self.loaded.progress.read(rows.iter().map(RecordBatch::num_rows).sum());
        Ok(Some(rows))
    }

    /// The table as the checkpoint that is loaded describes it, where it has other state columns there, and the time of the
    /// checkpoint's batch.
    pub fn old(&self) -> Option<(&Table, BatchTime)> {
        Some((self.loaded.old_columns.get(&self.place)?, self.loaded.last_batch.1))
    }

    /// The files so far count no more: the table has other state columns now.
    pub fn forget_files(&mut self) {
        self.files.clear();
    }

    /// Takes over the table from the checkpoint that is loaded, and notes its changes from now on. Whether there was one.
    pub fn restore(&self, table: &mut StateTable) -> Result<bool> {
        table.track_changes();
        let Some(held) = self.loaded.table(self.place) else { return Ok(false) };
        let (first, end) = self.groups;
        let mut live = fold::live(&held.files, first, end);
        if let Some(ahead) = &self.ahead {
            let files = live.len();
            live = ahead.hand_over(self.worker, held, live, table);
            if files > 0 && live.len() == files {
                tracing::debug!("{} was loaded ahead in vain", read::about(held));
            }
        }
        table.restore_each(|restore| {
            live.iter().try_for_each(|file| {
                read::each_live(&*self.loaded.store, held, std::slice::from_ref(file), |rows| {
                    self.loaded.progress.read(rows.num_rows());
                    restore(&rows, file.file.base)
                })
            })
        })?;
        self.loaded.progress.add(table.len());
        Ok(true)
    }

    /// Whether this worker writes the rows of a key with this hash.
    pub fn owns(&self, hash: KeyHash) -> bool {
        (self.groups.0..self.groups.1).contains(&(hash.group() as u32))
    }

    /// Whether files of checkpoints hold, or may hold, rows of key groups that this worker owns.
    pub fn has_files(&self) -> bool {
        let (first, end) = self.groups;
        self.files.iter().any(|file| file.group_first < end && first < file.group_end)
    }

    /// Whether there is a base, or part of one, for all key groups that this worker owns.
    fn is_based(&self) -> bool {
        let (first, end) = self.groups;
        !fold::base_due(&self.files, first, end, 0, u64::MAX)
    }

    /// What the checkpoint after this batch has to hold where `rows` are all that this worker owns.
    pub fn base(&mut self, after: BatchId, rows: RecordBatch) -> Changes {
        fold::note(&mut self.files, after, self.groups, true, rows.num_rows() as u64);
        Changes::small(self.place, self.groups, true, rows)
    }

    /// What the checkpoint after this batch has to hold of a table whose changes are noted.
    pub fn changes(&mut self, after: BatchId, state: &mut StateTable) -> Result<Option<Changes>> {
        let several = self.several;
        if state.spills() && self.base_due(state.changed(), state.len() as u64) && self.is_based() {
            return self.changes_and_a_part(after, state).map(Some);
        }
        self.changes_of(after, state.changed(), state.len() as u64, |base, to| {
            let mut add = |slice: TableSlice| to.add(TableSlice { groups: slice.groups.filter(|_| !several), ..slice });
            state.changes(base, STATE_SLICE_MAX, &mut add)
        })
    }

    /// The same of a table of any kind, of which so many rows changed of so many; `rows` makes the rows of the files: all
    /// where it is told so, or else those that changed. Files before the last go on their way at once, and where too many
    /// of them wait to be written, this waits.
    pub fn changes_of(
        &mut self,
        after: BatchId,
        changed: u64,
        all: u64,
        rows: impl FnOnce(bool, &mut Files<'_>) -> Result<()>,
    ) -> Result<Option<Changes>> {
        if changed == 0 {
            return Ok(None);
        }
        let base = self.base_due(changed, all);
        let mut written = Vec::new();
        let mut full = |file: Changes| {
            written.push((file.groups, file.num_rows()));
            self.writer.save_ahead(after, self.worker, file);
        };
        let mut files = Files::new(self.place, self.groups, base, STATE_FILE_BYTES_MAX, &mut full);
        rows(base, &mut files)?;
        let last = files.end();
        written.push((last.groups, last.num_rows()));
        for (groups, rows) in written {
            fold::note(&mut self.files, after, groups, base, rows);
        }
        Ok(Some(last))
    }
}

/// Parts in which a table that may be larger than memory is written whole, one with each checkpoint.
const BASE_PARTS: u32 = 32;

impl TableCheckpoint {
    /// Whether all rows are to be written and not only those that changed.
    fn base_due(&self, changed: u64, all: u64) -> bool {
        let (first, end) = self.groups;
        // Who is to take the job over has loaded the files so far, and a base would have to be loaded from its beginning.
        fold::base_due(&self.files, first, end, changed, all) && !(self.writer.keeps_small() && self.is_based())
    }

    /// A large table for which a base is due: what changed, and all rows of some key groups, so that no barrier waits for all of it.
    fn changes_and_a_part(&mut self, after: BatchId, state: &mut StateTable) -> Result<Changes> {
        let (first, end) = self.groups;
        let part = fold::next_part(&self.files, first, end, BASE_PARTS);
        let mut written = Vec::new();
        let mut full = |file: Changes| {
            written.push((file.groups, file.base, file.num_rows()));
            self.writer.save_ahead(after, self.worker, file);
        };
        let mut files = Files::new(self.place, self.groups, false, STATE_FILE_BYTES_MAX, &mut full);
        state.changes(false, STATE_SLICE_MAX, &mut |slice| files.add(slice))?;
        let last = files.end();
        let number = last.number + 1;
        full(last);
        let groups = (part.start, part.end);
        let mut files = Files::new(self.place, groups, true, STATE_FILE_BYTES_MAX, &mut full).behind(number);
        state.all_of(u64::from(part.start)..u64::from(part.end), STATE_SLICE_MAX, &mut |slice| files.add(slice))?;
        let last = files.end();
        written.push((last.groups, last.base, last.num_rows()));
        for (groups, base, rows) in written {
            fold::note(&mut self.files, after, groups, base, rows);
        }
        Ok(last)
    }
}

/// What the checkpoint after this batch has to hold of a table whose changes are noted; nothing where the job keeps no
/// checkpoints.
pub fn changes(
    checkpoint: &mut Option<TableCheckpoint>,
    after: BatchId,
    table: &mut StateTable,
) -> Result<Vec<Changes>> {
    let changes = checkpoint.as_mut().map(|checkpoint| checkpoint.changes(after, table)).transpose()?;
    Ok(changes.flatten().into_iter().collect())
}
