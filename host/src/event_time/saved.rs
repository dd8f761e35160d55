//! The clocks of a stage as a checkpoint has them: a row each, with the watermark beside it.

use super::{Clock, ClockNames, Watermarks};
use crate::batch::keys::{KeyHash, Keys};
use crate::batch::types::ColumnType;
use crate::checkpoint::state_file::REMOVED;
use crate::checkpoint::types::Column;
use crate::error::{Error, Result};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use std::sync::Arc;

const CLOCK: &str = "clock";
const TIME: &str = "time";
const QUIET: &str = "quiet";
const WATERMARK: &str = "watermark";

/// The columns: key, and state.
pub fn columns() -> (Column, Vec<Column>) {
    let time = |name| Column { nullable: true, ..Column::new(name, ColumnType::Timestamp) };
    let state = vec![time(TIME), Column::new(QUIET, ColumnType::Int64), time(WATERMARK)];
    (Column::new(CLOCK, ColumnType::Text), state)
}

/// The rows of the clocks whose key groups are owned; `None` where there are none.
pub fn rows(
    watermarks: &Watermarks,
    names: &ClockNames,
    owned: impl Fn(KeyHash) -> bool,
) -> Result<Option<RecordBatch>> {
    let clocks: Vec<(&String, Clock)> =
        watermarks.clocks().filter_map(|(id, clock)| Some((names.get(&id)?, clock))).collect();
    let all: ArrayRef = Arc::new(StringArray::from_iter_values(clocks.iter().map(|(name, _)| name)));
    let hashes = Keys::encode(&[all], clocks.len()).map_err(Error::arrow)?.hashes();
    let mut clocks: Vec<(KeyHash, &(&String, Clock))> = hashes.into_iter().zip(&clocks).collect();
    clocks.retain(|(hash, _)| owned(*hash));
    clocks.sort_by_key(|(hash, (name, _))| (*hash, *name));
    if clocks.is_empty() {
        return Ok(None);
    }
    let own = || clocks.iter().map(|(_, clock)| *clock);
    let times = |times: TimestampMicrosecondArray| -> ArrayRef { Arc::new(times.with_timezone("UTC")) };
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        (CLOCK, Arc::new(StringArray::from_iter_values(own().map(|(name, _)| name))), false),
        (TIME, times(own().map(|(_, clock)| clock.max_us).collect()), true),
        (QUIET, Arc::new(Int64Array::from_iter_values(own().map(|(_, clock)| clock.quiet_us))), true),
        (WATERMARK, times(own().map(|_| watermarks.watermark()).collect()), true),
        (REMOVED, Arc::new(BooleanArray::from(vec![false; clocks.len()])), false),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).map(Some).map_err(Error::arrow)
}

/// Goes on from the rows of all workers. Clocks that the stage no longer has count for the watermark only.
pub fn restore(watermarks: &mut Watermarks, names: &ClockNames, files: &[RecordBatch]) -> Result<()> {
    for rows in files {
        let column = |name: &str| {
            let column = rows.column_by_name(name);
            column.ok_or_else(|| Error::environment(format!("the table of watermarks lacks its column `{name}`")))
        };
        let wrong = || Error::environment("a column of the table of watermarks is of another type");
        let clocks = column(CLOCK)?.as_string_opt::<i32>().ok_or_else(wrong)?;
        let quiet = column(QUIET)?.as_primitive_opt::<Int64Type>().ok_or_else(wrong)?;
        let time = |name| column(name)?.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(wrong);
        let (times, marks) = (time(TIME)?, time(WATERMARK)?);
        let value = |times: &TimestampMicrosecondArray, row| times.is_valid(row).then(|| times.value(row));
        for row in 0..rows.num_rows() {
            let id = names.iter().find(|(_, name)| *name == clocks.value(row)).map(|(id, _)| *id);
            let clock = Clock { max_us: value(times, row), quiet_us: quiet.value(row) };
            watermarks.restore(id, clock, value(marks, row));
        }
    }
    Ok(())
}
