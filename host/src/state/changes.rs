//! What changed in a state table since it was last asked: the rows of the next file of a checkpoint. Costs a byte a slot
//! and a push for each first change; what did not change is not looked at.

use super::table::{Idle, Slot, StateTable};
use crate::checkpoint::fault;
use crate::checkpoint::state_file::{REMOVED, TOUCHED};
use crate::error::{Error, Result};
use crate::{batch::keys, batch::types::ColumnType};
use arrow::array::{ArrayRef, BooleanArray, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use std::cmp::Ordering;
use std::sync::Arc;

/// The slot is in `slots`.
const LISTED: u8 = 1;
/// The slot's key is in a file, so its removal must be told, too.
const WRITTEN: u8 = 2;

/// The changes since the last [`StateTable::changes`].
#[derive(Default)]
pub struct Changes {
    /// [`LISTED`] and [`WRITTEN`], by slot.
    marks: Vec<u8>,
    /// Slots that were stored or touched, each once. Their keys may have been removed since.
    slots: Vec<Slot>,
    /// Keys in files that were removed. Each is there once, as it is not written when it comes back.
    removed: Vec<Removed>,
    removed_bytes: Vec<u8>,
}

struct Removed {
    hash: u64,
    start: usize,
    length: usize,
}

/// A row of a file: a key with its state, or a removed one by its place in `removed`.
#[derive(Clone, Copy)]
enum Row {
    Known(Slot),
    Removed(u32),
}

impl Changes {
    /// Makes room for this many slots.
    pub fn grow(&mut self, slots: usize) {
        self.marks.resize(slots, 0);
    }

    /// The slot's key was stored or touched.
    #[inline]
    pub fn changed(&mut self, slot: Slot) {
        let mark = &mut self.marks[slot as usize];
        if *mark & LISTED == 0 {
            *mark |= LISTED;
            self.slots.push(slot);
        }
    }

    /// The slot's key is in a file, and as it is there.
    pub fn written(&mut self, slot: Slot) {
        self.marks[slot as usize] |= WRITTEN;
    }

    /// The slot's key is about to be removed.
    pub fn removed(&mut self, slot: Slot, hash: u64, key: &[u8]) {
        let mark = &mut self.marks[slot as usize];
        if *mark & WRITTEN != 0 {
            *mark &= !WRITTEN;
            self.removed.push(Removed { hash, start: self.removed_bytes.len(), length: key.len() });
            self.removed_bytes.extend_from_slice(key);
        }
    }

    /// The slot's key is gone as it is in the files: its removal was read from one.
    pub fn removed_in_file(&mut self, slot: Slot) {
        self.marks[slot as usize] &= !WRITTEN;
    }

    fn removed_key(&self, place: u32) -> &[u8] {
        let Removed { start, length, .. } = self.removed[place as usize];
        &self.removed_bytes[start..start + length]
    }
}

impl StateTable {
    /// Whether changes are noted.
    pub fn notes_changes(&self) -> bool {
        self.changes.is_some()
    }

    /// From now on, changes are noted. The keys that the table holds already count as written.
    pub fn track_changes(&mut self) {
        let mut changes = Changes::default();
        changes.grow(self.slots());
        self.all().for_each(|slot| changes.written(slot));
        self.changes = Some(changes);
    }

    /// The files that hold the table so far do not count any more: all that it holds has to be written.
    pub(super) fn forget_files(&mut self) {
        if self.changes.is_none() {
            return;
        }
        let mut changes = Changes::default();
        changes.grow(self.slots());
        self.all().for_each(|slot| changes.changed(slot));
        self.changes = Some(changes);
    }

    /// How many rows `changes` would have at most, without and with `base`.
    pub fn changed(&self) -> u64 {
        self.changes.as_ref().map_or(0, |changes| (changes.slots.len() + changes.removed.len()) as u64)
    }

    /// The rows of the next file, in the order of the hashes of their keys (and so of key groups), each key once: all
    /// keys with their states for a `base`, or else what changed since the last call, with a row for each removed key.
    /// Columns: see [`crate::checkpoint::state_file`]. What was changed is forgotten.
    pub fn changes(&mut self, base: bool) -> Result<RecordBatch> {
        let changes =
            self.changes.take().ok_or_else(|| Error::bug("the changes of a table that does not note them"))?;
        let rows = self.rows_to_write(&changes, base);
        let batch = self.file_rows(&changes, &rows).map_err(Error::arrow);
        let Changes { mut marks, slots, .. } = changes;
        slots.iter().for_each(|slot| marks[*slot as usize] &= !LISTED);
        for row in &rows {
            if let Row::Known(slot) = row {
                marks[*slot as usize] |= WRITTEN;
            }
        }
        self.changes = Some(Changes { marks, ..Changes::default() });
        batch
    }

    fn rows_to_write(&self, changes: &Changes, base: bool) -> Vec<Row> {
        let known = |slot: Slot| (self.hashes[slot as usize], Row::Known(slot));
        let mut rows: Vec<(u64, Row)> = if base {
            self.all().map(known).collect()
        } else {
            let stored = changes.slots.iter().filter(|slot| self.known(**slot)).map(|slot| known(*slot));
            // A removed key that has a state again is among the stored ones.
            let lost = if fault::bug!("removed-lost") { 0 } else { usize::MAX };
            let removed = changes
                .removed
                .iter()
                .take(lost)
                .enumerate()
                .map(|(place, key)| (key.hash, Row::Removed(place as u32)));
            stored.chain(removed.filter(|(hash, row)| !self.is_back(changes, *hash, *row))).collect()
        };
        rows.sort_unstable_by(|(first, a), (second, b)| match first.cmp(second) {
            Ordering::Equal => self.row_key(changes, *a).cmp(self.row_key(changes, *b)),
            other => other,
        });
        rows.into_iter().map(|(_, row)| row).collect()
    }

    fn is_back(&self, changes: &Changes, hash: u64, row: Row) -> bool {
        self.find(self.row_key(changes, row), keys::KeyHash(hash)).is_some_and(|slot| self.known(slot))
    }

    fn row_key<'a>(&'a self, changes: &'a Changes, row: Row) -> &'a [u8] {
        match row {
            Row::Known(slot) => self.key(slot),
            Row::Removed(place) => changes.removed_key(place),
        }
    }

    fn file_rows(&self, changes: &Changes, rows: &[Row]) -> Result<RecordBatch, ArrowError> {
        let slots: Vec<Slot> = rows.iter().map(|row| if let Row::Known(slot) = row { *slot } else { 0 }).collect();
        let known: BooleanArray = rows.iter().map(|row| Some(matches!(row, Row::Known(_)))).collect();
        let mut columns = keys::decode(&self.key_fields, rows.iter().map(|row| self.row_key(changes, *row)))?;
        for column in &self.columns {
            columns.push(column.gather_or_null(&slots, &known)?);
        }
        if let Some(idle) = &self.idle {
            let lost = fault::bug!("touched-lost");
            let touched = |row: &Row| match row {
                Row::Known(slot) => {
                    Some(idle.touched[*slot as usize]).filter(|touched| *touched != Idle::NEVER && !lost)
                }
                Row::Removed(_) => None,
            };
            let touched: TimestampMicrosecondArray = rows.iter().map(touched).collect();
            columns.push(Arc::new(touched.with_timezone("UTC")));
        }
        let removed: ArrayRef = Arc::new(BooleanArray::new(!known.values(), None));
        columns.push(removed);
        RecordBatch::try_new(self.file_schema(), columns)
    }

    /// The columns of the table's files. States are nullable in them, as removed keys have none.
    pub fn file_schema(&self) -> SchemaRef {
        let keys = self.key_fields.iter().cloned();
        let states =
            self.state_schema.fields().iter().map(|field| Arc::new(field.as_ref().clone().with_nullable(true)));
        let mut fields: Vec<Arc<Field>> = keys.chain(states).collect();
        if self.idle.is_some() {
            fields.push(Arc::new(Field::new(TOUCHED, ColumnType::Timestamp.arrow(), true)));
        }
        fields.push(Arc::new(Field::new(REMOVED, DataType::Boolean, false)));
        Arc::new(Schema::new(fields))
    }
}
