//! Checkpoint state of an interval join: one table row per waiting row.

use super::numbered_rows::NumberedRows;
use crate::checkpoint::types::REMOVED;
use crate::state::StateTable;
use crate::state::files::{SliceSink, TableSlice};
use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use millstream_base::error::{Error, Result};
use millstream_base::ids::BatchId;
use millstream_base::limits::SliceMax;
use millstream_rows::batch::keys::Keys;
use millstream_rows::batch::slices::RowBytes;
use millstream_rows::batch::types::{ColumnType, with_fields};
use std::sync::Arc;

/// The batch in which a row arrived.
pub const BATCH: &str = "millstream_batch";
/// The number of a row in its batch. With the batch it distinguishes the rows of a key, and orders them.
pub const NUMBER: &str = "millstream_number";
/// Whether a row has found a partner.
pub const MATCHED: &str = "millstream_matched";

/// The columns of the table of the rows of one side.
pub struct SavedColumns {
    /// The `on` columns.
    pub key: Vec<Arc<Field>>,
    /// [`BATCH`] and [`NUMBER`].
    pub sub: Vec<Arc<Field>>,
    /// The other columns of the row, its time, and [`MATCHED`].
    pub state: SchemaRef,
}

impl SavedColumns {
    /// Returns the columns for rows in this layout, with their time as the last column.
    pub fn new(layout: &Schema, on: usize) -> SavedColumns {
        let (key, others) = layout.fields().split_at(on.min(layout.fields().len()));
        let matched = Arc::new(Field::new(MATCHED, DataType::Boolean, false));
        let state: Vec<Arc<Field>> = others.iter().cloned().chain([matched]).collect();
        SavedColumns { key: key.to_vec(), sub: numbers().to_vec(), state: Arc::new(Schema::new(state)) }
    }

    /// Returns the columns in a file: states are nullable, as removed rows have none.
    fn in_file(&self) -> SchemaRef {
        let state = self.state.fields().iter().map(|field| Arc::new(field.as_ref().clone().with_nullable(true)));
        let removed = Arc::new(Field::new(REMOVED, DataType::Boolean, false));
        let fields = self.key.iter().chain(&self.sub).cloned().chain(state).chain([removed]);
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }
}

fn numbers() -> [Arc<Field>; 2] {
    [BATCH, NUMBER].map(|name| Arc::new(Field::new(name, ColumnType::Int64.arrow(), false)))
}

/// Returns the columns of stored rows: those of the layout, [`BATCH`] and [`NUMBER`].
pub fn stored_schema(layout: &Schema) -> SchemaRef {
    with_fields(layout, numbers())
}

/// Appends the numbers to the rows of a batch.
pub fn with_numbers(kept: &SchemaRef, batch: BatchId, rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let batches: ArrayRef = Arc::new(Int64Array::from_value(batch.0 as i64, rows.num_rows()));
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows.num_rows() as i64));
    RecordBatch::try_new(kept.clone(), rows.columns().iter().cloned().chain([batches, numbers]).collect())
}

/// Returns the indexes, in stored rows, of key and numbers; and of the others.
fn split_indexes(kept: &Schema, on: usize) -> (Vec<usize>, Vec<usize>) {
    let layout_columns = kept.fields().len().saturating_sub(2);
    ((0..on).chain([layout_columns, layout_columns + 1]).collect(), (on..layout_columns).collect())
}

/// Rows from a checkpoint, in the order of arrival.
pub struct RestoredRows {
    /// The rows, in the columns of [`stored_schema`].
    pub numbered: RecordBatch,
    /// Whether each has found a partner.
    pub matched: BooleanArray,
}

/// Reads the rows of a table with [`SavedColumns`].
pub fn restored(kept: &SchemaRef, on: usize, table: &StateTable) -> Result<RestoredRows> {
    let damaged = || Error::bug("the table of a join without its columns");
    let rows = table.rows()?;
    let column = |index: usize| rows.columns().get(index).ok_or_else(damaged);
    let number =
        |index: usize| Ok::<_, Error>(column(index)?.as_primitive_opt::<Int64Type>().ok_or_else(damaged)?.values());
    let (batches, numbers) = (number(on)?, number(on + 1)?);
    let mut order: Vec<u32> = (0..rows.num_rows() as u32).collect();
    // Rows written by different workers may have the same numbers, but those of one key do not.
    order.sort_by_key(|row| (batches[*row as usize], numbers[*row as usize]));
    let rows = take_record_batch(&rows, &UInt32Array::from(order)).map_err(Error::arrow)?;
    let last = rows.num_columns().saturating_sub(1);
    let layout = (0..on).chain(on + 2..last).chain([on, on + 1]).collect::<Vec<_>>();
    let matched = rows.column(last).as_boolean_opt().cloned().ok_or_else(damaged)?;
    let columns = rows.project(&layout).map_err(Error::arrow)?.columns().to_vec();
    let numbered = RecordBatch::try_new(kept.clone(), columns).map_err(Error::arrow)?;
    Ok(RestoredRows { numbered, matched })
}

/// Checkpointed rows of one side, and the changes since.
pub struct UnsavedRows {
    /// Whether the job has checkpoints.
    tracked: bool,
    /// Rows with smaller numbers are or were in files.
    written: u64,
    /// Rows in files that have found their first partner since.
    matched: Vec<u64>,
    /// Keys and numbers of rows in files that are no longer stored.
    removed: Vec<RecordBatch>,
}

impl UnsavedRows {
    /// Creates the record of an empty side. `tracked` says whether the job has checkpoints.
    pub fn new(tracked: bool) -> UnsavedRows {
        UnsavedRows { tracked, written: 0, matched: Vec::new(), removed: Vec::new() }
    }

    /// Returns whether the job has checkpoints.
    pub fn is_tracked(&self) -> bool {
        self.tracked
    }

    /// Marks rows with numbers below this one as written.
    pub fn written_until(&mut self, number: u64) {
        self.written = number;
    }

    /// Records that a row has found its first partner.
    pub fn matched(&mut self, number: u64) {
        if self.tracked && number < self.written {
            self.matched.push(number);
        }
    }

    /// Records rows that are about to be freed; they must still be stored.
    pub fn removed(&mut self, kept: &NumberedRows, on: usize, numbers: &[u64]) -> Result<(), ArrowError> {
        let written: Vec<u64> = numbers.iter().copied().filter(|number| *number < self.written).collect();
        if self.tracked && !written.is_empty() {
            self.removed.push(kept.rows(&written)?.project(&split_indexes(kept.schema(), on).0)?);
        }
        Ok(())
    }

    /// Returns the maximum number of rows of [`UnsavedRows::changes`] without a base.
    pub fn changed(&self, kept: &NumberedRows) -> u64 {
        let removed: usize = self.removed.iter().map(RecordBatch::num_rows).sum();
        (kept.numbers_from(self.written).count() + self.matched.len() + removed) as u64
    }

    /// Emits the rows of the next file; all rows for a `base`. Slices are at most `slice_max` in size, except for a single row. The rows of a slice
    /// are ordered by the hashes of their keys.
    pub fn changes(
        &mut self,
        kept: &NumberedRows,
        on: usize,
        base: bool,
        slice_max: SliceMax,
        to: &mut SliceSink<'_>,
    ) -> Result<(), ArrowError> {
        let mut matched = std::mem::take(&mut self.matched);
        let removed = std::mem::take(&mut self.removed);
        let new = kept.numbers_from(if base { 0 } else { self.written });
        matched.retain(|number| !base && kept.is_kept(*number));
        let numbers: Vec<u64> = matched.into_iter().chain(new).collect();
        self.written = kept.next();
        let layout = kept.schema().fields();
        let layout = layout.get(..layout.len().saturating_sub(2)).unwrap_or_default();
        let in_file = SavedColumns::new(&Schema::new(layout.to_vec()), on).in_file();
        let mut rest = numbers.as_slice();
        let mut some = false;
        while !rest.is_empty() {
            let mut bytes = 0_usize;
            let fits = |number: &&u64| {
                bytes = bytes.saturating_add(kept.bytes_of(**number));
                bytes <= slice_max.bytes
            };
            let (now, later) = rest.split_at(rest.iter().take(slice_max.rows).take_while(fits).count().max(1));
            let rows = by_hash(&numbered_in_file(kept, on, now, &in_file)?, on)?;
            to(TableSlice { rows, groups: None });
            (rest, some) = (later, true);
        }
        for keys in removed.iter().filter(|_| !base) {
            for slice in RowBytes::measure([keys]).slices(keys.num_rows(), slice_max) {
                let rows = removed_in_file(&keys.slice(slice.start, slice.len()), &in_file)?;
                to(TableSlice { rows: by_hash(&rows, on)?, groups: None });
                some = true;
            }
        }
        if !some {
            to(TableSlice { rows: RecordBatch::new_empty(in_file), groups: None });
        }
        Ok(())
    }
}

/// Returns stored rows in the format of a file.
fn numbered_in_file(
    kept: &NumberedRows,
    on: usize,
    numbers: &[u64],
    in_file: &SchemaRef,
) -> Result<RecordBatch, ArrowError> {
    let rows = kept.rows(numbers)?;
    let (key, others) = split_indexes(kept.schema(), on);
    let matched: BooleanArray = numbers.iter().map(|number| Some(kept.is_matched(*number))).collect();
    let removed = BooleanArray::from(vec![false; numbers.len()]);
    let mut columns: Vec<ArrayRef> = key.into_iter().chain(others).map(|index| rows.column(index).clone()).collect();
    columns.push(Arc::new(matched));
    columns.push(Arc::new(removed));
    RecordBatch::try_new(in_file.clone(), columns)
}

/// Returns removed rows, with only key and numbers, in the format of a file.
fn removed_in_file(keys: &RecordBatch, in_file: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let mut columns = keys.columns().to_vec();
    let states = in_file.fields().iter().skip(columns.len());
    let states = states.map(|field| new_null_array(field.data_type(), keys.num_rows()));
    columns.extend(states);
    columns.pop();
    columns.push(Arc::new(BooleanArray::from(vec![true; keys.num_rows()])));
    RecordBatch::try_new(in_file.clone(), columns)
}

/// Orders rows by the hashes of their keys.
fn by_hash(rows: &RecordBatch, on: usize) -> Result<RecordBatch, ArrowError> {
    let hashes = Keys::encode(rows.columns().get(..on).unwrap_or_default(), rows.num_rows())?.hashes();
    let mut order: Vec<u32> = (0..rows.num_rows() as u32).collect();
    order.sort_by_key(|row| hashes.get(*row as usize).copied());
    take_record_batch(rows, &UInt32Array::from(order))
}
