//! The call that an instance is in, and the time and the instructions that it has.

use super::trap::{Stopped, Trap};
use crate::limits::{PLUGIN_FUEL_PER_SECOND, PLUGIN_WAIT_MS_MAX};
use millstream_job::spec::PluginLimits;
use std::time::{Duration, Instant};

/// The call that an instance is in.
#[derive(Clone, Copy, Debug)]
pub struct CurrentCall {
    /// The batch; `None` in `describe`.
    pub batch: Option<u64>,
    /// The batch time, in microseconds since 1970; 0 in `describe`.
    pub time_us: i64,
    /// When it began.
    pub began: Instant,
    /// Multiplier for its time or fuel.
    pub times: u64,
    /// The rows that it is given.
    pub rows: u64,
    /// The rows that calls of the batch before it were given, on this worker.
    pub rows_before: u64,
}

/// The time of a call with this multiplier; zero: no limit.
pub fn time(limits: &PluginLimits, times: u64) -> Duration {
    limits.time_max.saturating_mul(u32::try_from(times).unwrap_or(u32::MAX))
}

/// Instructions that such a call may run.
pub fn fuel(limits: &PluginLimits, times: u64) -> u64 {
    let per_microsecond = u128::from(PLUGIN_FUEL_PER_SECOND / 1_000_000);
    let of_time = match limits.time_max.as_micros().saturating_mul(per_microsecond) {
        0 => u64::MAX,
        fuel => u64::try_from(fuel).unwrap_or(u64::MAX),
    };
    limits.fuel_max.unwrap_or(of_time).saturating_mul(times)
}

/// When a call must have ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deadline {
    time_max: Duration,
    end: Option<Instant>,
}

impl Deadline {
    /// The deadline of a call that began at this time with this limit; zero: no limit.
    pub fn new(began: Instant, time_max: Duration) -> Deadline {
        Deadline { time_max, end: began.checked_add(time_max).filter(|_| !time_max.is_zero()) }
    }

    /// The remaining time.
    pub fn remaining(&self) -> Duration {
        let most = Duration::from_millis(PLUGIN_WAIT_MS_MAX);
        self.end.map_or(most, |end| end.saturating_duration_since(Instant::now()))
    }

    /// A wait that took too long.
    pub fn time_exceeded(&self) -> Stopped {
        let message = match self.end {
            Some(_) => format!("it ran longer than its time limit of {:?}, waiting for a response", self.time_max),
            None => format!("it waited {PLUGIN_WAIT_MS_MAX} ms for a response"),
        };
        let advice = "Raise `limits.time` of the stage, or fix the plugin if it waits endlessly.";
        Stopped { trap: Trap::Time, message, advice }
    }
}
