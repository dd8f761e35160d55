//! State larger than memory: rows of a table that have not been used for a while are moved to local files, and loaded again when their keys are used.
//!
//! A row is in memory or in one file. Results do not depend on where rows are. The files have no other purpose: checkpoints hold the complete table,
//! as for any other. A restart begins with new files, or with files of its checkpoint, left in place. Several of the latter may contain a key, and
//! the newest wins.

pub mod budget;
mod checkpoint_pages;
pub(super) mod cold;
mod direct;
pub(super) mod file;
pub(super) mod spilled;
mod merge;
mod merging;
pub(super) mod page;
pub mod stage_budget;
#[cfg(test)]
mod tests;

use super::idle::IdleTracker;
use super::keys::{OwnedKey, Slot};
use super::table::StateTable;
use budget::{BudgetShare, StateBudget};
pub use checkpoint_pages::FileGroups;
use cold::{ColdFile, ColdRows, KeyLookup};
use file::SpillWriter;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::fault;
use millstream_base::limits::STATE_MEMORY_BYTES_MIN;
use millstream_base::memory;
use millstream_base::units::show_size;
use millstream_metrics::StateSize;
use millstream_rows::batch::keys::{GROUP_SHIFT, KEY_GROUPS, KeyHash, KeysView};
use page::{ColdRow, ROW_BYTES_MAX, invalid_row_error};
use spilled::Spill;
use std::fs::File;
use std::hint::black_box;
use std::mem::take;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

/// How often a row is skipped at most during eviction, however often it was used.
const USES_MAX: u8 = 3;
/// One in this many slots, and bytes of keys, may be free after an eviction.
const SLACK: usize = 3;
/// Rows that are prefetched into the processor's caches together.
const LOADED_ROWS: usize = 64;
/// Bytes freed before memory is returned to the system, which takes some milliseconds.
const FREED_BYTES: u64 = 4 << 20;
/// Changed keys of files left in place are collected up to this fraction of the budget.
const CHANGED_KEYS_SHARE: u64 = 8;
/// Approximate bytes of cold rows in memory at a time while a complete table is scanned.
const LOOK_BYTES: u64 = 4 << 20;

/// Returns the hashes of key groups.
fn hashes(groups: &Range<u64>) -> RangeInclusive<u64> {
    groups.start << GROUP_SHIFT..=((groups.end - 1) << GROUP_SHIFT | ((1 << GROUP_SHIFT) - 1))
}

/// Returns how many key groups of a table with this many bytes are scanned at a time.
fn step_of(bytes: u64) -> usize {
    (KEY_GROUPS / (bytes / LOOK_BYTES + 1)).max(1) as usize
}

/// Returns all key groups, `step` at a time.
fn ranges(step: usize) -> impl Iterator<Item = Range<u64>> {
    (0..KEY_GROUPS).step_by(step).map(move |first| first..(first + step as u64).min(KEY_GROUPS))
}

impl StateTable {
    /// Lets the table evict rows when all tables exceed the budget. Fails if files cannot be created.
    pub fn spilling(mut self, share: BudgetShare, failure: &Failure) -> Result<StateTable> {
        drop(file::open(share.budget().dir()).map_err(Error::environment)?);
        self.spill = Some(Box::new(Spill::new(share, failure.clone())));
        Ok(self)
    }

    /// Does the same if the job limits the memory of its state.
    pub fn spilling_within(
        self,
        budget: Option<&Arc<StateBudget>>,
        failure: &Failure,
        stage: &str,
    ) -> Result<StateTable> {
        let Some(budget) = budget else { return Ok(self) };
        let spilling = self.spilling(budget.share(), failure);
        spilling.map_err(|error| error.within(format!("stage `{stage}`: `state.folder`")))
    }

    /// Creates an unnamed file next to those of the table.
    pub fn file(&self) -> Result<File> {
        let spill = self.spill.as_ref().ok_or_else(|| Error::bug("a file of a table that has none"))?;
        file::open(spill.share.budget().dir()).map_err(Error::environment)
    }

    /// Returns the memory limit of all tables.
    pub fn budget(&self) -> u64 {
        self.spill.as_ref().map_or(u64::MAX, |spill| spill.share.budget().bytes_max())
    }

    /// Returns how many of these bytes of the table are never in files.
    pub fn kept_of(&self, bytes: u64) -> u64 {
        if self.spills() { 0 } else { bytes }
    }

    /// Returns whether rows may be elsewhere than in memory.
    pub fn spills(&self) -> bool {
        self.spill.is_some()
    }

    /// Keeps all rows in memory from now on. Returns whether that is possible: not if some are elsewhere.
    pub fn stay_in_memory(&mut self) -> bool {
        let is_warm = self.is_warm() && !self.is_frozen();
        if is_warm {
            self.spill = None;
        }
        is_warm
    }

    /// Makes the table use the files and budget of another table.
    pub(super) fn share_spill_of(&mut self, other: &StateTable) {
        if let (Some(spill), Some(other)) = (&mut self.spill, &other.spill) {
            spill.failure = other.failure.clone();
        }
    }

    /// Returns how many rows are not in memory, and the total length of their files.
    pub fn cold(&self) -> (u64, u64) {
        self.spill.as_ref().map_or((0, 0), |spill| (spill.cold.len(), spill.cold.bytes()))
    }

    /// Returns how many rows are in files of the checkpoint that was loaded.
    pub fn rows_in_checkpoint(&self) -> u64 {
        self.spill.as_ref().map_or(0, |spill| spill.cold.in_checkpoint())
    }

    pub(super) fn cold_changed(&self) -> u64 {
        self.spill.as_ref().map_or(0, |spill| spill.cold.changed())
    }

    /// Returns whether all rows are in memory.
    fn is_warm(&self) -> bool {
        self.spill.as_ref().is_none_or(|spill| spill.cold.is_empty())
    }

    /// Loads the rows of these keys into memory if they are elsewhere.
    pub fn warm(&mut self, keys: KeysView<'_>) -> Result<()> {
        if self.is_warm() {
            return Ok(());
        }
        let missing = (0..keys.rows()).filter(|row| self.find(keys.get(*row)).is_none());
        let lookups = missing.map(|row| KeyLookup { hash: keys.short(row).1.0, key: Some(keys.get(row)) });
        let lookups = lookups.collect();
        self.warm_keys(lookups).map(drop)
    }

    /// Returns the slots of keys with these hashes, like [`StateTable::slot`], after loading their rows.
    pub fn warm_slots(&mut self, keys: KeysView<'_>, hash: impl Fn(usize) -> KeyHash) -> Result<Vec<Slot>> {
        let rows = 0..keys.rows();
        if self.is_warm() {
            return Ok(rows.map(|row| self.slot(keys.get(row), hash(row))).collect());
        }
        let found: Vec<Option<Slot>> = rows.map(|row| self.find(keys.get(row))).collect();
        let missing = found.iter().enumerate().filter(|(_, slot)| slot.is_none());
        let lookups = missing.map(|(row, _)| KeyLookup { hash: hash(row).0, key: Some(keys.get(row)) }).collect();
        self.warm_keys(lookups)?;
        let slot = |(row, slot): (usize, Option<Slot>)| slot.unwrap_or_else(|| self.slot(keys.get(row), hash(row)));
        Ok(found.into_iter().enumerate().map(slot).collect())
    }

    /// Loads the rows of these owned keys into memory.
    pub fn warm_owned(&mut self, keys: &[OwnedKey]) -> Result<()> {
        if self.is_warm() {
            return Ok(());
        }
        let missing = keys.iter().filter(|(_, key)| self.find(key).is_none());
        let lookups = missing.map(|(hash, key)| KeyLookup { hash: hash.0, key: Some(key) }).collect();
        self.warm_keys(lookups).map(drop)
    }

    /// Loads all rows with these hashes into memory, and returns the slots of those that were elsewhere.
    pub fn warm_hashes(&mut self, hashes: impl Iterator<Item = KeyHash>) -> Result<Vec<Slot>> {
        if self.is_warm() {
            return Ok(Vec::new());
        }
        self.warm_keys(hashes.map(|hash| KeyLookup { hash: hash.0, key: None }).collect())
    }

    /// Loads the cold rows of these keys into memory, and returns their slots.
    fn warm_keys(&mut self, mut lookups: Vec<KeyLookup<'_>>) -> Result<Vec<Slot>> {
        lookups.sort_unstable();
        lookups.dedup();
        self.with_cold(|table, cold| {
            let mut slots = Vec::new();
            cold.take(lookups, |changed, row| slots.push(table.put_warm(changed, row)))?;
            slots.into_iter().collect::<Option<_>>().ok_or_else(invalid_row_error)
        })
    }

    /// Removes the cold rows of these keys, which are about to be stored or removed.
    pub(super) fn remove_cold(&mut self, keys: KeysView<'_>, hashes: &[KeyHash]) -> Result<()> {
        if self.is_warm() {
            return Ok(());
        }
        let mut lookups: Vec<KeyLookup> =
            hashes.iter().enumerate().map(|(row, hash)| KeyLookup { hash: hash.0, key: Some(keys.get(row)) }).collect();
        lookups.sort_unstable();
        lookups.dedup();
        let memory_max = self.budget() / CHANGED_KEYS_SHARE;
        self.with_cold(|_, cold| cold.remove(lookups, memory_max))
    }

    /// Loads the rows into memory whose keys were last touched at `until` or before, about `limit` of them, and returns their slots. They count as
    /// never touched then.
    pub(super) fn warm_idle(&mut self, until: i64, limit: usize) -> Result<Vec<Slot>> {
        if self.is_warm() {
            return Ok(Vec::new());
        }
        self.with_cold(|table, cold| {
            let mut slots = Vec::new();
            cold.take_touched(until, limit, |changed, row| {
                slots.push(table.put_warm(changed, ColdRow { touched: IdleTracker::NEVER, ..row }));
            })?;
            slots.into_iter().collect::<Option<_>>().ok_or_else(invalid_row_error)
        })
    }

    fn with_cold<T>(&mut self, work: impl FnOnce(&mut StateTable, &mut ColdRows) -> Result<T>) -> Result<T> {
        let mut cold = self.spill.as_mut().map(|spill| take(&mut spill.cold)).unwrap_or_default();
        let done = work(self, &mut cold);
        if let Some(spill) = &mut self.spill {
            spill.cold = cold;
        }
        done
    }

    /// Puts a cold row into memory.
    fn put_warm(&mut self, changed: bool, row: ColdRow<'_>) -> Option<Slot> {
        let slot = self.slot(row.key, KeyHash(row.hash));
        self.put_columns(slot, row.columns)?;
        self.keep(slot);
        if let Some(changes) = &mut self.changes {
            if changed {
                changes.changed(slot);
            }
            if !changed || row.written {
                changes.written(slot);
            }
        }
        if let (Some(idle), false) = (&mut self.idle, row.touched == IdleTracker::NEVER) {
            idle.touch(slot, row.touched);
        }
        Some(slot)
    }

    /// Restores the states of a slot, as [`StateColumn::write`](super::StateColumn::write) wrote them.
    pub(super) fn put_columns(&mut self, slot: Slot, states: &[u8]) -> Option<()> {
        let mut rest = states;
        self.columns.iter_mut().try_for_each(|column| column.read(slot as usize, &mut rest))?;
        rest.is_empty().then_some(())
    }

    /// Records that these slots are in use.
    pub fn used(&mut self, slots: &[Slot]) {
        let count = self.slots();
        if let Some(spill) = &mut self.spill {
            spill.uses.resize(count, 0);
            slots.iter().for_each(|slot| spill.uses[*slot as usize] = (spill.uses[*slot as usize] + 1).min(USES_MAX));
        }
    }

    /// Returns the memory of a slot without the bytes of its key and its values.
    fn slot_bytes(&self) -> u64 {
        let columns: usize = self.columns.iter().map(super::column::StateColumn::slot_bytes).sum();
        let idle = self
            .idle
            .as_ref()
            .map_or(0, |idle| size_of::<i64>() + idle.queue_bytes() as usize / self.rows_in_memory().max(1));
        // The key's position and hash, its flags, its marks, and what an operator stores about it outside the table.
        let own = 2 * size_of::<u64>() + size_of::<u32>() + 3 * size_of::<u8>() + 2 * size_of::<Slot>();
        (own + idle + columns) as u64
    }

    /// Returns the approximate memory of a row in memory.
    pub fn bytes_per_row(&self) -> u64 {
        self.used_bytes() / self.rows_in_memory().max(1) as u64
    }

    /// Returns the memory of the table without its reserve for new rows.
    pub fn used_bytes(&self) -> u64 {
        let values: usize = self.columns.iter().map(super::column::StateColumn::value_bytes).sum();
        let cold = self
            .spill
            .as_ref()
            .map_or(0, |spill| spill.cold.memory() + spill.cold.merge.as_ref().map_or(0, merging::Merge::memory));
        let rows = self.rows_in_memory() as u64 * self.slot_bytes();
        let removed = self.changes.as_ref().map_or(0, super::tracked::TrackedChanges::removed_bytes);
        // Keys are copied when the space of evicted ones is reclaimed.
        let keys = 2 * self.key_bytes.len() - self.key_bytes_dead;
        rows + self.index_bytes() + (values + keys) as u64 + cold + removed
    }

    /// Evicts rows if the tables exceed the budget. Call it between batches, as keys move to other slots.
    pub fn shrink(&mut self) -> Result<()> {
        self.shrink_notifying(|_, _| Ok(())).map(drop)
    }

    /// Does the same for a caller that refers to slots: `leaving` gets those about to be evicted. Returns whether other keys may have moved as well,
    /// so that all references are invalid.
    pub fn shrink_notifying(&mut self, leaving: impl FnMut(&StateTable, &[Slot]) -> Result<()>) -> Result<bool> {
        self.write_copied()?;
        let (bytes, timed) = (self.used_bytes(), self.idle.is_some());
        let Some(spill) = &mut self.spill else { return Ok(false) };
        if !spill.cold.is_empty() {
            spill.cold.merge(spill.share.budget(), timed, &spill.failure)?;
        }
        let growth = spill.expected_growth(bytes);
        let Some(limit) = spill.share.take(bytes + growth) else {
            spill.settled = bytes;
            return Ok(false);
        };
        if spill.cold.memory() > spill.share.budget().bytes_max().max(STATE_MEMORY_BYTES_MIN) / 2 {
            return Err(Error::memory(format!(
                "the state of a stage has {} rows that do not fit into memory, and their index takes more than half \
                 of `state.memory`, which is {}\n  Raise `state.memory`, remove idle keys (`timeout`), or run more \
                 processes.",
                spill.cold.len(),
                show_size(spill.share.budget().bytes_max())
            )));
        }
        let too_much = (bytes + growth).saturating_sub(limit);
        self.evict(too_much, leaving)?;
        // The indexes of the files have grown, so fewer rows fit than before.
        let moves = self.slots() / SLACK > self.rows_in_memory() / (SLACK - 1);
        if moves {
            self.compact_slots();
            let slots = self.slots();
            self.spill.iter_mut().for_each(|spill| {
                spill.uses.truncate(slots);
                spill.uses.shrink_to_fit();
            });
        }
        let bytes = self.used_bytes();
        if let Some(spill) = &mut self.spill {
            spill.freed += too_much;
            if spill.freed > FREED_BYTES {
                // Otherwise unusable holes would remain.
                memory::give_back();
                spill.freed = 0;
            }
            spill.settled = bytes;
            spill.share.take(bytes + growth);
            spill.cold.merge(spill.share.budget(), timed, &spill.failure)?;
        }
        Ok(moves)
    }

    /// Evicts rows after a batch if necessary, and updates the size of the state.
    pub fn settle(&mut self, state_size: &mut StateSize) -> Result<()> {
        self.shrink()?;
        let bytes = self.bytes();
        state_size.set_partly_kept(self.len() as u64, bytes, self.kept_of(bytes));
        state_size.spread(|| self.spread());
        Ok(())
    }

    /// Writes the least recently used rows, of about `bytes` of memory, into a file, and removes them from memory.
    fn evict(&mut self, bytes: u64, mut leaving: impl FnMut(&StateTable, &[Slot]) -> Result<()>) -> Result<()> {
        let slots = self.cold_slots(bytes);
        let (changed, unchanged): (Vec<Slot>, Vec<Slot>) = {
            let changed = |slot: &Slot| self.changes.as_ref().is_some_and(|changes| changes.is_changed(*slot));
            slots.into_iter().partition(changed)
        };
        for (mut slots, changed) in [(unchanged, false), (changed, true)] {
            if slots.is_empty() {
                continue;
            }
            self.sort(&mut slots);
            let file = self.spill_file(&slots)?;
            fault::point("spill.evicted");
            let timed = self.idle.is_some();
            if let Some(spill) = &mut self.spill {
                spill.cold.files.push(ColdFile::new(file, changed, timed));
            }
            leaving(self, &slots)?;
            self.before_change(&slots);
            self.evict_slots(slots);
        }
        Ok(())
    }

    /// Selects the rows to evict; those used since the last round are skipped.
    fn cold_slots(&mut self, bytes: u64) -> Vec<Slot> {
        let count = self.slots();
        let own = self.slot_bytes();
        let Some(mut spill) = self.spill.take() else { return Vec::new() };
        spill.uses.resize(count, 0);
        let (mut slots, mut sum) = (Vec::new(), 0);
        for _ in 0..count.saturating_mul(USES_MAX as usize + 1) {
            if sum >= bytes {
                break;
            }
            let slot = spill.hand % count;
            spill.hand = slot + 1;
            if !self.known[slot] {
                continue;
            }
            if let Some(fewer) = spill.uses[slot].checked_sub(1) {
                spill.uses[slot] = fewer;
                continue;
            }
            let values: usize = self.columns.iter().map(|column| column.value_len(slot)).sum();
            let length = values + self.key_lengths[slot] as usize;
            if length < ROW_BYTES_MAX {
                // It is in the list, and must not be selected again.
                self.known[slot] = false;
                slots.push(slot as Slot);
                sum += own + length as u64;
            }
        }
        slots.iter().for_each(|slot| self.known[*slot as usize] = true);
        self.spill = Some(spill);
        slots
    }

    fn spill_file(&self, slots: &[Slot]) -> Result<file::SpillFile> {
        let Some(spill) = &self.spill else { return Err(Error::bug("a table that does not spill")) };
        let mut writer = SpillWriter::new(spill.share.budget(), slots.len() as u64, spill.failure.clone())?;
        self.put_rows(slots, &mut writer)?;
        writer.finish()
    }

    /// Writes the rows of these slots, which are in the order of their keys.
    pub(super) fn put_rows(&self, slots: &[Slot], writer: &mut SpillWriter) -> Result<()> {
        let (mut row, mut written) = (Vec::new(), Ok(()));
        self.each_row(slots, |table, slot, touched| {
            row.clear();
            table.put_row(slot, touched, &mut row);
            written = writer.add(&row, table.hashes[slot as usize], touched);
            written.is_ok()
        });
        written
    }

    /// Appends the row of a slot.
    pub(super) fn put_row(&self, slot: Slot, touched: i64, out: &mut Vec<u8>) {
        let (index, hash) = (slot as usize, self.hashes[slot as usize]);
        let written = self.changes.as_ref().is_some_and(|changes| changes.is_written(slot));
        page::put_row(out, (hash, self.key(slot)), written, touched, |out| {
            self.columns.iter().for_each(|column| column.write(index, out));
        });
    }

    /// Returns when the key of a slot was last touched.
    pub(super) fn touched(&self, slot: Slot) -> i64 {
        self.idle.as_ref().map_or(IdleTracker::NEVER, |idle| idle.touched[slot as usize])
    }

    /// Calls `row` with each of these slots, and when its key was touched, until it stops. Returns whether it reached the end.
    pub(super) fn each_row(&self, slots: &[Slot], mut row: impl FnMut(&StateTable, Slot, i64) -> bool) -> bool {
        for slots in slots.chunks(LOADED_ROWS) {
            self.load(slots);
            for slot in slots {
                if !row(self, *slot, self.touched(*slot)) {
                    return false;
                }
            }
        }
        true
    }

    /// Prefetches the data of these rows into the processor's caches. They are scattered in memory; here it waits for many of them at a time.
    fn load(&self, slots: &[Slot]) {
        let each = |of: &dyn Fn(usize) -> u64| black_box(slots.iter().fold(0, |sum, slot| sum ^ of(*slot as usize)));
        each(&|slot| self.hashes[slot]);
        each(&|slot| self.key_starts[slot] ^ u64::from(self.key_lengths[slot]));
        each(&|slot| self.key(slot as Slot).first().copied().unwrap_or_default().into());
        for column in &self.columns {
            each(&|slot| column.word(slot).unwrap_or_default() ^ column.value_len(slot) as u64);
        }
    }

    /// Removes the rows of these slots from memory, as they are elsewhere now.
    fn evict_slots(&mut self, mut slots: Vec<Slot>) {
        let changes = self.changes.take();
        // In memory order.
        slots.sort_unstable();
        for slots in slots.chunks(LOADED_ROWS) {
            self.load_index(slots);
            slots.iter().for_each(|slot| self.remove(*slot));
        }
        self.changes = changes;
        if let Some(changes) = &mut self.changes {
            changes.clear(&slots);
        }
        let rows = self.rows_in_memory();
        if let Some(idle) = &mut self.idle {
            idle.prune_queue(rows);
        }
        self.compact_above(SLACK);
    }

    /// Returns how many key groups are scanned at a time if all cold rows are, or the changed ones.
    pub(super) fn cold_step(&self, changed_only: bool) -> usize {
        step_of(self.spill.as_ref().map_or(0, |spill| spill.cold.scan_bytes(changed_only)))
    }

    /// Returns all key groups, as many at a time as fit in memory while all cold rows are scanned.
    pub(super) fn cold_ranges(&self) -> impl Iterator<Item = Range<u64>> + use<> {
        ranges(self.cold_step(false))
    }

    /// Loads cold rows of some key groups, all or the changed ones, into temporary slots. Their keys cannot be found there. Call
    /// [`StateTable::give_back`] afterwards.
    pub(super) fn borrow_cold(&mut self, groups: &Range<u64>, changed_only: bool) -> Result<Vec<Slot>> {
        if self.is_warm() {
            return Ok(Vec::new());
        }
        self.with_cold(|table, cold| {
            let mut slots = Vec::new();
            cold.each(hashes(groups), changed_only, |_, row| {
                let slot = table.free_slot();
                table.occupy(slot, row.key, KeyHash(row.hash));
                slots.push(slot);
                table.known[slot as usize] = true;
                table.put_columns(slot, row.columns).ok_or_else(invalid_row_error)?;
                if let Some(idle) = &mut table.idle {
                    idle.touched[slot as usize] = row.touched;
                }
                Ok(())
            })?;
            Ok(slots)
        })
    }

    /// Releases such slots.
    pub(super) fn give_back(&mut self, slots: &[Slot]) {
        slots.iter().for_each(|slot| self.empty(*slot));
        self.compact();
    }

    /// Records that a checkpoint holds all cold rows in their current form.
    pub(super) fn mark_cold_written(&mut self) {
        self.spill.iter_mut().for_each(|spill| spill.cold.written());
    }

    /// Loads the selected rows of some key groups into memory.
    fn warm_groups(&mut self, groups: &Range<u64>, selects: impl Fn(&ColdRow<'_>) -> bool) -> Result<Vec<Slot>> {
        let Some(spill) = &self.spill else { return Ok(Vec::new()) };
        let mut keys: Vec<OwnedKey> = Vec::new();
        spill.cold.each(hashes(groups), false, |_, row| {
            if selects(&row) {
                keys.push((KeyHash(row.hash), row.key.into()));
            }
            Ok(())
        })?;
        self.warm_keys(keys.iter().map(|(hash, key)| KeyLookup { hash: hash.0, key: Some(key) }).collect())
    }

    /// Loads all rows into memory, whatever the budget: for an operator that emits all of them.
    pub fn warm_all(&mut self) -> Result<()> {
        if self.is_warm() {
            return Ok(());
        }
        for groups in self.cold_ranges() {
            self.warm_groups(&groups, |_| true)?;
        }
        Ok(())
    }

    /// Calls `visit` with the keys of all rows.
    pub fn each_key(&self, mut visit: impl FnMut(&[u8])) -> Result<()> {
        self.all().for_each(|slot| visit(self.key(slot)));
        self.each_cold(|row| visit(row.key))
    }

    /// Calls `visit` with the times at which the keys of all rows were touched.
    pub fn each_touched(&self, mut visit: impl FnMut(i64)) -> Result<()> {
        let Some(idle) = &self.idle else { return Ok(()) };
        self.all().for_each(|slot| visit(idle.touched[slot as usize]));
        self.each_cold(|row| visit(row.touched))
    }

    /// Calls `show` with all cold rows.
    fn each_cold(&self, mut show: impl FnMut(&ColdRow<'_>)) -> Result<()> {
        let Some(spill) = &self.spill else { return Ok(()) };
        for groups in self.cold_ranges() {
            spill.cold.each(hashes(&groups), false, |_, row| {
                show(&row);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Calls `show` with the rows of selected keys, in the order of their hashes and keys, and removes those of keys that are to leave. Works on some
    /// key groups at a time, so that it holds no more than a few megabytes unless a key group is larger.
    pub fn each_range(
        &mut self,
        selects: impl Fn(&[u8]) -> bool,
        is_leaving: impl Fn(&[u8]) -> bool,
        mut show: impl FnMut(&StateTable, &[Slot]) -> Result<()>,
    ) -> Result<()> {
        let mut own: Vec<Slot> =
            self.all().filter(|slot| selects(self.key(*slot)) || is_leaving(self.key(*slot))).collect();
        self.sort(&mut own);
        let mut own = own.as_slice();
        for groups in ranges(step_of(self.used_bytes() + self.cold().1)) {
            let count = own.partition_point(|slot| KeyHash(self.hashes[*slot as usize]).group() < groups.end);
            let (current, rest) = own.split_at(count);
            own = rest;
            let mut slots = current.to_vec();
            let mut borrowed = Vec::new();
            if !self.is_warm() {
                slots.extend(self.warm_groups(&groups, |row| is_leaving(row.key))?);
                borrowed = self.borrow_cold(&groups, false)?;
            }
            let mut leaving = slots.clone();
            slots.extend(&borrowed);
            slots.retain(|slot| selects(self.key(*slot)));
            self.sort(&mut slots);
            if !slots.is_empty() {
                show(self, &slots)?;
            }
            self.give_back(&borrowed);
            leaving.retain(|slot| is_leaving(self.key(*slot)));
            leaving.into_iter().for_each(|slot| self.remove(slot));
            self.compact();
        }
        Ok(())
    }

    /// Removes all cold rows, some at a time, so that their removal is recorded for checkpoints.
    pub(super) fn clear_cold(&mut self) -> Result<()> {
        if self.is_warm() {
            return Ok(());
        }
        for groups in self.cold_ranges() {
            let slots = self.warm_groups(&groups, |_| true)?;
            slots.into_iter().for_each(|slot| self.remove(slot));
            self.compact();
        }
        self.spill.iter_mut().for_each(|spill| spill.cold = ColdRows::default());
        Ok(())
    }

    /// Calls `row` with the key groups and the counts of some of the cold rows.
    pub(super) fn sample_cold(&self, mut some: impl FnMut(u64, u64)) {
        self.spill.iter().for_each(|spill| spill.cold.spread(|hash, rows| some(KeyHash(hash).group(), rows)));
    }

    /// Loads all rows that were never touched into memory, some at a time, and calls `work` with their slots.
    pub(super) fn each_untouched(
        &mut self,
        mut work: impl FnMut(&mut StateTable, &[Slot]) -> Result<()>,
    ) -> Result<()> {
        if self.is_warm() {
            return Ok(());
        }
        let has_untouched = self.spill.as_ref().is_some_and(|spill| spill.cold.has_untouched());
        for groups in self.cold_ranges().filter(|_| has_untouched) {
            let slots = self.warm_groups(&groups, |row| row.touched == IdleTracker::NEVER)?;
            work(self, &slots)?;
            self.shrink()?;
        }
        Ok(())
    }
}
