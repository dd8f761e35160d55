//! How long to wait before another attempt to connect: longer from attempt to attempt, and never as long as all others wait
//! who were turned away at the same time. What the server says is the least of it.

use crate::limits::HTTP_RETRY_AFTER_MS_MAX;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(30);
const AFTER_MAX: Duration = Duration::from_millis(HTTP_RETRY_AFTER_MS_MAX);

/// The pauses between attempts.
pub struct Backoff {
    /// What the server said for all of them.
    least: Duration,
    /// What is added to that, more or less.
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff { least: Duration::ZERO, next: PAUSE_MIN }
    }
}

impl Backoff {
    /// It works: the next pause is a short one.
    pub fn reset(&mut self) {
        self.next = PAUSE_MIN;
    }

    /// The server says how long to wait before each attempt, within bounds.
    pub fn at_least(&mut self, least: Duration) {
        self.least = least.min(AFTER_MAX);
    }

    /// The next pause; at least as long as the server said this time (`after`), within bounds.
    pub fn next(&mut self, after: Option<Duration>) -> Duration {
        let spread = RandomState::new().hash_one(0_u8) % 1000;
        let pause = self.next.mul_f64(0.5 + spread as f64 / 1000.0);
        self.next = (self.next * 2).min(PAUSE_MAX);
        // Who was told the same does not come back at the same moment either.
        pause + self.least.max(after.unwrap_or_default().min(AFTER_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_within_bounds_and_are_not_alike() {
        let mut backoff = Backoff::default();
        let pauses: Vec<Duration> = (0..20).map(|_| backoff.next(None)).collect();
        assert!(pauses[0] >= PAUSE_MIN / 2 && pauses[0] <= PAUSE_MIN * 3 / 2);
        assert!(pauses[19] >= PAUSE_MAX / 2 && pauses[19] <= PAUSE_MAX * 3 / 2);
        assert!(pauses[15..].iter().any(|pause| *pause != pauses[14]), "{pauses:?}");
        backoff.reset();
        assert!(backoff.next(None) <= PAUSE_MIN * 3 / 2);
    }

    #[test]
    fn what_the_server_says_is_the_least() {
        let mut backoff = Backoff::default();
        let most = Duration::from_secs(1_000_000);
        for (said, least) in [(Duration::ZERO, Duration::ZERO), (PAUSE_MAX * 4, PAUSE_MAX * 4), (most, AFTER_MAX)] {
            backoff.reset();
            let first = backoff.next(Some(said));
            assert!(first >= least + PAUSE_MIN / 2 && first <= least + PAUSE_MIN * 3 / 2, "{said:?}: {first:?}");
        }
        for (said, least) in [(Duration::from_secs(6), Duration::from_secs(6)), (most, AFTER_MAX)] {
            backoff.at_least(said);
            // For all attempts from then on, also those after one that worked.
            for _ in 0..20 {
                backoff.reset();
                let pauses: Vec<Duration> = (0..3).map(|_| backoff.next(None)).collect();
                assert!(pauses.iter().all(|pause| *pause >= least + PAUSE_MIN / 2), "{said:?}: {pauses:?}");
                assert!(pauses[0] <= least + PAUSE_MIN * 3 / 2, "{said:?}: {pauses:?}");
            }
        }
        assert!(backoff.next(Some(PAUSE_MAX)) >= AFTER_MAX, "the longer one counts");
        backoff.at_least(Duration::ZERO);
        backoff.reset();
        assert!(backoff.next(None) <= PAUSE_MIN * 3 / 2);
    }
}
