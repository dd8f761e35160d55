//! Batches that are made up for windows of processing time: where the job stood still at the end of a window, or had too
//! much to do, a batch without rows stands there as soon as the job goes on, with the time at which the window ends.

use super::schedule::WindowSchedule;
use crate::limits::EMPTY_WINDOWS_MAX;

/// The windows of a job as worker 0 follows them.
#[derive(Clone, Debug, Default)]
pub struct EmptyBatches {
    windows: Vec<WindowSchedule>,
    interval_us: i64,
    /// The time of the last batch of any kind.
    last_us: Option<i64>,
    /// The time of the last batch that was not made up.
    rows_us: Option<i64>,
}

impl EmptyBatches {
    /// Follows these windows, in a job whose batches end an interval of this length.
    pub fn new(windows: Vec<WindowSchedule>, interval_us: i64) -> EmptyBatches {
        let last_us = windows.iter().filter_map(WindowSchedule::last_us).max();
        EmptyBatches { windows, interval_us, last_us, rows_us: last_us }
    }

    /// A batch was begun.
    pub fn batch(&mut self, time_us: i64, made_up: bool) {
        for due in &mut self.windows {
            due.batch(time_us, self.interval_us);
        }
        self.last_us = Some(time_us);
        if !made_up {
            self.rows_us = Some(time_us);
        }
    }

    /// The time of a batch that has to come before one of this time.
    pub fn before(&self, time_us: i64) -> Option<i64> {
        self.waiting().or_else(|| {
            let rows_us = self.rows_us?;
            self.windows.iter().filter_map(|due| due.misses(time_us, rows_us, EMPTY_WINDOWS_MAX)).min()
        })
    }

    /// The time of a batch with which a window that is over comes out.
    pub fn waiting(&self) -> Option<i64> {
        let last_us = self.last_us.filter(|_| self.windows.iter().any(WindowSchedule::waits))?;
        Some(last_us.saturating_add(1))
    }
}

#[cfg(test)]
mod tests;
