//! The messages that timely sends between processes. A header states the sending worker, the receiving workers and the
//! length. timely trusts headers, so each one is validated before timely sees it.

use std::io::{self, ErrorKind};
use std::ops::Range;

/// Six big-endian numbers of eight bytes: channel, sender, first receiver, end of the receivers (exclusive), length,
/// and number of the message.
const HEADER_BYTES: usize = 48;
/// Maximum bytes of one message. A column of a batch holds at most half of that.
const MESSAGE_BYTES_MAX: u64 = 4 << 30;

/// Validates the messages from one process as they arrive.
pub struct Messages {
    /// The workers of the sending process.
    from: Range<u64>,
    /// The workers of this process.
    to: Range<u64>,
    header: [u8; HEADER_BYTES],
    header_bytes: usize,
    /// Remaining bytes of the current message.
    bytes_left: u64,
    ended: bool,
}

impl Messages {
    /// Creates the state for these two processes with `workers` workers each.
    pub fn between(from: u32, to: u32, workers: u32) -> Messages {
        let workers_of = |process: u32| {
            let first = u64::from(process) * u64::from(workers);
            first..first + u64::from(workers)
        };
        let (from, to) = (workers_of(from), workers_of(to));
        Messages { from, to, header: [0; HEADER_BYTES], header_bytes: 0, bytes_left: 0, ended: false }
    }

    /// Checks the next bytes.
    pub fn check(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.bytes_left > 0 {
                let body =
                    usize::try_from(self.bytes_left).map_or(bytes.len(), |bytes_left| bytes_left.min(bytes.len()));
                self.bytes_left -= body as u64;
                bytes = &bytes[body..];
                continue;
            }
            if self.ended {
                return Err(invalid_data("bytes after the last message"));
            }
            let count = bytes.len().min(HEADER_BYTES - self.header_bytes);
            self.header[self.header_bytes..self.header_bytes + count].copy_from_slice(&bytes[..count]);
            self.header_bytes += count;
            bytes = &bytes[count..];
            if self.header_bytes == HEADER_BYTES {
                self.header_bytes = 0;
                self.begin()?;
            }
        }
        Ok(())
    }

    /// Handles a complete header.
    fn begin(&mut self) -> io::Result<()> {
        let (numbers, _) = self.header.as_chunks::<8>();
        let numbers: Vec<u64> = numbers.iter().map(|bytes| u64::from_be_bytes(*bytes)).collect();
        let [_, sender, first, end, length, _] = numbers[..] else {
            return Err(invalid_data("a message without a header"));
        };
        if length == 0 {
            self.ended = true;
            return Ok(());
        }
        if !self.from.contains(&sender) || first < self.to.start || end > self.to.end || first >= end {
            return Err(invalid_data("a message between workers that do not exist"));
        }
        if length > MESSAGE_BYTES_MAX {
            return Err(invalid_data("a message that exceeds the size limit"));
        }
        self.bytes_left = length;
        Ok(())
    }
}

fn invalid_data(message: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(sender: u64, first: u64, end: u64, length: u64) -> Vec<u8> {
        let header = [3, sender, first, end, length, 1].map(u64::to_be_bytes).concat();
        [header, vec![9; length.min(100) as usize]].concat()
    }

    /// Checks bytes from process 2 to process 1, with three workers each, in pieces of `piece` bytes.
    fn checked(bytes: &[u8], piece: usize) -> Result<(), String> {
        let mut messages = Messages::between(2, 1, 3);
        bytes.chunks(piece).try_for_each(|piece| messages.check(piece)).map_err(|error| error.to_string())
    }

    #[test]
    fn messages_are_between_the_workers_of_two_processes_and_end_once() {
        let end = vec![0; HEADER_BYTES];
        let good = [message(6, 3, 6, 100), message(8, 5, 6, 1), message(7, 3, 4, 48), end.clone()].concat();
        for piece in [1, 7, 48, 1000] {
            assert_eq!(checked(&good, piece), Ok(()));
        }
        let more = checked(&[&good[..], &[0]].concat(), 1000);
        assert_eq!(more, Err("bytes after the last message".into()));
        for (sender, first, end) in [(5, 3, 4), (9, 3, 4), (6, 2, 4), (6, 3, 7), (6, 4, 4), (6, 5, 3), (6, 0, u64::MAX)]
        {
            let rejected = checked(&message(sender, first, end, 10), 1000);
            assert_eq!(rejected, Err("a message between workers that do not exist".into()), "{sender} {first} {end}");
        }
        for length in [MESSAGE_BYTES_MAX + 1, u64::MAX] {
            assert_eq!(checked(&message(6, 3, 4, length), 1000), Err("a message that exceeds the size limit".into()));
        }
    }
}
