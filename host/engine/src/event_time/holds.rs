//! A clock of rows that a stage made which holds rows back: when it shows the times of the rows that have come.
//!
//! What the stage puts out later may be made of older rows than what it has put out, so its own rows say nothing about what
//! is still to come. The stage tells two times with each batch (see [`Hold`]): when what it holds is no older than the newest
//! of which its rows were made up to some batch, nothing that comes is older than those rows. So a clock waits for that. The
//! times of both stages need not be the same, only run the same way.

use millstream_base::context::Hold;
use std::collections::VecDeque;

/// What such a clock has seen and may not show, and what it shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldClock {
    /// The time that it shows.
    pub shown_us: Option<i64>,
    /// How far the stage had come, and the greatest time of its rows then; both grow.
    pub waiting: VecDeque<(i64, i64)>,
}

/// Most entries that wait. Where there are more, every other one waits for the one behind it.
const WAITING_MAX: usize = 64;

impl HeldClock {
    /// A batch is complete, which brought rows up to `max_us` if any.
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
            let mut place = 0;
            self.waiting.retain(|_| {
                place += 1;
                place % 2 == 0 || place > WAITING_MAX
            });
        }
    }

    /// The times of both stages are the same, and the greatest that the clock has seen is `max_us`: so much of it is shown as is older than
    /// all that is still to come. All rows of a backlog may come in one batch, and none behind it.
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
        let mut held = HeldClock::default();
        held.batch(hold(3, 10), Some(12));
        assert_eq!(held.shown_us, None, "what is 3 old is still to come");
        held.batch(hold(9, 20), Some(25));
        held.batch(hold(10, 21), None);
        assert_eq!(held.shown_us, Some(12));
        held.batch(Hold::default(), None);
        held.batch(hold(25, 25), Some(20));
        assert_eq!((held.shown_us, held.waiting.len()), (Some(25), 0));
    }

    #[test]
    fn however_long_the_stage_holds_back_little_is_remembered() {
        for case in 0..100 {
            let mut random = Random(case);
            let mut held = HeldClock::default();
            let (mut until, mut from, mut all, mut exact) = (0, 0, Vec::new(), None::<i64>);
            for _ in 0..2_000 {
                until += random.below(5) as i64;
                if random.below(300) == 0 {
                    from = random.below(until as u64 + 1) as i64;
                }
                all.push((until, 2 * until));
                held.batch(hold(from, until), Some(2 * until));
                // What the stage holds may be older than what it held before; what was shown stays.
                exact = exact.max(all.iter().filter(|(until, _)| *until <= from).map(|(_, time)| *time).max());
                assert!(held.shown_us <= exact, "case {case}");
                assert!(held.waiting.len() <= WAITING_MAX + 1, "case {case}");
            }
            held.batch(hold(until, until), None);
            assert_eq!(held.shown_us, Some(2 * until), "case {case}");
        }
    }
}
