//! Calls on tables: a table is cut into calls, as a stage of a job cuts its batches, and the results are combined.

mod by_key;
mod update;

pub use by_key::{aggregate, cogroup};
pub use update::{UpdateTables, Updates, update};

use super::cancel::CancelCheck;
use super::fitting::ColumnSelection;
use super::prepared::PreparedTables;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::take_arrays;
use arrow::datatypes::SchemaRef;
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::limits::PLUGIN_CALL_MAX;
use millstream_plugins::plugin::{Caller, Processed};
use millstream_rows::batch::rejected::{RejectedRow, merge_rejections, without_nulls};
use millstream_rows::batch::slices::RowBytes;
use std::ops::Range;

/// Rows with their columns.
pub struct ResultRows {
    /// The columns.
    pub schema: SchemaRef,
    /// The rows.
    pub rows: Vec<RecordBatch>,
}

impl ResultRows {
    fn new(schema: SchemaRef) -> ResultRows {
        ResultRows { schema, rows: Vec::new() }
    }

    fn push(&mut self, rows: RecordBatch) {
        if rows.num_rows() > 0 {
            self.rows.push(rows);
        }
    }
}

/// The result of calls on a table: rows and rejected rows.
pub struct TableResult {
    /// Rows that the plugin emitted.
    pub rows: ResultRows,
    /// Rows that were rejected, with the reasons.
    pub rejected: ResultRows,
}

impl TableResult {
    fn new(prepared: &PreparedTables, output: SchemaRef) -> TableResult {
        TableResult { rows: ResultRows::new(output), rejected: ResultRows::new(prepared.rejected.schema.clone()) }
    }

    fn reject(
        &mut self,
        prepared: &PreparedTables,
        context: BatchContext,
        (name, rows): (&str, &RecordBatch),
        rejected: &[RejectedRow],
    ) -> Result<()> {
        if !rejected.is_empty() {
            self.rejected.push(prepared.rejected.rows(context.id, name, rows, rejected)?);
        }
        Ok(())
    }
}

/// Calls world `transform`.
pub fn process(
    prepared: &PreparedTables,
    caller: &mut Caller,
    context: BatchContext,
    parts: &[RecordBatch],
    wanted: &CancelCheck,
) -> Result<TableResult> {
    let mut result = TableResult::new(prepared, prepared.description.output.clone());
    let reads = prepared.reads.first().ok_or_else(|| Error::bug("a call without a table"))?;
    for part in parts.iter().filter(|part| part.num_rows() > 0) {
        let read = reads.fit(part)?;
        for slice in RowBytes::measure([&read]).slices(read.num_rows(), PLUGIN_CALL_MAX) {
            wanted.check()?;
            let (complete, nulls) = remove_unreadable(slice_rows(&read, &slice), prepared, 0)?;
            let Processed { rows: emitted, rejections } = caller.process(context.call(), &complete)?;
            result.rows.push(emitted);
            let rejected = merge_rejections(nulls, rejections);
            if !rejected.is_empty() {
                result.reject(prepared, context, ("", &slice_rows(part, &slice)), &rejected)?;
            }
        }
    }
    Ok(result)
}

/// Returns some or all of the rows; all take less time than a slice.
fn slice_rows(rows: &RecordBatch, slice: &Range<usize>) -> RecordBatch {
    if *slice == (0..rows.num_rows()) { rows.clone() } else { rows.slice(slice.start, slice.len()) }
}

/// Removes rows that a plugin cannot read, and returns why.
fn remove_unreadable(
    rows: RecordBatch,
    prepared: &PreparedTables,
    table: usize,
) -> Result<(RecordBatch, Vec<RejectedRow>)> {
    let needs = prepared.needs.get(table).ok_or_else(|| Error::bug("a table that the plugin does not read"))?;
    let indexes: Vec<usize> = (0..rows.num_columns()).collect();
    without_nulls(rows, &indexes, needs).map_err(Error::arrow)
}

/// Returns the rows that were not rejected.
fn rest(rows: &RecordBatch, rejected: &[RejectedRow]) -> Result<RecordBatch> {
    if rejected.is_empty() {
        return Ok(rows.clone());
    }
    let is_good = |row: u32| rejected.binary_search_by_key(&row, |rejection| rejection.row).is_err();
    let kept: Vec<u32> = (0..rows.num_rows() as u32).filter(|row| is_good(*row)).collect();
    take_rows(rows, &kept.into())
}

/// Returns rows by index, also of a batch without columns.
fn take_rows(rows: &RecordBatch, indexes: &UInt32Array) -> Result<RecordBatch> {
    let columns = take_arrays(rows.columns(), indexes, None).map_err(Error::arrow)?;
    batch(&rows.schema(), columns, indexes.len())
}

/// Creates a batch of columns, possibly without any.
fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(Error::arrow)
}

fn first<'a>(fittings: &'a [ColumnSelection], what: &str) -> Result<&'a ColumnSelection> {
    fittings.first().ok_or_else(|| Error::bug(format!("a call without {what}")))
}
