//! The memory for all received frames without a response. They share a limit, so many clients, or one with many
//! connections, take no more memory than that.

use millstream_base::memory;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The fraction of the memory budget for frames. What plugins create from them takes more.
const PART_OF_MEMORY: u64 = 4;
/// How long a frame waits for other frames to be answered.
const PATIENCE: Duration = Duration::from_secs(10);

/// The limit.
#[derive(Debug)]
pub struct Rooms {
    bytes_max: u64,
    taken: Mutex<u64>,
    returned: Condvar,
}

/// The memory of a frame. Dropping it returns the memory.
#[derive(Debug)]
pub struct FrameRoom {
    rooms: Arc<Rooms>,
    bytes: u64,
}

impl Rooms {
    /// Creates the limit from the budget of this process. It allows at least one frame of `frame_bytes_max` bytes.
    pub fn new(frame_bytes_max: usize) -> Arc<Rooms> {
        match memory::budget::state() {
            (0, _) => Rooms::with_bytes_max(u64::MAX),
            (budget, _) => Rooms::with_bytes_max((budget / PART_OF_MEMORY).max(frame_bytes_max as u64)),
        }
    }

    fn with_bytes_max(bytes_max: u64) -> Arc<Rooms> {
        Arc::new(Rooms { bytes_max, taken: Mutex::new(0), returned: Condvar::new() })
    }

    /// Returns empty memory for a frame that begins to arrive.
    pub fn room(self: &Arc<Rooms>) -> FrameRoom {
        FrameRoom { rooms: self.clone(), bytes: 0 }
    }
}

impl FrameRoom {
    /// Adds `bytes`, as soon as available. Fails if other frames hold them for too long.
    pub fn grow(&mut self, bytes: usize) -> Result<(), String> {
        self.grow_within(bytes, PATIENCE)
    }

    fn grow_within(&mut self, bytes: usize, retry: Duration) -> Result<(), String> {
        let (rooms, deadline) = (&*self.rooms, Instant::now() + retry);
        let mut taken = rooms.taken.lock().unwrap_or_else(PoisonError::into_inner);
        while taken.saturating_add(bytes as u64) > rooms.bytes_max {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!(
                    "the frames of all connections take {} bytes; the maximum is {}; send smaller frames, or raise \
                    --memory",
                    *taken, rooms.bytes_max
                ));
            }
            taken = rooms.returned.wait_timeout(taken, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        *taken += bytes as u64;
        self.bytes += bytes as u64;
        Ok(())
    }
}

impl Drop for FrameRoom {
    fn drop(&mut self) {
        let mut taken = self.rooms.taken.lock().unwrap_or_else(PoisonError::into_inner);
        *taken = taken.saturating_sub(self.bytes);
        self.rooms.returned.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn a_frame_waits_for_what_others_have_and_no_longer_than_it_may() {
        let rooms = Rooms::with_bytes_max(100);
        let (mut first, mut second) = (rooms.room(), rooms.room());
        first.grow(60).unwrap();
        second.grow(40).unwrap();
        let message = second.grow_within(1, Duration::from_millis(1)).unwrap_err();
        assert!(message.starts_with("the frames of all connections take 100 bytes; the maximum is 100"), "{message}");
        thread::scope(|scope| {
            let waits = scope.spawn(|| rooms.room().grow(50));
            drop(first);
            waits.join().unwrap().unwrap();
        });
        drop(second);
        rooms.room().grow_within(100, Duration::ZERO).unwrap();
    }
}
