//! Aggregates by a plugin of world `aggregate`: lift, combine, lower.
//!
//! Accumulators of one key are combined in rounds: neighbors first, then the results of neighbors. So n accumulators of a key take log2(n)
//! calls on columns, and the order of arrival is kept.

use super::caller::Caller;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{concat_batches, interleave_record_batch, take_arrays, take_record_batch};
use arrow::datatypes::{Schema, SchemaRef};
use millstream_base::context::CallContext;
use millstream_base::error::{Error, Result};
use millstream_rows::batch::group::{Grouper, sort_by_rank};
use millstream_rows::batch::keys::Keys;
use std::sync::Arc;

/// Accumulators by key: `keys` and `accumulators` have a row for each key, in the order of key hashes.
pub struct Reduced {
    /// The key columns.
    pub keys: Vec<ArrayRef>,
    /// The accumulators.
    pub accumulators: RecordBatch,
    /// The encoded keys, by row; `None` if there is no key.
    pub encoded: Option<Keys>,
}

/// Combines accumulators with equal keys. Without key columns all are combined into one.
pub fn combine_by_key(
    caller: &mut Caller,
    context: CallContext,
    keys: &[ArrayRef],
    accumulators: RecordBatch,
    grouper: &mut Grouper,
) -> Result<Reduced> {
    let rows = accumulators.num_rows();
    if rows == 0 {
        return Ok(Reduced { keys: keys.to_vec(), accumulators, encoded: None });
    }
    if keys.is_empty() {
        let accumulators = combine_runs(caller, context, accumulators, vec![rows as u32])?;
        return Ok(Reduced { keys: Vec::new(), accumulators, encoded: None });
    }
    let (runs, sorted, first_rows) = runs_by_key(keys, rows, grouper)?;
    let sorted = take_record_batch(&accumulators, &UInt32Array::from(sorted)).map_err(Error::arrow)?;
    let accumulators = combine_runs(caller, context, sorted, runs)?;
    let keys = take_arrays(keys, &UInt32Array::from(first_rows), None).map_err(Error::arrow)?;
    let encoded = Some(Keys::encode(&keys, accumulators.num_rows()).map_err(Error::arrow)?);
    Ok(Reduced { keys, accumulators, encoded })
}

/// Orders rows by the hash of their key, keeping the order of arrival within a key. Returns the length of each run of
/// equal keys, the rows in this order, and the first row of each run.
fn runs_by_key(keys: &[ArrayRef], rows: usize, grouper: &mut Grouper) -> Result<(Vec<u32>, Vec<u32>, Vec<u32>)> {
    let encoded = Keys::encode(keys, rows).map_err(Error::arrow)?;
    let groups = grouper.group(&encoded);
    let order = groups.sorted(&encoded);
    let mut rank = vec![0u32; groups.count()];
    for (index, group) in order.iter().enumerate() {
        rank[*group as usize] = index as u32;
    }
    let (ends, sorted) = sort_by_rank(groups.of_row.iter().map(|group| rank[*group]), groups.count());
    let runs = ends.iter().scan(0, |start, end| Some(end - std::mem::replace(start, *end))).collect();
    Ok((runs, sorted, order.iter().map(|group| groups.first_rows[*group as usize]).collect()))
}

/// Combines the accumulators of each group, in the order of the rows: a row for each group.
pub fn combine_groups(
    caller: &mut Caller,
    context: CallContext,
    rows: &RecordBatch,
    groups: &[usize],
    count: usize,
) -> Result<RecordBatch> {
    let (ends, sorted) = sort_by_rank(groups.iter().map(|group| *group as u32), count);
    let runs = ends.iter().scan(0, |start, end| Some(end - std::mem::replace(start, *end))).collect();
    let sorted = take_record_batch(rows, &UInt32Array::from(sorted)).map_err(Error::arrow)?;
    combine_runs(caller, context, sorted, runs)
}

/// Combines each run of rows into one row.
fn combine_runs(
    caller: &mut Caller,
    context: CallContext,
    mut rows: RecordBatch,
    mut runs: Vec<u32>,
) -> Result<RecordBatch> {
    while runs.iter().any(|run| *run > 1) {
        let most = rows.num_rows() / 2;
        let (mut left, mut right) = (Vec::with_capacity(most), Vec::with_capacity(most));
        let mut start = 0u32;
        for run in &runs {
            let pairs = *run / 2;
            left.extend((0..pairs).map(|pair| start + 2 * pair));
            right.extend((0..pairs).map(|pair| start + 2 * pair + 1));
            start += *run;
        }
        let left = take_record_batch(&rows, &UInt32Array::from(left)).map_err(Error::arrow)?;
        let right = take_record_batch(&rows, &UInt32Array::from(right)).map_err(Error::arrow)?;
        let combined = caller.combine(context, &left, &right)?;
        rows = with_odd_ones(&rows, combined, &runs)?;
        runs.iter_mut().for_each(|run| *run = run.div_ceil(2));
    }
    Ok(rows)
}

/// Returns the combined pairs of each run, followed by its last row if that had no partner.
fn with_odd_ones(rows: &RecordBatch, combined: RecordBatch, runs: &[u32]) -> Result<RecordBatch> {
    if runs.iter().all(|run| run % 2 == 0) {
        return Ok(combined);
    }
    let mut order = Vec::with_capacity(combined.num_rows() + runs.len());
    let (mut start, mut pairs_before) = (0, 0);
    for run in runs {
        let (run, pairs) = (*run as usize, *run as usize / 2);
        order.extend((pairs_before..pairs_before + pairs).map(|pair| (1, pair)));
        pairs_before += pairs;
        start += run;
        if run % 2 == 1 {
            order.push((0, start - 1));
        }
    }
    interleave_record_batch(&[rows, &combined], &order).map_err(Error::arrow)
}

/// Key columns and accumulators side by side, as they travel to the worker that owns the keys.
pub fn with_keys(schema: &SchemaRef, keys: &[ArrayRef], accumulators: &RecordBatch) -> Result<RecordBatch> {
    let columns = keys.iter().chain(accumulators.columns()).cloned().collect();
    let options = RecordBatchOptions::new().with_row_count(Some(accumulators.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(Error::arrow)
}

/// Takes apart what [`with_keys`] put together; several parts are joined in their order.
pub fn split_keys(parts: &[RecordBatch], schema: &SchemaRef, keys: usize) -> Result<(Vec<ArrayRef>, RecordBatch)> {
    let all = concat_batches(schema, parts).map_err(Error::arrow)?;
    let accumulators = all.project(&(keys..all.num_columns()).collect::<Vec<_>>()).map_err(Error::arrow)?;
    Ok((all.columns()[..keys].to_vec(), accumulators))
}

/// Returns the key columns as a separate batch, for `lower`.
pub fn key_batch(input: &Schema, indexes: &[usize], keys: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let schema = Arc::new(input.project(indexes).map_err(Error::arrow)?);
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema, keys, &options).map_err(Error::arrow)
}
