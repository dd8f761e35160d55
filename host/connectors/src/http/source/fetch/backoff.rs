//! Pauses between attempts to connect. They grow with each attempt and have jitter, so that clients that were rejected together do not return
//! together. They are never shorter than the server requested.

use crate::limits::HTTP_RETRY_AFTER_MS_MAX;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(30);
const AFTER_MAX: Duration = Duration::from_millis(HTTP_RETRY_AFTER_MS_MAX);

/// The pauses between attempts.
pub struct Backoff {
    /// Minimum of all pauses, as requested by the server.
    min: Duration,
    /// The next pause, without jitter and minimum.
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff { min: Duration::ZERO, next: PAUSE_MIN }
    }
}

impl Backoff {
    /// Resets the pause after a success.
    pub fn reset(&mut self) {
        self.next = PAUSE_MIN;
    }

    /// Sets the minimum pause that the server requested, within limits.
    pub fn set_min(&mut self, min: Duration) {
        self.min = min.min(AFTER_MAX);
    }

    /// Returns the next pause; at least `after`, which the server requested this time, within limits.
    pub fn next(&mut self, after: Option<Duration>) -> Duration {
        let spread = RandomState::new().hash_one(0_u8) % 1000;
        let pause = self.next.mul_f64(0.5 + spread as f64 / 1000.0);
        self.next = (self.next * 2).min(PAUSE_MAX);
        // Jitter applies also to the pause that the server requested.
        pause + self.min.max(after.unwrap_or_default().min(AFTER_MAX))
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
        for (requested, min) in [(Duration::ZERO, Duration::ZERO), (PAUSE_MAX * 4, PAUSE_MAX * 4), (most, AFTER_MAX)] {
            backoff.reset();
            let first = backoff.next(Some(requested));
            assert!(first >= min + PAUSE_MIN / 2 && first <= min + PAUSE_MIN * 3 / 2, "{requested:?}: {first:?}");
        }
        for (requested, min) in [(Duration::from_secs(6), Duration::from_secs(6)), (most, AFTER_MAX)] {
            backoff.set_min(requested);
            // Applies to all later attempts, also after a success.
            for _ in 0..20 {
                backoff.reset();
                let pauses: Vec<Duration> = (0..3).map(|_| backoff.next(None)).collect();
                assert!(pauses.iter().all(|pause| *pause >= min + PAUSE_MIN / 2), "{requested:?}: {pauses:?}");
                assert!(pauses[0] <= min + PAUSE_MIN * 3 / 2, "{requested:?}: {pauses:?}");
            }
        }
        assert!(backoff.next(Some(PAUSE_MAX)) >= AFTER_MAX, "the longer one counts");
        backoff.set_min(Duration::ZERO);
        backoff.reset();
        assert!(backoff.next(None) <= PAUSE_MIN * 3 / 2);
    }
}
