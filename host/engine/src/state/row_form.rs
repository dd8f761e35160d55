//! How rows of a table's files become rows as spill files have them, without a table between.

use super::column;
use super::idle::{Idle, IdleBy};
use super::restore::FileRows;
use super::spill::page::{self, ColdRow};
use super::table::StateTable;
use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Field, Int64Type, SchemaRef, TimestampMicrosecondType};
use arrow::error::ArrowError;
use millstream_base::batch::keys::{self, KeyHash, Keys};
use millstream_base::error::{Error, Result};
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

/// What has to be known of a table for that.
#[derive(Clone, Debug)]
pub struct RowForm {
    pub(super) key_fields: Vec<Arc<Field>>,
    /// See [`StateTable::ordered_by`].
    order_columns: Option<usize>,
    pub(super) state_schema: SchemaRef,
    touched_by: Option<IdleBy>,
}

impl StateTable {
    /// How its rows are made.
    pub(super) fn row_form(&self) -> RowForm {
        RowForm {
            key_fields: self.key_fields.clone(),
            order_columns: self.order_columns,
            state_schema: self.state_schema.clone(),
            touched_by: self.idle.as_ref().map(Idle::by),
        }
    }

    /// The hashes of how many key columns say in which order rows are in files, where rows may be looked up in these.
    pub fn index_columns(&self) -> Option<usize> {
        let all = self.key_fields.len();
        let hashed = self.order_columns.map_or(all, |columns| columns.min(all));
        Some(hashed).filter(|columns| *columns > 0 && self.spills())
    }
}

/// The hashes of keys, which are those of these columns or of so many of them.
pub fn hashes_of(columns: &[ArrayRef], keys: &Keys, order_columns: Option<usize>) -> Result<Vec<KeyHash>, ArrowError> {
    match order_columns.and_then(|count| columns.get(..count)) {
        Some(first) if first.len() < columns.len() => Ok(Keys::encode(first, keys.view().rows())?.hashes()),
        _ => Ok(keys.hashes()),
    }
}

impl RowForm {
    /// Whether files tell when keys were touched.
    pub fn has_touched(&self) -> bool {
        self.touched_by == Some(IdleBy::Touch)
    }

    /// The hashes of keys, which are those of these columns, as the table has them.
    pub fn hashes_of(&self, columns: &[ArrayRef], keys: &Keys) -> Result<Vec<KeyHash>, ArrowError> {
        hashes_of(columns, keys, self.order_columns)
    }

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
