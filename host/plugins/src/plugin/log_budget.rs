//! How much one stage's plugin may log on one worker: lines and bytes per second, across instances.

use super::identity::CallIdentity;
use millstream_base::units;
use millstream_job::spec::PluginLimits;
use std::sync::Arc;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

/// Log lines and bytes of the current second, and dropped lines.
pub struct LogBudget {
    identity: Arc<CallIdentity>,
    lines_max: u64,
    bytes_max: u64,
    second: Instant,
    lines: u64,
    bytes: u64,
    dropped: u64,
    reported_at: Option<Instant>,
    counters_reported: bool,
}

impl LogBudget {
    /// Creates the budget of a stage.
    pub fn new(identity: Arc<CallIdentity>, limits: &PluginLimits) -> LogBudget {
        let (lines_max, bytes_max) = (limits.log_lines_per_second_max, limits.log_bytes_per_second_max);
        let (second, reported_at) = (Instant::now(), None);
        LogBudget {
            identity,
            lines_max,
            bytes_max,
            second,
            lines: 0,
            bytes: 0,
            dropped: 0,
            reported_at,
            counters_reported: false,
        }
    }

    /// Whether a line may be logged now; otherwise it counts as dropped.
    pub fn take(&mut self, bytes: usize) -> bool {
        self.take_at(Instant::now(), bytes)
    }

    fn take_at(&mut self, now: Instant, bytes: usize) -> bool {
        if now.saturating_duration_since(self.second) >= SECOND {
            (self.second, self.lines, self.bytes) = (now, 0, 0);
        }
        let bytes = self.bytes.saturating_add(bytes as u64);
        if self.lines >= self.lines_max || bytes > self.bytes_max {
            self.dropped = self.dropped.saturating_add(1);
            return false;
        }
        (self.lines, self.bytes) = (self.lines + 1, bytes);
        true
    }

    /// Reports how many lines were dropped, at most once per second.
    pub fn report_dropped(&mut self) {
        if self.dropped > 0
            && let Some(dropped) = self.take_dropped(Instant::now())
        {
            self.warn(dropped);
        }
    }

    fn take_dropped(&mut self, now: Instant) -> Option<u64> {
        if self.dropped == 0
            || self.reported_at.is_some_and(|reported_at| now.saturating_duration_since(reported_at) < SECOND)
        {
            return None;
        }
        self.reported_at = Some(now);
        Some(std::mem::take(&mut self.dropped))
    }

    fn warn(&self, dropped: u64) {
        let (stage, source, sink, plugin) = self.identity.fields();
        let role = self.identity.role.keyword();
        let (lines, bytes) = (self.lines_max, units::format_bytes(self.bytes_max));
        tracing::warn!(
            stage,
            source,
            sink,
            plugin,
            "{dropped} log lines were dropped: a {role} may log {lines} lines and {bytes} per second on each worker \
             (`limits.log_lines`, `limits.log`)"
        );
    }

    /// Reports, once, that a counter was dropped.
    pub fn report_counters_max(&mut self, counters_max: u64) {
        if !std::mem::replace(&mut self.counters_reported, true) {
            let (stage, source, sink, plugin) = self.identity.fields();
            tracing::warn!(
                stage,
                source,
                sink,
                plugin,
                "it uses more than {counters_max} counters; the others are dropped (`limits.counters`)"
            );
        }
    }
}

impl Drop for LogBudget {
    fn drop(&mut self) {
        if self.dropped > 0 {
            self.warn(self.dropped);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::identity::Role;

    fn budget(lines: u64, bytes: u64) -> LogBudget {
        let identity = CallIdentity { stage: None, role: Role::Stage, plugin: "p".into(), outside: "describe" };
        let limits =
            PluginLimits { log_lines_per_second_max: lines, log_bytes_per_second_max: bytes, ..Default::default() };
        LogBudget::new(Arc::new(identity), &limits)
    }

    #[test]
    fn each_second_has_its_lines_and_bytes() {
        let mut budget = budget(2, 100);
        let begun = budget.second;
        let taken = |budget: &mut LogBudget, bytes: &[usize], at: Instant| {
            bytes.iter().map(|bytes| budget.take_at(at, *bytes)).collect::<Vec<_>>()
        };
        assert_eq!(taken(&mut budget, &[1, 1, 1], begun), [true, true, false], "two lines");
        assert_eq!(taken(&mut budget, &[60, 60, 40], begun + SECOND), [true, false, true], "100 bytes");
        assert_eq!(taken(&mut budget, &[101], begun + 3 * SECOND), [false]);
        assert_eq!(budget.take_dropped(begun), Some(3));
        assert_eq!(taken(&mut budget, &[1, 1, 1], begun + SECOND * 7 / 2), [true, true, false]);
        assert_eq!(budget.take_dropped(begun + SECOND / 2), None, "told less than a second ago");
        assert_eq!(budget.take_dropped(begun + SECOND), Some(1));
        assert_eq!(budget.take_dropped(begun + 9 * SECOND), None, "nothing to tell");
    }
}
