//! Rows of a table's files, and their direct conversion into rows of spill files.

use super::column;
use super::idle::{IdleTracker, TouchSource};
use super::row_form::RowForm;
use super::spill::page::{self, ColdRow};
use crate::checkpoint::types::{REMOVED, TOUCHED};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{Field, Int64Type, TimestampMicrosecondType};
use millstream_base::error::{Error, Result};
use millstream_rows::batch::keys::{self, KeyHash, Keys, KeysView};
use millstream_rows::batch::types::{self, ColumnType};
use std::cmp::Ordering;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

/// The columns of a file by their meaning, and the keys of its rows.
pub struct FileRows {
    pub(super) encoded: Keys,
    pub(super) hashes: Vec<KeyHash>,
    pub(super) states: Vec<ArrayRef>,
    pub(super) touched: Option<TimestampMicrosecondArray>,
    pub(super) removed: Option<BooleanArray>,
}

impl FileRows {
    /// Parses a file of a table with this row form. An error names the column that does not fit the table.
    pub fn parse(form: &RowForm, rows: &RecordBatch) -> Result<FileRows> {
        let (keys, states) = (&form.key_fields, form.state_schema.fields());
        let schema = rows.schema_ref();
        let column = |(index, needs): (usize, &Arc<Field>)| {
            let same = |has: &Arc<Field>| has.name() == needs.name() && has.data_type() == needs.data_type();
            let (name, kind) = (needs.name(), ColumnType::from_arrow(needs.data_type()));
            match schema.fields().get(index).is_some_and(same) {
                true => Ok(rows.column(index).clone()),
                false => Err(Error::environment(format!(
                    "column {} must be `{name}`, {kind}; columns: {}",
                    index + 1,
                    types::describe(schema)
                ))),
            }
        };
        let (key_count, keys) = (keys.len(), keys.iter().enumerate().map(column).collect::<Result<Vec<_>>>()?);
        let states = states.iter().enumerate().map(|(index, field)| column((key_count + index, field)));
        let states = states.collect::<Result<_>>()?;
        let touched =
            rows.column_by_name(TOUCHED).and_then(|times| times.as_primitive_opt::<TimestampMicrosecondType>());
        let removed = rows.column_by_name(REMOVED).and_then(|removed| removed.as_boolean_opt());
        let encoded = Keys::encode(&keys, rows.num_rows()).map_err(Error::arrow)?;
        let hashes = form.hashes_of(&keys, &encoded).map_err(Error::arrow)?;
        Ok(FileRows { encoded, hashes, states, touched: touched.cloned(), removed: removed.cloned() })
    }

    /// Returns the hashes of the keys.
    pub fn hashes(&self) -> &[KeyHash] {
        &self.hashes
    }

    /// Returns the keys.
    pub fn keys(&self) -> KeysView<'_> {
        self.encoded.view()
    }

    /// Returns the state columns.
    pub fn states(&self) -> &[ArrayRef] {
        &self.states
    }

    /// Returns when the key of a row was touched, if the file stores it.
    pub fn touched(&self, row: usize) -> Option<i64> {
        self.touched.as_ref().filter(|times| times.is_valid(row)).map(|times| times.value(row))
    }

    /// Returns whether a row marks its key as removed.
    pub fn is_removed(&self, row: usize) -> bool {
        self.removed.as_ref().is_some_and(|removed| removed.value(row))
    }

    /// Returns whether some rows mark their keys as removed.
    pub fn has_removed(&self) -> bool {
        self.removed.as_ref().is_some_and(|removed| removed.true_count() > 0)
    }

    /// Returns whether the keys are in the order of their hashes, without duplicates.
    pub fn are_in_order(&self) -> bool {
        let view = self.encoded.view();
        let follows = |row: usize| match self.hashes[row].cmp(&self.hashes[row + 1]) {
            Ordering::Equal => view.get(row) < view.get(row + 1),
            order => order.is_lt(),
        };
        (0..self.hashes.len().saturating_sub(1)).all(follows)
    }

    /// Checks that states are not null if they must not be.
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
    /// Parses the rows of a file.
    pub fn rows(&self, batch: &RecordBatch) -> Result<FileRows> {
        let rows = FileRows::parse(self, batch)?;
        rows.check_states(self.state_schema.fields(), |row| !rows.is_removed(row))?;
        Ok(rows)
    }

    /// Calls `put` with some of the rows in the format of spill files until it stops. Returns whether it reached the end.
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
            let cold = page::parse_row(&bytes).ok_or_else(|| Error::bug("a row that cannot be read"))?;
            let put = put(row, ColdRow { removed: file.is_removed(row), ..cold })?;
            if put.is_break() {
                return Ok(put);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Returns when the key of a row was touched.
    fn touched(&self, file: &FileRows, row: usize) -> i64 {
        let by_row = match self.touched_by {
            None => return IdleTracker::NEVER,
            Some(TouchSource::Touch) => return file.touched(row).unwrap_or(IdleTracker::NEVER),
            Some(TouchSource::State(column)) => file.states().get(column).and_then(|values| number_of(values, row)),
            Some(TouchSource::Key(numbers)) => Some(keys::number_before(file.keys().get(row), numbers)),
        };
        by_row.unwrap_or_default().max(IdleTracker::NEVER + 1)
    }
}

fn number_of(values: &ArrayRef, row: usize) -> Option<i64> {
    let times = values.as_primitive_opt::<TimestampMicrosecondType>().map(|times| times.values());
    times.or_else(|| Some(values.as_primitive_opt::<Int64Type>()?.values()))?.get(row).copied()
}
