//! Batches that are made up for windows of processing time: where the job stood still at the end of a window, or had too
//! much to do, a batch without rows stands there as soon as the job goes on, with the time at which the window ends.
//!
//! Windows with rows always come out. How many without any come out behind them is bounded, and by less where making them up takes so long
//! that it holds the job up again: a job whose results cost more than their windows last would do nothing else.

use super::schedule::WindowSchedule;
use crate::limits::EMPTY_WINDOWS_MAX;

/// The windows of a job as worker 0 follows them.
#[derive(Clone, Debug)]
pub struct EmptyBatches {
    /// Each with how long rows may be held back in other windows before they come to it, in microseconds.
    windows: Vec<(WindowSchedule, i64)>,
    interval_us: i64,
    /// The time of the last batch of any kind.
    last_us: Option<i64>,
    /// The time of the last batch that was not made up.
    rows_us: Option<i64>,
    /// How many windows without rows come out in a row.
    empty_max: i64,
}

impl EmptyBatches {
    /// Follows these windows, each with how long rows may be held back before they come to it, in a job whose batches end an
    /// interval of this length.
    pub fn new(windows: Vec<(WindowSchedule, i64)>, interval_us: i64) -> EmptyBatches {
        let last_us = windows.iter().filter_map(|(due, _)| due.last_us()).max();
        EmptyBatches { windows, interval_us, last_us, rows_us: last_us, empty_max: EMPTY_WINDOWS_MAX }
    }

    /// Whether the job has no such windows.
    pub fn has_no_windows(&self) -> bool {
        self.windows.is_empty()
    }

    /// A batch was begun, so much later than its time.
    pub fn batch(&mut self, time_us: i64, made_up: bool, late_us: i64) {
        for (due, _) in &mut self.windows {
            due.batch(time_us, self.interval_us, made_up);
        }
        self.last_us = Some(time_us);
        if !made_up {
            let since_us = self.rows_us.map_or(0, |rows_us| time_us.saturating_sub(rows_us));
            // What was made up before it took half of the time that it stands for, or more.
            self.empty_max = match late_us > since_us / 2 {
                true => self.empty_max / 2,
                false => (2 * self.empty_max + 1).min(EMPTY_WINDOWS_MAX),
            };
            self.rows_us = Some(time_us);
        }
    }

    /// The time of a batch that has to come before one of this time. `stopping`: windows without rows wait until the job goes on.
    pub fn before(&self, time_us: i64, stopping: bool) -> Option<i64> {
        self.waiting().or_else(|| {
            let rows_us = self.rows_us?;
            let empty_max = if stopping { 0 } else { self.empty_max };
            let missed = |(due, held_back_us): &(WindowSchedule, i64)| {
                due.misses(time_us, rows_us.saturating_add(*held_back_us), empty_max)
            };
            self.windows.iter().filter_map(missed).min()
        })
    }

    /// The time of a batch with which a window that is over comes out.
    pub fn waiting(&self) -> Option<i64> {
        let last_us = self.last_us.filter(|_| self.windows.iter().any(|(due, _)| due.waits()))?;
        Some(last_us.saturating_add(1))
    }
}

#[cfg(test)]
mod tests;
