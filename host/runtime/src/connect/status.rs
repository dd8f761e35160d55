//! What the listening end sends to the connecting one after authentication: encrypted, with a fixed size.

use millstream_base::ids::Generation;
use std::time::Duration;

/// How often a process that is not ready yet sends a sign of life.
pub const STATUS_EVERY: Duration = Duration::from_secs(1);
/// A process that is silent for longer is considered lost.
pub const STATUS_TIMEOUT: Duration = Duration::from_secs(5);

/// The status of the listening process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is alive, and not ready.
    Wait,
    /// The other process is admitted, with this generation.
    Welcome(Generation),
    /// A process with the same number is already connected.
    NumberTaken,
    /// The job runs on other machines than the other process has. A description of that many bytes follows.
    Elsewhere(u64),
}

impl Status {
    /// The size of a status in bytes.
    pub const BYTES: usize = 9;

    /// Encodes the status.
    pub fn bytes(self) -> [u8; Status::BYTES] {
        let (kind, number) = match self {
            Status::Wait => (0, 0),
            Status::Welcome(generation) => (1, generation.0),
            Status::NumberTaken => (2, 0),
            Status::Elsewhere(bytes) => (3, bytes),
        };
        let mut bytes = [kind; Status::BYTES];
        bytes[1..].copy_from_slice(&number.to_le_bytes());
        bytes
    }

    /// Decodes a status. Returns `None` if it is invalid.
    pub fn read(bytes: &[u8]) -> Option<Status> {
        let (kind, number) = bytes.split_first()?;
        let number = u64::from_le_bytes(number.try_into().ok()?);
        match kind {
            0 => Some(Status::Wait),
            1 => Some(Status::Welcome(Generation(number))),
            2 => Some(Status::NumberTaken),
            3 => Some(Status::Elsewhere(number)),
            _ => None,
        }
    }
}
