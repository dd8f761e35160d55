//! The longest recent plugin calls of each thread, for traces. Nothing is recorded until traces request it.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Number of recorded calls per piece of an operator's work.
const KEPT_MAX: usize = 4;

static WANTED: AtomicBool = AtomicBool::new(false);

thread_local! {
    static NOTED: RefCell<NotedCalls> = const { RefCell::new(NotedCalls { longest: Vec::new(), all: 0 }) };
}

/// A recorded plugin call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotedCall {
    /// Start of the call.
    pub began: Instant,
    /// Duration of the call, including the host's work.
    pub took: Duration,
    /// Rows passed.
    pub rows_in: u64,
    /// Rows taken.
    pub rows_out: u64,
    /// The trap that ended it, if it failed: `time`, `memory`, `trap` …
    pub failed: Option<&'static str>,
}

/// The result of [`take`].
#[derive(Debug, Default)]
pub struct NotedCalls {
    /// The longest calls.
    pub longest: Vec<NotedCall>,
    /// Number of all calls.
    pub all: u64,
}

/// Enables the recording of calls, in the entire process.
pub fn want() {
    WANTED.store(true, Ordering::Relaxed);
}

/// Returns whether calls are recorded.
pub fn are_requested() -> bool {
    WANTED.load(Ordering::Relaxed)
}

/// Records a call that has ended.
pub(super) fn note(call: NotedCall) {
    if are_requested() {
        NOTED.with_borrow_mut(|noted| {
            noted.all = noted.all.saturating_add(1);
            keep_longest(&mut noted.longest, call, KEPT_MAX, |call| call.took);
        });
    }
}

/// Takes the calls that this thread has recorded since the previous call.
pub fn take() -> NotedCalls {
    NOTED.with_borrow_mut(std::mem::take)
}

/// Keeps the longest items, including `more` if it is one of them.
pub fn keep_longest<T, K: Ord>(kept: &mut Vec<T>, more: T, most: usize, took: impl Fn(&T) -> K) {
    if kept.len() < most {
        kept.push(more);
    } else if let Some(shortest) = kept.iter_mut().min_by_key(|call| took(call))
        && took(shortest) < took(&more)
    {
        *shortest = more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_are_kept() {
        let mut kept = Vec::new();
        for took in [5, 1, 9, 3, 9, 2, 7] {
            keep_longest(&mut kept, took, 3, |took| *took);
        }
        kept.sort_unstable();
        assert_eq!(kept, [7, 9, 9]);
    }
}
