//! Tracks action requests without a response. They are answered before the process exits that serves the page, since
//! the action may end it.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// A client that does not read its response in this time gets none.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// The number of action requests without a response.
#[derive(Clone, Default)]
pub struct Unanswered {
    shared: Arc<(Mutex<usize>, Condvar)>,
}

/// A request without a response, until it is dropped.
pub struct Request {
    unanswered: Unanswered,
}

impl Unanswered {
    /// Records a request.
    pub fn begin(&self) -> Request {
        self.change(|count| count + 1);
        Request { unanswered: self.clone() }
    }

    /// Waits until all are answered, for at most [`WAIT_MAX`].
    pub fn wait(&self) {
        let (count, changed) = &*self.shared;
        let count = count.lock().unwrap_or_else(PoisonError::into_inner);
        // The process exits whether they are answered or the time has passed.
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
