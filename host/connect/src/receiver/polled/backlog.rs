//! The data that a server held when the job connected. Until it is read the source is not idle, however late a busy server sends it.

use std::time::{Duration, Instant};

/// How long a server that has a backlog may send nothing. The data may have been deleted since, or another client may have received it.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// The data between the position of a reader and the end that the server reported.
pub struct Backlog {
    end: u64,
    received: Instant,
}

impl Backlog {
    /// Creates a backlog that ends at this position.
    pub fn up_to(end: u64) -> Backlog {
        Backlog { end, received: Instant::now() }
    }

    /// Notes that the server has sent something.
    pub fn touch(&mut self) {
        self.received = Instant::now();
    }

    /// Returns whether some of the backlog is left for a reader at this position.
    pub fn is_left(&self, position: u64) -> bool {
        position < self.end && self.received.elapsed() < IDLE_MAX
    }
}
