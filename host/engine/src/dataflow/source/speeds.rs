//! How fast workers are, from what they have done lately.

use crate::running::loads::SourceLoad;
use std::time::{Duration, Instant};

/// What workers have done is looked at so often at most.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// After so long what was before counts half.
const HALF_LIFE_SECONDS: f64 = 1.0;
/// Who has decoded less than this, or was busy for less, has shown nothing.
const SHOWN_BYTES_MIN: f64 = (16 << 10) as f64;
const SHOWN_US_MIN: f64 = 1_000.0;
/// No worker counts as slower than this part of the fastest: it would never have anything to show that it is fast again.
const SLOWEST: f64 = 1.0 / 16.0;
/// Of a job that has shown nothing yet: bytes by microsecond.
const USUAL: f64 = 10.0;

/// The speed of each worker with one source. A worker's speed is how much it decodes while it works, on whatever: so one that others take the
/// processor from, or that has other work to do, is slow, and has as much to do as the others once it gets as much less.
pub struct Speeds {
    workers: Vec<WorkerSpeed>,
    looked: Option<Instant>,
    /// That of the fastest.
    fastest: f64,
}

/// How fast a worker has shown to be.
#[derive(Clone, Default)]
struct WorkerSpeed {
    /// Its load as of the last look.
    seen: SourceLoad,
    /// What of that counts.
    busy_us: f64,
    bytes: f64,
    /// Bytes by microsecond, once it has shown enough.
    speed: Option<f64>,
}

impl Speeds {
    /// Of so many workers, of which nothing is known: all are as fast.
    pub fn new(workers: usize) -> Speeds {
        Speeds { workers: vec![WorkerSpeed::default(); workers], looked: None, fastest: USUAL }
    }

    /// Looks at the loads of all workers, if it is time.
    pub fn look(&mut self, now: Instant, loads: &[SourceLoad]) {
        let passed = self.looked.map(|looked| now.saturating_duration_since(looked));
        if passed.is_some_and(|passed| passed < LOOK_EVERY) {
            return;
        }
        self.looked = Some(now);
        let kept = passed.map_or(0.0, |passed| 0.5f64.powf(passed.as_secs_f64() / HALF_LIFE_SECONDS));
        for (shown, load) in self.workers.iter_mut().zip(loads) {
            let seen = std::mem::replace(&mut shown.seen, *load);
            shown.busy_us = shown.busy_us * kept + load.busy_us.saturating_sub(seen.busy_us) as f64;
            shown.bytes = shown.bytes * kept + load.decoded_bytes.saturating_sub(seen.decoded_bytes) as f64;
            if shown.bytes >= SHOWN_BYTES_MIN && shown.busy_us >= SHOWN_US_MIN {
                shown.speed = Some(shown.bytes / shown.busy_us);
            }
        }
        let known = self.workers.iter().filter_map(|shown| shown.speed);
        self.fastest = known.reduce(f64::max).unwrap_or(USUAL);
    }

    /// Whether a worker has shown how fast it is.
    pub fn is_known(&self, worker: usize) -> bool {
        self.workers.get(worker).is_some_and(|shown| shown.speed.is_some())
    }

    /// The speed of a worker in bytes by microsecond; one that has shown nothing is as fast as the fastest.
    pub fn of(&self, worker: usize) -> f64 {
        let shown = self.workers.get(worker).and_then(|shown| shown.speed);
        shown.unwrap_or(self.fastest).max(self.fastest * SLOWEST)
    }

    /// Which part of the speeds of all these workers have.
    #[cfg(test)]
    pub fn share(&self, workers: impl Iterator<Item = usize>) -> f64 {
        let all: f64 = (0..self.workers.len()).map(|worker| self.of(worker)).sum();
        workers.map(|worker| self.of(worker)).sum::<f64>() / all.max(f64::MIN_POSITIVE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(busy_us: u64, decoded_bytes: u64) -> SourceLoad {
        SourceLoad { busy_us, decoded_bytes, ..SourceLoad::default() }
    }

    /// Workers that take so many microseconds for 1,000 bytes, and so many in each round whatever they decode: their shares after so many
    /// rounds of 100 ms and of 1 MB.
    fn settled(costs: &[(f64, f64)], rounds: u32) -> Vec<f64> {
        let (begun, mut speeds) = (Instant::now(), Speeds::new(costs.len()));
        let mut loads = vec![load(0, 0); costs.len()];
        for round in 0..rounds {
            for (worker, (by_1000_bytes, always)) in costs.iter().enumerate() {
                let bytes = 1e6 * speeds.share([worker].into_iter());
                loads[worker].busy_us += (always + by_1000_bytes * bytes / 1000.0) as u64;
                loads[worker].decoded_bytes += bytes as u64;
            }
            speeds.look(begun + LOOK_EVERY * (round + 1), &loads);
        }
        (0..costs.len()).map(|worker| speeds.share([worker].into_iter())).collect()
    }

    fn near(shares: &[f64], expected: &[f64]) -> bool {
        shares.iter().zip(expected).all(|(share, expected)| (share - expected).abs() < 0.02)
    }

    #[test]
    fn who_needs_four_times_as_long_gets_a_quarter() {
        assert_eq!(settled(&[(10.0, 0.0), (10.0, 0.0)], 5), [0.5, 0.5]);
        let shares = settled(&[(10.0, 0.0), (40.0, 0.0), (10.0, 0.0)], 30);
        assert!(near(&shares, &[4.0 / 9.0, 1.0 / 9.0, 4.0 / 9.0]), "{shares:?}");
    }

    #[test]
    fn who_has_other_work_gets_less_until_all_work_for_as_long() {
        // 5,000 us of other work in a round of 1 MB, which takes 10,000 us altogether.
        let shares = settled(&[(10.0, 5_000.0), (10.0, 0.0)], 100);
        assert!(near(&shares, &[0.25, 0.75]), "{shares:?}");
        let shares = settled(&[(10.0, 50_000.0), (10.0, 0.0)], 100);
        assert!(near(&shares, &[0.06, 0.94]), "{shares:?}: it must still show what it can");
    }

    #[test]
    fn what_was_long_ago_does_not_count_and_nothing_says_nothing() {
        let mut speeds = Speeds::new(2);
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let of_100 = |speeds: &Speeds| (speeds.of(0) / speeds.of(1) * 100.0).round();
        assert_eq!((of_100(&speeds), speeds.is_known(0)), (100.0, false));
        speeds.look(at(0), &[load(40_000, 1 << 20), load(10_000, 1 << 20)]);
        assert_eq!((of_100(&speeds), speeds.is_known(0)), (25.0, true));
        speeds.look(at(50), &[load(50_000, 9 << 20), load(20_000, 2 << 20)]);
        speeds.look(at(900), &[load(40_001, 1 << 20), load(10_001, 1 << 20)]);
        assert_eq!(of_100(&speeds), 25.0, "too early to look, and then nothing new");
        speeds.look(at(60_000), &[load(50_001, 2 << 20), load(20_001, 2 << 20)]);
        assert_eq!(of_100(&speeds), 100.0);
    }
}
