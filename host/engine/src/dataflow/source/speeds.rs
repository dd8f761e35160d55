//! Estimates the speed of workers from what they have done lately.

use crate::running::loads::SourceLoad;
use std::time::{Duration, Instant};

/// Minimum interval between two updates.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Earlier work counts half after this time.
const HALF_LIFE_SECONDS: f64 = 1.0;
/// A worker that has decoded less than this, or was busy for less, has no known speed.
const KNOWN_BYTES_MIN: f64 = (16 << 10) as f64;
const KNOWN_US_MIN: f64 = 1_000.0;
/// No worker counts as slower than this fraction of the fastest: otherwise it would get no work to prove that it is fast again.
const SLOWEST: f64 = 1.0 / 16.0;
/// The initial speed of a job: bytes per microsecond.
const USUAL: f64 = 10.0;

/// The speed of each worker with one source: how much it decodes while it is busy, with whatever work. A worker that shares its processor, or has
/// other work to do, is therefore slow. It gets less, so that all have the same to do.
pub struct Speeds {
    workers: Vec<WorkerSpeed>,
    looked: Option<Instant>,
    /// The speed of the fastest.
    fastest: f64,
}

/// The estimated speed of a worker.
#[derive(Clone, Default)]
struct WorkerSpeed {
    /// Its load at the last update.
    last_load: SourceLoad,
    /// The decayed sum of its busy time.
    busy_us: f64,
    bytes: f64,
    /// Bytes per microsecond, once it is known.
    speed: Option<f64>,
}

impl Speeds {
    /// Creates it for this number of workers, which count as equally fast.
    pub fn new(workers: usize) -> Speeds {
        Speeds { workers: vec![WorkerSpeed::default(); workers], looked: None, fastest: USUAL }
    }

    /// Updates the speeds from the loads of all workers, if it is time.
    pub fn update(&mut self, now: Instant, loads: &[SourceLoad]) {
        let passed = self.looked.map(|looked| now.saturating_duration_since(looked));
        if passed.is_some_and(|passed| passed < LOOK_EVERY) {
            return;
        }
        self.looked = Some(now);
        let kept = passed.map_or(0.0, |passed| 0.5f64.powf(passed.as_secs_f64() / HALF_LIFE_SECONDS));
        for (shown, load) in self.workers.iter_mut().zip(loads) {
            let last_load = std::mem::replace(&mut shown.last_load, *load);
            shown.busy_us = shown.busy_us * kept + load.busy_us.saturating_sub(last_load.busy_us) as f64;
            shown.bytes = shown.bytes * kept + load.decoded_bytes.saturating_sub(last_load.decoded_bytes) as f64;
            if shown.bytes >= KNOWN_BYTES_MIN && shown.busy_us >= KNOWN_US_MIN {
                shown.speed = Some(shown.bytes / shown.busy_us);
            }
        }
        let known = self.workers.iter().filter_map(|shown| shown.speed);
        self.fastest = known.reduce(f64::max).unwrap_or(USUAL);
    }

    /// Returns whether the speed of a worker is known.
    pub fn is_known(&self, worker: usize) -> bool {
        self.workers.get(worker).is_some_and(|shown| shown.speed.is_some())
    }

    /// Returns the speed of a worker in bytes per microsecond; an unknown one counts as fast as the fastest.
    pub fn speed(&self, worker: usize) -> f64 {
        let shown = self.workers.get(worker).and_then(|shown| shown.speed);
        shown.unwrap_or(self.fastest).max(self.fastest * SLOWEST)
    }

    /// Returns the share of these workers in the sum of all speeds.
    #[cfg(test)]
    pub fn share(&self, workers: impl Iterator<Item = usize>) -> f64 {
        let all: f64 = (0..self.workers.len()).map(|worker| self.speed(worker)).sum();
        workers.map(|worker| self.speed(worker)).sum::<f64>() / all.max(f64::MIN_POSITIVE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(busy_us: u64, decoded_bytes: u64) -> SourceLoad {
        SourceLoad { busy_us, decoded_bytes, ..SourceLoad::default() }
    }

    /// Simulates workers with these costs (microseconds per 1,000 bytes, and per round for other work). Returns their shares after this many rounds
    /// of 100 ms and 1 MB.
    fn simulate_shares(costs: &[(f64, f64)], rounds: u32) -> Vec<f64> {
        let (begun, mut speeds) = (Instant::now(), Speeds::new(costs.len()));
        let mut loads = vec![load(0, 0); costs.len()];
        for round in 0..rounds {
            for (worker, (by_1000_bytes, always)) in costs.iter().enumerate() {
                let bytes = 1e6 * speeds.share([worker].into_iter());
                loads[worker].busy_us += (always + by_1000_bytes * bytes / 1000.0) as u64;
                loads[worker].decoded_bytes += bytes as u64;
            }
            speeds.update(begun + LOOK_EVERY * (round + 1), &loads);
        }
        (0..costs.len()).map(|worker| speeds.share([worker].into_iter())).collect()
    }

    fn is_near(shares: &[f64], expected: &[f64]) -> bool {
        shares.iter().zip(expected).all(|(share, expected)| (share - expected).abs() < 0.02)
    }

    #[test]
    fn who_needs_four_times_as_long_gets_a_quarter() {
        assert_eq!(simulate_shares(&[(10.0, 0.0), (10.0, 0.0)], 5), [0.5, 0.5]);
        let shares = simulate_shares(&[(10.0, 0.0), (40.0, 0.0), (10.0, 0.0)], 30);
        assert!(is_near(&shares, &[4.0 / 9.0, 1.0 / 9.0, 4.0 / 9.0]), "{shares:?}");
    }

    #[test]
    fn who_has_other_work_gets_less_until_all_work_for_as_long() {
        // 5,000 us of other work in a round of 1 MB, which takes 10,000 us altogether.
        let shares = simulate_shares(&[(10.0, 5_000.0), (10.0, 0.0)], 100);
        assert!(is_near(&shares, &[0.25, 0.75]), "{shares:?}");
        let shares = simulate_shares(&[(10.0, 50_000.0), (10.0, 0.0)], 100);
        assert!(is_near(&shares, &[0.06, 0.94]), "{shares:?}: it must still show what it can");
    }

    #[test]
    fn what_was_long_ago_does_not_count_and_nothing_says_nothing() {
        let mut speeds = Speeds::new(2);
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let of_100 = |speeds: &Speeds| (speeds.speed(0) / speeds.speed(1) * 100.0).round();
        assert_eq!((of_100(&speeds), speeds.is_known(0)), (100.0, false));
        speeds.update(at(0), &[load(40_000, 1 << 20), load(10_000, 1 << 20)]);
        assert_eq!((of_100(&speeds), speeds.is_known(0)), (25.0, true));
        speeds.update(at(50), &[load(50_000, 9 << 20), load(20_000, 2 << 20)]);
        speeds.update(at(900), &[load(40_001, 1 << 20), load(10_001, 1 << 20)]);
        assert_eq!(of_100(&speeds), 25.0, "too early to look, and then nothing new");
        speeds.update(at(60_000), &[load(50_001, 2 << 20), load(20_001, 2 << 20)]);
        assert_eq!(of_100(&speeds), 100.0);
    }
}
