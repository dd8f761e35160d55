//! Whoever asked for something to be done to a job is answered before the process ends that serves the page: what was done may be
//! its end.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Whoever does not take its answer in this time has none.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// How many requests to do something have come and are not answered yet.
#[derive(Clone, Default)]
pub struct Unanswered {
    shared: Arc<(Mutex<usize>, Condvar)>,
}

/// A request that is not answered, until this is dropped.
pub struct Request {
    unanswered: Unanswered,
}

impl Unanswered {
    /// One has come.
    pub fn begin(&self) -> Request {
        self.change(|count| count + 1);
        Request { unanswered: self.clone() }
    }

    /// Waits until all are answered, but no longer than [`WAIT_MAX`].
    pub fn wait(&self) {
        let (count, changed) = &*self.shared;
        let count = count.lock().unwrap_or_else(PoisonError::into_inner);
        // Whether they are answered or the time has passed, the process ends.
        drop(changed.wait_timeout_while(count, WAIT_MAX, |count| *count > 0));
    }

    fn change(&self, how: impl Fn(usize) -> usize) {
        let (count, changed) = &*self.shared;
        let mut count = count.lock().unwrap_or_else(PoisonError::into_inner);
        *count = how(*count);
        changed.notify_all();
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.unanswered.change(|count| count.saturating_sub(1));
    }
}
