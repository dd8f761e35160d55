//! Schedule of windows of processing time: pure functions over batch times, and which batches are artificial.
//!
//! Windows end at the bounds of a grid: the multiples of the slide from the beginning of the job's first batch. A batch belongs to the slide of the
//! grid that contains its time. A window that ends at a bound has the batches of the slides up to it, whether or not there was a batch at the bound.
//! At most one window is emitted with a batch, so that operators unaware of windows never see two together. If a batch passes several bounds, the
//! others wait for the batches after it. [`super::empty_batches`] inserts missing batches, so that in a running job no window waits.

use std::collections::VecDeque;

/// The windows of a stage that have not been emitted yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowSchedule {
    size_us: i64,
    slide_us: i64,
    /// Whether all rows come directly from sources, so that artificial batches have none.
    of_sources: bool,
    begun: Option<SinceFirstBatch>,
}

/// See [`WindowSchedule::save`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SavedSchedule {
    /// The end of the next window.
    pub next_us: i64,
    /// The slides with batches that may have rows: runs, by the ends of their first and last slides.
    pub runs: Vec<(i64, i64)>,
}

/// State after the first batch. Times are in microseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SinceFirstBatch {
    /// When the first batch began: an interval before its time.
    origin_us: i64,
    /// The end of the next window.
    next_us: i64,
    /// The time of the last batch.
    last_us: i64,
    /// The slides with batches that may have rows, without those that no future window needs. They are stored as runs of consecutive slides, by the
    /// ends of the first and the last.
    runs: VecDeque<(i64, i64)>,
}

impl WindowSchedule {
    /// Creates a schedule before the first batch. `of_sources`: all rows come directly from sources, so artificial batches have none.
    pub fn new(size_us: i64, slide_us: i64, of_sources: bool) -> WindowSchedule {
        WindowSchedule { size_us: size_us.max(1), slide_us: slide_us.max(1), of_sources, begun: None }
    }

    /// Returns the same windows after a batch of time `last_us`, with the result of [`WindowSchedule::save`] at that time.
    #[must_use]
    pub fn restored(&self, origin_us: i64, last_us: i64, kept: Option<SavedSchedule>) -> WindowSchedule {
        let mut due = WindowSchedule { begun: None, ..*self };
        let SavedSchedule { next_us, runs } = kept.unwrap_or_else(|| {
            let next_us = due.bound_after(origin_us, last_us);
            let (first, last) = (due.first_slide(origin_us, next_us), due.bound_at(origin_us, last_us));
            SavedSchedule { next_us, runs: if first <= last { vec![(first, last)] } else { Vec::new() } }
        });
        due.begun = Some(SinceFirstBatch { origin_us, next_us, last_us, runs: runs.into() });
        due
    }

    /// Returns the state to store that does not follow from the first and the last batch. There is some if windows wait, or slides were without
    /// batches.
    pub fn save(&self) -> Option<SavedSchedule> {
        let begun = self.begun.as_ref()?;
        let plain = self.restored(begun.origin_us, begun.last_us, None);
        (plain != *self).then(|| SavedSchedule { next_us: begun.next_us, runs: begun.runs.iter().copied().collect() })
    }

    /// Returns the first slide in a window with this end.
    fn first_slide(&self, origin_us: i64, end_us: i64) -> i64 {
        self.bound_at(origin_us, end_us.saturating_sub(self.size_us).max(origin_us).saturating_add(1))
    }

    /// Returns the first bound at or after a time.
    fn bound_at(&self, origin_us: i64, time_us: i64) -> i64 {
        let slides = time_us.saturating_sub(origin_us).saturating_sub(1).div_euclid(self.slide_us).saturating_add(1);
        origin_us.saturating_add(slides.saturating_mul(self.slide_us))
    }

    /// Returns the first bound after a time.
    fn bound_after(&self, origin_us: i64, time_us: i64) -> i64 {
        self.bound_at(origin_us, time_us.saturating_add(1))
    }

    /// Processes the next batch, which ends an interval of this length. `made_up`: sources gave it no rows. Returns the end of the window that is
    /// emitted with it.
    pub fn batch(&mut self, time_us: i64, interval_us: i64, made_up: bool) -> Option<i64> {
        let origin_us = self.begun.as_ref().map_or(time_us.saturating_sub(interval_us), |begun| begun.origin_us);
        let bound = self.bound_at(origin_us, time_us);
        let slide_us = self.slide_us;
        let begun = self.begun.get_or_insert_with(|| SinceFirstBatch {
            origin_us,
            next_us: origin_us.saturating_add(slide_us),
            last_us: origin_us,
            runs: VecDeque::new(),
        });
        begun.last_us = time_us.max(begun.last_us);
        let may_hold_rows = !(made_up && self.of_sources);
        match begun.runs.back_mut() {
            _ if !may_hold_rows => {}
            Some((_, last)) if bound <= *last => {}
            Some((_, last)) if bound == last.saturating_add(slide_us) => *last = bound,
            _ => begun.runs.push_back((bound, bound)),
        }
        self.skip();
        let begun = self.begun.as_mut()?;
        if !may_hold_rows && begun.runs.is_empty() {
            // No window up to here has rows. The one that ends here is emitted; those before it were skipped.
            begun.next_us = begun.next_us.max(bound);
        }
        let end = begun.next_us;
        if end > time_us {
            return None;
        }
        begun.next_us = end.saturating_add(slide_us);
        self.skip();
        Some(end)
    }

    /// Skips windows without batches, up to one that has a batch or may still get one.
    fn skip(&mut self) {
        let (size_us, slide_us) = (self.size_us, self.slide_us);
        let Some(mut begun) = self.begun.take() else { return };
        let SinceFirstBatch { origin_us, next_us, runs, .. } = &mut begun;
        while let Some((first, last)) = runs.front().copied() {
            // Up to the last bound before the window, all slides have left it.
            if last <= next_us.saturating_sub(size_us) {
                runs.pop_front();
                continue;
            }
            // Its first slide begins after the window, so the first window with a batch of it ends with that slide.
            if first.saturating_sub(slide_us) >= *next_us {
                *next_us = first;
            }
            if let Some((first, _)) = runs.front_mut() {
                *first = self.first_slide(*origin_us, *next_us).max(*first);
            }
            break;
        }
        self.begun = Some(begun);
    }

    /// Returns when the first batch began.
    pub fn origin_us(&self) -> Option<i64> {
        self.begun.as_ref().map(|begun| begun.origin_us)
    }

    /// Returns the end of the next window.
    pub fn next_us(&self) -> Option<i64> {
        self.begun.as_ref().map(|begun| begun.next_us)
    }

    /// Returns the time of the last batch.
    pub fn last_us(&self) -> Option<i64> {
        self.begun.as_ref().map(|begun| begun.last_us)
    }

    /// Returns whether the next window has ended and waits.
    pub fn is_waiting(&self) -> bool {
        self.begun.as_ref().is_some_and(|begun| begun.next_us <= begun.last_us)
    }

    /// Returns whether a batch of this time is in any window: not if it is in a gap between windows.
    pub fn includes(&self, time_us: i64) -> bool {
        let Some(begun) = &self.begun else { return true };
        time_us > self.bound_at(begun.origin_us, time_us).saturating_sub(self.size_us)
    }

    /// Returns the next window's end if a batch of this time is after that window. The window must be one that may have rows of a batch of time
    /// `last_us`, or end at most `empty` slides after those.
    pub fn missed_end(&self, time_us: i64, last_us: i64, empty: i64) -> Option<i64> {
        let (origin_us, next_us) = (self.origin_us()?, self.next_us()?);
        // The complete slide counts, see `first_slide`.
        let last_us = self.bound_at(origin_us, last_us);
        let until_us = last_us.saturating_add(self.size_us).saturating_add(self.slide_us.saturating_mul(empty));
        (next_us < time_us && next_us < until_us).then_some(next_us)
    }
}

#[cfg(test)]
mod tests;
