//! Routing of rows to the worker that owns their key.

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::error::ArrowError;
use millstream_rows::batch::keys::KeyHash;
use millstream_rows::batch::part::Part;

/// Splits rows into one sub-batch for each worker that owns some of them. Rows keep their order within a sub-batch. `hashes` holds the key hash of
/// each row.
pub fn split_by_key(
    rows: &RecordBatch,
    hashes: &[KeyHash],
    peers: usize,
) -> Result<Vec<(u64, RecordBatch)>, ArrowError> {
    if peers == 1 {
        return Ok(vec![(0, rows.clone())]);
    }
    let mut rows_of: Vec<Vec<u32>> = vec![Vec::with_capacity(rows.num_rows() / peers + 16); peers];
    for (row, hash) in hashes.iter().enumerate() {
        rows_of[hash.worker(peers)].push(row as u32);
    }
    let mut split = Vec::with_capacity(peers);
    for (worker, indices) in rows_of.into_iter().enumerate() {
        if indices.len() == rows.num_rows() {
            return Ok(vec![(worker as u64, rows.clone())]);
        }
        if !indices.is_empty() {
            split.push((worker as u64, take_record_batch(rows, &UInt32Array::from(indices))?));
        }
    }
    Ok(split)
}

/// Sorts the rows by key group; rows of one group keep their order.
pub fn sort_by_key_group(rows: &RecordBatch, hashes: &[KeyHash]) -> Result<RecordBatch, ArrowError> {
    if hashes.is_sorted_by_key(|hash| hash.group()) {
        return Ok(rows.clone());
    }
    let mut order: Vec<u32> = (0..hashes.len() as u32).collect();
    order.sort_by_key(|row| hashes.get(*row as usize).map(|hash| hash.group()));
    take_record_batch(rows, &UInt32Array::from(order))
}

/// Returns the parts that carry these sub-batches; all have the order of the original part.
pub fn parts_of(split: Vec<(u64, RecordBatch)>, part: &Part) -> impl Iterator<Item = Part> {
    let Part { order, clock_id, input, time, .. } = part.clone();
    split.into_iter().map(move |(to, rows)| Part { to, order: order.clone(), clock_id, input, time, rows })
}
