//! The rate of a count over the last seconds, as an average since startup says little about a job that runs for days.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The rate covers this number of full seconds and the current one.
const SECONDS: u64 = 10;

/// The history of a count that its rate needs.
pub struct Rate {
    since: Instant,
    /// The last second in which something was counted, plus one.
    last: AtomicU64,
    /// For each of the last seconds in which something was counted: its number, and the count at its first change.
    begun: Mutex<VecDeque<(u64, u64)>>,
}

impl Default for Rate {
    fn default() -> Rate {
        Rate { since: Instant::now(), last: AtomicU64::new(0), begun: Mutex::default() }
    }
}

impl Rate {
    /// Called before the count changes from `before`.
    pub fn counts(&self, before: u64) {
        self.counts_after(self.since.elapsed(), before);
    }

    /// Returns the rate per second if the count is `now`.
    pub fn per_second(&self, now: u64) -> u64 {
        self.per_second_after(self.since.elapsed(), now)
    }

    fn counts_after(&self, age: Duration, before: u64) {
        let second = age.as_secs();
        // Most changes are not the first of their second.
        if self.last.swap(second + 1, Ordering::Relaxed) == second + 1 {
            return;
        }
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.push_back((second, before));
        while begun.len() as u64 > SECONDS + 2 {
            begun.pop_front();
        }
    }

    fn per_second_after(&self, age: Duration, now: u64) -> u64 {
        let from = age.as_secs().saturating_sub(SECONDS);
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let before = begun.iter().find(|(second, _)| *second >= from).map_or(now, |(_, before)| *before);
        let ms = age.saturating_sub(Duration::from_secs(from)).as_millis().max(1) as u64;
        now.saturating_sub(before).saturating_mul(1000) / ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let rate = Rate::default();
        let ms = Duration::from_millis;
        assert_eq!(rate.per_second_after(ms(0), 0), 0);
        let mut count = 0;
        // 100/s for half a minute, then ten.
        for tick in 0..300 {
            rate.counts_after(ms(tick * 100), count);
            count += 10;
        }
        assert_eq!(rate.per_second_after(ms(29_999), count), 100);
        for second in 30..60 {
            rate.counts_after(ms(second * 1000 + 1), count);
            count += 10;
        }
        assert_eq!(rate.per_second_after(ms(59_999), count), 10);
        assert_eq!(rate.per_second_after(ms(120_000), count), 0, "nothing came for a minute");
    }

    #[test]
    fn it_is_right_from_the_first_moment_on() {
        let rate = Rate::default();
        rate.counts_after(Duration::from_millis(100), 0);
        assert_eq!(rate.per_second_after(Duration::from_millis(500), 50), 100);
    }
}
