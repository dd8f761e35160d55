//! What checkpoints hold of the rows of an interval join: a row of the table for each row that waits.

use super::kept_rows::KeptRows;
use crate::checkpoint::types::REMOVED;
use crate::state::StateTable;
use crate::state::files::{SliceSink, TableSlice};
use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use millstream_base::batch::keys::Keys;
use millstream_base::batch::slices::RowBytes;
use millstream_base::batch::types::{ColumnType, with_fields};
use millstream_base::error::{Error, Result};
use millstream_base::ids::BatchId;
use millstream_base::limits::SliceMax;
use std::sync::Arc;

/// The batch that a row came with.
pub const BATCH: &str = "millstream_batch";
/// The number of a row in its batch: with the batch it tells the rows of a key apart, and which came first.
pub const NUMBER: &str = "millstream_number";
/// Whether a row has found a partner.
pub const MATCHED: &str = "millstream_matched";

/// The columns of the table of the rows of one side.
pub struct SavedColumns {
    /// Those of `on`.
    pub key: Vec<Arc<Field>>,
    /// [`BATCH`] and [`NUMBER`].
    pub sub: Vec<Arc<Field>>,
    /// The other columns of the row, its time, and [`MATCHED`].
    pub state: SchemaRef,
}

impl SavedColumns {
    /// Of rows in this layout, with their time as the last column.
    pub fn of(layout: &Schema, on: usize) -> SavedColumns {
        let (key, others) = layout.fields().split_at(on.min(layout.fields().len()));
        let matched = Arc::new(Field::new(MATCHED, DataType::Boolean, false));
        let state: Vec<Arc<Field>> = others.iter().cloned().chain([matched]).collect();
        SavedColumns { key: key.to_vec(), sub: numbers().to_vec(), state: Arc::new(Schema::new(state)) }
    }

    /// As a file has them: states are nullable, as removed rows have none.
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

/// The columns of rows that are kept: those of the layout, [`BATCH`] and [`NUMBER`].
pub fn kept_schema(layout: &Schema) -> SchemaRef {
    with_fields(layout, numbers())
}

/// The rows of a batch with their numbers.
pub fn with_numbers(kept: &SchemaRef, batch: BatchId, rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let batches: ArrayRef = Arc::new(Int64Array::from_value(batch.0 as i64, rows.num_rows()));
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows.num_rows() as i64));
    RecordBatch::try_new(kept.clone(), rows.columns().iter().cloned().chain([batches, numbers]).collect())
}

/// The places, in rows that are kept, of key and numbers; and of the others.
fn places(kept: &Schema, on: usize) -> (Vec<usize>, Vec<usize>) {
    let behind = kept.fields().len().saturating_sub(2);
    ((0..on).chain([behind, behind + 1]).collect(), (on..behind).collect())
}

/// Rows from a checkpoint, in the order in which they arrived.
pub struct RestoredRows {
    /// The rows, in the columns of [`kept_schema`].
    pub numbered: RecordBatch,
    /// Whether they have found a partner.
    pub matched: BooleanArray,
}

/// The rows of a table with [`SavedColumns`].
pub fn restored(kept: &SchemaRef, on: usize, table: &StateTable) -> Result<RestoredRows> {
    let damaged = || Error::bug("the table of a join without its columns");
    let rows = table.rows()?;
    let column = |place: usize| rows.columns().get(place).ok_or_else(damaged);
    let number =
        |place: usize| Ok::<_, Error>(column(place)?.as_primitive_opt::<Int64Type>().ok_or_else(damaged)?.values());
    let (batches, numbers) = (number(on)?, number(on + 1)?);
    let mut order: Vec<u32> = (0..rows.num_rows() as u32).collect();
    // Rows that different workers wrote may have the same numbers, but those of one key have not.
    order.sort_by_key(|row| (batches[*row as usize], numbers[*row as usize]));
    let rows = take_record_batch(&rows, &UInt32Array::from(order)).map_err(Error::arrow)?;
    let last = rows.num_columns().saturating_sub(1);
    let layout = (0..on).chain(on + 2..last).chain([on, on + 1]).collect::<Vec<_>>();
    let matched = rows.column(last).as_boolean_opt().cloned().ok_or_else(damaged)?;
    let columns = rows.project(&layout).map_err(Error::arrow)?.columns().to_vec();
    let numbered = RecordBatch::try_new(kept.clone(), columns).map_err(Error::arrow)?;
    Ok(RestoredRows { numbered, matched })
}

/// What checkpoints hold of the rows of one side, and what has changed since.
pub struct UnsavedRows {
    /// Whether there are checkpoints.
    asked: bool,
    /// Rows with smaller numbers are in files, or were.
    written: u64,
    /// Rows in files that have found their first partner since.
    matched: Vec<u64>,
    /// Keys and numbers of rows in files that are not kept any more.
    removed: Vec<RecordBatch>,
}

impl UnsavedRows {
    /// Nothing is in files. `asked`: there will be some.
    pub fn new(asked: bool) -> UnsavedRows {
        UnsavedRows { asked, written: 0, matched: Vec::new(), removed: Vec::new() }
    }

    /// Whether there are checkpoints.
    pub fn is_asked(&self) -> bool {
        self.asked
    }

    /// Rows with numbers below this one are in files.
    pub fn written_until(&mut self, number: u64) {
        self.written = number;
    }

    /// A row has found its first partner.
    pub fn matched(&mut self, number: u64) {
        if self.asked && number < self.written {
            self.matched.push(number);
        }
    }

    /// These rows, which are still there, are about to be freed.
    pub fn removed(&mut self, kept: &KeptRows, on: usize, numbers: &[u64]) -> Result<(), ArrowError> {
        let written: Vec<u64> = numbers.iter().copied().filter(|number| *number < self.written).collect();
        if self.asked && !written.is_empty() {
            self.removed.push(kept.rows(&written)?.project(&places(kept.schema(), on).0)?);
        }
        Ok(())
    }

    /// Rows that [`UnsavedRows::changes`] would have without a base, at most.
    pub fn changed(&self, kept: &KeptRows) -> u64 {
        let removed: usize = self.removed.iter().map(RecordBatch::num_rows).sum();
        (kept.numbers_from(self.written).count() + self.matched.len() + removed) as u64
    }

    /// The rows of the next file; all of them for a `base`. They are made slice by slice, none larger than `most` but for a
    /// single row; those of a slice stand in the order of the hashes of their keys.
    pub fn changes(
        &mut self,
        kept: &KeptRows,
        on: usize,
        base: bool,
        most: SliceMax,
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
        let in_file = SavedColumns::of(&Schema::new(layout.to_vec()), on).in_file();
        let mut rest = numbers.as_slice();
        let mut some = false;
        while !rest.is_empty() {
            let mut bytes = 0_usize;
            let fits = |number: &&u64| {
                bytes = bytes.saturating_add(kept.bytes_of(**number));
                bytes <= most.bytes
            };
            let (now, later) = rest.split_at(rest.iter().take(most.rows).take_while(fits).count().max(1));
            let rows = by_hash(&kept_in_file(kept, on, now, &in_file)?, on)?;
            to(TableSlice { rows, groups: None });
            (rest, some) = (later, true);
        }
        for keys in removed.iter().filter(|_| !base) {
            for slice in RowBytes::of([keys]).slices(keys.num_rows(), most) {
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

/// Rows that are kept, as a file has them.
fn kept_in_file(kept: &KeptRows, on: usize, numbers: &[u64], in_file: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let rows = kept.rows(numbers)?;
    let (key, others) = places(kept.schema(), on);
    let matched: BooleanArray = numbers.iter().map(|number| Some(kept.is_matched(*number))).collect();
    let removed = BooleanArray::from(vec![false; numbers.len()]);
    let mut columns: Vec<ArrayRef> = key.into_iter().chain(others).map(|place| rows.column(place).clone()).collect();
    columns.push(Arc::new(matched));
    columns.push(Arc::new(removed));
    RecordBatch::try_new(in_file.clone(), columns)
}

/// Rows of which only key and numbers are known, as they are not kept any more.
fn removed_in_file(keys: &RecordBatch, in_file: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let mut columns = keys.columns().to_vec();
    let states = in_file.fields().iter().skip(columns.len());
    let states = states.map(|field| new_null_array(field.data_type(), keys.num_rows()));
    columns.extend(states);
    columns.pop();
    columns.push(Arc::new(BooleanArray::from(vec![true; keys.num_rows()])));
    RecordBatch::try_new(in_file.clone(), columns)
}

/// Rows in the order of the hashes of their keys.
fn by_hash(rows: &RecordBatch, on: usize) -> Result<RecordBatch, ArrowError> {
    let hashes = Keys::encode(rows.columns().get(..on).unwrap_or_default(), rows.num_rows())?.hashes();
    let mut order: Vec<u32> = (0..rows.num_rows() as u32).collect();
    order.sort_by_key(|row| hashes.get(*row as usize).copied());
    take_record_batch(rows, &UInt32Array::from(order))
}
