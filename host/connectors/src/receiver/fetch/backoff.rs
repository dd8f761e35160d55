//! How long to wait before another attempt to connect: longer from attempt to attempt, and never as long as all others wait
//! who were turned away at the same time.

use crate::limits::HTTP_RETRY_AFTER_MS_MAX;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(30);
const AFTER_MAX: Duration = Duration::from_millis(HTTP_RETRY_AFTER_MS_MAX);

/// The pauses between attempts.
pub struct Backoff {
    /// The first one.
    least: Duration,
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff { least: PAUSE_MIN, next: PAUSE_MIN }
    }
}

impl Backoff {
    /// It works: the next pause is a short one.
    pub fn reset(&mut self) {
        self.next = self.least;
    }

    /// The server says how long to wait before an attempt.
    pub fn at_least(&mut self, least: Duration) {
        self.least = least.clamp(PAUSE_MIN, PAUSE_MAX);
        self.next = self.least;
    }

    /// The next pause; at least as long as the server said this time, within bounds.
    pub fn next(&mut self, after: Option<Duration>) -> Duration {
        let spread = RandomState::new().hash_one(0_u8) % 1000;
        let pause = self.next.mul_f64(0.5 + spread as f64 / 1000.0);
        self.next = (self.next * 2).min(PAUSE_MAX);
        pause.max(after.unwrap_or_default().min(AFTER_MAX))
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
        assert_eq!(backoff.next(Some(Duration::from_secs(1_000_000))), AFTER_MAX);
        backoff.reset();
        assert!(backoff.next(None) <= PAUSE_MIN * 3 / 2);
        backoff.at_least(Duration::ZERO);
        assert!(backoff.next(None) >= PAUSE_MIN / 2);
        backoff.at_least(Duration::from_secs(u64::MAX / 2_000));
        assert!(backoff.next(None) <= PAUSE_MAX * 3 / 2);
    }
}
