//! Waiting for the network from a worker thread.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

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
