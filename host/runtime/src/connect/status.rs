//! What the end that listens tells the one that has connected, once both know each other: sealed, and of one size.

use millstream_base::ids::Generation;
use std::time::Duration;

/// How often a process that is not ready yet says that it lives.
pub const STATUS_EVERY: Duration = Duration::from_secs(1);
/// One that is silent for longer is lost.
pub const STATUS_SILENCE_MAX: Duration = Duration::from_secs(5);

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It lives, and is not ready.
    Wait,
    /// The other takes part, in this generation.
    Welcome(Generation),
    /// A process of the same number takes part already.
    Taken,
    /// The job runs on other machines than the other has; so many bytes that name them follow.
    Elsewhere(u64),
}

impl Status {
    /// How many bytes a status has.
    pub const BYTES: usize = 9;

    /// As they are sent.
    pub fn bytes(self) -> [u8; Status::BYTES] {
        let (kind, number) = match self {
            Status::Wait => (0, 0),
            Status::Welcome(generation) => (1, generation.0),
            Status::Taken => (2, 0),
            Status::Elsewhere(bytes) => (3, bytes),
        };
        let mut bytes = [kind; Status::BYTES];
        bytes[1..].copy_from_slice(&number.to_le_bytes());
        bytes
    }

    /// What was sent; `None`: nothing of these.
    pub fn read(bytes: &[u8]) -> Option<Status> {
        let (kind, number) = bytes.split_first()?;
        let number = u64::from_le_bytes(number.try_into().ok()?);
        match kind {
            0 => Some(Status::Wait),
            1 => Some(Status::Welcome(Generation(number))),
            2 => Some(Status::Taken),
            3 => Some(Status::Elsewhere(number)),
            _ => None,
        }
    }
}
