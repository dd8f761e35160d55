//! The machine's clock: the only place that reads it for batch times.

use crate::ids::BatchTime;
use std::time::{SystemTime, UNIX_EPOCH};

/// Now, as a batch time.
pub fn now() -> BatchTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    BatchTime(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
