//! Newtypes for ids, so that none is taken for another.

use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;

/// The number of a batch: 1, 2, 3 … since the job's first start, never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BatchId(pub u64);

/// The end of a batch's interval, in microseconds since 1970-01-01 00:00 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BatchTime(pub i64);

/// Where a part stands among the parts of its batch at one point of the graph: a path, compared place by place. Sorting by it
/// restores the order of arrival. What a stage with a key makes of a batch has the worker's number in it, as workers own ranges
/// of keys: such rows stand in the same order on any number of workers, but not in the same parts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PartOrder {
    places: Vec<u64>,
    /// How many of the first places are those of a window.
    windows: usize,
}

impl PartOrder {
    /// A path of one place.
    pub fn at(place: u64) -> PartOrder {
        PartOrder { places: vec![place], windows: 0 }
    }

    /// A place within the part's own.
    #[must_use]
    pub fn then(mut self, place: u64) -> PartOrder {
        self.places.push(place);
        self
    }

    /// The part's place within an outer one.
    #[must_use]
    pub fn under(mut self, outer: u64) -> PartOrder {
        self.places.insert(0, outer);
        self.windows = 0;
        self
    }

    /// The part's place among those of several streams, of which this is that of one; of the rows of windows, those of each
    /// window stand together.
    #[must_use]
    pub fn of_stream(mut self, stream: u64) -> PartOrder {
        self.places.insert(self.windows, stream);
        self
    }

    /// The place of the window that the part is of; before all others where it is of none.
    #[must_use]
    pub fn of_window(mut self) -> PartOrder {
        self.places.truncate(self.windows);
        self
    }

    /// A path of one place: that of a window, by its end and start in microseconds. Windows that end first stand first,
    /// also before 1970.
    pub fn at_window(end_us: i64, start_us: i64) -> PartOrder {
        PartOrder { places: vec![place_of(end_us), place_of(start_us)], windows: 2 }
    }

    /// The part's place within the windows that end then.
    #[must_use]
    pub fn under_time(self, end_us: i64) -> PartOrder {
        PartOrder { windows: 1, ..self.under(place_of(end_us)) }
    }

    /// Before all others.
    pub fn first() -> PartOrder {
        PartOrder { places: Vec::new(), windows: 0 }
    }

    /// The places as bytes, big-endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.places.iter().flat_map(|place| place.to_be_bytes()).collect()
    }

    /// What [`PartOrder::to_bytes`] wrote, which does not tell of windows.
    pub fn from_bytes(bytes: &[u8]) -> PartOrder {
        PartOrder { places: bytes.as_chunks().0.iter().map(|place| u64::from_be_bytes(*place)).collect(), windows: 0 }
    }

    /// The places, the outermost first.
    pub fn places(&self) -> &[u64] {
        &self.places
    }
}

/// A time as a place among times.
fn place_of(time_us: i64) -> u64 {
    time_us.cast_unsigned() ^ (1 << 63)
}

/// Which rows share a clock, for watermarks: those of one source by its number, or of one partition of it, or those that one
/// stage made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClockId {
    /// The number of a source; behind those of all sources, that of a stage.
    pub stream: u32,
    /// Zero: all of the stream. Otherwise a digest of the partition's name, see [`crate::batch::partition`].
    pub partition: u64,
}

impl ClockId {
    /// Rows that a stage made of others; where several such streams meet, each gets a number of its own.
    pub const MADE: ClockId = ClockId::of(u32::MAX);
    /// Rows that come once more: they moved the clocks of their sources when they came first, and move none now.
    pub const NONE: ClockId = ClockId::of(u32::MAX - 1);

    /// The clock of all rows of a stream.
    pub const fn of(stream: u32) -> ClockId {
        ClockId { stream, partition: 0 }
    }

    /// The clock of the stream that this partition is one of.
    #[must_use]
    pub const fn whole(self) -> ClockId {
        ClockId::of(self.stream)
    }
}

/// How often a job with checkpoints was started: 1, 2, 3 … Whoever holds a smaller one than the manifest has lost the job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Generation(pub u64);

/// What a process makes of the generation that another one of its job tells it, see [`Generation::meets`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GenerationMeeting {
    /// Both are of one start, as far as this one knows: they go together.
    Same,
    /// The other is of a start that is over. It will notice that its peers are gone, and come again.
    OtherIsOver,
    /// The start that this one belongs to is over: it has to begin anew.
    OwnIsOver,
}

impl Generation {
    /// Whether a process of this generation goes with one of another. 0: one that has not heard yet to which it belongs goes with all.
    pub fn meets(self, other: Generation) -> GenerationMeeting {
        match other.cmp(&self) {
            Ordering::Greater if self != Generation(0) => GenerationMeeting::OwnIsOver,
            Ordering::Less if other != Generation(0) => GenerationMeeting::OtherIsOver,
            _ => GenerationMeeting::Same,
        }
    }
}

impl BatchId {
    /// The timely timestamp of the batch. What is odd is the barrier of a checkpoint after it.
    pub fn stamp(self) -> u64 {
        self.0.saturating_mul(2)
    }

    /// The timely timestamp of the barrier after the batch: state is saved as it is then.
    pub fn barrier(self) -> u64 {
        self.stamp().saturating_add(1)
    }

    /// The batch of a timestamp, and whether that is the barrier after it.
    pub fn of_stamp(stamp: u64) -> (BatchId, bool) {
        (BatchId(stamp / 2), stamp % 2 == 1)
    }

    /// The next batch.
    pub fn next(self) -> BatchId {
        BatchId(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
