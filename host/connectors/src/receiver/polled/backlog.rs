//! What a server held when the job came to it. Until that is read there is something to read, however late a busy server sends it.

use std::time::{Duration, Instant};

/// How long a server may be silent that still has something: it may be gone again, or others may have it.
const SILENT_MAX: Duration = Duration::from_secs(30);

/// What is between the position of a reader and the end that the server named.
pub struct Backlog {
    end: u64,
    heard: Instant,
}

impl Backlog {
    /// Up to this position.
    pub fn up_to(end: u64) -> Backlog {
        Backlog { end, heard: Instant::now() }
    }

    /// The server sends something.
    pub fn hear(&mut self) {
        self.heard = Instant::now();
    }

    /// Whether some of it is left for who is at this position.
    pub fn is_left(&self, position: u64) -> bool {
        position < self.end && self.heard.elapsed() < SILENT_MAX
    }
}
