//! When the next batch begins: a pure decision over facts, so that time can be simulated.

use millstream_base::ids::BatchTime;
use millstream_base::time::microseconds;
use millstream_job::spec::{ClockSpec, JobSpec};
use std::time::Duration;

/// Maximum batches of a backlog in progress at a time: one is cut and decoded while the previous one is processed.
const BACKLOG_IN_FLIGHT_MAX: u64 = 2;

/// The batch rules of a job.
#[derive(Clone, Debug)]
pub struct Pace {
    interval_us: i64,
    clock: ClockSpec,
    in_flight_max: u64,
    /// The boundary after which the next batch begins (wall clock with an interval, or with `beat_us`).
    boundary: BatchTime,
    /// Without an interval: a batch begins after this long without rows, as stages with `idle` depend on the passing of time.
    beat_us: Option<i64>,
}

/// Limits of the interval between empty batches if the job has no interval, whatever `idle` is.
const BEAT_US: (i64, i64) = (10_000, 1_000_000);

/// The inputs of the decision.
#[derive(Clone, Copy, Debug)]
pub struct PaceInput {
    /// The machine's clock.
    pub now: BatchTime,
    /// The id that the next batch will have.
    pub next_batch: u64,
    /// Batches begun and not committed.
    pub in_flight: u64,
    /// Some source has something for a batch.
    pub any_ready: bool,
    /// Waiting for the next boundary gains nothing. Either a complete batch of some source waits, so that its receiver waits as well. Or no source
    /// will receive anything more, and a batch takes everything that waits.
    pub backlog: bool,
    /// Every source has something for a batch or will never have anything again.
    pub all_ready_or_finished: bool,
    /// No source will receive anything more.
    pub all_finished: bool,
    /// The job is to end once everything that waits is processed.
    pub stop: bool,
    /// A batch is requested even if no rows wait.
    pub requested: bool,
}

/// The next action for batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaceStep {
    /// Begin a batch with this time.
    Begin(BatchTime),
    /// Do nothing for this long, or until something happens.
    Wait(Option<Duration>),
    /// No more batches come.
    Close,
}

impl Pace {
    /// Creates the rules of this job, started at `now`.
    pub fn new(spec: &JobSpec, now: BatchTime) -> Pace {
        let interval_us = i64::try_from(spec.batch.as_micros()).unwrap_or(i64::MAX);
        let idle = spec.stages.iter().filter_map(|stage| stage.event_time.as_ref()?.idle).min();
        let beat_us = idle.filter(|_| interval_us == 0);
        let beat_us = beat_us.map(|idle| (microseconds(idle) / 2).clamp(BEAT_US.0, BEAT_US.1));
        let boundary = next_boundary(now, interval_us);
        Pace { interval_us, clock: spec.clock, in_flight_max: spec.in_flight_max.max(1), boundary, beat_us }
    }

    /// Decides. After `Begin` the next call is about the next batch.
    pub fn step(&mut self, facts: &PaceInput) -> PaceStep {
        if facts.in_flight >= self.in_flight_max {
            return PaceStep::Wait(None);
        }
        if self.clock == ClockSpec::Manual {
            return self.manual(facts);
        }
        if !facts.any_ready && (facts.all_finished || facts.stop) {
            return PaceStep::Close;
        }
        if self.interval_us == 0 || facts.stop {
            return self.immediate(facts);
        }
        if facts.now < self.boundary {
            // A backlog is processed as fast as the job can, not one batch per interval.
            if facts.backlog && facts.in_flight < BACKLOG_IN_FLIGHT_MAX {
                return PaceStep::Begin(facts.now);
            }
            let left = self.boundary.0.saturating_sub(facts.now.0);
            return PaceStep::Wait(Some(Duration::from_micros(left.unsigned_abs())));
        }
        // A job that fell behind continues at the last boundary that has passed. It catches up with larger batches, not with a burst of empty ones.
        let next = next_boundary(facts.now, self.interval_us);
        self.boundary = next;
        PaceStep::Begin(BatchTime(next.0.saturating_sub(self.interval_us)))
    }

    /// Begins a batch as soon as something waits.
    fn immediate(&mut self, facts: &PaceInput) -> PaceStep {
        let beat_us = self.beat_us.filter(|_| !facts.stop);
        if facts.any_ready || facts.requested || beat_us.is_some() && facts.now >= self.boundary {
            self.boundary = BatchTime(facts.now.0.saturating_add(beat_us.unwrap_or_default()));
            return PaceStep::Begin(facts.now);
        }
        let left = beat_us.map(|_| self.boundary.0.saturating_sub(facts.now.0).unsigned_abs());
        PaceStep::Wait(left.map(Duration::from_micros))
    }

    /// Virtual time: batch i has time i × interval.
    fn manual(&self, facts: &PaceInput) -> PaceStep {
        if facts.stop || (facts.all_finished && !facts.any_ready) {
            PaceStep::Close
        } else if facts.all_ready_or_finished {
            let batch = i64::try_from(facts.next_batch).unwrap_or(i64::MAX);
            PaceStep::Begin(BatchTime(batch.saturating_mul(self.interval_us)))
        } else {
            PaceStep::Wait(None)
        }
    }
}

/// Returns the first multiple of the interval after `now`.
fn next_boundary(now: BatchTime, interval_us: i64) -> BatchTime {
    if interval_us == 0 {
        return now;
    }
    BatchTime(now.0.div_euclid(interval_us).saturating_add(1).saturating_mul(interval_us))
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_job::spec::{EventTimeSpec, StageSpec};

    const SECOND: i64 = 1_000_000;

    fn pace(batch_ms: u64, clock: ClockSpec) -> Pace {
        let spec = JobSpec { batch: Duration::from_millis(batch_ms), clock, in_flight_max: 2, ..JobSpec::default() };
        Pace::new(&spec, BatchTime(10 * SECOND + 300_000))
    }

    fn facts(now: i64) -> PaceInput {
        PaceInput {
            now: BatchTime(now),
            next_batch: 1,
            in_flight: 0,
            any_ready: false,
            backlog: false,
            all_ready_or_finished: false,
            all_finished: false,
            stop: false,
            requested: false,
        }
    }

    #[test]
    fn an_interval_begins_at_its_boundaries_also_without_data() {
        let mut pace = pace(1000, ClockSpec::Wall);
        let early = pace.step(&facts(10 * SECOND + 400_000));
        assert_eq!(early, PaceStep::Wait(Some(Duration::from_millis(600))));
        let requested = PaceInput { requested: true, ..facts(10 * SECOND + 400_000) };
        assert_eq!(pace.step(&requested), early, "the next one is not far");
        assert_eq!(pace.step(&facts(11 * SECOND)), PaceStep::Begin(BatchTime(11 * SECOND)));
        assert_eq!(pace.step(&facts(11 * SECOND)), PaceStep::Wait(Some(Duration::from_secs(1))));
        assert_eq!(pace.step(&facts(14 * SECOND + 5)), PaceStep::Begin(BatchTime(14 * SECOND)));
        assert_eq!(pace.step(&facts(14 * SECOND + 9)), PaceStep::Wait(Some(Duration::from_micros(999_991))));
    }

    #[test]
    fn a_backlog_waits_for_no_boundary() {
        let mut pace = pace(1000, ClockSpec::Wall);
        let backlog = PaceInput { any_ready: true, backlog: true, ..facts(10 * SECOND + 400_000) };
        assert_eq!(pace.step(&backlog), PaceStep::Begin(BatchTime(10 * SECOND + 400_000)));
        let second = PaceInput { in_flight: 1, now: BatchTime(10 * SECOND + 500_000), ..backlog };
        assert_eq!(pace.step(&PaceInput { in_flight: 2, ..second }), PaceStep::Wait(None), "no more than the job lets");
        assert_eq!(pace.step(&second), PaceStep::Begin(second.now));
        let mut deeper = Pace { in_flight_max: 4, ..pace.clone() };
        let waits = PaceStep::Wait(Some(Duration::from_millis(500)));
        assert_eq!(deeper.step(&PaceInput { in_flight: 2, ..second }), waits, "one after the other");
        // The boundaries do not move.
        assert_eq!(
            pace.step(&PaceInput { now: BatchTime(11 * SECOND), ..backlog }),
            PaceStep::Begin(BatchTime(11 * SECOND))
        );
        assert_eq!(pace.step(&facts(11 * SECOND)), PaceStep::Wait(Some(Duration::from_secs(1))));
    }

    #[test]
    fn without_an_interval_data_begins_a_batch() {
        let mut pace = pace(0, ClockSpec::Wall);
        assert_eq!(pace.step(&facts(5)), PaceStep::Wait(None));
        assert_eq!(pace.step(&PaceInput { any_ready: true, ..facts(6) }), PaceStep::Begin(BatchTime(6)));
        assert_eq!(pace.step(&PaceInput { requested: true, ..facts(7) }), PaceStep::Begin(BatchTime(7)));
        assert_eq!(pace.step(&PaceInput { requested: true, stop: true, ..facts(8) }), PaceStep::Close);
    }

    #[test]
    fn without_an_interval_time_passes_for_stages_with_idle() {
        let mut stage = StageSpec::union("timed", ["in"]);
        stage.event_time = Some(EventTimeSpec::new("at").idle(Duration::from_millis(600)));
        let spec = JobSpec { batch: Duration::ZERO, stages: vec![stage], ..JobSpec::default() };
        let mut pace = Pace::new(&spec, BatchTime(SECOND));
        assert_eq!(pace.step(&facts(SECOND)), PaceStep::Begin(BatchTime(SECOND)));
        let wait = |ms| PaceStep::Wait(Some(Duration::from_millis(ms)));
        assert_eq!(pace.step(&facts(SECOND)), wait(300));
        assert_eq!(
            pace.step(&PaceInput { any_ready: true, ..facts(SECOND + 200_000) }),
            PaceStep::Begin(BatchTime(SECOND + 200_000))
        );
        assert_eq!(pace.step(&facts(SECOND + 400_000)), wait(100));
        assert_eq!(pace.step(&facts(SECOND + 500_000)), PaceStep::Begin(BatchTime(SECOND + 500_000)));
        assert_eq!(pace.step(&PaceInput { stop: true, ..facts(SECOND + 900_000) }), PaceStep::Close);
    }

    #[test]
    fn batches_in_flight_are_bounded() {
        let mut pace = pace(0, ClockSpec::Wall);
        assert_eq!(pace.step(&PaceInput { any_ready: true, in_flight: 2, ..facts(6) }), PaceStep::Wait(None));
        assert_eq!(pace.step(&PaceInput { any_ready: true, in_flight: 1, ..facts(6) }), PaceStep::Begin(BatchTime(6)));
    }

    #[test]
    fn a_stop_processes_what_waits_at_once() {
        let mut pace = pace(1000, ClockSpec::Wall);
        let now = 10 * SECOND + 400_000;
        assert_eq!(
            pace.step(&PaceInput { any_ready: true, stop: true, ..facts(now) }),
            PaceStep::Begin(BatchTime(now))
        );
        assert_eq!(pace.step(&PaceInput { stop: true, ..facts(now) }), PaceStep::Close);
        assert_eq!(pace.step(&PaceInput { all_finished: true, ..facts(now) }), PaceStep::Close);
    }

    #[test]
    fn virtual_time_waits_for_every_queue() {
        let mut pace = pace(500, ClockSpec::Manual);
        let some = PaceInput { next_batch: 3, any_ready: true, ..facts(0) };
        assert_eq!(pace.step(&some), PaceStep::Wait(None));
        let all = PaceInput { all_ready_or_finished: true, ..some };
        assert_eq!(pace.step(&all), PaceStep::Begin(BatchTime(1_500_000)));
        assert_eq!(pace.step(&PaceInput { all_finished: true, any_ready: false, ..all }), PaceStep::Close);
    }
}
