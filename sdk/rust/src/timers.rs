//! Timers of world `update`: a key is called again at a given time.
//!
//! A function with `#[update]` takes `&mut Timers`. Plugins that process batches call [`set`], [`cancel`] and [`due`]. In a stage
//! with `time`, a timer's time is event time, measured by the watermark; otherwise it is processing time.

use crate::Timestamp;
use crate::batch::{offset, words};

/// The timers of one key, for functions with `#[update]`.
///
/// ```
/// # use millstream_sdk::{KeyedOut, Row, Rows, Timers, Timestamp, update};
/// # #[derive(Row)] struct Order { at: Timestamp }
/// # #[derive(Row)] struct Open { since: Timestamp }
/// /// Emits orders that were not paid within a minute.
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
    /// Timer changes of the function: a time, and whether the timer is set or canceled.
    asked: Vec<(Timestamp, bool)>,
}

impl Timers {
    /// Returns the times that were set and have been reached, earliest first. If the key has no rows, these are the reason for the
    /// call. Each timer is due once.
    pub fn due(&self) -> impl Iterator<Item = Timestamp> + '_ {
        self.all.of(self.group)
    }

    /// Returns whether a timer is due.
    pub fn is_due(&self) -> bool {
        self.due().next().is_some()
    }

    /// Sets a timer: the key is called, with or without rows, in the first batch after this one that has reached the time. A key
    /// has at most one timer per time. A timer stays until it is due or canceled, even if the state is removed.
    pub fn set(&mut self, at: Timestamp) {
        self.asked.push((at, true));
    }

    /// Cancels a timer that `set` set in this call or an earlier one.
    pub fn cancel(&mut self, at: Timestamp) {
        self.asked.push((at, false));
    }
}

/// The due timers of the groups of a call.
#[derive(Clone, Debug, Default)]
pub struct Due {
    ends: Vec<u8>,
    times: Vec<u8>,
}

impl Due {
    /// Returns the due times of a group, earliest first.
    pub fn of(&self, group: usize) -> impl Iterator<Item = Timestamp> + '_ {
        let start = if group == 0 { 0 } else { offset(&self.ends, group - 1) };
        let times = words(&self.times).get(start..offset(&self.ends, group)).unwrap_or_default();
        times.iter().map(|time| Timestamp(i64::from_le_bytes(*time)))
    }
}

/// Sets a timer for the key of a group of this call; see [`Timers::set`].
pub fn set(group: u32, at: Timestamp) {
    host::set(group, at.0);
}

/// Cancels a timer that [`set`] set.
pub fn cancel(group: u32, at: Timestamp) {
    host::cancel(group, at.0);
}

/// Returns the due timers of this call.
pub fn due() -> Due {
    host::due()
}

/// The timer support of the code that `#[update]` generates: none with `()`, so that plugins without timers do not import them.
#[doc(hidden)]
pub trait Uses {
    fn of_call() -> Self;
    fn begin(&mut self, group: usize);
    /// Ends the function's call. Passes its changes to the host if `done`: it did not reject its rows.
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

/// Timer changes of a call: group, time, and whether the timer is set or canceled.
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

    /// Does nothing: in a component, the host begins calls.
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

    /// Starts a call with the due times of each group.
    pub fn begin(due: &[Vec<i64>]) {
        let mut end = 0u32;
        let ends = due.iter().flat_map(|times| {
            end += times.len() as u32;
            end.to_le_bytes()
        });
        let due = Due { ends: ends.collect(), times: due.iter().flatten().flat_map(|at| at.to_le_bytes()).collect() };
        CALL.set((due, Asked::new()));
    }

    /// Ends a call and returns its timer changes.
    pub fn end() -> Asked {
        CALL.take().1
    }
}
