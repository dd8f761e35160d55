//! The bounds of windows as the last two columns of rows.

use crate::operators::window::node::{WINDOW_END, WINDOW_START};
use arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{Field, SchemaRef, TimestampMicrosecondType};
use millstream_base::batch::keys::{KeyHash, Keys};
use millstream_base::batch::types::ColumnType;
use millstream_base::error::{Error, Result};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The columns: [`WINDOW_START`] and [`WINDOW_END`].
pub fn fields() -> [Arc<Field>; 2] {
    [WINDOW_START, WINDOW_END].map(|name| Arc::new(Field::new(name, ColumnType::Timestamp.arrow(), false)))
}

/// Rows of one window with its bounds behind them, which makes the columns of `schema`.
pub fn add(schema: &SchemaRef, rows: &RecordBatch, start_us: i64, end_us: i64) -> Result<RecordBatch> {
    let bound = |us: i64| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from_value(us, rows.num_rows()).with_timezone("UTC"))
    };
    let columns = rows.columns().iter().cloned().chain([bound(start_us), bound(end_us)]).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(Error::arrow)
}

/// Which rows are in which window: by end and start in microseconds, so that windows stand in the order in which they come
/// out; rows in their own order.
pub fn by_window(rows: &RecordBatch) -> Result<BTreeMap<(i64, i64), Vec<u32>>> {
    let bound = |from_last: usize| {
        let column = rows.num_columns().checked_sub(from_last).and_then(|place| rows.columns().get(place));
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

/// The key of a session, in the order of hashes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionKey {
    /// Its hash.
    pub hash: KeyHash,
    bytes: Box<[u8]>,
}

/// A window by its end and start in microseconds; of a session also its key.
pub type WindowPlace = (i64, i64, Option<SessionKey>);

/// As [`by_window`], of which each of these keys has its own; without key columns there is none.
pub fn by_window_and_key(rows: &RecordBatch, key: &[usize]) -> Result<BTreeMap<WindowPlace, Vec<u32>>> {
    let by_window = by_window(rows)?.into_iter();
    if key.is_empty() {
        return Ok(by_window.map(|((end, start), rows)| ((end, start, None), rows)).collect());
    }
    let columns: Vec<ArrayRef> = key.iter().filter_map(|place| rows.columns().get(*place).cloned()).collect();
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

/// These rows; all of them are not copied.
pub fn take(rows: &RecordBatch, places: Vec<u32>) -> Result<RecordBatch> {
    if places.len() == rows.num_rows() {
        return Ok(rows.clone());
    }
    take_record_batch(rows, &UInt32Array::from(places)).map_err(Error::arrow)
}
