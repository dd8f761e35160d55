//! Where windows of event time lie. Times are in microseconds since 1970; windows begin at multiples of the slide and
//! are cut into slices, so that rows of one slice are in the same windows.

use std::ops::Range;

/// The windows of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slices {
    /// Length of a window.
    pub size: i64,
    /// From one window to the next.
    pub slide: i64,
    /// Length of a slice: it divides both.
    pub slice: i64,
}

impl Slices {
    /// For windows of this size and slide.
    pub fn new(size: i64, slide: i64) -> Slices {
        let (size, slide) = (size.max(1), slide.max(1));
        let (mut slice, mut rest) = (size, slide);
        while rest != 0 {
            (slice, rest) = (rest, slice % rest);
        }
        Slices { size, slide, slice }
    }

    /// The start of the slice that a moment is in.
    pub fn of(&self, time: i64) -> i64 {
        time.saturating_sub(time.rem_euclid(self.slice))
    }

    /// Where the last window ends that could hold this slice.
    pub fn last_end(&self, slice: i64) -> i64 {
        slice.saturating_sub(slice.rem_euclid(self.slide)).saturating_add(self.size)
    }

    /// Whether any window holds it: where the slide is longer than the window, some lie between windows.
    pub fn is_in_window(&self, slice: i64) -> bool {
        slice < self.last_end(slice)
    }

    /// The first window end after this moment.
    pub fn first_end_after(&self, time: i64) -> i64 {
        let start = time.saturating_sub(self.size);
        start.saturating_sub(start.rem_euclid(self.slide)).saturating_add(self.slide).saturating_add(self.size)
    }

    /// The ends of the windows that hold a slice, the earliest first.
    pub fn ends(&self, slice: i64) -> impl Iterator<Item = i64> + use<> {
        let Range { start, end } = self.first_end_after(slice)..self.last_end(slice);
        (start..=end).step_by(usize::try_from(self.slide).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_hold_what_lies_between_their_bounds() {
        for (size, slide) in [(10, 10), (10, 5), (10, 4), (10, 3), (7, 1), (3, 10), (1, 1)] {
            let slices = Slices::new(size, slide);
            for time in -40..40 {
                // Every window is [start, start + size) for a start that is a multiple of the slide.
                let starts = (-100..100).map(|n| n * slide);
                let ends: Vec<i64> =
                    starts.filter(|start| (*start..start + size).contains(&time)).map(|start| start + size).collect();
                let slice = slices.of(time);
                assert!(slice <= time && time < slice + slices.slice);
                assert_eq!(slices.is_in_window(slice), !ends.is_empty(), "{size} {slide} {time}");
                assert_eq!(slices.ends(slice).collect::<Vec<_>>(), ends, "{size} {slide} {time}");
                if let Some(last) = ends.last() {
                    assert_eq!(slices.last_end(slice), *last);
                }
                let after = (-200..200).map(|n| n * slide + size).find(|end| *end > time);
                assert_eq!(Some(slices.first_end_after(time)), after, "{size} {slide} {time}");
            }
        }
    }
}
