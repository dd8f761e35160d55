//! Newtypes for IDs, so that they cannot be confused.

use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;

/// The number of a batch: 1, 2, 3 … since the job's first startup, never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BatchId(pub u64);

/// The end of a batch's interval, in microseconds since 1970-01-01 00:00 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BatchTime(pub i64);

/// The position of a part among the parts of its batch at one point of the graph: a path, compared element by element. Sorting by it restores the
/// order of arrival. The output of a keyed stage contains the worker's number, as workers own ranges of keys. Such rows are in the same order on any
/// number of workers, but not in the same parts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PartOrder {
    places: Vec<u64>,
    /// How many of the first elements belong to a window.
    windows: usize,
}

impl PartOrder {
    /// Returns a path of one element.
    pub fn at(element: u64) -> PartOrder {
        PartOrder { places: vec![element], windows: 0 }
    }

    /// Appends an element: a position within the part's own.
    #[must_use]
    pub fn then(mut self, element: u64) -> PartOrder {
        self.places.push(element);
        self
    }

    /// Prepends an element: the part's position within an outer one.
    #[must_use]
    pub fn prefixed(mut self, outer: u64) -> PartOrder {
        self.places.insert(0, outer);
        self.windows = 0;
        self
    }

    /// Returns the position among the parts of several streams, of which this part is of stream `stream`. The rows of each window stay together.
    #[must_use]
    pub fn of_stream(mut self, stream: u64) -> PartOrder {
        self.places.insert(self.windows, stream);
        self
    }

    /// Prepends the position of the part's window; parts without a window come before all others.
    #[must_use]
    pub fn of_window(mut self) -> PartOrder {
        self.places.truncate(self.windows);
        self
    }

    /// Returns a path of one element: that of a window, by its end and start in microseconds. Windows that end first come first, also before 1970.
    pub fn at_window(end_us: i64, start_us: i64) -> PartOrder {
        PartOrder { places: vec![element_of(end_us), element_of(start_us)], windows: 2 }
    }

    /// Returns the part's position within the windows that end then.
    #[must_use]
    pub fn under_time(self, end_us: i64) -> PartOrder {
        PartOrder { windows: 1, ..self.prefixed(element_of(end_us)) }
    }

    /// Returns the position before all others.
    pub fn first() -> PartOrder {
        PartOrder { places: Vec::new(), windows: 0 }
    }

    /// Returns the elements as bytes, big-endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.places.iter().flat_map(|element| element.to_be_bytes()).collect()
    }

    /// Reads what [`PartOrder::to_bytes`] wrote, which does not include the number of window elements.
    pub fn from_bytes(bytes: &[u8]) -> PartOrder {
        PartOrder {
            places: bytes.as_chunks().0.iter().map(|element| u64::from_be_bytes(*element)).collect(),
            windows: 0,
        }
    }

    /// Returns the elements, the outermost first.
    pub fn elements(&self) -> &[u64] {
        &self.places
    }
}

/// Converts a time to an element that sorts like it.
fn element_of(time_us: i64) -> u64 {
    time_us.cast_unsigned() ^ (1 << 63)
}

/// Which rows share a watermark clock: those of one source by its number, those of one of its partitions, or those that one stage emits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClockId {
    /// The number of a source; after all sources, that of a stage.
    pub stream: u32,
    /// Zero for the complete stream. Otherwise a digest of the partition's name, see `batch::partition`.
    pub partition: u64,
}

impl ClockId {
    /// Rows that a stage derived from others; where several such streams meet, each gets its own number.
    pub const MADE: ClockId = ClockId::for_stream(u32::MAX);
    /// Retried rows: they advanced the clocks of their sources when they first came, and advance none now.
    pub const NONE: ClockId = ClockId::for_stream(u32::MAX - 1);

    /// Returns the clock of all rows of a stream.
    pub const fn for_stream(stream: u32) -> ClockId {
        ClockId { stream, partition: 0 }
    }

    /// Returns the clock of the stream that contains this partition.
    #[must_use]
    pub const fn without_partition(self) -> ClockId {
        ClockId::for_stream(self.stream)
    }
}

/// How often a job with checkpoints was started: 1, 2, 3 … A process with a smaller one than the manifest was replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Generation(pub u64);

/// The relation of the generations of two processes of a job, see [`Generation::meets`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GenerationMeeting {
    /// Both belong to one start, as far as this process knows: they work together.
    Same,
    /// The other belongs to an earlier startup. It will notice that its peers are gone, and come back.
    OtherIsOver,
    /// This one belongs to an earlier startup: it must restart.
    OwnIsOver,
}

impl Generation {
    /// Returns whether processes of these generations work together. A process with generation 0 does not know its start yet and works with all.
    pub fn meets(self, other: Generation) -> GenerationMeeting {
        match other.cmp(&self) {
            Ordering::Greater if self != Generation(0) => GenerationMeeting::OwnIsOver,
            Ordering::Less if other != Generation(0) => GenerationMeeting::OtherIsOver,
            _ => GenerationMeeting::Same,
        }
    }
}

impl BatchId {
    /// Returns the timely timestamp of the batch. Odd timestamps are barriers of checkpoints after a batch.
    pub fn stamp(self) -> u64 {
        self.0.saturating_mul(2)
    }

    /// Returns the timely timestamp of the barrier after the batch: state is saved as of then.
    pub fn barrier(self) -> u64 {
        self.stamp().saturating_add(1)
    }

    /// Returns the batch of a timestamp, and whether it is the barrier after it.
    pub fn of_stamp(stamp: u64) -> (BatchId, bool) {
        (BatchId(stamp / 2), stamp % 2 == 1)
    }

    /// Returns the next batch.
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
