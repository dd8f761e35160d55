//! The rows of windows that hand rows on: kept as pieces of parts, each once, however many windows it is in.

mod pieces;

pub use pieces::{ColdPieces, PieceId, Pieces, check_bytes, columns, decode_rows, encode_rows};

use millstream_base::context::Hold;
use millstream_base::job::spec::WindowBegin;
use std::collections::BTreeMap;
use std::ops::Range;

/// Windows of event time that begin at the multiples of `slide_us` and last `size_us`, on a *grid*: the time since 1970, or
/// what clocks of a zone show, less an offset. Bounds of windows and slices are times on the grid.
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
    /// Between two bounds of windows there are so many, or a multiple of it: shorter than a slice where there is time between
    /// windows.
    step_us: i64,
    /// Where the grid lies.
    pub begin: WindowBegin,
}

/// The slice that a row belongs to by its time, if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlicePlace {
    /// The row belongs to the slice that begins then.
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
        let (mut step_us, mut rest) = (size_us, slide_us);
        while rest != 0 {
            (step_us, rest) = (rest, step_us % rest);
        }
        let slice_us = if slide_us >= size_us { slide_us } else { step_us };
        Slices { size_us, slide_us, slice_us, step_us, begin: WindowBegin::default() }
    }

    /// The same on this grid.
    pub fn beginning(self, begin: WindowBegin) -> Slices {
        Slices { begin, ..self }
    }

    /// A moment on the grid: with a zone the step that it is in. So times on the grid never go back, though clocks do: what
    /// they show again belongs to the last step that has begun.
    pub fn on_grid(&self, us: i64) -> i64 {
        let WindowBegin { offset_us, zone } = self.begin;
        let Some(zone) = zone else { return us.saturating_sub(offset_us) };
        let mut step = floor(zone.local_us(us).saturating_sub(offset_us), self.step_us);
        while let Some(next) = step.checked_add(self.step_us).filter(|next| self.moment(*next) <= us) {
            step = next;
        }
        step
    }

    /// The first moment of a time on the grid.
    pub fn moment(&self, grid_us: i64) -> i64 {
        let local_us = grid_us.saturating_add(self.begin.offset_us);
        self.begin.zone.map_or(local_us, |zone| zone.reached_us(local_us))
    }

    /// Says where rows belong, by the watermark before their batch.
    pub fn placer(&self, watermark: Option<i64>) -> Placer {
        Placer { slices: *self, watermark: watermark.map(|us| self.on_grid(us)), last: None }
    }

    /// Whether a window may be more than one slice.
    pub fn shared(&self) -> bool {
        self.size_us > self.slice_us
    }

    /// The end of the last window that a time may belong to.
    pub fn last_end(&self, time_us: i64) -> i64 {
        floor(time_us, self.slide_us).saturating_add(self.size_us)
    }

    /// The windows of these slices that close between two watermarks: end, and slices, in order.
    pub fn closing(
        &self,
        slices: impl Iterator<Item = i64>,
        before: Option<i64>,
        now: Option<i64>,
    ) -> BTreeMap<i64, Vec<i64>> {
        let mut closing: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        let Some(now) = now.map(|now| self.on_grid(now)) else { return closing };
        let before = before.map(|before| self.on_grid(before));
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
        watermark.is_some_and(|watermark| self.last_end(slice) <= self.on_grid(watermark))
    }

    /// What windows hold back that are put out when they are complete: those to come begin with the first that has not ended,
    /// those that have come out end with the last before it.
    pub fn hold(&self, watermark: Option<i64>) -> Hold {
        let first_end = watermark.map(|watermark| self.first_end(self.on_grid(watermark)));
        Hold {
            from_us: first_end.map(|end| self.moment(self.start_of(end))),
            until_us: first_end.map(|end| self.moment(end.saturating_sub(self.slide_us))),
        }
    }

    /// The start of the window that ends then.
    pub fn start_of(&self, end: i64) -> i64 {
        end.saturating_sub(self.size_us)
    }
}

/// Says where rows belong.
pub struct Placer {
    slices: Slices,
    /// The watermark, on the grid.
    watermark: Option<i64>,
    /// The moments of the last step of a zone, and what it is on the grid: the next row is likely to be of it, too.
    last: Option<(Range<i64>, i64)>,
}

impl Placer {
    /// Where a row of this time belongs.
    pub fn place(&mut self, time_us: i64) -> SlicePlace {
        let slices = self.slices;
        let at = match &self.last {
            Some((moments, step)) if moments.contains(&time_us) => *step,
            _ => {
                let at = slices.on_grid(time_us);
                let moments = || slices.moment(at)..slices.moment(at.saturating_add(slices.step_us));
                self.last = slices.begin.zone.map(|_| (moments(), at));
                at
            }
        };
        let last_end = slices.last_end(at);
        if at >= last_end {
            SlicePlace::Nowhere
        } else if self.watermark.is_some_and(|watermark| last_end <= watermark) {
            SlicePlace::Late
        } else {
            SlicePlace::Slice(floor(at, slices.slice_us))
        }
    }
}

/// The greatest multiple of `step` that is not above `time`.
fn floor(time: i64, step: i64) -> i64 {
    time.saturating_sub(time.rem_euclid(step))
}

#[cfg(test)]
mod tests;
