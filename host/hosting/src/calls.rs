//! What is done with a table: it is cut into calls, as a stage of a job cuts its batches, and what comes back is put together.

mod by_key;
mod update;

pub use by_key::{aggregate, cogroup};
pub use update::{UpdateTables, Updates, update};

use super::cancel::CancelCheck;
use super::fitting::Fitting;
use super::prepared::Prepared;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::take_arrays;
use arrow::datatypes::SchemaRef;
use millstream_base::batch::rejected::{RefusedRow, together, without_nulls};
use millstream_base::batch::slices::RowBytes;
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::limits::PLUGIN_CALL_MAX;
use millstream_plugins::plugin::{Caller, Processed};
use std::ops::Range;

/// Rows with their columns.
pub struct RowsMade {
    /// The columns.
    pub schema: SchemaRef,
    /// The rows.
    pub rows: Vec<RecordBatch>,
}

impl RowsMade {
    fn new(schema: SchemaRef) -> RowsMade {
        RowsMade { schema, rows: Vec::new() }
    }

    fn push(&mut self, rows: RecordBatch) {
        if rows.num_rows() > 0 {
            self.rows.push(rows);
        }
    }
}

/// What a call made of a table: rows and rejected rows.
pub struct TableResult {
    /// Rows that the plugin put out.
    pub rows: RowsMade,
    /// Rows that were refused, with the reasons.
    pub rejected: RowsMade,
}

impl TableResult {
    fn new(prepared: &Prepared, output: SchemaRef) -> TableResult {
        TableResult { rows: RowsMade::new(output), rejected: RowsMade::new(prepared.rejected.schema.clone()) }
    }

    fn refuse(
        &mut self,
        prepared: &Prepared,
        context: BatchContext,
        (name, rows): (&str, &RecordBatch),
        refused: &[RefusedRow],
    ) -> Result<()> {
        if !refused.is_empty() {
            self.rejected.push(prepared.rejected.rows(context.id, name, rows, refused)?);
        }
        Ok(())
    }
}

/// World `transform`.
pub fn process(
    prepared: &Prepared,
    caller: &mut Caller,
    context: BatchContext,
    parts: &[RecordBatch],
    wanted: &CancelCheck,
) -> Result<TableResult> {
    let mut made = TableResult::new(prepared, prepared.description.output.clone());
    let reads = prepared.reads.first().ok_or_else(|| Error::bug("a call without a table"))?;
    for part in parts.iter().filter(|part| part.num_rows() > 0) {
        let read = reads.fit(part)?;
        for slice in RowBytes::of([&read]).slices(read.num_rows(), PLUGIN_CALL_MAX) {
            wanted.check()?;
            let (whole, nulls) = without(sliced(&read, &slice), prepared, 0)?;
            let Processed { rows: put_out, rejections } = caller.process(context.call(), &whole)?;
            made.rows.push(put_out);
            let refused = together(nulls, rejections);
            if !refused.is_empty() {
                made.refuse(prepared, context, ("", &sliced(part, &slice)), &refused)?;
            }
        }
    }
    Ok(made)
}

/// Some of the rows, or all of them, which takes less time than a slice.
fn sliced(rows: &RecordBatch, slice: &Range<usize>) -> RecordBatch {
    if *slice == (0..rows.num_rows()) { rows.clone() } else { rows.slice(slice.start, slice.len()) }
}

/// Of rows that a plugin is to read those that it can, and why not the others.
fn without(rows: RecordBatch, prepared: &Prepared, table: usize) -> Result<(RecordBatch, Vec<RefusedRow>)> {
    let needs = prepared.needs.get(table).ok_or_else(|| Error::bug("a table that the plugin does not read"))?;
    let places: Vec<usize> = (0..rows.num_columns()).collect();
    without_nulls(rows, &places, needs).map_err(Error::arrow)
}

/// The others of these rows.
fn rest(rows: &RecordBatch, refused: &[RefusedRow]) -> Result<RecordBatch> {
    if refused.is_empty() {
        return Ok(rows.clone());
    }
    let is_good = |row: u32| refused.binary_search_by_key(&row, |refusal| refusal.row).is_err();
    let kept: Vec<u32> = (0..rows.num_rows() as u32).filter(|row| is_good(*row)).collect();
    taken(rows, &kept.into())
}

/// Rows by their places, also of a batch without columns.
fn taken(rows: &RecordBatch, places: &UInt32Array) -> Result<RecordBatch> {
    let columns = take_arrays(rows.columns(), places, None).map_err(Error::arrow)?;
    batch(&rows.schema(), columns, places.len())
}

/// Columns as a batch, which may have none of them.
fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(Error::arrow)
}

fn first<'a>(fittings: &'a [Fitting], what: &str) -> Result<&'a Fitting> {
    fittings.first().ok_or_else(|| Error::bug(format!("a call without {what}")))
}
