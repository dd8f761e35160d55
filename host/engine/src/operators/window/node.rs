//! The windows of a stage, checked.

use millstream_job::spec::WindowBegin;
use std::time::Duration;

/// The column of a window's start, in the rows of stages with windows of event time.
pub const WINDOW_START: &str = "window_start";
/// The column of a window's end: the first time after it.
pub const WINDOW_END: &str = "window_end";

/// The windows of a stage, checked. Times are in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowNode {
    /// Processing time: complete batches, by batch time.
    Batches {
        /// Length of a window.
        size_us: i64,
        /// Distance between windows; they end at its multiples from the job's first batch.
        slide_us: i64,
    },
    /// One window without an end: all rows ever received.
    All,
    /// Event time: windows begin at the multiples of `slide_us` since 1970, as in Flink and Beam, unless `begin` says otherwise.
    Sliding {
        /// Length of a window.
        size_us: i64,
        /// Distance between windows; equal to `size_us` for tumbling windows.
        slide_us: i64,
        /// Where the grid of windows begins.
        begin: WindowBegin,
        /// Whether results are emitted with every batch that changes them, instead of once.
        update: bool,
    },
    /// Event time: rows of a key with less than `gap_us` between them.
    Session {
        /// A session ends after this long without rows.
        gap_us: i64,
        /// Maximum length: a session that would exceed it is closed and another one begins.
        length_us_max: i64,
        /// Whether results are emitted with every batch that changes them, instead of once.
        update: bool,
    },
}

impl WindowNode {
    /// Returns whether its windows are of event time, so that their rows have [`WINDOW_START`] and [`WINDOW_END`].
    pub fn of_event_time(&self) -> bool {
        !matches!(self, WindowNode::Batches { .. } | WindowNode::All)
    }

    /// Returns whether there are gaps between its windows, in which rows are dropped.
    pub fn leaves_gaps(&self) -> bool {
        match self {
            WindowNode::Batches { size_us, slide_us } | WindowNode::Sliding { size_us, slide_us, .. } => {
                slide_us > size_us
            }
            WindowNode::Session { .. } | WindowNode::All => false,
        }
    }

    /// Returns whether results are emitted whenever they change, and not only at the end.
    pub fn updates(&self) -> bool {
        matches!(self, WindowNode::Sliding { update: true, .. } | WindowNode::Session { update: true, .. })
    }

    /// Describes the windows, to check whether a checkpoint's table still applies.
    pub fn description(&self) -> String {
        let duration = |us: &i64| format!("{:?}", Duration::from_micros(u64::try_from(*us).unwrap_or_default()));
        match self {
            WindowNode::All => "totals of all rows".into(),
            WindowNode::Batches { size_us, slide_us } => {
                format!("windows of {} every {}", duration(size_us), duration(slide_us))
            }
            WindowNode::Sliding { size_us, slide_us, begin, .. } => {
                let (size, slide) = (duration(size_us), duration(slide_us));
                let offset = match begin.offset_us {
                    0 => String::new(),
                    us => format!(", {us} us later"),
                };
                let zone = begin.zone.map_or_else(String::new, |zone| format!(", in the time zone {zone}"));
                format!("windows of {size} every {slide} in event time{offset}{zone}")
            }
            WindowNode::Session { gap_us, length_us_max, .. } => {
                format!("sessions with a gap of {}, at most {} long", duration(gap_us), duration(length_us_max))
            }
        }
    }
}
