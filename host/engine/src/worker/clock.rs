//! The clock by which batches begin. It advances like the machine's clock and never goes back. If the machine's clock is set forward, it follows. If
//! that is set back, it continues unchanged. It is then ahead until the machine's clock has caught up, or until the job restarts later than its last
//! batch.

use millstream_base::ids::BatchTime;
use millstream_base::time;
use millstream_base::units::show_time;
use std::time::{Duration, Instant};

/// Smaller steps of the machine's clock are not reported.
const STEP_US: i64 = 1_000_000;

/// The clock of one run of a job.
#[derive(Debug)]
pub struct JobClock {
    started: Instant,
    steady: SteadyClock,
}

impl JobClock {
    /// Creates a clock that starts no earlier than the job's last batch.
    pub fn new(last: BatchTime) -> JobClock {
        let (steady, step) = SteadyClock::new(time::now().0, last.0);
        step.iter().for_each(ClockStep::report);
        JobClock { started: Instant::now(), steady }
    }

    /// Returns the current time. Reports each step of the machine's clock once.
    pub fn now(&mut self) -> BatchTime {
        let since_us = i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX);
        let (now_us, step) = self.steady.now(time::now().0, since_us);
        step.iter().for_each(ClockStep::report);
        BatchTime(now_us)
    }
}

/// A step of the machine's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClockStep {
    /// At startup, the job's last batch was this far ahead of the machine's clock.
    AheadAtStart(i64),
    /// It was set forward by this much, or the machine slept.
    Forward(i64),
    /// It was set back by the first amount, and is behind by the second now.
    Back(i64, i64),
}

impl ClockStep {
    fn report(&self) {
        let format_us = |us: i64| show_time(Duration::from_secs((us.unsigned_abs() + 500_000) / 1_000_000));
        match *self {
            ClockStep::AheadAtStart(us) => tracing::warn!(
                "the machine's clock is {} behind the job's last batch, so it was set back or that batch ran on another \
                 machine; batch times never go back: they continue from that batch",
                format_us(us)
            ),
            ClockStep::Forward(us) => tracing::warn!(
                "the machine's clock went forward by {}: it was set, or the machine slept; batch times follow it",
                format_us(us)
            ),
            ClockStep::Back(us, lag) => tracing::warn!(
                "the machine's clock was set back by {}; batch times never go back: they continue as before, now {} ahead \
                 of it",
                format_us(us),
                format_us(lag)
            ),
        }
    }
}

/// The clock as a pure function of the machine's clock and of the time since startup. All in microseconds.
#[derive(Debug)]
struct SteadyClock {
    /// The time shown by this clock minus the time since startup.
    base_us: i64,
    /// How far the machine's clock is behind this one.
    behind_us: i64,
}

impl SteadyClock {
    fn new(machine_us: i64, last_us: i64) -> (SteadyClock, Option<ClockStep>) {
        let behind_us = last_us.saturating_sub(machine_us).max(0);
        let step = (behind_us >= STEP_US).then_some(ClockStep::AheadAtStart(behind_us));
        (SteadyClock { base_us: machine_us.max(last_us), behind_us }, step)
    }

    fn now(&mut self, machine_us: i64, since_us: i64) -> (i64, Option<ClockStep>) {
        let now_us = self.base_us.saturating_add(since_us);
        let behind_us = now_us.saturating_sub(machine_us);
        if behind_us <= -STEP_US {
            self.base_us = machine_us.saturating_sub(since_us);
            self.behind_us = 0;
            return (machine_us, Some(ClockStep::Forward(behind_us)));
        }
        let step_us = behind_us.saturating_sub(self.behind_us);
        if step_us.saturating_abs() < STEP_US {
            return (now_us, None);
        }
        self.behind_us = behind_us;
        // If the difference becomes smaller, nothing changes for the job.
        (now_us, (step_us > 0).then_some(ClockStep::Back(step_us, behind_us)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000;

    #[test]
    fn it_goes_on_where_the_machines_clock_is_set_back() {
        let (mut clock, step) = SteadyClock::new(1000 * S, i64::MIN);
        assert_eq!(step, None);
        assert_eq!(clock.now(1001 * S, S), (1001 * S, None));
        assert_eq!(clock.now(402 * S, 2 * S), (1002 * S, Some(ClockStep::Back(600 * S, 600 * S))));
        assert_eq!(clock.now(403 * S, 3 * S), (1003 * S, None), "it is told once");
        assert_eq!(clock.now(304 * S, 4 * S), (1004 * S, Some(ClockStep::Back(100 * S, 700 * S))), "each step is told");
        assert_eq!(clock.now(1005 * S, 5 * S), (1005 * S, None), "it was set right");
        assert_eq!(clock.now(1006 * S, 6 * S), (1006 * S, None));
        assert_eq!(
            clock.now(406 * S, 6 * S).1,
            Some(ClockStep::Back(600 * S, 600 * S)),
            "a further step is told again"
        );
    }

    #[test]
    fn it_follows_a_step_forward() {
        let (mut clock, _) = SteadyClock::new(1000 * S, i64::MIN);
        assert_eq!(clock.now(4601 * S, S), (4601 * S, Some(ClockStep::Forward(-3600 * S))));
        assert_eq!(clock.now(4602 * S, 2 * S), (4602 * S, None));
    }

    #[test]
    fn it_begins_behind_the_last_batch() {
        let (mut clock, step) = SteadyClock::new(1000 * S, 4600 * S);
        assert_eq!(step, Some(ClockStep::AheadAtStart(3600 * S)));
        assert_eq!(clock.now(1001 * S, S), (4601 * S, None));
        assert_eq!(clock.now(6000 * S, 2 * S), (6000 * S, Some(ClockStep::Forward(-1398 * S))));
    }

    #[test]
    fn small_steps_are_not_told_and_never_go_back() {
        let (mut clock, _) = SteadyClock::new(1000 * S, i64::MIN);
        let mut last = 0;
        for (i, machine) in [1_000_900_000, 1_000_200_000, 1_001_000_000, 1_000_400_000].into_iter().enumerate() {
            let (now, step) = clock.now(machine, i as i64 * 300_000);
            assert!(now > last && step.is_none(), "{machine}");
            last = now;
        }
    }
}
