//! Worlds `aggregate` and `cogroup`: rows of a table with the same key.

use super::{TableResult, batch, first, remove_unreadable, rest, slice_rows, take_rows};
use crate::cancel::CancelCheck;
use crate::prepared::PreparedTables;
use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_arrays};
use arrow::datatypes::{Field, Schema};
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::limits::{PLUGIN_CALL_BYTES_MAX, PLUGIN_CALL_MAX, PLUGIN_CALL_ROWS_MAX};
use millstream_plugins::plugin::reduce::{self, combine_by_key};
use millstream_plugins::plugin::{Caller, Cogrouped, Cogroups};
use millstream_rows::batch::group::{Grouper, sort_by_rank};
use millstream_rows::batch::keys::{Keys, canonical_column};
use millstream_rows::batch::slices::RowBytes;
use millstream_rows::batch::types::with_fields;
use std::sync::Arc;

/// Calls world `aggregate`: one row for each key, or one for all without a key.
pub fn aggregate(
    prepared: &PreparedTables,
    caller: &mut Caller,
    context: BatchContext,
    parts: &[RecordBatch],
    wanted: &CancelCheck,
) -> Result<TableResult> {
    let (reads, keys) = (first(&prepared.reads, "a table")?, first(&prepared.keys, "a table")?);
    let key_fields = keys.schema().fields();
    let output = with_fields(keys.schema(), prepared.description.output.fields().iter().cloned());
    let mut result = TableResult::new(prepared, output.clone());
    let mut grouper = Grouper::default();
    let fields = key_fields.iter().chain(prepared.description.state.fields()).cloned();
    let between = Arc::new(Schema::new(fields.collect::<Vec<Arc<Field>>>()));
    let mut partial = Vec::new();
    for part in parts.iter().filter(|part| part.num_rows() > 0) {
        let read = reads.fit(part)?;
        for slice in RowBytes::measure([&read]).slices(read.num_rows(), PLUGIN_CALL_MAX) {
            wanted.check()?;
            let (own, rows) = (slice_rows(part, &slice), slice_rows(&read, &slice));
            let (rows_read, nulls) = remove_unreadable(rows, prepared, 0)?;
            result.reject(prepared, context, ("", &own), &nulls)?;
            let own = rest(&own, &nulls)?;
            let rejected = caller.find_rejected(context.call(), &rows_read)?;
            result.reject(prepared, context, ("", &own), &rejected)?;
            let (own, rows_read) = (rest(&own, &rejected)?, rest(&rows_read, &rejected)?);
            if rows_read.num_rows() == 0 {
                continue;
            }
            let lifted = caller.lift(context.call(), &rows_read)?;
            let key_columns: Vec<ArrayRef> = keys.fit(&own)?.columns().iter().map(canonical_column).collect();
            let reduced = combine_by_key(caller, context.call(), &key_columns, lifted, &mut grouper)?;
            partial.push(reduce::with_keys(&between, &reduced.keys, &reduced.accumulators)?);
        }
    }
    if partial.is_empty() {
        return Ok(result);
    }
    wanted.check()?;
    let (key_columns, accumulators) = reduce::split_keys(&partial, &between, key_fields.len())?;
    let reduced = combine_by_key(caller, context.call(), &key_columns, accumulators, &mut grouper)?;
    let indexes: Vec<usize> = (0..key_fields.len()).collect();
    let count = reduced.accumulators.num_rows();
    let keys = reduce::key_batch(keys.schema(), &indexes, reduced.keys.clone(), count)?;
    let lowered = caller.lower(context.call(), &keys, &reduced.accumulators)?;
    result.rows.push(reduce::with_keys(&output, &reduced.keys, &lowered)?);
    Ok(result)
}

/// Calls world `cogroup` with the rows of a key in all tables. `names` are those of the tables, for rejected rows.
pub fn cogroup(
    prepared: &PreparedTables,
    caller: &mut Caller,
    context: BatchContext,
    (names, tables): (&[String], &[Vec<RecordBatch>]),
    wanted: &CancelCheck,
) -> Result<TableResult> {
    let mut result = TableResult::new(prepared, prepared.description.output.clone());
    let mut inputs = Vec::new();
    let (mut keys_of_all, mut rows_of_all): (Vec<RecordBatch>, Vec<usize>) = (Vec::new(), Vec::new());
    let key_schema = first(&prepared.keys, "a table")?.schema().clone();
    for (index, ((table, schema), name)) in tables.iter().zip(&prepared.tables).zip(names).enumerate() {
        let rows_read = concat_batches(schema, table).map_err(Error::arrow)?;
        let (Some(reads), Some(keys)) = (prepared.reads.get(index), prepared.keys.get(index)) else {
            return Err(Error::bug("a table that the plugin does not read"));
        };
        let (read, nulls) = remove_unreadable(reads.fit(&rows_read)?, prepared, index)?;
        result.reject(prepared, context, (name, &rows_read), &nulls)?;
        let own = rest(&rows_read, &nulls)?;
        let keys = keys.fit(&own)?;
        let columns = keys.columns().iter().map(canonical_column).collect();
        rows_of_all.push(own.num_rows());
        keys_of_all.push(batch(&key_schema, columns, own.num_rows())?);
        inputs.push((own, read));
    }
    let keys = concat_batches(&key_schema, &keys_of_all).map_err(Error::arrow)?;
    let encoded = Keys::encode(keys.columns(), keys.num_rows()).map_err(Error::arrow)?;
    let groups = Grouper::default().group(&encoded);
    let order = groups.sorted(&encoded);
    let mut rank = vec![0_u32; groups.count()];
    (0..).zip(&order).for_each(|(index, group)| rank[*group as usize] = index);
    let (mut start, mut sorted) = (0, Vec::new());
    for ((own, read), rows) in inputs.iter().zip(&rows_of_all) {
        let ranks = groups.of_row[start..start + rows].iter().map(|group| rank[*group]);
        let (ends, indexes) = sort_by_rank(ranks, groups.count());
        let indexes = UInt32Array::from(indexes);
        sorted.push((take_rows(own, &indexes)?, take_rows(read, &indexes)?, ends));
        start += rows;
    }
    let firsts: UInt32Array = order.iter().map(|group| groups.first_rows[*group as usize]).collect::<Vec<_>>().into();
    let columns = take_arrays(keys.columns(), &firsts, None).map_err(Error::arrow)?;
    let keys = batch(&key_schema, columns, groups.count())?;
    let mut from = 0;
    while from < groups.count() {
        wanted.check()?;
        let to = call_end(&sorted, from, groups.count());
        call(prepared, caller, context, (names, &keys, &sorted), (from, to), &mut result)?;
        from = to;
    }
    Ok(result)
}

/// For each table all of its rows, what the plugin reads of them, and the end of each group.
type Sorted = (RecordBatch, RecordBatch, Vec<u32>);

fn end_of(ends: &[u32], group: usize) -> usize {
    group.checked_sub(1).and_then(|before| ends.get(before)).map_or(0, |end| *end as usize)
}

/// Returns the end of a call that begins with this group: after at least one group, and before more rows or bytes than a call should have.
fn call_end(sorted: &[Sorted], from: usize, count: usize) -> usize {
    let bytes: Vec<RowBytes<'_>> = sorted.iter().map(|(_, read, _)| RowBytes::measure([read])).collect();
    let fits = |to: usize| {
        let mut sums = (0_usize, 0_usize);
        for ((_, _, ends), bytes) in sorted.iter().zip(&bytes) {
            let rows = end_of(ends, from)..end_of(ends, to);
            sums = (sums.0 + rows.len(), sums.1 + bytes.of_range(&rows));
        }
        sums.0 <= PLUGIN_CALL_ROWS_MAX && sums.1 <= PLUGIN_CALL_BYTES_MAX
    };
    // More groups never have fewer rows.
    let (mut good, mut bad) = (from + 1, count.min(from + PLUGIN_CALL_ROWS_MAX) + 1);
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        if fits(middle) { good = middle } else { bad = middle }
    }
    good
}

fn call(
    prepared: &PreparedTables,
    caller: &mut Caller,
    context: BatchContext,
    (names, keys, sorted): (&[String], &RecordBatch, &[Sorted]),
    (from, to): (usize, usize),
    result: &mut TableResult,
) -> Result<()> {
    let (mut inputs, mut all_rows) = (Vec::new(), Vec::new());
    for (own, read, ends) in sorted {
        let (start, end) = (end_of(ends, from), end_of(ends, to));
        let own_ends = (from..to).map(|group| (end_of(ends, group + 1) - start) as u32);
        inputs.push((read.slice(start, end - start), UInt32Array::from_iter_values(own_ends)));
        all_rows.push(own.slice(start, end - start));
    }
    let groups = Cogroups { keys: keys.slice(from, to - from), inputs };
    let Cogrouped { rows, rejections } = caller.cogroup(context.call(), &groups)?;
    result.rows.push(rows);
    for ((name, rows), rejected) in names.iter().zip(&all_rows).zip(rejections) {
        result.reject(prepared, context, (name, rows), &rejected)?;
    }
    Ok(())
}
