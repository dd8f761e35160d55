//! The rows of windows that hand rows on: kept as pieces of parts, each once, however many windows it is in.

mod pieces;

pub use pieces::{PieceId, Pieces, check_bytes, columns, decode_rows, encode_rows};

use std::collections::BTreeMap;

/// Windows of event time that begin at the multiples of `slide_us` since 1970 and last `size_us`.
///
/// Rows are kept in slices, of which every window is made (Li et al., "No pane, no gain", 2005): their length divides both
/// size and slide. Where windows do not overlap a slice is all of a window, so that its rows stand in the order in which they
/// came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slices {
    /// Length of a window.
    pub size_us: i64,
    /// From one window to the next.
    pub slide_us: i64,
    /// Length of a slice.
    pub slice_us: i64,
}

/// Where the row of a time belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the slice that begins then.
    Slice(i64),
    /// All windows that it belongs to are closed.
    Late,
    /// Between windows, where these are further apart than long.
    Nowhere,
}

impl Slices {
    /// The slices of such windows.
    pub fn new(size_us: i64, slide_us: i64) -> Slices {
        let (size_us, slide_us) = (size_us.max(1), slide_us.max(1));
        if slide_us >= size_us {
            return Slices { size_us, slide_us, slice_us: slide_us };
        }
        let (mut a, mut b) = (size_us, slide_us);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        Slices { size_us, slide_us, slice_us: a }
    }

    /// Whether a window may be more than one slice.
    pub fn shared(&self) -> bool {
        self.size_us > self.slice_us
    }

    /// The end of the last window that a time may belong to.
    pub fn last_end(&self, time_us: i64) -> i64 {
        floor(time_us, self.slide_us).saturating_add(self.size_us)
    }

    /// Where a row belongs, by the watermark before its batch.
    pub fn place(&self, time_us: i64, watermark: Option<i64>) -> Place {
        let last_end = self.last_end(time_us);
        if time_us >= last_end {
            Place::Nowhere
        } else if watermark.is_some_and(|watermark| last_end <= watermark) {
            Place::Late
        } else {
            Place::Slice(floor(time_us, self.slice_us))
        }
    }

    /// The windows of these slices that close between two watermarks: end, and slices, in order.
    pub fn closing(
        &self,
        slices: impl Iterator<Item = i64>,
        before: Option<i64>,
        now: Option<i64>,
    ) -> BTreeMap<i64, Vec<i64>> {
        let mut closing: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        let Some(now) = now else { return closing };
        for slice in slices {
            // Window ends lie at `size` behind the multiples of `slide`.
            let mut end = self.first_end(slice);
            if let Some(before) = before.filter(|before| end <= *before) {
                let behind = before.saturating_sub(end).div_euclid(self.slide_us).saturating_add(1);
                end = end.saturating_add(behind.saturating_mul(self.slide_us));
            }
            let last = self.last_end(slice).min(now);
            while end <= last {
                closing.entry(end).or_default().push(slice);
                let Some(next) = end.checked_add(self.slide_us) else { break };
                end = next;
            }
        }
        closing
    }

    /// The first end of a window behind this time: where that is in a window, of the first that it is in.
    pub fn first_end(&self, time_us: i64) -> i64 {
        // The least multiple of `slide` above `time - size`, and `size` behind it.
        let start = floor(time_us.saturating_sub(self.size_us), self.slide_us).saturating_add(self.slide_us);
        start.saturating_add(self.size_us)
    }

    /// The ends of the windows that hold a slice, the earliest first.
    pub fn ends(&self, slice: i64) -> impl Iterator<Item = i64> + use<> {
        (self.first_end(slice)..=self.last_end(slice)).step_by(usize::try_from(self.slide_us).unwrap_or(usize::MAX))
    }

    /// Whether no window that is still to come needs a slice.
    pub fn done(&self, slice: i64, watermark: Option<i64>) -> bool {
        watermark.is_some_and(|watermark| self.last_end(slice) <= watermark)
    }

    /// The start of the window that ends then.
    pub fn start_of(&self, end: i64) -> i64 {
        end.saturating_sub(self.size_us)
    }
}

/// The greatest multiple of `step` that is not above `time`.
fn floor(time: i64, step: i64) -> i64 {
    time.saturating_sub(time.rem_euclid(step))
}

#[cfg(test)]
mod tests;
