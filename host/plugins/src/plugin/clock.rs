//! The clock of time limits: a thread that advances an engine's epoch, by which running code sees that its time is over. Time is counted in
//! ticks of this clock, not of the system's. A process that was stopped and continued by signals thus finds its calls with their remaining
//! time.

use crate::limits::{PLUGIN_CLOCK_GAP_MS_MAX, PLUGIN_CLOCK_PATIENCE_MS};
use millstream_base::error::{Error, Result};
use millstream_base::threads;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};
use wasmtime::Engine;

/// Interval of ticks; a call is stopped at most two ticks late.
const TICK: Duration = Duration::from_millis(5);

/// Number of ticks between checks whether a call is still wanted, if there is such a check: 50 ms.
pub const POLL_EVERY: u64 = 10;

/// The progress of an engine's clock.
pub struct EpochClock {
    began: Instant,
    ticks: AtomicU64,
    /// Up to when ticks are counted, in microseconds since it began.
    moved_us: AtomicU64,
    /// Why it stopped unexpectedly.
    broken: OnceLock<Error>,
}

impl EpochClock {
    /// Starts the clock of an engine. It ends with the engine.
    pub fn start(engine: &Engine) -> Result<Arc<EpochClock>> {
        let (weak, clock) = (engine.weak(), Arc::new(EpochClock::new()));
        let moving = clock.clone();
        let broken = clock.clone();
        let failed = move |error: Error| drop(broken.broken.set(error));
        threads::start("plugin-clock", "the thread for the time limits of plugins", failed, move || {
            moving.keep_ticking(|| {
                let engine = weak.upgrade()?;
                engine.increment_epoch();
                Some(())
            });
        })?;
        Ok(clock)
    }

    fn new() -> EpochClock {
        EpochClock {
            began: Instant::now(),
            ticks: AtomicU64::new(0),
            moved_us: AtomicU64::new(0),
            broken: OnceLock::new(),
        }
    }

    /// Ticks by the system's clock until `tick` returns `None`. A panic does not stop it, because without it no time limit works.
    fn keep_ticking(&self, mut tick: impl FnMut() -> Option<()>) {
        loop {
            let ticked = catch_unwind(AssertUnwindSafe(|| self.catch_up(&mut tick)));
            if let Ok(None) = ticked {
                return;
            }
            thread::sleep(TICK);
        }
    }

    /// Ticks once per elapsed interval: sleeps take longer than requested, and small errors would add up.
    fn catch_up(&self, tick: &mut impl FnMut() -> Option<()>) -> Option<()> {
        let (ticks, moved_us) = ticks_between(self.moved_us.load(Relaxed), micros(self.began.elapsed()));
        for _ in 0..ticks {
            tick()?;
            self.ticks.fetch_add(1, Relaxed);
        }
        self.moved_us.store(moved_us, Relaxed);
        Some(())
    }

    /// Ticks so far.
    #[cfg(test)]
    pub fn now(&self) -> u64 {
        self.ticks.load(Relaxed)
    }

    /// Fails if the clock has stopped, because then no call can be stopped. If the whole process was stopped, it gets a moment to continue.
    pub fn check(&self) -> Result<()> {
        if let Some(error) = self.broken.get() {
            return Err(error.clone());
        }
        if self.is_moving() {
            return Ok(());
        }
        // Counts its own steps, not the time: the process may be stopped again.
        for _ in 0..Duration::from_millis(PLUGIN_CLOCK_PATIENCE_MS).as_millis() / TICK.as_millis() {
            if let Some(error) = self.broken.get() {
                return Err(error.clone());
            }
            thread::sleep(TICK);
            if self.is_moving() {
                return Ok(());
            }
        }
        Err(Error::environment(format!(
            "the timer for plugin time limits does not run, so no plugin could be stopped: the thread \
             `plugin-clock` has not run for more than {PLUGIN_CLOCK_PATIENCE_MS} ms. Restart; if the machine is \
             overloaded, reduce its load."
        )))
    }

    fn is_moving(&self) -> bool {
        let stopped_us = micros(self.began.elapsed()).saturating_sub(self.moved_us.load(Relaxed));
        stopped_us <= PLUGIN_CLOCK_GAP_MS_MAX * 1000
    }

    /// A clock that stopped this long ago.
    #[cfg(test)]
    pub fn stopped(gap: Duration) -> EpochClock {
        EpochClock { began: Instant::now().checked_sub(gap).unwrap(), ..EpochClock::new() }
    }
}

/// Returns the number of ticks between two times, and the time up to which they count. A gap in which the process cannot have run is one
/// tick.
fn ticks_between(moved_us: u64, now_us: u64) -> (u64, u64) {
    let (gap_us, tick_us) = (now_us.saturating_sub(moved_us), micros(TICK));
    if gap_us > PLUGIN_CLOCK_GAP_MS_MAX * 1000 {
        return (1, now_us);
    }
    let ticks = gap_us / tick_us;
    (ticks, moved_us + ticks * tick_us)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The number of ticks after which a call with this limit is stopped; zero: never.
pub fn deadline(limit: Duration) -> u64 {
    // Far beyond the life of any process, and far from overflow.
    const NEVER: u64 = 1 << 60;
    if limit.is_zero() {
        return NEVER;
    }
    let ticks = u64::try_from(limit.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(NEVER).min(NEVER);
    // The current tick has partly passed.
    ticks + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_base::error::Kind;

    const TICK_US: u64 = 5_000;

    #[test]
    fn ticks_follow_the_time_but_not_through_a_standstill() {
        assert_eq!(ticks_between(0, TICK_US - 1), (0, 0));
        assert_eq!(ticks_between(0, TICK_US + 70), (1, TICK_US), "what is over counts for the next tick");
        assert_eq!(ticks_between(TICK_US, 4 * TICK_US), (3, 4 * TICK_US));
        let stopped_us = PLUGIN_CLOCK_GAP_MS_MAX * 1000;
        assert_eq!(ticks_between(7, 7 + stopped_us).0, stopped_us / TICK_US);
        assert_eq!(ticks_between(7, 8 + stopped_us), (1, 8 + stopped_us));
        assert_eq!(ticks_between(9, 7), (0, 9));
    }

    #[test]
    fn a_clock_that_stands_still_is_an_error_that_says_so() {
        let error = EpochClock::stopped(Duration::from_secs(60)).check().unwrap_err();
        assert_eq!(error.kind, Kind::Environment);
        assert!(error.message.contains("the timer for plugin time limits does not run"), "{error}");
        assert!(EpochClock::new().check().is_ok());
    }

    #[test]
    fn a_clock_that_goes_on_is_waited_for_and_a_panic_does_not_stop_it() {
        let clock = Arc::new(EpochClock::stopped(Duration::from_secs(60)));
        let moving = clock.clone();
        let mut calls = 0;
        let thread = thread::spawn(move || {
            moving.keep_ticking(|| {
                calls += 1;
                assert!(calls != 1, "the first tick fails");
                (calls < 5).then_some(())
            });
        });
        clock.check().unwrap();
        thread.join().unwrap();
        assert_eq!(clock.now(), 3);
    }

    #[test]
    fn a_limit_is_a_number_of_ticks() {
        assert_eq!(deadline(Duration::from_millis(50)), 11);
        assert_eq!(deadline(Duration::from_millis(51)), 12);
        assert!(deadline(Duration::ZERO) > 1 << 50 && deadline(Duration::MAX) > 1 << 50);
    }
}
