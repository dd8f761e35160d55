//! Artificial batches for windows of processing time. A job may be paused at the end of a window, or too busy. Then a batch without rows is inserted
//! as soon as the job continues, with the time of the window's end.
//!
//! Windows with rows are always emitted. The number of windows without rows after them is bounded. The bound is lower if inserting them takes so long
//! that it delays the job further. A job whose results cost more than their windows last would otherwise do nothing else.

use super::schedule::WindowSchedule;
use crate::limits::EMPTY_WINDOWS_MAX;

/// The windows of a job, as tracked by worker 0.
#[derive(Clone, Debug)]
pub struct EmptyBatches {
    /// Each with how long other windows may hold back rows before they reach it, in microseconds.
    windows: Vec<(WindowSchedule, i64)>,
    interval_us: i64,
    /// The time of the last batch of any kind.
    last_us: Option<i64>,
    /// The time of the last regular batch.
    rows_us: Option<i64>,
    /// Maximum number of consecutive windows without rows.
    empty_max: i64,
}

impl EmptyBatches {
    /// Tracks these windows, each with how long rows may be held back before they reach it, in a job with this batch interval.
    pub fn new(windows: Vec<(WindowSchedule, i64)>, interval_us: i64) -> EmptyBatches {
        let last_us = windows.iter().filter_map(|(due, _)| due.last_us()).max();
        EmptyBatches { windows, interval_us, last_us, rows_us: last_us, empty_max: EMPTY_WINDOWS_MAX }
    }

    /// Returns whether the job has no such windows.
    pub fn has_no_windows(&self) -> bool {
        self.windows.is_empty()
    }

    /// Records that a batch was begun, `late_us` after its time.
    pub fn batch(&mut self, time_us: i64, made_up: bool, late_us: i64) {
        for (due, _) in &mut self.windows {
            due.batch(time_us, self.interval_us, made_up);
        }
        self.last_us = Some(time_us);
        if !made_up {
            let since_us = self.rows_us.map_or(0, |rows_us| time_us.saturating_sub(rows_us));
            // The previous artificial batches took at least half of the time that they represent.
            self.empty_max = match late_us > since_us / 2 {
                true => self.empty_max / 2,
                false => (2 * self.empty_max + 1).min(EMPTY_WINDOWS_MAX),
            };
            self.rows_us = Some(time_us);
        }
    }

    /// Returns the time of a batch that has to precede one of this time. `stopping`: windows without rows wait until the job resumes.
    pub fn before(&self, time_us: i64, stopping: bool) -> Option<i64> {
        self.waiting_end().or_else(|| {
            let rows_us = self.rows_us?;
            let empty_max = if stopping { 0 } else { self.empty_max };
            let missed = |(due, held_back_us): &(WindowSchedule, i64)| {
                due.missed_end(time_us, rows_us.saturating_add(*held_back_us), empty_max)
            };
            self.windows.iter().filter_map(missed).min()
        })
    }

    /// Returns the time of a batch with which an ended window is emitted.
    pub fn waiting_end(&self) -> Option<i64> {
        let last_us = self.last_us.filter(|_| self.windows.iter().any(|(due, _)| due.is_waiting()))?;
        Some(last_us.saturating_add(1))
    }
}

#[cfg(test)]
mod tests;
