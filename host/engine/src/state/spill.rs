//! State larger than memory: rows of a table that were not used for a while leave memory for files on this machine, and come back
//! when their keys do.
//!
//! A row is in memory or in one file. What a table gives does not depend on where its rows are, and the files are of no use to
//! anybody else: checkpoints hold all of a table, as they do of any other. A start begins with files of its own, or with files of its
//! checkpoint, which it leaves where they are: of these several may have a key, and the newest counts.

pub mod budget;
mod checkpoint_pages;
pub(super) mod cold;
mod direct;
pub(super) mod file;
pub(super) mod kept;
mod merge;
mod merging;
pub(super) mod page;
pub mod stage_budget;
#[cfg(test)]
mod tests;

use super::idle::Idle;
use super::keys::{OwnedKey, Slot};
use super::table::StateTable;
use budget::{BudgetShare, StateBudget};
pub use checkpoint_pages::FileGroups;
use cold::{ColdFile, ColdRows, WantedKey};
use file::SpillWriter;
use kept::Spill;
use millstream_base::batch::keys::{GROUP_SHIFT, KEY_GROUPS, KeyHash, KeysView};
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::fault;
use millstream_base::limits::STATE_MEMORY_BYTES_MIN;
use millstream_base::memory;
use millstream_base::units::show_size;
use millstream_metrics::StateSize;
use page::{ColdRow, ROW_BYTES_MAX, not_a_row};
use std::fs::File;
use std::hint::black_box;
use std::mem::take;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

/// How often a row is passed over at most when rows are to leave, however often it was used.
const USES_MAX: u8 = 3;
/// One of so many slots, and of so many bytes of keys, may be free behind rows that have just left, and no more.
const SLACK: usize = 3;
/// Rows that are brought into the caches of the processor together.
const LOADED_ROWS: usize = 64;
/// So much is freed before memory is given back to the system: it takes some milliseconds.
const FREED_BYTES: u64 = 4 << 20;
/// Keys that changed behind files that stay where they are take one of so many bytes of the budget while they are collected.
const CHANGED_KEYS_SHARE: u64 = 8;
/// Bytes of cold rows that are in memory at a time while all of a table is looked at, about.
const LOOK_BYTES: u64 = 4 << 20;

/// The hashes of key groups.
fn hashes(groups: &Range<u64>) -> RangeInclusive<u64> {
    groups.start << GROUP_SHIFT..=((groups.end - 1) << GROUP_SHIFT | ((1 << GROUP_SHIFT) - 1))
}

/// How many key groups of a table with so many bytes are looked at a time.
fn step_of(bytes: u64) -> usize {
    (KEY_GROUPS / (bytes / LOOK_BYTES + 1)).max(1) as usize
}

/// All key groups, so many at a time.
fn ranges(step: usize) -> impl Iterator<Item = Range<u64>> {
    (0..KEY_GROUPS).step_by(step).map(move |first| first..(first + step as u64).min(KEY_GROUPS))
}

impl StateTable {
    /// From now on the table gives up rows where all tables take more than the budget. An error where no files can be made.
    pub fn spilling(mut self, share: BudgetShare, failure: &Failure) -> Result<StateTable> {
        drop(file::open(share.budget().folder()).map_err(Error::environment)?);
        self.spill = Some(Box::new(Spill::new(share, failure.clone())));
        Ok(self)
    }

    /// The same where the job says how much memory its state may take.
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

    /// A file without a name where those of the table are.
    pub fn file(&self) -> Result<File> {
        let spill = self.spill.as_ref().ok_or_else(|| Error::bug("a file of a table that has none"))?;
        file::open(spill.share.budget().folder()).map_err(Error::environment)
    }

    /// The memory that all tables may take together.
    pub fn budget(&self) -> u64 {
        self.spill.as_ref().map_or(u64::MAX, |spill| spill.share.budget().bytes_max())
    }

    /// What of these bytes, which the table takes, never lies in files.
    pub fn kept_of(&self, bytes: u64) -> u64 {
        if self.spills() { 0 } else { bytes }
    }

    /// Whether rows may be elsewhere than in memory.
    pub fn spills(&self) -> bool {
        self.spill.is_some()
    }

    /// From now on all rows stay in memory. Whether that is so: not where some are elsewhere.
    pub fn stay_in_memory(&mut self) -> bool {
        let is_warm = self.is_warm() && !self.is_frozen();
        if is_warm {
            self.spill = None;
        }
        is_warm
    }

    /// The table belongs to the job of another one from now on.
    pub(super) fn spill_as(&mut self, other: &StateTable) {
        if let (Some(spill), Some(other)) = (&mut self.spill, &other.spill) {
            spill.failure = other.failure.clone();
        }
    }

    /// How many rows are not in memory, and the length of the files that they are in.
    pub fn cold(&self) -> (u64, u64) {
        self.spill.as_ref().map_or((0, 0), |spill| (spill.cold.len(), spill.cold.bytes()))
    }

    /// How many rows are where the checkpoint has them that was loaded.
    pub fn rows_in_checkpoint(&self) -> u64 {
        self.spill.as_ref().map_or(0, |spill| spill.cold.in_checkpoint())
    }

    pub(super) fn cold_changed(&self) -> u64 {
        self.spill.as_ref().map_or(0, |spill| spill.cold.changed())
    }

    /// Whether all rows are in memory.
    fn is_warm(&self) -> bool {
        self.spill.as_ref().is_none_or(|spill| spill.cold.is_empty())
    }

    /// Brings the rows of these keys into memory, where they are elsewhere.
    pub fn warm(&mut self, keys: KeysView<'_>) -> Result<()> {
        if self.is_warm() {
            return Ok(());
        }
        let missing = (0..keys.rows()).filter(|row| self.find(keys.get(*row)).is_none());
        let wanted = missing.map(|row| WantedKey { hash: keys.short(row).1.0, key: Some(keys.get(row)) });
        let wanted = wanted.collect();
        self.warm_keys(wanted).map(drop)
    }

    /// The slots of keys with these hashes, as [`StateTable::slot`] gives them. Their rows are in memory then.
    pub fn warm_slots(&mut self, keys: KeysView<'_>, hash: impl Fn(usize) -> KeyHash) -> Result<Vec<Slot>> {
        let rows = 0..keys.rows();
        if self.is_warm() {
            return Ok(rows.map(|row| self.slot(keys.get(row), hash(row))).collect());
        }
        let found: Vec<Option<Slot>> = rows.map(|row| self.find(keys.get(row))).collect();
        let missing = found.iter().enumerate().filter(|(_, slot)| slot.is_none());
        let wanted = missing.map(|(row, _)| WantedKey { hash: hash(row).0, key: Some(keys.get(row)) }).collect();
        self.warm_keys(wanted)?;
        let slot = |(row, slot): (usize, Option<Slot>)| slot.unwrap_or_else(|| self.slot(keys.get(row), hash(row)));
        Ok(found.into_iter().enumerate().map(slot).collect())
    }

    /// The same of keys that are known one by one.
    pub fn warm_owned(&mut self, keys: &[OwnedKey]) -> Result<()> {
        if self.is_warm() {
            return Ok(());
        }
        let missing = keys.iter().filter(|(_, key)| self.find(key).is_none());
        let wanted = missing.map(|(hash, key)| WantedKey { hash: hash.0, key: Some(key) }).collect();
        self.warm_keys(wanted).map(drop)
    }

    /// Brings all rows with these hashes into memory, where they are elsewhere, and tells the slots of those that were.
    pub fn warm_hashes(&mut self, hashes: impl Iterator<Item = KeyHash>) -> Result<Vec<Slot>> {
        if self.is_warm() {
            return Ok(Vec::new());
        }
        self.warm_keys(hashes.map(|hash| WantedKey { hash: hash.0, key: None }).collect())
    }

    /// Brings the cold rows of these keys into memory, and tells their slots.
    fn warm_keys(&mut self, mut wanted: Vec<WantedKey<'_>>) -> Result<Vec<Slot>> {
        wanted.sort_unstable();
        wanted.dedup();
        self.with_cold(|table, cold| {
            let mut slots = Vec::new();
            cold.take(wanted, |changed, row| slots.push(table.put_warm(changed, row)))?;
            slots.into_iter().collect::<Option<_>>().ok_or_else(not_a_row)
        })
    }

    /// These keys are not elsewhere any more: they are about to be stored or removed.
    pub(super) fn forget_cold(&mut self, keys: KeysView<'_>, hashes: &[KeyHash]) -> Result<()> {
        if self.is_warm() {
            return Ok(());
        }
        let mut wanted: Vec<WantedKey> =
            hashes.iter().enumerate().map(|(row, hash)| WantedKey { hash: hash.0, key: Some(keys.get(row)) }).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let memory_max = self.budget() / CHANGED_KEYS_SHARE;
        self.with_cold(|_, cold| cold.forget(wanted, memory_max))
    }

    /// Brings the rows into memory whose keys were last touched at this time or before, about so many at most, and tells their slots.
    /// They count as never touched then.
    pub(super) fn warm_idle(&mut self, until: i64, most: usize) -> Result<Vec<Slot>> {
        if self.is_warm() {
            return Ok(Vec::new());
        }
        self.with_cold(|table, cold| {
            let mut slots = Vec::new();
            cold.take_touched(until, most, |changed, row| {
                slots.push(table.put_warm(changed, ColdRow { touched: Idle::NEVER, ..row }));
            })?;
            slots.into_iter().collect::<Option<_>>().ok_or_else(not_a_row)
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

    /// A row is in memory again.
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
        if let (Some(idle), false) = (&mut self.idle, row.touched == Idle::NEVER) {
            idle.touch(slot, row.touched);
        }
        Some(slot)
    }

    /// Gives a slot its states, as [`StateColumn::write`](super::StateColumn::write) wrote them.
    pub(super) fn put_columns(&mut self, slot: Slot, states: &[u8]) -> Option<()> {
        let mut rest = states;
        self.columns.iter_mut().try_for_each(|column| column.read(slot as usize, &mut rest))?;
        rest.is_empty().then_some(())
    }

    /// Notes that these slots are in use.
    pub fn used(&mut self, slots: &[Slot]) {
        let count = self.slots();
        if let Some(spill) = &mut self.spill {
            spill.uses.resize(count, 0);
            slots.iter().for_each(|slot| spill.uses[*slot as usize] = (spill.uses[*slot as usize] + 1).min(USES_MAX));
        }
    }

    /// The memory that a slot takes beside the bytes of its key and its values.
    fn slot_bytes(&self) -> u64 {
        let columns: usize = self.columns.iter().map(super::column::StateColumn::slot_bytes).sum();
        let idle = self
            .idle
            .as_ref()
            .map_or(0, |idle| size_of::<i64>() + idle.queue_bytes() as usize / self.rows_in_memory().max(1));
        // The key's place and hash, what is known of it, its marks, and what an operator knows of it beside the table.
        let own = 2 * size_of::<u64>() + size_of::<u32>() + 3 * size_of::<u8>() + 2 * size_of::<Slot>();
        (own + idle + columns) as u64
    }

    /// The memory that a row in memory takes, about.
    pub fn bytes_per_row(&self) -> u64 {
        self.used_bytes() / self.rows_in_memory().max(1) as u64
    }

    /// The memory that the table takes, without what it holds ready for rows that may come.
    pub fn used_bytes(&self) -> u64 {
        let values: usize = self.columns.iter().map(super::column::StateColumn::value_bytes).sum();
        let cold = self
            .spill
            .as_ref()
            .map_or(0, |spill| spill.cold.memory() + spill.cold.merge.as_ref().map_or(0, merging::Merge::memory));
        let rows = self.rows_in_memory() as u64 * self.slot_bytes();
        let removed = self.changes.as_ref().map_or(0, super::tracked::TrackedChanges::removed_bytes);
        // Keys are copied when those that left are given back.
        let keys = 2 * self.key_bytes.len() - self.key_bytes_dead;
        rows + self.index_bytes() + (values + keys) as u64 + cold + removed
    }

    /// Gives up rows where the tables take more than they may: for between batches, as slots change their keys.
    pub fn shrink(&mut self) -> Result<()> {
        self.shrink_telling(|_, _| Ok(())).map(drop)
    }

    /// The same for who knows of slots beside the table: `leaving` is told of those that are about to leave. Whether others may have
    /// changed their keys as well, so that nothing is known of any.
    pub fn shrink_telling(&mut self, leaving: impl FnMut(&StateTable, &[Slot]) -> Result<()>) -> Result<bool> {
        self.write_copied()?;
        let (bytes, timed) = (self.used_bytes(), self.idle.is_some());
        let Some(spill) = &mut self.spill else { return Ok(false) };
        if !spill.cold.is_empty() {
            spill.cold.merge(spill.share.budget(), timed, &spill.failure)?;
        }
        let growth = spill.expected_growth(bytes);
        let Some(most) = spill.share.take(bytes + growth) else {
            spill.settled = bytes;
            return Ok(false);
        };
        if spill.cold.memory() > spill.share.budget().bytes_max().max(STATE_MEMORY_BYTES_MIN) / 2 {
            return Err(Error::memory(format!(
                "the state of a stage has {} rows that do not fit into memory, and their index takes more than half of \
                 `state.memory`, which is {}\n  Raise `state.memory`, let keys end that are idle (`timeout`), or run more processes.",
                spill.cold.len(),
                show_size(spill.share.budget().bytes_max())
            )));
        }
        let too_much = (bytes + growth).saturating_sub(most);
        self.evict(too_much, leaving)?;
        // What is known of the files has grown, so fewer rows fit than did before.
        let moves = self.slots() / SLACK > self.rows_in_memory() / (SLACK - 1);
        if moves {
            self.close_up();
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
                // Otherwise holes would stay that nothing fits into.
                memory::give_back();
                spill.freed = 0;
            }
            spill.settled = bytes;
            spill.share.take(bytes + growth);
            spill.cold.merge(spill.share.budget(), timed, &spill.failure)?;
        }
        Ok(moves)
    }

    /// Behind a batch: gives up rows where that is needed, and tells how much there is.
    pub fn settle(&mut self, held: &mut StateSize) -> Result<()> {
        self.shrink()?;
        let bytes = self.bytes();
        held.set_of_which(self.len() as u64, bytes, self.kept_of(bytes));
        held.spread(|| self.spread());
        Ok(())
    }

    /// Writes rows that take about so much memory into a file, those that were not used for longest, and forgets them here.
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
            self.forget(slots);
        }
        Ok(())
    }

    /// The rows that are to leave: whoever was used since it was last looked at is passed over.
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
                // It is in the list, and must not come again.
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
        let (place, hash) = (slot as usize, self.hashes[slot as usize]);
        let written = self.changes.as_ref().is_some_and(|changes| changes.is_written(slot));
        page::put_row(out, (hash, self.key(slot)), written, touched, |out| {
            self.columns.iter().for_each(|column| column.write(place, out));
        });
    }

    /// When the key of a slot was last touched.
    pub(super) fn touched(&self, slot: Slot) -> i64 {
        self.idle.as_ref().map_or(Idle::NEVER, |idle| idle.touched[slot as usize])
    }

    /// Calls `row` with each of these slots, and when its key was touched, while it says that it goes on. Whether it did to the end.
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

    /// Brings what the rows of these slots are made of into the caches of the processor: they lie anywhere, and it waits for many at
    /// a time here, where it would wait for each by itself.
    fn load(&self, slots: &[Slot]) {
        let each = |of: &dyn Fn(usize) -> u64| black_box(slots.iter().fold(0, |sum, slot| sum ^ of(*slot as usize)));
        each(&|slot| self.hashes[slot]);
        each(&|slot| self.key_starts[slot] ^ u64::from(self.key_lengths[slot]));
        each(&|slot| self.key(slot as Slot).first().copied().unwrap_or_default().into());
        for column in &self.columns {
            each(&|slot| column.word(slot).unwrap_or_default() ^ column.value_len(slot) as u64);
        }
    }

    /// The rows of these slots are elsewhere now.
    fn forget(&mut self, mut slots: Vec<Slot>) {
        let changes = self.changes.take();
        // In the order in which they lie in memory.
        slots.sort_unstable();
        for slots in slots.chunks(LOADED_ROWS) {
            self.load_index(slots);
            slots.iter().for_each(|slot| self.remove(*slot));
        }
        self.changes = changes;
        if let Some(changes) = &mut self.changes {
            changes.forget(&slots);
        }
        let rows = self.rows_in_memory();
        if let Some(idle) = &mut self.idle {
            idle.tidy_queue(rows);
        }
        self.compact_above(SLACK);
    }

    /// How many key groups are looked at a time where all cold rows are, or those that changed.
    pub(super) fn cold_step(&self, changed_only: bool) -> usize {
        step_of(self.spill.as_ref().map_or(0, |spill| spill.cold.bytes_to_look_at(changed_only)))
    }

    /// All key groups, as many at a time as may be in memory while all cold rows are looked at.
    pub(super) fn cold_ranges(&self) -> impl Iterator<Item = Range<u64>> + use<> {
        ranges(self.cold_step(false))
    }

    /// Brings cold rows of some key groups into slots for a while, all or those that changed. Their keys are not found there, and
    /// [`StateTable::give_back`] is to be called.
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
                table.put_columns(slot, row.columns).ok_or_else(not_a_row)?;
                if let Some(idle) = &mut table.idle {
                    idle.touched[slot as usize] = row.touched;
                }
                Ok(())
            })?;
            Ok(slots)
        })
    }

    /// Gives up such slots.
    pub(super) fn give_back(&mut self, slots: &[Slot]) {
        slots.iter().for_each(|slot| self.empty(*slot));
        self.compact();
    }

    /// A checkpoint has all cold rows as they are.
    pub(super) fn cold_written(&mut self) {
        self.spill.iter_mut().for_each(|spill| spill.cold.written());
    }

    /// Brings those of the rows of some key groups into memory that are wanted.
    fn warm_groups(&mut self, groups: &Range<u64>, is_wanted: impl Fn(&ColdRow<'_>) -> bool) -> Result<Vec<Slot>> {
        let Some(spill) = &self.spill else { return Ok(Vec::new()) };
        let mut keys: Vec<OwnedKey> = Vec::new();
        spill.cold.each(hashes(groups), false, |_, row| {
            if is_wanted(&row) {
                keys.push((KeyHash(row.hash), row.key.into()));
            }
            Ok(())
        })?;
        self.warm_keys(keys.iter().map(|(hash, key)| WantedKey { hash: hash.0, key: Some(key) }).collect())
    }

    /// Brings all rows into memory, whatever the budget: for who puts all of them out.
    pub fn warm_all(&mut self) -> Result<()> {
        if self.is_warm() {
            return Ok(());
        }
        for groups in self.cold_ranges() {
            self.warm_groups(&groups, |_| true)?;
        }
        Ok(())
    }

    /// Calls `tell` with the keys of all rows.
    pub fn each_key(&self, mut tell: impl FnMut(&[u8])) -> Result<()> {
        self.all().for_each(|slot| tell(self.key(slot)));
        self.each_cold(|row| tell(row.key))
    }

    /// Calls `tell` with the times at which the keys of all rows were touched.
    pub fn each_touched(&self, mut tell: impl FnMut(i64)) -> Result<()> {
        let Some(idle) = &self.idle else { return Ok(()) };
        self.all().for_each(|slot| tell(idle.touched[slot as usize]));
        self.each_cold(|row| tell(row.touched))
    }

    /// Shows all cold rows.
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

    /// Shows the rows whose keys are wanted, in the order of their hashes and of their keys, those of some key groups at a time, and
    /// removes those whose keys are to leave. What is shown is no more than a few megabytes, but for key groups that are larger.
    pub fn each_range(
        &mut self,
        is_wanted: impl Fn(&[u8]) -> bool,
        is_leaving: impl Fn(&[u8]) -> bool,
        mut show: impl FnMut(&StateTable, &[Slot]) -> Result<()>,
    ) -> Result<()> {
        let mut own: Vec<Slot> =
            self.all().filter(|slot| is_wanted(self.key(*slot)) || is_leaving(self.key(*slot))).collect();
        self.sort(&mut own);
        let mut own = own.as_slice();
        for groups in ranges(step_of(self.used_bytes() + self.cold().1)) {
            let count = own.partition_point(|slot| KeyHash(self.hashes[*slot as usize]).group() < groups.end);
            let (here, behind) = own.split_at(count);
            own = behind;
            let mut slots = here.to_vec();
            let mut borrowed = Vec::new();
            if !self.is_warm() {
                slots.extend(self.warm_groups(&groups, |row| is_leaving(row.key))?);
                borrowed = self.borrow_cold(&groups, false)?;
            }
            let mut leaving = slots.clone();
            slots.extend(&borrowed);
            slots.retain(|slot| is_wanted(self.key(*slot)));
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

    /// Removes all cold rows, some at a time, so that what checkpoints hold of them is known to be gone.
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

    /// Calls `row` with the key group and the number of some of the cold rows.
    pub(super) fn cold_spread(&self, mut some: impl FnMut(u64, u64)) {
        self.spill.iter().for_each(|spill| spill.cold.spread(|hash, rows| some(KeyHash(hash).group(), rows)));
    }

    /// Brings all rows into memory, some at a time, that were never touched, and calls `work` with their slots.
    pub(super) fn each_untouched(
        &mut self,
        mut work: impl FnMut(&mut StateTable, &[Slot]) -> Result<()>,
    ) -> Result<()> {
        if self.is_warm() {
            return Ok(());
        }
        let has_untouched = self.spill.as_ref().is_some_and(|spill| spill.cold.has_untouched());
        for groups in self.cold_ranges().filter(|_| has_untouched) {
            let slots = self.warm_groups(&groups, |row| row.touched == Idle::NEVER)?;
            work(self, &slots)?;
            self.shrink()?;
        }
        Ok(())
    }
}
