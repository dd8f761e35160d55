//! `window` of a stage: the rows that its operator works on.

pub(super) mod check;
pub(super) mod read;

use super::event_time;
use crate::keys::{KeyShape, TableKey, key};
use crate::spec::{StageSpec, WindowBegin, WindowEmit, WindowExtent, WindowSpec};
use millstream_base::limits;
use std::time::Duration;

/// What `op` means with `window = "all"`.
pub(super) const OP_OF_ALL: (&str, &str) = (
    "op",
    "With `window = \"all\"`: column with the operation of a row. `insert`, `update` and `upsert` add the row, `delete` removes an \
     equal row.",
);

/// `window` of a stage.
pub(super) const KEY: TableKey = key(
    "window",
    KeyShape::Either(&[KeyShape::Table(KEYS), KeyShape::Word(&["all"])]),
    "Work on the rows of a window instead of a batch: { size = \"30s\", slide = \"10s\" }, { gap = \"30s\" } for sessions, or \
     \"all\" for all rows that ever came (aggregates, queries, `join`, `top`).",
);

/// `window` of a stage or join.
pub(super) const KEYS: &[TableKey] = &[
    key(
        "size",
        KeyShape::Time,
        "Length of a window. In processing time (without `time`) a multiple of the batch interval.",
    ),
    key(
        "slide",
        KeyShape::Time,
        "Distance between the starts of windows, by default the batch interval in processing time, and `size` in event time. If \
         it is longer than `size`, rows between windows are dropped.",
    ),
    key(
        "offset",
        KeyShape::SignedTime,
        "Event time: offset of window starts from multiples of `slide`: \"6h\" for days that begin at six, or \
        \"-1h\".",
    ),
    key(
        "zone",
        KeyShape::Text,
        "Event time: time zone by which windows begin, for example \"Europe/Berlin\", so \"1d\" is from midnight to \
         midnight there, even if that is 23 or 25 hours. Windows must be a multiple of one hour. UTC by default.",
    ),
    key(
        "gap",
        KeyShape::Time,
        "Sessions: the rows of a session have less than this time between them. Requires `time`.",
    ),
    key(
        "length_max",
        KeyShape::Time,
        "Sessions: maximum length, 24h by default. A session that would exceed it is closed and another begins.",
    ),
    event_time::TIME,
    event_time::LATENESS,
    event_time::IDLE,
    event_time::AHEAD_MAX,
    key(
        "emit",
        KeyShape::Word(&["close", "update"]),
        "Event time: emit results once, when a window is complete (`close`), or with every batch that changes them (`update`). \
         `close` by default.",
    ),
];

impl WindowSpec {
    /// Windows of `size`, with a new one every `slide`.
    pub fn sliding(size: Duration, slide: Duration) -> WindowSpec {
        let extent = WindowExtent::Sliding { size, slide: Some(slide), begin: WindowBegin::default() };
        WindowSpec { extent, emit: WindowEmit::Close }
    }

    /// Windows of `size`: in event time consecutive, in processing time a new one with every batch.
    pub fn with_size(size: Duration) -> WindowSpec {
        let extent = WindowExtent::Sliding { size, slide: None, begin: WindowBegin::default() };
        WindowSpec { extent, emit: WindowEmit::Close }
    }

    /// All rows that ever came: each batch emits the totals of its keys.
    pub fn all() -> WindowSpec {
        WindowSpec { extent: WindowExtent::All, emit: WindowEmit::Close }
    }

    /// Sessions: rows with less than `gap` between them, at most a day long.
    pub fn session(gap: Duration) -> WindowSpec {
        let length_max = Duration::from_millis(limits::SESSION_LENGTH_MS_MAX);
        WindowSpec { extent: WindowExtent::Session { gap, length_max }, emit: WindowEmit::Close }
    }

    /// Emits totals of all rows as a changelog (insert/delete).
    #[must_use]
    pub fn changes(mut self) -> WindowSpec {
        self.emit = WindowEmit::Changes;
        self
    }

    /// Emits results with every batch that changes them, instead of once.
    #[must_use]
    pub fn update(mut self) -> WindowSpec {
        self.emit = WindowEmit::Update;
        self
    }
}

impl StageSpec {
    /// Sets the rows that the operator works on.
    #[must_use]
    pub fn window(mut self, window: WindowSpec) -> StageSpec {
        self.window = Some(window);
        self
    }
}
