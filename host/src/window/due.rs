//! When windows of processing time end: pure functions over batch times.

/// Windows end at the multiples of `slide_us` from the beginning of the job's first batch. As batches come when they
/// come, a window ends with the first batch at or after its end, as Spark's do where batches fall on the multiples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// From one end to the next.
    pub slide_us: i64,
    /// When the first batch began: an interval before its time. `None`: there was no batch yet.
    pub origin_us: Option<i64>,
    /// The time of the last batch.
    pub last_us: Option<i64>,
}

impl Due {
    /// The next batch is of this time, `interval_us` after it began: whether a window ends with it.
    pub fn next(&mut self, time_us: i64, interval_us: i64) -> bool {
        let origin_us = *self.origin_us.get_or_insert(time_us.saturating_sub(interval_us));
        let last_us = self.last_us.replace(time_us).unwrap_or(origin_us);
        let ends = |time_us: i64| time_us.saturating_sub(origin_us).div_euclid(self.slide_us.max(1));
        ends(time_us) > ends(last_us)
    }

    /// The first moment after the last batch at which a window ends.
    pub fn end_us(&self) -> Option<i64> {
        let (origin_us, last_us, slide_us) = (self.origin_us?, self.last_us?, self.slide_us.max(1));
        let ended = last_us.saturating_sub(origin_us).div_euclid(slide_us);
        Some(ended.saturating_add(1).saturating_mul(slide_us).saturating_add(origin_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_end_at_multiples_of_the_slide_from_the_first_batch() {
        let mut due = Due { slide_us: 3, origin_us: None, last_us: None };
        // The first batch began at 100.
        let ended: Vec<i64> = (101..=110).filter(|time| due.next(*time, 1)).collect();
        assert_eq!(ended, [103, 106, 109]);
        assert_eq!(due.end_us(), Some(112));
    }

    #[test]
    fn a_batch_after_several_ends_is_one_window() {
        let mut due = Due { slide_us: 3, origin_us: Some(100), last_us: Some(104) };
        assert!(due.next(113, 1));
        assert_eq!(due.end_us(), Some(115));
        assert!(!due.next(114, 1));
        assert!(due.next(i64::MAX, 1));
    }
}
