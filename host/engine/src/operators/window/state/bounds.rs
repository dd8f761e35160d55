//! The bounds of windows as the last two columns of rows.

use crate::operators::window::node::{WINDOW_END, WINDOW_START};
use arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Field, SchemaRef, TimestampMicrosecondType};
use millstream_base::error::{Error, Result};
use millstream_rows::batch::keys::{KeyHash, Keys};
use millstream_rows::batch::types::ColumnType;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Returns the columns [`WINDOW_START`] and [`WINDOW_END`].
pub fn fields() -> [Arc<Field>; 2] {
    [WINDOW_START, WINDOW_END].map(|name| Arc::new(Field::new(name, ColumnType::Timestamp.arrow(), false)))
}

/// Appends the window's bounds to its rows, which gives the columns of `schema`.
pub fn add(schema: &SchemaRef, rows: &RecordBatch, start_us: i64, end_us: i64) -> Result<RecordBatch> {
    let bound = |us: i64| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from_value(us, rows.num_rows()).with_timezone("UTC"))
    };
    let columns = rows.columns().iter().cloned().chain([bound(start_us), bound(end_us)]).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(Error::arrow)
}

/// Groups rows by window: by end and start in microseconds, so that windows are in output order. Rows keep their order.
pub fn by_window(rows: &RecordBatch) -> Result<BTreeMap<(i64, i64), Vec<u32>>> {
    let bound = |from_last: usize| {
        let column = rows.num_columns().checked_sub(from_last).and_then(|index| rows.columns().get(index));
        let times = column.and_then(|times| times.as_primitive_opt::<TimestampMicrosecondType>());
        times.map(|times| times.values()).ok_or_else(|| Error::bug("rows without the bounds of their window"))
    };
    let (starts, ends) = (bound(2)?, bound(1)?);
    let mut windows: BTreeMap<(i64, i64), Vec<u32>> = BTreeMap::new();
    for (row, (end, start)) in (0u32..).zip(ends.iter().zip(starts)) {
        windows.entry((*end, *start)).or_default().push(row);
    }
    Ok(windows)
}

/// The key of a session, ordered by hash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionKey {
    /// Its hash.
    pub hash: KeyHash,
    bytes: Box<[u8]>,
}

/// End and start of a window in microseconds; for a session also its key.
pub type WindowKey = (i64, i64, Option<SessionKey>);

/// As [`by_window`], with separate windows for each key; without key columns there are no session keys.
pub fn by_window_and_key(rows: &RecordBatch, key: &[usize]) -> Result<BTreeMap<WindowKey, Vec<u32>>> {
    let by_window = by_window(rows)?.into_iter();
    if key.is_empty() {
        return Ok(by_window.map(|((end, start), rows)| ((end, start, None), rows)).collect());
    }
    let columns: Vec<ArrayRef> = key.iter().filter_map(|index| rows.columns().get(*index).cloned()).collect();
    let keys = Keys::encode(&columns, rows.num_rows()).map_err(Error::arrow)?;
    let keys = keys.view();
    let mut windows: BTreeMap<_, Vec<u32>> = BTreeMap::new();
    for ((end, start), rows) in by_window {
        for row in rows {
            let of = SessionKey { hash: keys.short(row as usize).1, bytes: keys.get(row as usize).into() };
            windows.entry((end, start, Some(of))).or_default().push(row);
        }
    }
    Ok(windows)
}

/// Returns these rows, without a copy if they are all rows.
pub fn take(rows: &RecordBatch, indexes: Vec<u32>) -> Result<RecordBatch> {
    if indexes.len() == rows.num_rows() {
        return Ok(rows.clone());
    }
    take_record_batch(rows, &UInt32Array::from(indexes)).map_err(Error::arrow)
}
