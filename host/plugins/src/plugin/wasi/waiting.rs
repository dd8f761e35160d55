//! Waiting for the network from a worker thread.

use super::Stopped;
use crate::limits::PLUGIN_WAIT_MS_MAX;
use crate::plugin::failure::Trap;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// When a call must have ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deadline {
    time_max: Duration,
    end: Option<Instant>,
}

impl Deadline {
    /// Of a call that began then and may take so long; zero: for ever.
    pub fn new(began: Instant, time_max: Duration) -> Deadline {
        Deadline { time_max, end: began.checked_add(time_max).filter(|_| !time_max.is_zero()) }
    }

    /// How long it may still wait.
    pub fn left(&self) -> Duration {
        let most = Duration::from_millis(PLUGIN_WAIT_MS_MAX);
        self.end.map_or(most, |end| end.saturating_duration_since(Instant::now()))
    }

    /// A wait that took too long.
    pub fn missed(&self) -> Stopped {
        let words = match self.end {
            Some(_) => format!("it ran longer than its time limit of {:?}, waiting for an answer", self.time_max),
            None => format!("it waited {PLUGIN_WAIT_MS_MAX} ms for an answer"),
        };
        let advice = "Raise `limits.time` of the stage, or mend the plugin if it waits for ever.";
        Stopped { trap: Trap::Time, words, advice }
    }
}

struct ThreadWaker(Thread);

impl Wake for ThreadWaker {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for what may come from the network, no longer than this. `None`: it did not come. The thread needs no runtime of
/// its own: what is waited for runs elsewhere and wakes it.
pub fn wait<F: Future>(most: Duration, future: F) -> Option<F::Output> {
    let waker = Waker::from(Arc::new(ThreadWaker(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    let end = Instant::now().checked_add(most);
    loop {
        if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
            return Some(result);
        }
        let left = end.map_or(most, |end| end.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return None;
        }
        std::thread::park_timeout(left);
    }
}
