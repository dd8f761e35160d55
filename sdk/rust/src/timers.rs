//! Timers of world `update`: a key is called again when a time has come.
//!
//! A function with `#[update]` takes `&mut Timers`. Plugins that work on batches call [`set`], [`cancel`] and [`due`]. The times
//! are event time, given by the watermark, if the stage has `time`, and otherwise processing time.

use crate::Timestamp;
use crate::batch::{offset, words};

/// The timers of one key, for functions with `#[update]`.
///
/// ```
/// # use millstream_sdk::{KeyedOut, Row, Rows, Timers, Timestamp, update};
/// # #[derive(Row)] struct Order { at: Timestamp }
/// # #[derive(Row)] struct Open { since: Timestamp }
/// /// Tells of orders that nobody paid within a minute.
/// #[update]
/// fn unpaid(orders: Rows<Order>, open: Option<Open>, timers: &mut Timers, out: &mut KeyedOut<Open>) -> Option<Open> {
///     if let (Some(open), true) = (&open, timers.is_due()) {
///         out.push(Open { since: open.since });
///         return None;
///     }
///     let Some(order) = orders.last() else { return open };
///     timers.set(Timestamp(order.at.0 + 60_000_000));
///     Some(Open { since: order.at })
/// }
/// ```
pub struct Timers {
    all: Due,
    group: usize,
    /// The function's requests: a time, and whether it is set or cancelled.
    asked: Vec<(Timestamp, bool)>,
}

impl Timers {
    /// Returns the due times of this key, the earliest first. They are why a key without rows is called. Each is returned in one
    /// call only.
    pub fn due(&self) -> impl Iterator<Item = Timestamp> + '_ {
        self.all.of(self.group)
    }

    /// Whether a timer is due.
    pub fn is_due(&self) -> bool {
        self.due().next().is_some()
    }

    /// Requests a call for this key, with rows or without, in the first batch after this one that has reached this time. A key
    /// has one timer per time. A timer waits until it is due or cancelled, even if the key's state is removed.
    pub fn set(&mut self, at: Timestamp) {
        self.asked.push((at, true));
    }

    /// Cancels a timer that `set` requested in this call or an earlier one.
    pub fn cancel(&mut self, at: Timestamp) {
        self.asked.push((at, false));
    }
}

/// The timers for which the groups of a call are called.
#[derive(Clone, Debug, Default)]
pub struct Due {
    ends: Vec<u8>,
    times: Vec<u8>,
}

impl Due {
    /// Returns the due times of a group, the earliest first.
    pub fn of(&self, group: usize) -> impl Iterator<Item = Timestamp> + '_ {
        let start = if group == 0 { 0 } else { offset(&self.ends, group - 1) };
        let times = words(&self.times).get(start..offset(&self.ends, group)).unwrap_or_default();
        times.iter().map(|time| Timestamp(i64::from_le_bytes(*time)))
    }
}

/// Requests a call for the key of a group of this call; see [`Timers::set`].
pub fn set(group: u32, at: Timestamp) {
    host::set(group, at.0);
}

/// Cancels a timer that [`set`] requested.
pub fn cancel(group: u32, at: Timestamp) {
    host::cancel(group, at.0);
}

/// The timers of this call.
pub fn due() -> Due {
    host::due()
}

/// The timer support of the code that `#[update]` generates: none with `()`, so that plugins without timers do not import them.
#[doc(hidden)]
pub trait Uses {
    fn of_call() -> Self;
    fn begin(&mut self, group: usize);
    /// The function has returned; `done`: it did not reject its rows.
    fn end(&mut self, done: bool);
}

impl Uses for () {
    #[inline]
    fn of_call() {}
    #[inline]
    fn begin(&mut self, _group: usize) {}
    #[inline]
    fn end(&mut self, _done: bool) {}
}

impl Uses for Timers {
    fn of_call() -> Timers {
        Timers { all: due(), group: 0, asked: Vec::new() }
    }

    fn begin(&mut self, group: usize) {
        self.group = group;
    }

    fn end(&mut self, done: bool) {
        for (at, is_set) in self.asked.drain(..).filter(|_| done) {
            if is_set {
                set(self.group as u32, at);
            } else {
                cancel(self.group as u32, at);
            }
        }
    }
}

/// The requests of a call: group, time, and whether it is set or cancelled.
type Asked = Vec<(u32, i64, bool)>;

#[cfg(target_arch = "wasm32")]
pub(crate) mod host {
    use super::{Asked, Due};
    use crate::bindings::update::millstream::plugin::timers;
    pub use crate::bindings::update::millstream::plugin::timers::{cancel, set};

    pub fn due() -> Due {
        let timers::DueTimes { ends, times } = timers::due();
        Due { ends, times }
    }

    /// In a component the host itself begins calls.
    pub fn begin(_due: &[Vec<i64>]) {}

    pub fn end() -> Asked {
        Asked::new()
    }
}

/// Outside of a component, in tests: [`crate::testing`] replaces the host.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod host {
    use super::{Asked, Due};
    use std::cell::RefCell;

    thread_local! {
        static CALL: RefCell<(Due, Asked)> = RefCell::default();
    }

    pub fn set(group: u32, at: i64) {
        CALL.with_borrow_mut(|(_, asked)| asked.push((group, at, true)));
    }

    pub fn cancel(group: u32, at: i64) {
        CALL.with_borrow_mut(|(_, asked)| asked.push((group, at, false)));
    }

    pub fn due() -> Due {
        CALL.with_borrow(|(due, _)| due.clone())
    }

    /// Begins a call with the due times of each group.
    pub fn begin(due: &[Vec<i64>]) {
        let mut end = 0u32;
        let ends = due.iter().flat_map(|times| {
            end += times.len() as u32;
            end.to_le_bytes()
        });
        let due = Due { ends: ends.collect(), times: due.iter().flatten().flat_map(|at| at.to_le_bytes()).collect() };
        CALL.set((due, Asked::new()));
    }

    /// Ends a call and returns its requests.
    pub fn end() -> Asked {
        CALL.take().1
    }
}
