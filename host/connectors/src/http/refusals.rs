//! Tells that requests are refused, without letting strangers fill the log: the first one, and then no more than one in a while,
//! with how many there were.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::warn;

const TELL_EVERY: Duration = Duration::from_secs(10);

/// The refusals of a source or sink that listens.
pub struct Refusals {
    who: String,
    state: Mutex<UnreportedRefusals>,
}

#[derive(Default)]
struct UnreportedRefusals {
    last: Option<Instant>,
    count: u64,
}

impl Refusals {
    /// None yet.
    pub fn new(who: String) -> Refusals {
        Refusals { who, state: Mutex::default() }
    }

    /// A connection or request of this peer is refused.
    pub fn tell(&self, peer: SocketAddr, why: &str) {
        let mut untold = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if untold.last.is_some_and(|last| last.elapsed() < TELL_EVERY) {
            untold.count += 1;
            return;
        }
        untold.last = Some(Instant::now());
        let more = match std::mem::take(&mut untold.count) {
            0 => String::new(),
            count => format!("; {count} more were rejected before"),
        };
        drop(untold);
        warn!("{}: rejected data from {peer}: {why}{more}", self.who);
    }
}
