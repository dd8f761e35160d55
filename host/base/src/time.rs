//! The machine's clock, which only this module reads for batch times, and durations.

use crate::ids::BatchTime;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The last microsecond of the year 9999: later times of rows are errors.
pub const TIME_US_MAX: i64 = 253_402_300_799_999_999;

/// Returns the current time as a batch time.
pub fn now() -> BatchTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    BatchTime(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// Returns a duration in microseconds.
pub fn microseconds(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}
