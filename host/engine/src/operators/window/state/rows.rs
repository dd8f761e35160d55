//! The rows of windows that emit rows: stored as pieces of parts, once each, in however many windows they are.

mod pieces;

pub use pieces::{PieceId, check_bytes, columns, decode_rows, encode_rows, table};

use millstream_base::context::Hold;
use millstream_job::spec::WindowBegin;
use std::collections::BTreeMap;
use std::ops::Range;

/// Windows of event time that begin at the multiples of `slide_us` and last `size_us`, on a *grid*. The grid is the time since 1970, or the local
/// time of a zone, minus an offset. Bounds of windows and slices are times on the grid.
///
/// Rows are stored in slices, from which every window is assembled (Li et al., "No pane, no gain", 2005). Their length divides both size and slide.
/// If windows do not overlap, a slice is a complete window, so that its rows keep the order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slices {
    /// Length of a window.
    pub size_us: i64,
    /// Distance between windows.
    pub slide_us: i64,
    /// Length of a slice.
    pub slice_us: i64,
    /// Bounds of windows differ by multiples of this: shorter than a slice if there are gaps between windows.
    step_us: i64,
    /// The origin of the grid.
    pub begin: WindowBegin,
}

/// The slice that a row belongs to by its time, if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowSlice {
    /// The row belongs to the slice with this start.
    Slice(i64),
    /// All of its windows are closed.
    Late,
    /// In a gap between windows.
    InGap,
}

impl Slices {
    /// Returns the slices of such windows.
    pub fn new(size_us: i64, slide_us: i64) -> Slices {
        let (size_us, slide_us) = (size_us.max(1), slide_us.max(1));
        let (mut step_us, mut rest) = (size_us, slide_us);
        while rest != 0 {
            (step_us, rest) = (rest, step_us % rest);
        }
        let slice_us = if slide_us >= size_us { slide_us } else { step_us };
        Slices { size_us, slide_us, slice_us, step_us, begin: WindowBegin::default() }
    }

    /// Returns the same slices on this grid.
    pub fn with_begin(self, begin: WindowBegin) -> Slices {
        Slices { begin, ..self }
    }

    /// Converts a time to the grid; with a zone, to the start of its step. So times on the grid never go back, though clocks do: repeated local times
    /// belong to the last step that has begun.
    pub fn to_grid(&self, us: i64) -> i64 {
        let WindowBegin { offset_us, zone } = self.begin;
        let Some(zone) = zone else { return us.saturating_sub(offset_us) };
        let mut step = floor(zone.local_us(us).saturating_sub(offset_us), self.step_us);
        while let Some(next) = step.checked_add(self.step_us).filter(|next| self.from_grid(*next) <= us) {
            step = next;
        }
        step
    }

    /// Returns the first moment of a time on the grid.
    pub fn from_grid(&self, grid_us: i64) -> i64 {
        let local_us = grid_us.saturating_add(self.begin.offset_us);
        self.begin.zone.map_or(local_us, |zone| zone.reached_us(local_us))
    }

    /// Returns a placer that assigns rows to slices, by the watermark before their batch.
    pub fn assigner(&self, watermark: Option<i64>) -> SliceAssigner {
        SliceAssigner { slices: *self, watermark: watermark.map(|us| self.to_grid(us)), last: None }
    }

    /// Returns whether a window may be more than one slice.
    pub fn has_shared_slices(&self) -> bool {
        self.size_us > self.slice_us
    }

    /// Returns the end of the last window that may include a time.
    pub fn last_end(&self, time_us: i64) -> i64 {
        floor(time_us, self.slide_us).saturating_add(self.size_us)
    }

    /// Returns the windows of these slices that close between two watermarks: end, and slices, in order.
    pub fn closing_windows(
        &self,
        slices: impl Iterator<Item = i64>,
        before: Option<i64>,
        now: Option<i64>,
    ) -> BTreeMap<i64, Vec<i64>> {
        let mut closing: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        let Some(now) = now.map(|now| self.to_grid(now)) else { return closing };
        let before = before.map(|before| self.to_grid(before));
        for slice in slices {
            // Window ends lie `size` after the multiples of `slide`.
            let mut end = self.first_end(slice);
            if let Some(before) = before.filter(|before| end <= *before) {
                let following = before.saturating_sub(end).div_euclid(self.slide_us).saturating_add(1);
                end = end.saturating_add(following.saturating_mul(self.slide_us));
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

    /// Returns the first end of a window after this time. If the time is in a window, that is the first one that includes it.
    pub fn first_end(&self, time_us: i64) -> i64 {
        // The least multiple of `slide` above `time - size`, plus `size`.
        let start = floor(time_us.saturating_sub(self.size_us), self.slide_us).saturating_add(self.slide_us);
        start.saturating_add(self.size_us)
    }

    /// Returns the ends of the windows with a slice, the earliest first.
    pub fn window_ends(&self, slice: i64) -> impl Iterator<Item = i64> + use<> {
        (self.first_end(slice)..=self.last_end(slice)).step_by(usize::try_from(self.slide_us).unwrap_or(usize::MAX))
    }

    /// Returns whether no future window needs a slice.
    pub fn done(&self, slice: i64, watermark: Option<i64>) -> bool {
        watermark.is_some_and(|watermark| self.last_end(slice) <= self.to_grid(watermark))
    }

    /// Returns what windows hold back that are emitted when they are complete. Future ones begin with the first that has not ended; emitted ones end
    /// with the last before it.
    pub fn hold(&self, watermark: Option<i64>) -> Hold {
        let first_end = watermark.map(|watermark| self.first_end(self.to_grid(watermark)));
        Hold {
            from_us: first_end.map(|end| self.from_grid(self.start_of(end))),
            until_us: first_end.map(|end| self.from_grid(end.saturating_sub(self.slide_us))),
        }
    }

    /// Returns the start of the window with this end.
    pub fn start_of(&self, end: i64) -> i64 {
        end.saturating_sub(self.size_us)
    }
}

/// Assigns rows to slices.
pub struct SliceAssigner {
    slices: Slices,
    /// The watermark, on the grid.
    watermark: Option<i64>,
    /// The moments of the last step of a zone, and its time on the grid: the next row is likely to be in it, too.
    last: Option<(Range<i64>, i64)>,
}

impl SliceAssigner {
    /// Returns the slice of a row with this time.
    pub fn slice_of(&mut self, time_us: i64) -> RowSlice {
        let slices = self.slices;
        let at = match &self.last {
            Some((moments, step)) if moments.contains(&time_us) => *step,
            _ => {
                let at = slices.to_grid(time_us);
                let moments = || slices.from_grid(at)..slices.from_grid(at.saturating_add(slices.step_us));
                self.last = slices.begin.zone.map(|_| (moments(), at));
                at
            }
        };
        let last_end = slices.last_end(at);
        if at >= last_end {
            RowSlice::InGap
        } else if self.watermark.is_some_and(|watermark| last_end <= watermark) {
            RowSlice::Late
        } else {
            RowSlice::Slice(floor(at, slices.slice_us))
        }
    }
}

/// Returns the greatest multiple of `step` that is not above `time`.
fn floor(time: i64, step: i64) -> i64 {
    time.saturating_sub(time.rem_euclid(step))
}

#[cfg(test)]
mod tests;
