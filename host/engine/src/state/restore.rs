//! A state table as the files of a checkpoint have it.

use super::row_form::RowForm;
use super::table::{Slot, StateTable};
use crate::checkpoint::types::{REMOVED, TOUCHED};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{Field, TimestampMicrosecondType};
use millstream_base::batch::keys::{KeyHash, Keys, KeysView};
use millstream_base::batch::types::{self, ColumnType};
use millstream_base::error::{Error, Result};
use std::cmp::Ordering;
use std::sync::Arc;

impl StateTable {
    /// Applies the rows of a file on top of what the table holds: stores and removes keys, those that this worker
    /// owns. Files apply in the order in which they were written. What is restored does not count as changed. An error
    /// names the column that is not as this table needs it.
    pub fn restore(&mut self, rows: &RecordBatch, owned: impl Fn(KeyHash) -> bool) -> Result<()> {
        self.apply(&FileRows::of(&self.row_form(), rows)?, owned)
    }

    /// The same of rows whose columns are known.
    pub(super) fn apply(&mut self, file: &FileRows, owned: impl Fn(KeyHash) -> bool) -> Result<()> {
        let (view, hashes) = (file.encoded.view(), &file.hashes);
        self.forget_cold(view, hashes)?;
        // Removals first: should a file name a key twice, its state wins.
        if let Some(removed) = &file.removed {
            for row in (0..hashes.len()).filter(|row| removed.value(*row) && owned(hashes[*row])) {
                if let Some(slot) = self.find(view.get(row)) {
                    if let Some(changes) = &mut self.changes {
                        changes.removed_in_file(slot);
                    }
                    self.remove(slot);
                }
            }
            self.compact();
        }
        let kept = |row: usize| !file.is_removed(row) && owned(hashes[row]);
        let kept: BooleanArray = (0..hashes.len()).map(|row| Some(kept(row))).collect();
        file.check_states(self.state_schema.fields(), |row| kept.value(row))?;
        let key_bytes = (0..hashes.len()).filter(|row| kept.value(*row)).map(|row| view.get(row).len()).sum();
        self.reserve(kept.true_count(), key_bytes);
        let slots: Vec<Slot> = (0..hashes.len())
            .map(|row| if kept.value(row) { self.slot_of_file(view.get(row), hashes[row]) } else { 0 })
            .collect();
        for (column, values) in self.columns.iter_mut().zip(&file.states) {
            column.scatter(&slots, values, &kept);
        }
        for (row, slot) in slots.iter().enumerate().filter(|(row, _)| kept.value(*row)) {
            self.keep(*slot);
            self.touch_by_row(*slot);
            if let Some(changes) = &mut self.changes {
                changes.written(*slot);
            }
            if let (Some(idle), Some(touched)) = (&mut self.idle, file.touched(row)) {
                idle.touch(*slot, touched);
            }
        }
        Ok(())
    }

    /// All keys with their states, as one batch of key and state columns.
    pub fn rows(&self) -> Result<RecordBatch> {
        let mut slots: Vec<Slot> = self.all().collect();
        self.sort(&mut slots);
        let mut columns = self.keys(&slots).map_err(Error::arrow)?;
        columns.extend(self.states(&slots).map_err(Error::arrow)?.0.columns().iter().cloned());
        let fields: Vec<Arc<Field>> = self.key_fields.iter().chain(self.state_schema.fields()).cloned().collect();
        RecordBatch::try_new(Arc::new(arrow::datatypes::Schema::new(fields)), columns).map_err(Error::arrow)
    }
}

/// The columns of a file by what they are, and the keys of its rows.
pub struct FileRows {
    encoded: Keys,
    hashes: Vec<KeyHash>,
    states: Vec<ArrayRef>,
    touched: Option<TimestampMicrosecondArray>,
    removed: Option<BooleanArray>,
}

impl FileRows {
    /// Of a file of a table with rows of this form. An error names the column that is not as the table needs it.
    pub fn of(form: &RowForm, rows: &RecordBatch) -> Result<FileRows> {
        let (keys, states) = (&form.key_fields, form.state_schema.fields());
        let schema = rows.schema_ref();
        let column = |(place, needs): (usize, &Arc<Field>)| {
            let same = |has: &Arc<Field>| has.name() == needs.name() && has.data_type() == needs.data_type();
            let (name, kind) = (needs.name(), ColumnType::of(needs.data_type()));
            match schema.fields().get(place).is_some_and(same) {
                true => Ok(rows.column(place).clone()),
                false => Err(Error::environment(format!(
                    "column {} must be `{name}`, {kind}; there are: {}",
                    place + 1,
                    types::describe(schema)
                ))),
            }
        };
        let (behind, keys) = (keys.len(), keys.iter().enumerate().map(column).collect::<Result<Vec<_>>>()?);
        let states = states.iter().enumerate().map(|(place, field)| column((behind + place, field)));
        let states = states.collect::<Result<_>>()?;
        let touched =
            rows.column_by_name(TOUCHED).and_then(|times| times.as_primitive_opt::<TimestampMicrosecondType>());
        let removed = rows.column_by_name(REMOVED).and_then(|removed| removed.as_boolean_opt());
        let encoded = Keys::encode(&keys, rows.num_rows()).map_err(Error::arrow)?;
        let hashes = form.hashes_of(&keys, &encoded).map_err(Error::arrow)?;
        Ok(FileRows { encoded, hashes, states, touched: touched.cloned(), removed: removed.cloned() })
    }

    /// The hashes of the keys.
    pub fn hashes(&self) -> &[KeyHash] {
        &self.hashes
    }

    /// The keys.
    pub fn keys(&self) -> KeysView<'_> {
        self.encoded.view()
    }

    /// The state columns.
    pub fn states(&self) -> &[ArrayRef] {
        &self.states
    }

    /// When the key of a row was touched, where the file says so.
    pub fn touched(&self, row: usize) -> Option<i64> {
        self.touched.as_ref().filter(|times| times.is_valid(row)).map(|times| times.value(row))
    }

    /// Whether a row is there only to say that its key is gone.
    pub fn is_removed(&self, row: usize) -> bool {
        self.removed.as_ref().is_some_and(|removed| removed.value(row))
    }

    /// Whether rows are there only to say that their keys are gone.
    pub fn has_removed(&self) -> bool {
        self.removed.as_ref().is_some_and(|removed| removed.true_count() > 0)
    }

    /// Whether the keys are in the order of their hashes, and each is there once.
    pub fn are_in_order(&self) -> bool {
        let view = self.encoded.view();
        let follows = |row: usize| match self.hashes[row].cmp(&self.hashes[row + 1]) {
            Ordering::Equal => view.get(row) < view.get(row + 1),
            order => order.is_lt(),
        };
        (0..self.hashes.len().saturating_sub(1)).all(follows)
    }

    /// Looks for a state that lacks what it must have.
    pub fn check_states(&self, fields: &[Arc<Field>], kept: impl Fn(usize) -> bool) -> Result<()> {
        for (field, values) in fields.iter().zip(&self.states) {
            let missing = |row: usize| kept(row) && values.is_null(row);
            if !field.is_nullable() && values.null_count() > 0 && (0..values.len()).any(missing) {
                return Err(Error::environment(format!("column `{}` lacks a value that it must have", field.name())));
            }
        }
        Ok(())
    }
}
