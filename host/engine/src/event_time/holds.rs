//! Clocks of rows made by a stage that holds rows back: when such a clock shows the times of the rows that have come.
//!
//! The later output of the stage may be computed from older rows than its output so far. So its own rows do not bound what is still to come. The
//! stage reports two times with each batch (see [`Hold`]): the oldest row it still holds, and the newest from which it has emitted rows. Once what it
//! holds is no older than the newest time of some batch, nothing older than the rows of that batch can come. The clock waits for that. The times of
//! both stages need not be the same, only run in the same direction.

use millstream_base::context::Hold;
use std::collections::VecDeque;

/// What such a clock has seen and must not show yet, and what it shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldClock {
    /// The time that it shows.
    pub shown_us: Option<i64>,
    /// How far the stage had come, and the greatest time of its rows then; both increase.
    pub waiting: VecDeque<(i64, i64)>,
}

/// Maximum waiting entries. If there are more, every other one is merged into the next.
const WAITING_MAX: usize = 64;

impl HeldClock {
    /// Applies a complete batch, which brought rows up to `max_us`, if any.
    pub fn batch(&mut self, hold: Hold, max_us: Option<i64>) {
        if let (Some(max_us), Some(until_us)) = (max_us, hold.until_us)
            && self.waiting.back().map_or(self.shown_us, |(_, last)| Some(*last)) < Some(max_us)
        {
            let until_us = self.waiting.back().map_or(until_us, |(last, _)| until_us.max(*last));
            self.waiting.push_back((until_us, max_us));
        }
        while let Some((_, max_us)) = self.waiting.pop_front_if(|(until_us, _)| Some(*until_us) <= hold.from_us) {
            self.shown_us = self.shown_us.max(Some(max_us));
        }
        if self.waiting.len() > WAITING_MAX {
            let mut index = 0;
            self.waiting.retain(|_| {
                index += 1;
                index % 2 == 0 || index > WAITING_MAX
            });
        }
    }

    /// Shows the part of `max_us`, the greatest time seen, that is older than everything still to come. For stages with the same times. It is needed
    /// as all rows of a backlog may come in one batch, with none after it.
    pub fn same_times(&mut self, hold: Hold, max_us: Option<i64>) {
        self.shown_us = self.shown_us.max(hold.from_us.min(max_us));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_base::random::Random;

    fn hold(from_us: i64, until_us: i64) -> Hold {
        Hold { from_us: Some(from_us), until_us: Some(until_us) }
    }

    #[test]
    fn times_are_shown_when_nothing_older_is_held() {
        let mut held_clock = HeldClock::default();
        held_clock.batch(hold(3, 10), Some(12));
        assert_eq!(held_clock.shown_us, None, "what is 3 old is still to come");
        held_clock.batch(hold(9, 20), Some(25));
        held_clock.batch(hold(10, 21), None);
        assert_eq!(held_clock.shown_us, Some(12));
        held_clock.batch(Hold::default(), None);
        held_clock.batch(hold(25, 25), Some(20));
        assert_eq!((held_clock.shown_us, held_clock.waiting.len()), (Some(25), 0));
    }

    #[test]
    fn however_long_the_stage_holds_back_little_is_remembered() {
        for case in 0..100 {
            let mut random = Random(case);
            let mut held_clock = HeldClock::default();
            let (mut until, mut from, mut all, mut exact) = (0, 0, Vec::new(), None::<i64>);
            for _ in 0..2_000 {
                until += random.below(5) as i64;
                if random.below(300) == 0 {
                    from = random.below(until as u64 + 1) as i64;
                }
                all.push((until, 2 * until));
                held_clock.batch(hold(from, until), Some(2 * until));
                // The stage may hold rows older than those it held before; the time shown does not go back.
                exact = exact.max(all.iter().filter(|(until, _)| *until <= from).map(|(_, time)| *time).max());
                assert!(held_clock.shown_us <= exact, "case {case}");
                assert!(held_clock.waiting.len() <= WAITING_MAX + 1, "case {case}");
            }
            held_clock.batch(hold(until, until), None);
            assert_eq!(held_clock.shown_us, Some(2 * until), "case {case}");
        }
    }
}
