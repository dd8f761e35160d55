//! Logs rejected requests without letting strangers fill the log: the first one immediately, then at most one per interval, with their number.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::warn;

const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The rejections of a listening source or sink.
pub struct RejectionLog {
    who: String,
    state: Mutex<UnreportedRejections>,
}

#[derive(Default)]
struct UnreportedRejections {
    last: Option<Instant>,
    count: u64,
}

impl RejectionLog {
    /// Creates a log without rejections.
    pub fn new(who: String) -> RejectionLog {
        RejectionLog { who, state: Mutex::default() }
    }

    /// Logs that a connection or request of this peer was rejected.
    pub fn log(&self, peer: SocketAddr, why: &str) {
        let mut unreported = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if unreported.last.is_some_and(|last| last.elapsed() < LOG_INTERVAL) {
            unreported.count += 1;
            return;
        }
        unreported.last = Some(Instant::now());
        let more = match std::mem::take(&mut unreported.count) {
            0 => String::new(),
            count => format!("; {count} more were rejected before"),
        };
        drop(unreported);
        warn!("{}: rejected data from {peer}: {why}{more}", self.who);
    }
}
