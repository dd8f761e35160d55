//! Rows frozen at a barrier, which are copied into spill files step by step while the table is used. A row that is about to change or to leave memory
//! is copied first. So no barrier waits until many rows are copied. Live migration of virtual machines works the same way (copy on write).

use super::StateTable;
use super::copy::TableCopy;
use crate::state::keys::Slot;
use crate::state::spill::budget::StateBudget;
use crate::state::spill::cold::ColdFile;
use crate::state::spill::file::{self, FilePosition, SpillFile, SpillWriter};
use crate::state::spill::page::{self, ColdRow};
use crate::state::spill::spilled::Spill;
use millstream_base::error::{Error, Result};
use millstream_base::failure::Failure;
use millstream_base::fault;
use millstream_rows::batch::key_order::sort_keys;
use millstream_rows::batch::keys::KeyHash;
use std::path::PathBuf;
use std::sync::Arc;

/// Approximate rows, and their bytes, copied per step, which takes some milliseconds.
const STEP_ROWS: usize = if cfg!(test) { 20 } else { 1 << 16 };
const STEP_BYTES: usize = 8 << 20;

/// Receives the copy once it has all rows.
type TakeCopy = Box<dyn FnOnce(TableCopy) -> Result<()> + Send>;

/// Frozen rows of a table. They are identified by marks of their slots.
pub struct FrozenRows {
    copy: Option<(TableCopy, TakeCopy)>,
    /// Slots before this one are done.
    next: usize,
    before_change: CopiedRows,
    /// The position of the next file of the copy; all of them are in one system file.
    position: FilePosition,
    budget: Arc<StateBudget>,
    failure: Failure,
}

impl Drop for FrozenRows {
    fn drop(&mut self) {
        if self.copy.is_some() && !std::thread::panicking() {
            // Otherwise an incomplete checkpoint would count as valid. If the job has already failed, this changes nothing.
            self.failure.set(Error::bug("a table was dropped before its rows were copied for a checkpoint"));
        }
    }
}

/// The location for a copy of frozen rows.
pub struct RoomForCopy {
    position: FilePosition,
    budget: Arc<StateBudget>,
}

/// Rows that were copied before they changed, concatenated, and the start of each.
#[derive(Default)]
struct CopiedRows {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl CopiedRows {
    fn row(&self, number: u32) -> Option<ColdRow<'_>> {
        page::rows(self.bytes.get(*self.starts.get(number as usize)?..)?).next()?
    }

    /// Returns their indices in the order of their keys.
    fn in_order(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.starts.len() as u32).collect();
        let hash = |number| KeyHash(self.row(number).map_or(0, |row| row.hash));
        sort_keys(&mut order, hash, |number| self.row(number).map_or(&[], |row| row.key));
        order
    }
}

impl StateTable {
    /// Returns a location for a copy of frozen rows: next to the table's own files, or else in this directory; `None` if that is not possible.
    pub fn room_for_copy(&self, dir: Option<PathBuf>) -> Option<RoomForCopy> {
        let own = self.spill.as_ref().map(|spill| spill.share.budget().clone());
        let budget = own.or_else(|| dir.map(|dir| StateBudget::new(u64::MAX, dir)))?;
        let file = file::open(budget.dir());
        let file = file.inspect_err(|error| tracing::debug!("rows are not copied between batches: {error}"));
        Some(RoomForCopy { position: FilePosition::new(file.ok()?), budget })
    }

    /// Freezes the changed rows, or all rows, in their current form. `take` receives the copy in the end. Files then hold the complete table, or will
    /// hold it.
    pub fn freeze(
        &mut self,
        all: bool,
        RoomForCopy { position, budget }: RoomForCopy,
        failure: &Failure,
        take: impl FnOnce(TableCopy) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        self.thaw()?;
        let mut copy = TableCopy::new(self, !all)?;
        copy.may_have_files(|| Spill::new(budget.share(), failure.clone()));
        let removed = self.freeze_changes(all)?;
        if !all {
            copy.set_removed(removed);
        }
        let (copy, failure) = (Some((copy, Box::new(take) as TakeCopy)), failure.clone());
        self.frozen = Some(Box::new(FrozenRows {
            copy,
            next: 0,
            before_change: CopiedRows::default(),
            position,
            budget,
            failure,
        }));
        Ok(())
    }

    /// Returns whether rows are frozen.
    pub fn is_frozen(&self) -> bool {
        self.frozen.is_some()
    }

    /// Copies all remaining frozen rows.
    pub fn thaw(&mut self) -> Result<()> {
        while self.thaw_some()? {}
        Ok(())
    }

    /// Copies some of the frozen rows. Returns whether more are left.
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

    /// Returns the next of them, in memory order.
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
        Ok(SpillWriter::at(frozen.position.clone(), &frozen.budget, rows as u64, frozen.failure.clone()))
    }

    fn add_to_copy(&mut self, file: SpillFile) {
        fault::point("spill.frozen");
        let timed = self.idle.is_some();
        let Some(frozen) = &mut self.frozen else { return };
        frozen.position = file.next_position().unwrap_or_else(|| frozen.position.clone());
        if let Some((copy, _)) = &mut frozen.copy {
            copy.add_file(ColdFile::new(file, true, timed));
        }
    }

    /// Copies those of these slots that are frozen, as they are about to change.
    #[inline]
    pub(in crate::state) fn before_change(&mut self, slots: &[Slot]) {
        if self.frozen.is_some() {
            slots.iter().for_each(|slot| self.copy_before_change(*slot, None));
        }
    }

    /// Copies a slot if it is frozen. `touched`: when its key was last touched, if known.
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

    /// Restarts the scan, as rows have moved to other slots.
    pub(in crate::state) fn frozen_moved(&mut self) {
        self.frozen.iter_mut().for_each(|frozen| frozen.next = 0);
    }

    /// Writes the rows that were copied before they changed.
    pub(in crate::state) fn write_copied(&mut self) -> Result<()> {
        let Some(frozen) = self.frozen.as_mut().filter(|frozen| !frozen.before_change.starts.is_empty()) else {
            return Ok(());
        };
        let rows = std::mem::take(&mut frozen.before_change);
        let mut writer = self.copy_writer(rows.starts.len())?;
        for number in rows.in_order() {
            let row = rows.row(number).ok_or_else(page::invalid_row_error)?;
            writer.add(row.bytes, row.hash, row.touched)?;
        }
        let file = writer.finish()?;
        self.add_to_copy(file);
        Ok(())
    }
}
