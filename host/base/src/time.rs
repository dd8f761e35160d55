//! The machine's clock, which only this place reads for batch times, and lengths of time.

use crate::ids::BatchTime;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The last microsecond of the year 9999: later times of rows are mistakes.
pub const TIME_US_MAX: i64 = 253_402_300_799_999_999;

/// Now, as a batch time.
pub fn now() -> BatchTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    BatchTime(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// A length of time in microseconds.
pub fn microseconds(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}
