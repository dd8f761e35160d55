//! Frames, the messages of the protocol: a JSON header, followed by tables. Lengths in a frame are not trusted before
//! the bytes have arrived.

use super::room::FrameRoom;
use millstream_base::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Maximum bytes of a header.
pub const HEADER_BYTES_MAX: usize = 1 << 20;
/// Maximum number of tables in a frame.
pub const TABLES_MAX: usize = 64;
/// How long receiving or sending a started frame may take.
const FRAME_TIME_MAX: Duration = Duration::from_mins(1);
/// Bytes read at a time. The buffer exceeds the received bytes by at most this.
const READ_BYTES: usize = 256 << 10;
/// Bytes of each length.
const LENGTH_BYTES: usize = 4;

/// A received frame.
#[derive(Debug)]
pub struct Frame {
    bytes: Vec<u8>,
    header: Range<usize>,
    tables: Vec<Range<usize>>,
    /// Its share of the memory for all frames.
    _room: Option<FrameRoom>,
}

/// Why there is no frame.
#[derive(Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The other end has disconnected, or is unreachable.
    Disconnected,
    /// The received data is not a frame.
    Invalid(String),
    /// There is not enough memory for it.
    NoRoom(String),
}

impl FrameError {
    /// Returns the error for the other end, if it is still connected.
    pub fn into_error(self) -> Option<Error> {
        match self {
            FrameError::Disconnected => None,
            FrameError::Invalid(message) => Some(Error::job(message)),
            FrameError::NoRoom(message) => Some(Error::environment(message)),
        }
    }
}

fn invalid<T>(message: impl Into<String>) -> Result<T, FrameError> {
    Err(FrameError::Invalid(message.into()))
}

impl Frame {
    /// Reads the next frame. `room`: the memory for its bytes. `retry`: how long it may take to begin; `None` means
    /// indefinitely.
    pub fn read(
        stream: &UnixStream,
        bytes_max: usize,
        mut room: FrameRoom,
        retry: Option<Duration>,
    ) -> Result<Frame, FrameError> {
        let mut length = [0; LENGTH_BYTES];
        let (first, rest) = length.split_at_mut(1);
        read_exact_until(stream, first, retry.map(|retry| Instant::now() + retry))?;
        let deadline = Some(Instant::now() + FRAME_TIME_MAX);
        match read_exact_until(stream, rest, deadline) {
            Err(FrameError::Disconnected) => return invalid("a frame is incomplete"),
            read => read?,
        }
        let length = u32::from_be_bytes(length) as usize;
        if length > bytes_max {
            return invalid(format!(
                "a frame of {length} bytes; the maximum is {bytes_max}; send fewer rows at a time"
            ));
        }
        let mut bytes = Vec::new();
        while bytes.len() < length {
            let begin = bytes.len();
            room.grow(READ_BYTES.min(length - begin)).map_err(FrameError::NoRoom)?;
            bytes.resize(length.min(begin + READ_BYTES), 0);
            match read_exact_until(stream, bytes.get_mut(begin..).unwrap_or_default(), deadline) {
                Err(FrameError::Disconnected) => return invalid("a frame is incomplete"),
                read => read?,
            }
        }
        Ok(Frame { _room: Some(room), ..Frame::parse(bytes)? })
    }

    /// Parses the bytes after a frame's length.
    pub fn parse(bytes: Vec<u8>) -> Result<Frame, FrameError> {
        let header = part(&bytes, 0)?;
        if header.len() > HEADER_BYTES_MAX {
            return invalid(format!("a header of {} bytes; the maximum is {HEADER_BYTES_MAX}", header.len()));
        }
        let (mut tables, mut at) = (Vec::new(), header.end);
        while at < bytes.len() {
            if tables.len() == TABLES_MAX {
                return invalid(format!("a frame with more than {TABLES_MAX} tables"));
            }
            let table = part(&bytes, at)?;
            at = table.end;
            tables.push(table);
        }
        Ok(Frame { bytes, header, tables, _room: None })
    }

    /// Returns the header.
    pub fn header(&self) -> &[u8] {
        self.bytes.get(self.header.clone()).unwrap_or_default()
    }

    /// Returns the tables.
    pub fn tables(&self) -> Vec<&[u8]> {
        self.tables.iter().map(|table| self.bytes.get(table.clone()).unwrap_or_default()).collect()
    }
}

/// Returns the range of a part whose length is at this position.
fn part(bytes: &[u8], at: usize) -> Result<Range<usize>, FrameError> {
    let length = bytes.get(at..).and_then(|rest| rest.first_chunk::<LENGTH_BYTES>());
    let Some(length) = length else { return invalid("a frame that ends within a length") };
    let begin = at + LENGTH_BYTES;
    match begin.checked_add(u32::from_be_bytes(*length) as usize).filter(|end| *end <= bytes.len()) {
        Some(end) => Ok(begin..end),
        None => invalid("a part of a frame that is longer than the frame"),
    }
}

fn read_exact_until(mut stream: &UnixStream, mut to: &mut [u8], deadline: Option<Instant>) -> Result<(), FrameError> {
    while !to.is_empty() {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return invalid("a frame takes too long to arrive");
        }
        stream.set_read_timeout(left).map_err(|_| FrameError::Disconnected)?;
        match stream.read(to) {
            Ok(0) => return Err(FrameError::Disconnected),
            Ok(count) => to = to.get_mut(count..).unwrap_or_default(),
            Err(error) if is_retryable(&error) => {}
            Err(_) => return Err(FrameError::Disconnected),
        }
    }
    Ok(())
}

/// Returns whether a retry may succeed. The deadline is checked separately.
fn is_retryable(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Encodes a frame. Fails if it exceeds the maximum size.
pub fn encode(header: &[u8], tables: &[Vec<u8>], bytes_max: usize) -> Result<Vec<u8>, usize> {
    let parts = || std::iter::once(header).chain(tables.iter().map(Vec::as_slice));
    let length = parts().map(|part| part.len() + LENGTH_BYTES).sum::<usize>();
    let length_bytes = |length: usize| u32::try_from(length).map_err(|_| length);
    if length > bytes_max {
        return Err(length);
    }
    let mut bytes = Vec::with_capacity(length + LENGTH_BYTES);
    bytes.extend(length_bytes(length)?.to_be_bytes());
    for part in parts() {
        bytes.extend(length_bytes(part.len())?.to_be_bytes());
        bytes.extend_from_slice(part);
    }
    Ok(bytes)
}

/// Sends a frame. Returns whether the other end has accepted it.
pub fn send(mut stream: &UnixStream, mut bytes: &[u8]) -> bool {
    let deadline = Instant::now() + FRAME_TIME_MAX;
    while !bytes.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || stream.set_write_timeout(Some(left)).is_err() {
            return false;
        }
        match stream.write(bytes) {
            Ok(0) => return false,
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) if is_retryable(&error) => {}
            Err(_) => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_as_they_were_written() {
        let bytes = encode(b"{}", &[vec![1, 2, 3], Vec::new()], 100).unwrap();
        let frame = Frame::parse(bytes[4..].to_vec()).unwrap();
        assert_eq!((frame.header(), frame.tables()), (&b"{}"[..], vec![&[1_u8, 2, 3][..], &[]]));
        assert_eq!(encode(b"{}", &[vec![0; 10]], 19), Err(20));
    }

    #[test]
    fn what_a_frame_says_of_lengths_is_checked() {
        let of = |bytes: &[u8]| Frame::parse(bytes.to_vec()).map(|_| ()).unwrap_err();
        assert_eq!(of(&[]), FrameError::Invalid("a frame that ends within a length".into()));
        assert_eq!(of(&[0, 0, 0, 9, 1]), FrameError::Invalid("a part of a frame that is longer than the frame".into()));
        assert_eq!(of(&[0xff; 8]), FrameError::Invalid("a part of a frame that is longer than the frame".into()));
        assert_eq!(of(&[0, 0, 0, 0, 7]), FrameError::Invalid("a frame that ends within a length".into()));
        let many = [vec![0; 4 * (TABLES_MAX + 2)]].concat();
        assert_eq!(of(&many), FrameError::Invalid("a frame with more than 64 tables".into()));
    }
}
