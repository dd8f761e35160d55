//! Rows as they are at a barrier, which are copied into spill files a part at a time while the table goes on: a row that is about to
//! change, or to leave memory, is copied before. No barrier waits until many rows are copied. It is what a virtual machine does whose
//! memory is saved while it runs (copy on write).

use super::StateTable;
use super::copy::TableCopy;
use crate::state::keys::Slot;
use crate::state::spill::budget::StateBudget;
use crate::state::spill::cold::ColdFile;
use crate::state::spill::file::{self, FilePlace, SpillFile, SpillWriter};
use crate::state::spill::kept::Spill;
use crate::state::spill::page::{self, ColdRow};
use millstream_base::batch::key_order::sort_keys;
use millstream_base::batch::keys::KeyHash;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::fault;
use std::path::PathBuf;
use std::sync::Arc;

/// Rows, and bytes of them, that are copied at a time, about: it takes some milliseconds.
const STEP_ROWS: usize = if cfg!(test) { 20 } else { 1 << 16 };
const STEP_BYTES: usize = 8 << 20;

/// What takes the copy when all rows are in it.
type TakeCopy = Box<dyn FnOnce(TableCopy) -> Result<()> + Send>;

/// Such rows of a table. Which they are is told by marks of their slots.
pub struct FrozenRows {
    copy: Option<(TableCopy, TakeCopy)>,
    /// The slots before this one have been looked at.
    next: usize,
    before_change: CopiedRows,
    /// Where the next file of the copy is to be written: all of them are in one of the system.
    place: FilePlace,
    budget: Arc<StateBudget>,
    failure: Failure,
}

impl Drop for FrozenRows {
    fn drop(&mut self) {
        if self.copy.is_some() && !std::thread::panicking() {
            // A checkpoint would count that has not all rows. Where the job has failed already nothing changes.
            self.failure.set(Error::bug("a table is gone before what a checkpoint holds of it was copied"));
        }
    }
}

/// Where a copy of frozen rows is written.
pub struct RoomForCopy {
    place: FilePlace,
    budget: Arc<StateBudget>,
}

/// Rows that were copied before they changed, one behind the other, and where each begins.
#[derive(Default)]
struct CopiedRows {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl CopiedRows {
    fn row(&self, number: u32) -> Option<ColdRow<'_>> {
        page::rows(self.bytes.get(*self.starts.get(number as usize)?..)?).next()?
    }

    /// Their numbers in the order of their keys.
    fn in_order(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.starts.len() as u32).collect();
        let hash = |number| KeyHash(self.row(number).map_or(0, |row| row.hash));
        sort_keys(&mut order, hash, |number| self.row(number).map_or(&[], |row| row.key));
        order
    }
}

impl StateTable {
    /// Where a copy of frozen rows may be written: where the table's own files are, or else in this folder; `None` where that cannot be.
    pub fn room_for_copy(&self, folder: Option<PathBuf>) -> Option<RoomForCopy> {
        let own = self.spill.as_ref().map(|spill| spill.share.budget().clone());
        let budget = own.or_else(|| folder.map(|folder| StateBudget::new(u64::MAX, folder)))?;
        let file = file::open(budget.folder());
        let file = file.inspect_err(|error| tracing::debug!("rows are not copied beside batches: {error}"));
        Some(RoomForCopy { place: FilePlace::new(file.ok()?), budget })
    }

    /// Freezes what changed, or all rows, as they are now: `take` gets the copy in the end. Files have all that the table holds, or will
    /// have it.
    pub fn freeze(
        &mut self,
        all: bool,
        RoomForCopy { place, budget }: RoomForCopy,
        failure: &Failure,
        take: impl FnOnce(TableCopy) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        self.thaw()?;
        let mut copy = TableCopy::of(self, !all)?;
        copy.may_have_files(|| Spill::new(budget.share(), failure.clone()));
        let removed = self.freeze_changes(all)?;
        if !all {
            copy.set_removed(removed);
        }
        let (copy, failure) = (Some((copy, Box::new(take) as TakeCopy)), failure.clone());
        self.frozen =
            Some(Box::new(FrozenRows { copy, next: 0, before_change: CopiedRows::default(), place, budget, failure }));
        Ok(())
    }

    /// Whether rows are frozen.
    pub fn is_frozen(&self) -> bool {
        self.frozen.is_some()
    }

    /// Copies all that is still to be copied.
    pub fn thaw(&mut self) -> Result<()> {
        while self.thaw_some()? {}
        Ok(())
    }

    /// Copies some of the rows that are frozen. Whether more are left.
    pub fn thaw_some(&mut self) -> Result<bool> {
        self.write_copied()?;
        let slots = self.next_frozen();
        if !slots.is_empty() {
            self.copy_frozen(slots)?;
            return Ok(true);
        }
        let done = self.frozen.take().and_then(|mut frozen| frozen.copy.take());
        done.map_or(Ok(false), |(copy, take)| take(copy).map(|()| false))
    }

    /// The next of them, in the order in which they lie in memory.
    fn next_frozen(&mut self) -> Vec<Slot> {
        let (Some(frozen), Some(changes)) = (&self.frozen, &self.changes) else { return Vec::new() };
        let (mut slots, mut bytes) = (Vec::new(), 0);
        let rest = frozen.next as Slot..self.hashes.len() as Slot;
        for slot in rest.filter(|slot| changes.is_frozen(*slot)) {
            slots.push(slot);
            bytes += self.bytes_of(slot);
            if slots.len() >= STEP_ROWS || bytes >= STEP_BYTES {
                break;
            }
        }
        let next = slots.last().map_or(self.hashes.len(), |last| *last as usize + 1);
        self.frozen.iter_mut().for_each(|frozen| frozen.next = next);
        slots
    }

    fn copy_frozen(&mut self, mut slots: Vec<Slot>) -> Result<()> {
        self.sort(&mut slots);
        let mut writer = self.copy_writer(slots.len())?;
        self.put_rows(&slots, &mut writer)?;
        let file = writer.finish()?;
        if let Some(changes) = &mut self.changes {
            slots.iter().for_each(|slot| changes.thaw(*slot));
        }
        self.add_to_copy(file);
        Ok(())
    }

    fn copy_writer(&self, rows: usize) -> Result<SpillWriter> {
        let frozen = self.frozen.as_ref().ok_or_else(|| Error::bug("a copy of rows that are not frozen"))?;
        Ok(SpillWriter::at(frozen.place.clone(), &frozen.budget, rows as u64, frozen.failure.clone()))
    }

    fn add_to_copy(&mut self, file: SpillFile) {
        fault::point("spill.frozen");
        let timed = self.idle.is_some();
        let Some(frozen) = &mut self.frozen else { return };
        frozen.place = file.behind().unwrap_or_else(|| frozen.place.clone());
        if let Some((copy, _)) = &mut frozen.copy {
            copy.add_file(ColdFile::new(file, true, timed));
        }
    }

    /// These slots are about to change: those that are frozen are copied.
    #[inline]
    pub(in crate::state) fn before_change(&mut self, slots: &[Slot]) {
        if self.frozen.is_some() {
            slots.iter().for_each(|slot| self.copy_before_change(*slot, None));
        }
    }

    /// The same of one, whose key was last touched at this time where that is told.
    pub(in crate::state) fn copy_before_change(&mut self, slot: Slot, touched: Option<i64>) {
        if !self.changes.as_ref().is_some_and(|changes| changes.is_frozen(slot)) {
            return;
        }
        let Some(mut frozen) = self.frozen.take() else { return };
        let CopiedRows { bytes, starts } = &mut frozen.before_change;
        starts.push(bytes.len());
        self.put_row(slot, touched.unwrap_or_else(|| self.touched(slot)), bytes);
        if let Some(changes) = &mut self.changes {
            changes.thaw(slot);
        }
        self.frozen = Some(frozen);
    }

    /// Rows have moved to other slots.
    pub(in crate::state) fn frozen_moved(&mut self) {
        self.frozen.iter_mut().for_each(|frozen| frozen.next = 0);
    }

    /// Writes what was copied before it changed.
    pub(in crate::state) fn write_copied(&mut self) -> Result<()> {
        let Some(frozen) = self.frozen.as_mut().filter(|frozen| !frozen.before_change.starts.is_empty()) else {
            return Ok(());
        };
        let rows = std::mem::take(&mut frozen.before_change);
        let mut writer = self.copy_writer(rows.starts.len())?;
        for number in rows.in_order() {
            let row = rows.row(number).ok_or_else(page::not_a_row)?;
            writer.add(row.bytes, row.hash, row.touched)?;
        }
        let file = writer.finish()?;
        self.add_to_copy(file);
        Ok(())
    }
}
