//! The part of checkpoints for a table on one worker: loads it, and returns at each barrier what has to be written.

use super::StateTable;
use super::ahead::TablesAhead;
use super::files::{Files, SliceSink, TableSlice};
use super::left_files::{self, InPlaceFiles};
use super::spill::FileGroups;
use super::table::copy::TableCopy;
use crate::checkpoint::changes::TableChanges;
use crate::checkpoint::fold::LiveFile;
use crate::checkpoint::loaded::LoadedCheckpoint;
use crate::checkpoint::types::{StateFile, Table, TableOf};
use crate::checkpoint::writer::CheckpointWriter;
use crate::checkpoint::{JobCheckpoints, fold, positions, read};
use crate::limits::STATE_SLICE_MAX;
use arrow::array::RecordBatch;
use millstream_base::error::Result;
use millstream_base::ids::{BatchId, BatchTime};
use millstream_rows::batch::keys::{KEY_GROUPS, KeyHash};
use std::ops::Range;
use std::sync::Arc;

/// The index of a table in the job, and the files that form this worker's part of it.
pub struct TableCheckpoint {
    loaded: Arc<LoadedCheckpoint>,
    table_index: usize,
    files: Vec<StateFile>,
    groups: (u32, u32),
    worker: usize,
    writer: CheckpointWriter,
    /// All live files have an index, so that a restart need not read them.
    has_indexes: bool,
    /// What was loaded before this process took the job over.
    ahead: Option<Arc<TablesAhead>>,
    /// A key has several rows, distinguished by additional columns. The order of the table then depends on both, and is not that of key groups.
    several: bool,
}

impl TableCheckpoint {
    /// Opens the table of this name; `None` if the job keeps no such table. `worker`: this one, of `peers`.
    pub fn open(checkpoints: &JobCheckpoints, name: &str, worker: usize, peers: usize) -> Option<TableCheckpoint> {
        TableCheckpoint::open_ahead(checkpoints, None, name, (worker, peers))
    }

    /// Opens a table that may be partly loaded already.
    pub fn open_ahead(
        checkpoints: &JobCheckpoints,
        ahead: Option<&Arc<TablesAhead>>,
        name: &str,
        (worker, peers): (usize, usize),
    ) -> Option<TableCheckpoint> {
        let loaded = checkpoints.loaded.clone();
        let table_index = loaded.index_of(TableOf::Stage, name)?;
        let table = loaded.tables.get(table_index)?;
        let (files, several) = (table.files.clone(), !table.sub.is_empty());
        let (groups, writer) = (fold::group_range(worker, peers), checkpoints.writers.checkpoints.clone());
        let has_indexes = fold::live(&files, groups.0, groups.1).iter().all(left_files::has_index);
        let ahead = ahead.cloned();
        Some(TableCheckpoint { loaded, table_index, files, groups, worker, writer, has_indexes, ahead, several })
    }

    /// Reads the rows of the loaded checkpoint in the key groups that this worker owns, file by file in the order in which they apply. Returns `None`
    /// if the checkpoint does not hold the table.
    pub fn load(&self) -> Result<Option<Vec<RecordBatch>>> {
        self.load_groups(self.groups)
    }

    /// Reads all key groups, like [`TableCheckpoint::load`]: for data that every worker needs.
    pub fn load_all(&self) -> Result<Option<Vec<RecordBatch>>> {
        self.load_groups(positions::ALL_GROUPS)
    }

    fn load_groups(&self, (first, end): (u32, u32)) -> Result<Option<Vec<RecordBatch>>> {
        let Some(table) = self.loaded.table(self.table_index) else { return Ok(None) };
        let rows = read::load_table(&*self.loaded.store, table, first, end, None)?;
        self.loaded.progress.read(rows.iter().map(RecordBatch::num_rows).sum());
        Ok(Some(rows))
    }

    /// Returns the table as the loaded checkpoint describes it if its state columns differ there, with the time of the checkpoint's batch.
    pub fn old(&self) -> Option<(&Table, BatchTime)> {
        Some((self.loaded.old_columns.get(&self.table_index)?, self.loaded.last_batch.1))
    }

    /// Invalidates the existing files, as the state columns of the table have changed.
    pub fn drop_peer_files(&mut self) {
        self.files.clear();
        self.has_indexes = true;
    }

    /// Restores the table from the loaded checkpoint, and starts tracking changes. Returns whether the checkpoint holds it.
    pub fn restore(&self, table: &mut StateTable) -> Result<bool> {
        table.track_changes();
        let Some(saved) = self.loaded.table(self.table_index) else { return Ok(false) };
        let (first, end) = self.groups;
        let mut live = fold::live(&saved.files, first, end);
        if let Some(ahead) = &self.ahead {
            let files = live.len();
            live = ahead.hand_over(self.worker, saved, live, table);
            if files > 0 && live.len() == files {
                tracing::debug!("{} was loaded ahead in vain", read::about(saved));
            }
        }
        let live = self.leave_files(saved, live, table)?;
        table.restore_each(|restore| {
            live.iter().try_for_each(|file| {
                read::each_live(&*self.loaded.store, saved, std::slice::from_ref(file), |rows| {
                    self.loaded.progress.read(rows.num_rows());
                    restore(&rows, file.file.base)
                })
            })
        })?;
        self.loaded.progress.add(table.len(), table.rows_in_checkpoint());
        Ok(true)
    }

    /// Leaves those files in place whose rows can be looked up there, if the table is certainly larger than memory. Returns the files that still have
    /// to be read.
    fn leave_files<'a>(
        &self,
        saved: &Table,
        live: Vec<LiveFile<'a>>,
        table: &mut StateTable,
    ) -> Result<Vec<LiveFile<'a>>> {
        let indexed = live.iter().filter(|live| left_files::has_index(live));
        let bytes = indexed.map(|live| live.share_of(live.file.bytes)).sum();
        let Some(columns) = table.index_columns().filter(|_| table.is_less_than(bytes, self.loaded.workers)) else {
            return Ok(live);
        };
        let open = |live: &LiveFile| {
            let opened = read::open_indexed(&*self.loaded.store, saved, live.file, || table.file())?;
            Ok(opened.filter(|file| file.index().columns == columns))
        };
        let changes = left_files::changes(&live);
        let room = table.budget() / LEVELS_SHARE / (self.loaded.workers as u64).max(1);
        let has_room = changes.saturating_mul(INDEX_BYTES_PER_ROW) <= room;
        // An outdated row of a key would be taken for idle, or for due.
        let leaves_changes = changes > CHANGES_READ_MAX && has_room && !table.has_times();
        let InPlaceFiles { levels, read } = left_files::leave(live, leaves_changes, open)?;
        for level in levels {
            table.adopt(level.into_iter().map(|(file, groups)| FileGroups { file, groups }).collect())?;
        }
        self.loaded.progress.read(usize::try_from(table.rows_in_checkpoint()).unwrap_or(usize::MAX));
        Ok(read)
    }

    /// Returns whether this worker writes the rows of a key with this hash.
    pub fn owns(&self, hash: KeyHash) -> bool {
        (self.groups.0..self.groups.1).contains(&(hash.group() as u32))
    }

    /// Returns whether files of checkpoints may hold rows of key groups that this worker owns.
    pub fn has_files(&self) -> bool {
        let (first, end) = self.groups;
        self.files.iter().any(|file| file.group_first < end && first < file.group_end)
    }

    /// Returns whether a base, or part of one, exists for all key groups that this worker owns.
    fn is_based(&self) -> bool {
        let (first, end) = self.groups;
        !fold::base_due(&self.files, first, end, 0, u64::MAX)
    }

    /// Returns what the checkpoint after this batch has to hold if `rows` is everything that this worker owns.
    pub fn base(&mut self, after: BatchId, rows: RecordBatch) -> TableChanges {
        fold::add_file(&mut self.files, after, self.groups, true, rows.num_rows() as u64);
        TableChanges::small(self.table_index, self.groups, true, rows)
    }

    /// Returns what the checkpoint after this batch has to hold of a table with tracked changes, except files that are already being written. If that
    /// is much, rows may stay [frozen](StateTable::is_frozen) after it. The checkpoint is then complete only once none are frozen.
    pub fn changes(&mut self, after: BatchId, state: &mut StateTable) -> Result<Option<TableChanges>> {
        state.thaw()?;
        let (changed, all) = (state.changed(), state.len() as u64);
        if changed == 0 {
            return Ok(None);
        }
        // A table that fits is loaded into memory, and its rows are not looked up in files.
        let may_not_fit = state.is_less_than(state.used_bytes() + state.cold().1, self.loaded.workers);
        let had_indexes = self.has_indexes && !self.files.is_empty();
        let indexed_by = state.index_columns().filter(|_| may_not_fit || had_indexes);
        // A restart would have to read all files after one without an index.
        let lacks_indexes = indexed_by.is_some() && !self.has_indexes && !self.must_be_small();
        let (is_due, several) = (lacks_indexes || self.base_due(changed, all), self.several);
        let has_parts = state.spills() || (all >= PARTS_ROWS_MIN && !several);
        // If most rows changed, writing all of them costs little more.
        let in_parts = is_due && has_parts && !lacks_indexes && changed < all / 2 && self.is_based();
        let is_complete = is_due && !in_parts;
        self.has_indexes = indexed_by.is_some() && (is_complete || self.has_indexes);
        let rows = if is_complete { state.rows_in_memory() as u64 } else { state.changed_in_memory() };
        let copy_bytes_max = if state.spills() { COPY_BYTES_MAX / 4 } else { COPY_BYTES_MAX };
        let copy_bytes_max = (state.budget() / COPY_SHARE).clamp(COPY_BYTES_MIN, copy_bytes_max);
        let is_large = rows.saturating_mul(state.bytes_per_row()) > copy_bytes_max;
        let room = if is_large { state.room_for_copy(self.loaded.store.dir()) } else { None };
        if !in_parts && room.is_none() && (changed < COPY_ROWS_MIN || (is_complete && is_large)) {
            return self.write_files(after, is_complete, |to| {
                to.index_by(indexed_by);
                state.changes(is_complete, STATE_SLICE_MAX, &mut |slice| to.add(grouped(slice, several)))
            });
        }
        let mut files = self.files_after(after, indexed_by);
        if room.is_some() {
            fold::add_file(&mut self.files, after, self.groups, is_complete, if is_complete { all } else { changed });
        } else if is_complete {
            self.write_groups(state, self.groups, &mut files)?;
            state.clear_changes()?;
        } else {
            self.write_changes(state, is_large, &mut files)?;
            fold::add_file(&mut self.files, after, self.groups, false, changed);
        }
        if in_parts {
            let (first, end) = self.groups;
            let parts = state.used_bytes() / PART_BYTES_MAX;
            let parts = u32::try_from(parts).unwrap_or(PARTS_MAX).clamp(PARTS_MIN, PARTS_MAX);
            let part = fold::next_part(&self.files, first, end, parts);
            self.write_groups(state, (part.start, part.end), &mut files)?;
        }
        if let Some(room) = room {
            let failure = files.writer.failure().clone();
            let (groups, all_of) = (self.groups, is_complete.then(|| self.hash_groups(self.groups)));
            state.freeze(is_complete, room, &failure, move |copy| {
                files.copies.insert(0, FilesOfCopy { copy, groups, all_of });
                files.write_later()
            })?;
        } else {
            files.write_later()?;
        }
        Ok(None)
    }

    /// Returns what the checkpoint has to hold of a table of any kind, with `changed` of `all` rows changed. `rows` produces the rows of the files:
    /// all of them, or only the changed ones, depending on its argument. Files before the last are written immediately. If too many of them wait to
    /// be written, this blocks.
    pub fn changes_of(
        &mut self,
        after: BatchId,
        changed: u64,
        all: u64,
        rows: impl FnOnce(bool, &mut Files<'_>) -> Result<()>,
    ) -> Result<Option<TableChanges>> {
        if changed == 0 {
            return Ok(None);
        }
        let base = self.base_due(changed, all);
        self.write_files(after, base, |to| rows(base, to))
    }

    /// Writes files while the barrier waits.
    fn write_files(
        &mut self,
        after: BatchId,
        base: bool,
        rows: impl FnOnce(&mut Files<'_>) -> Result<()>,
    ) -> Result<Option<TableChanges>> {
        let mut written = Vec::new();
        let mut full = |file: TableChanges| {
            written.push((file.groups, file.num_rows()));
            self.writer.save_ahead(after, self.worker, file);
        };
        let mut files = Files::new(self.table_index, self.groups, base, self.writer.file_bytes_max(), &mut full);
        rows(&mut files)?;
        let last = files.end();
        written.push((last.groups, last.num_rows()));
        for (groups, rows) in written {
            fold::add_file(&mut self.files, after, groups, base, rows);
        }
        Ok(Some(last))
    }
}

/// Parts in which a large table is rewritten, one per checkpoint. There are at least this many, and enough that the rows in memory of one take about
/// the second constant's bytes.
const PARTS_MIN: u32 = 32;
const PARTS_MAX: u32 = 512;
const PART_BYTES_MAX: u64 = 64 << 20;
/// A table with this many rows is written in parts, as is one that may be larger than memory.
const PARTS_ROWS_MIN: u64 = 1 << 20;
/// Up to this many rows that changed after bases are read at startup, as they are likely to be used again. More would take seconds, as the rows they
/// replace are scattered over the bases.
const CHANGES_READ_MAX: u64 = 1 << 18;
/// Approximate memory of the index of a row in files left in place. The changes among them take at most the second constant's fraction of the budget.
const INDEX_BYTES_PER_ROW: u64 = 2;
const LEVELS_SHARE: u64 = 4;
/// Up to this many rows are copied, to be written while the next batches run. They take at most a fraction of the memory for state, within these
/// bounds.
const COPY_ROWS_MIN: u64 = 4096;
const COPY_SHARE: u64 = 64;
const COPY_BYTES_MIN: u64 = 16 << 10;
const COPY_BYTES_MAX: u64 = 32 << 20;

impl TableCheckpoint {
    /// Returns whether all rows are to be written and not only the changes.
    fn base_due(&self, changed: u64, all: u64) -> bool {
        let (first, end) = self.groups;
        fold::base_due(&self.files, first, end, changed, all) && !self.must_be_small()
    }

    /// Returns whether a base must not be written now. A successor that is about to take the job over has loaded the existing files, and would have
    /// to load a base from the start.
    fn must_be_small(&self) -> bool {
        self.writer.keeps_small() && self.is_based()
    }

    /// Writes the changes: what can be copied later, the rest now.
    fn write_changes(&self, state: &mut StateTable, is_large: bool, files: &mut FilesOfTable) -> Result<()> {
        let copy = if is_large { None } else { state.copy_changes(COPY_BYTES_MAX)? };
        let copy = match copy {
            Some(copy) => copy,
            None => files.write_now(self.groups, false, |to| state.changes_in_memory(STATE_SLICE_MAX, to))?,
        };
        if !copy.is_empty() {
            files.copies.push(FilesOfCopy { copy, groups: self.groups, all_of: None });
        }
        Ok(())
    }

    /// Writes all rows of some key groups: later if they can be copied, otherwise now.
    fn write_groups(&mut self, state: &mut StateTable, groups: (u32, u32), files: &mut FilesOfTable) -> Result<()> {
        let hashes = self.hash_groups(groups);
        match state.copy_of_groups(&hashes, COPY_BYTES_MAX)? {
            Some(copy) => files.copies.push(FilesOfCopy { copy, groups, all_of: Some(hashes) }),
            None => files.write_now(groups, true, |to| state.all_of(hashes, STATE_SLICE_MAX, to))?,
        }
        let (first, end) = self.groups;
        let rows = u64::from(groups.1 - groups.0) * state.len() as u64 / u64::from((end - first).max(1));
        fold::add_file(&mut self.files, files.after, groups, true, rows);
        Ok(())
    }

    /// Returns the files for the checkpoint after this batch, with none yet.
    fn files_after(&self, after: BatchId, indexed_by: Option<usize>) -> FilesOfTable {
        let (table_index, worker, several, writer) = (self.table_index, self.worker, self.several, self.writer.clone());
        FilesOfTable { table_index, worker, several, writer, after, number: 0, indexed_by, copies: Vec::new() }
    }

    /// Returns the groups of the table's own hashes that contain the rows of key groups: all of them if the order is not that of key groups.
    fn hash_groups(&self, (first, end): (u32, u32)) -> Range<u64> {
        if self.groups == (first, end) { 0..KEY_GROUPS } else { u64::from(first)..u64::from(end) }
    }
}

/// The files of a table for a checkpoint.
struct FilesOfTable {
    table_index: usize,
    worker: usize,
    several: bool,
    writer: CheckpointWriter,
    after: BatchId,
    /// The number of files being written.
    number: u32,
    /// See [`Files::index_by`].
    indexed_by: Option<usize>,
    /// The copies of which more files are to be made.
    copies: Vec<FilesOfCopy>,
}

impl FilesOfTable {
    /// Writes files while the barrier waits.
    fn write_now<T>(
        &mut self,
        groups: (u32, u32),
        base: bool,
        rows: impl FnOnce(&mut SliceSink<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut full = |file: TableChanges| self.writer.save_ahead(self.after, self.worker, file);
        let bytes_max = self.writer.file_bytes_max();
        let mut new = Files::new(self.table_index, groups, base, bytes_max, &mut full).starting_at(self.number);
        new.index_by(self.indexed_by);
        let (made, last) = filled(new, self.several, rows)?;
        self.number = last.number + 1;
        full(last);
        Ok(made)
    }

    /// Creates files from copies while the next batches run, so that no barrier waits for the sorting and encoding of many rows.
    fn write_later(self) -> Result<()> {
        let FilesOfTable { table_index, worker, several, writer, after, mut number, indexed_by, copies } = self;
        let bytes_max = writer.file_bytes_max();
        let bytes = copies.iter().map(|of| of.copy.bytes()).sum();
        writer.save_later(after, worker, bytes, move |mut full| {
            for FilesOfCopy { copy, groups, all_of } in copies {
                let mut table = copy.table()?;
                let is_base = all_of.is_some();
                let mut new = Files::new(table_index, groups, is_base, bytes_max, &mut full).starting_at(number);
                new.index_by(indexed_by);
                let ((), last) = filled(new, several, |to| match all_of {
                    Some(hashes) => table.all_of(hashes, STATE_SLICE_MAX, to),
                    None => table.changes(false, STATE_SLICE_MAX, to),
                })?;
                number = last.number + 1;
                full(last);
            }
            Ok(())
        })
    }
}

/// Copied rows, and the key groups of the files to be made of them.
struct FilesOfCopy {
    copy: TableCopy,
    groups: (u32, u32),
    /// Set if they are all rows of these groups: see [`TableCheckpoint::hash_groups`].
    all_of: Option<Range<u64>>,
}

/// Puts rows into files, and returns the last one.
fn filled<T>(
    mut files: Files<'_>,
    several: bool,
    rows: impl FnOnce(&mut SliceSink<'_>) -> Result<T>,
) -> Result<(T, TableChanges)> {
    let made = rows(&mut |slice| files.add(grouped(slice, several)))?;
    Ok((made, files.end()))
}

/// Keeps the key groups of a slice only if the table is in their order, see [`TableCheckpoint`].
fn grouped(slice: TableSlice, several: bool) -> TableSlice {
    TableSlice { groups: slice.groups.filter(|_| !several), ..slice }
}

/// Returns what the checkpoint after this batch has to hold of a table with tracked changes; nothing if the job keeps no checkpoints.
pub fn changes(
    checkpoint: &mut Option<TableCheckpoint>,
    after: BatchId,
    table: &mut StateTable,
) -> Result<Vec<TableChanges>> {
    let changes = checkpoint.as_mut().map(|checkpoint| checkpoint.changes(after, table)).transpose()?;
    Ok(changes.flatten().into_iter().collect())
}
