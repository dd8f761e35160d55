//! Worlds `aggregate` and `cogroup`: rows of a table that have the same key.

use super::{TableResult, batch, first, rest, sliced, taken, without};
use crate::cancel::CancelCheck;
use crate::prepared::Prepared;
use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_arrays};
use arrow::datatypes::{Field, Schema};
use millstream_base::batch::group::{Grouper, sort_by_rank};
use millstream_base::batch::keys::{Keys, canonical_column};
use millstream_base::batch::slices::RowBytes;
use millstream_base::batch::types::with_fields;
use millstream_base::context::BatchContext;
use millstream_base::error::{Error, Result};
use millstream_base::limits::{PLUGIN_CALL_BYTES_MAX, PLUGIN_CALL_MAX, PLUGIN_CALL_ROWS_MAX};
use millstream_plugins::plugin::reduce::{self, combine_by_key};
use millstream_plugins::plugin::{Caller, Cogrouped, Cogroups};
use std::sync::Arc;

/// World `aggregate`: a row for each key, or one for all where there is no key.
pub fn aggregate(
    prepared: &Prepared,
    caller: &mut Caller,
    context: BatchContext,
    parts: &[RecordBatch],
    wanted: &CancelCheck,
) -> Result<TableResult> {
    let (reads, keys) = (first(&prepared.reads, "a table")?, first(&prepared.keys, "a table")?);
    let key_fields = keys.schema().fields();
    let output = with_fields(keys.schema(), prepared.description.output.fields().iter().cloned());
    let mut made = TableResult::new(prepared, output.clone());
    let mut grouper = Grouper::default();
    let fields = key_fields.iter().chain(prepared.description.state.fields()).cloned();
    let between = Arc::new(Schema::new(fields.collect::<Vec<Arc<Field>>>()));
    let mut partial = Vec::new();
    for part in parts.iter().filter(|part| part.num_rows() > 0) {
        let read = reads.fit(part)?;
        for slice in RowBytes::of([&read]).slices(read.num_rows(), PLUGIN_CALL_MAX) {
            wanted.check()?;
            let (own, rows) = (sliced(part, &slice), sliced(&read, &slice));
            let (whole, nulls) = without(rows, prepared, 0)?;
            made.refuse(prepared, context, ("", &own), &nulls)?;
            let own = rest(&own, &nulls)?;
            let refused = caller.refused(context.call(), &whole)?;
            made.refuse(prepared, context, ("", &own), &refused)?;
            let (own, whole) = (rest(&own, &refused)?, rest(&whole, &refused)?);
            if whole.num_rows() == 0 {
                continue;
            }
            let lifted = caller.lift(context.call(), &whole)?;
            let key_columns: Vec<ArrayRef> = keys.fit(&own)?.columns().iter().map(canonical_column).collect();
            let reduced = combine_by_key(caller, context.call(), &key_columns, lifted, &mut grouper)?;
            partial.push(reduce::with_keys(&between, &reduced.keys, &reduced.accumulators)?);
        }
    }
    if partial.is_empty() {
        return Ok(made);
    }
    wanted.check()?;
    let (key_columns, accumulators) = reduce::split_keys(&partial, &between, key_fields.len())?;
    let reduced = combine_by_key(caller, context.call(), &key_columns, accumulators, &mut grouper)?;
    let places: Vec<usize> = (0..key_fields.len()).collect();
    let count = reduced.accumulators.num_rows();
    let keys = reduce::key_batch(keys.schema(), &places, reduced.keys.clone(), count)?;
    let lowered = caller.lower(context.call(), &keys, &reduced.accumulators)?;
    made.rows.push(reduce::with_keys(&output, &reduced.keys, &lowered)?);
    Ok(made)
}

/// World `cogroup`: the rows of a key in all tables side by side. `names`: of the tables, for rows that are refused.
pub fn cogroup(
    prepared: &Prepared,
    caller: &mut Caller,
    context: BatchContext,
    (names, tables): (&[String], &[Vec<RecordBatch>]),
    wanted: &CancelCheck,
) -> Result<TableResult> {
    let mut made = TableResult::new(prepared, prepared.description.output.clone());
    let mut inputs = Vec::new();
    let (mut keys_of_all, mut rows_of_all): (Vec<RecordBatch>, Vec<usize>) = (Vec::new(), Vec::new());
    let key_schema = first(&prepared.keys, "a table")?.schema().clone();
    for (place, ((table, schema), name)) in tables.iter().zip(&prepared.tables).zip(names).enumerate() {
        let whole = concat_batches(schema, table).map_err(Error::arrow)?;
        let (Some(reads), Some(keys)) = (prepared.reads.get(place), prepared.keys.get(place)) else {
            return Err(Error::bug("a table that the plugin does not read"));
        };
        let (read, nulls) = without(reads.fit(&whole)?, prepared, place)?;
        made.refuse(prepared, context, (name, &whole), &nulls)?;
        let own = rest(&whole, &nulls)?;
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
    (0..).zip(&order).for_each(|(place, group)| rank[*group as usize] = place);
    let (mut start, mut sorted) = (0, Vec::new());
    for ((own, read), rows) in inputs.iter().zip(&rows_of_all) {
        let ranks = groups.of_row[start..start + rows].iter().map(|group| rank[*group]);
        let (ends, places) = sort_by_rank(ranks, groups.count());
        let places = UInt32Array::from(places);
        sorted.push((taken(own, &places)?, taken(read, &places)?, ends));
        start += rows;
    }
    let firsts: UInt32Array = order.iter().map(|group| groups.first_rows[*group as usize]).collect::<Vec<_>>().into();
    let columns = take_arrays(keys.columns(), &firsts, None).map_err(Error::arrow)?;
    let keys = batch(&key_schema, columns, groups.count())?;
    let mut from = 0;
    while from < groups.count() {
        wanted.check()?;
        let to = call_end(&sorted, from, groups.count());
        call(prepared, caller, context, (names, &keys, &sorted), (from, to), &mut made)?;
        from = to;
    }
    Ok(made)
}

/// For each table all of its rows, what the plugin reads of them, and where those of each group end.
type Sorted = (RecordBatch, RecordBatch, Vec<u32>);

fn end_of(ends: &[u32], group: usize) -> usize {
    group.checked_sub(1).and_then(|before| ends.get(before)).map_or(0, |end| *end as usize)
}

/// Where a call ends that begins with this group: behind at least one, and before more rows or bytes than a call should have.
fn call_end(sorted: &[Sorted], from: usize, count: usize) -> usize {
    let bytes: Vec<RowBytes<'_>> = sorted.iter().map(|(_, read, _)| RowBytes::of([read])).collect();
    let fits = |to: usize| {
        let mut sums = (0_usize, 0_usize);
        for ((_, _, ends), bytes) in sorted.iter().zip(&bytes) {
            let rows = end_of(ends, from)..end_of(ends, to);
            sums = (sums.0 + rows.len(), sums.1 + bytes.of_range(&rows));
        }
        sums.0 <= PLUGIN_CALL_ROWS_MAX && sums.1 <= PLUGIN_CALL_BYTES_MAX
    };
    // More groups are never fewer rows.
    let (mut good, mut bad) = (from + 1, count.min(from + PLUGIN_CALL_ROWS_MAX) + 1);
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        if fits(middle) { good = middle } else { bad = middle }
    }
    good
}

fn call(
    prepared: &Prepared,
    caller: &mut Caller,
    context: BatchContext,
    (names, keys, sorted): (&[String], &RecordBatch, &[Sorted]),
    (from, to): (usize, usize),
    made: &mut TableResult,
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
    made.rows.push(rows);
    for ((name, rows), refused) in names.iter().zip(&all_rows).zip(rejections) {
        made.refuse(prepared, context, (name, rows), &refused)?;
    }
    Ok(())
}
