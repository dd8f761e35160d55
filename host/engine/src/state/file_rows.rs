//! Rows of a table's files, and how they become rows as spill files have them, without a table between.

use super::column;
use super::idle::{Idle, IdleBy};
use super::row_form::RowForm;
use super::spill::page::{self, ColdRow};
use crate::checkpoint::types::{REMOVED, TOUCHED};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{Field, Int64Type, TimestampMicrosecondType};
use millstream_base::batch::keys::{self, KeyHash, Keys, KeysView};
use millstream_base::batch::types::{self, ColumnType};
use millstream_base::error::{Error, Result};
use std::cmp::Ordering;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

/// The columns of a file by what they are, and the keys of its rows.
pub struct FileRows {
    pub(super) encoded: Keys,
    pub(super) hashes: Vec<KeyHash>,
    pub(super) states: Vec<ArrayRef>,
    pub(super) touched: Option<TimestampMicrosecondArray>,
    pub(super) removed: Option<BooleanArray>,
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

impl RowForm {
    /// Rows of a file.
    pub fn rows(&self, batch: &RecordBatch) -> Result<FileRows> {
        let rows = FileRows::of(self, batch)?;
        rows.check_states(self.state_schema.fields(), |row| !rows.is_removed(row))?;
        Ok(rows)
    }

    /// Calls `put` with some of such rows as spill files have them, while it says that it goes on. Whether it did to the end.
    pub fn each_row<T>(
        &self,
        file: &FileRows,
        rows: Range<usize>,
        mut put: impl FnMut(usize, ColdRow<'_>) -> Result<ControlFlow<T>>,
    ) -> Result<ControlFlow<T>> {
        let columns = file.states().iter().zip(self.state_schema.fields());
        let columns = columns.map(|(values, field)| column::writer(values, field.is_nullable()));
        let columns = columns.collect::<Result<Vec<_>, _>>().map_err(Error::arrow)?;
        let (keys, mut bytes) = (file.keys(), Vec::new());
        for row in rows {
            let (key, touched) = (keys.get(row), self.touched(file, row));
            bytes.clear();
            page::put_row(&mut bytes, (file.hashes()[row].0, key), true, touched, |out| {
                columns.iter().for_each(|write| write(row, out));
            });
            let cold = page::row_of(&bytes).ok_or_else(|| Error::bug("a row that cannot be read"))?;
            let put = put(row, ColdRow { removed: file.is_removed(row), ..cold })?;
            if put.is_break() {
                return Ok(put);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// When the key of a row was touched.
    fn touched(&self, file: &FileRows, row: usize) -> i64 {
        let by_row = match self.touched_by {
            None => return Idle::NEVER,
            Some(IdleBy::Touch) => return file.touched(row).unwrap_or(Idle::NEVER),
            Some(IdleBy::State(column)) => file.states().get(column).and_then(|values| number_of(values, row)),
            Some(IdleBy::Key(numbers)) => Some(keys::number_before(file.keys().get(row), numbers)),
        };
        by_row.unwrap_or_default().max(Idle::NEVER + 1)
    }
}

fn number_of(values: &ArrayRef, row: usize) -> Option<i64> {
    let times = values.as_primitive_opt::<TimestampMicrosecondType>().map(|times| times.values());
    times.or_else(|| Some(values.as_primitive_opt::<Int64Type>()?.values()))?.get(row).copied()
}
