//! The windows of a stage, checked.

use millstream_base::job::spec::WindowBegin;
use std::time::Duration;

/// The column of a window's start, in the rows of stages with windows of event time.
pub const WINDOW_START: &str = "window_start";
/// The column of a window's end: the first moment that is not in it any more.
pub const WINDOW_END: &str = "window_end";

/// The windows of a stage, checked. Times are in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowNode {
    /// Processing time: whole batches, by batch time.
    Batches {
        /// Length of a window.
        size_us: i64,
        /// From one window to the next; windows end at its multiples from the job's first batch.
        slide_us: i64,
    },
    /// One window without an end: all rows that ever came.
    All,
    /// Event time: windows begin at the multiples of `slide_us` since 1970, as Flink's and Beam's, where `begin` does not say
    /// otherwise.
    Sliding {
        /// Length of a window.
        size_us: i64,
        /// From one window to the next; `size_us`: tumbling windows.
        slide_us: i64,
        /// Where they begin.
        begin: WindowBegin,
        /// Results with every batch that changes them, instead of once.
        update: bool,
    },
    /// Event time: rows of a key with less than `gap_us` between them.
    Session {
        /// A session ends when nothing came for so long.
        gap_us: i64,
        /// A session that would get longer is closed and another one begins.
        length_us_max: i64,
        /// Results with every batch that changes them, instead of once.
        update: bool,
    },
}

impl WindowNode {
    /// Whether its windows are of event time, so that their rows carry [`WINDOW_START`] and [`WINDOW_END`].
    pub fn of_event_time(&self) -> bool {
        !matches!(self, WindowNode::Batches { .. } | WindowNode::All)
    }

    /// Whether there is time between its windows, so that rows in between are dropped.
    pub fn leaves_gaps(&self) -> bool {
        match self {
            WindowNode::Batches { size_us, slide_us } | WindowNode::Sliding { size_us, slide_us, .. } => {
                slide_us > size_us
            }
            WindowNode::Session { .. } | WindowNode::All => false,
        }
    }

    /// Whether results come out whenever they change, and not only at the end.
    pub fn updates(&self) -> bool {
        matches!(self, WindowNode::Sliding { update: true, .. } | WindowNode::Session { update: true, .. })
    }

    /// The windows in words, by which checkpoints tell whether a table is still theirs.
    pub fn words(&self) -> String {
        let words = |us: &i64| format!("{:?}", Duration::from_micros(u64::try_from(*us).unwrap_or_default()));
        match self {
            WindowNode::All => "totals of all rows".into(),
            WindowNode::Batches { size_us, slide_us } => {
                format!("windows of {} every {}", words(size_us), words(slide_us))
            }
            WindowNode::Sliding { size_us, slide_us, begin, .. } => {
                let (size, slide) = (words(size_us), words(slide_us));
                let offset = match begin.offset_us {
                    0 => String::new(),
                    us => format!(", {us} us later"),
                };
                let zone = begin.zone.map_or_else(String::new, |zone| format!(", by the clocks of {zone}"));
                format!("windows of {size} every {slide} in event time{offset}{zone}")
            }
            WindowNode::Session { gap_us, length_us_max, .. } => {
                format!("sessions with a gap of {}, at most {} long", words(gap_us), words(length_us_max))
            }
        }
    }
}
