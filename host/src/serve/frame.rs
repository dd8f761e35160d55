//! Frames, in which everything is said: a header, which is JSON, and tables behind it. Nothing that a frame says of lengths is believed
//! before the bytes are there.

use super::room::FrameRoom;
use millstream_base::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Bytes of a header.
pub const HEADER_BYTES_MAX: usize = 1 << 20;
/// Tables of a frame.
pub const TABLES_MAX: usize = 64;
/// How long a frame may take that has begun to come, or to be taken.
const FRAME_TIME_MAX: Duration = Duration::from_mins(1);
/// Bytes that are read at a time: so much more memory than what came is taken at most.
const READ_BYTES: usize = 256 << 10;
/// Of each length.
const LENGTH_BYTES: usize = 4;

/// A frame that came.
#[derive(Debug)]
pub struct Frame {
    bytes: Vec<u8>,
    header: Range<usize>,
    tables: Vec<Range<usize>>,
    /// What it has of the room for all frames.
    _room: Option<FrameRoom>,
}

/// Why there is none.
#[derive(Debug, PartialEq, Eq)]
pub enum NoFrame {
    /// The other end has hung up, or cannot be reached any more.
    Gone,
    /// What came is no frame.
    Wrong(String),
    /// There is no room for it.
    NoRoom(String),
}

impl NoFrame {
    /// What to tell the other end, if somebody is there.
    pub fn told(self) -> Option<Error> {
        match self {
            NoFrame::Gone => None,
            NoFrame::Wrong(words) => Some(Error::job(words)),
            NoFrame::NoRoom(words) => Some(Error::environment(words)),
        }
    }
}

fn wrong<T>(words: impl Into<String>) -> Result<T, NoFrame> {
    Err(NoFrame::Wrong(words.into()))
}

impl Frame {
    /// The next one. `room`: for its bytes. `patience`: how long it may take to begin; none: for ever.
    pub fn read(
        stream: &UnixStream,
        bytes_max: usize,
        mut room: FrameRoom,
        patience: Option<Duration>,
    ) -> Result<Frame, NoFrame> {
        let mut length = [0; LENGTH_BYTES];
        let (first, rest) = length.split_at_mut(1);
        read_within(stream, first, patience.map(|patience| Instant::now() + patience))?;
        let deadline = Some(Instant::now() + FRAME_TIME_MAX);
        match read_within(stream, rest, deadline) {
            Err(NoFrame::Gone) => return wrong("a frame breaks off"),
            read => read?,
        }
        let length = u32::from_be_bytes(length) as usize;
        if length > bytes_max {
            return wrong(format!(
                "a frame of {length} bytes, and {bytes_max} are the most; send fewer rows at a time"
            ));
        }
        let mut bytes = Vec::new();
        while bytes.len() < length {
            let begin = bytes.len();
            room.grow(READ_BYTES.min(length - begin)).map_err(NoFrame::NoRoom)?;
            bytes.resize(length.min(begin + READ_BYTES), 0);
            match read_within(stream, bytes.get_mut(begin..).unwrap_or_default(), deadline) {
                Err(NoFrame::Gone) => return wrong("a frame breaks off"),
                read => read?,
            }
        }
        Ok(Frame { _room: Some(room), ..Frame::of(bytes)? })
    }

    /// What the bytes behind a frame's length hold.
    pub fn of(bytes: Vec<u8>) -> Result<Frame, NoFrame> {
        let header = part(&bytes, 0)?;
        if header.len() > HEADER_BYTES_MAX {
            return wrong(format!("a header of {} bytes, and {HEADER_BYTES_MAX} are the most", header.len()));
        }
        let (mut tables, mut at) = (Vec::new(), header.end);
        while at < bytes.len() {
            if tables.len() == TABLES_MAX {
                return wrong(format!("a frame with more than {TABLES_MAX} tables"));
            }
            let table = part(&bytes, at)?;
            at = table.end;
            tables.push(table);
        }
        Ok(Frame { bytes, header, tables, _room: None })
    }

    /// The header.
    pub fn header(&self) -> &[u8] {
        self.bytes.get(self.header.clone()).unwrap_or_default()
    }

    /// The tables.
    pub fn tables(&self) -> Vec<&[u8]> {
        self.tables.iter().map(|table| self.bytes.get(table.clone()).unwrap_or_default()).collect()
    }
}

/// Where a part lies whose length stands here.
fn part(bytes: &[u8], at: usize) -> Result<Range<usize>, NoFrame> {
    let length = bytes.get(at..).and_then(|rest| rest.first_chunk::<LENGTH_BYTES>());
    let Some(length) = length else { return wrong("a frame that ends within a length") };
    let begin = at + LENGTH_BYTES;
    match begin.checked_add(u32::from_be_bytes(*length) as usize).filter(|end| *end <= bytes.len()) {
        Some(end) => Ok(begin..end),
        None => wrong("a part of a frame that is longer than the frame"),
    }
}

fn read_within(mut stream: &UnixStream, mut to: &mut [u8], deadline: Option<Instant>) -> Result<(), NoFrame> {
    while !to.is_empty() {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return wrong("a frame takes too long to come");
        }
        stream.set_read_timeout(left).map_err(|_| NoFrame::Gone)?;
        match stream.read(to) {
            Ok(0) => return Err(NoFrame::Gone),
            Ok(count) => to = to.get_mut(count..).unwrap_or_default(),
            Err(error) if passes(&error) => {}
            Err(_) => return Err(NoFrame::Gone),
        }
    }
    Ok(())
}

/// Whether another try may go well: the deadline is looked at by ourselves.
fn passes(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// A frame as bytes; none where it has more than it may have.
pub fn written(header: &[u8], tables: &[Vec<u8>], bytes_max: usize) -> Result<Vec<u8>, usize> {
    let parts = || std::iter::once(header).chain(tables.iter().map(Vec::as_slice));
    let length = parts().map(|part| part.len() + LENGTH_BYTES).sum::<usize>();
    let told = |length: usize| u32::try_from(length).map_err(|_| length);
    if length > bytes_max {
        return Err(length);
    }
    let mut bytes = Vec::with_capacity(length + LENGTH_BYTES);
    bytes.extend(told(length)?.to_be_bytes());
    for part in parts() {
        bytes.extend(told(part.len())?.to_be_bytes());
        bytes.extend_from_slice(part);
    }
    Ok(bytes)
}

/// Sends a frame; whether the other end has taken it.
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
            Err(error) if passes(&error) => {}
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
        let bytes = written(b"{}", &[vec![1, 2, 3], Vec::new()], 100).unwrap();
        let frame = Frame::of(bytes[4..].to_vec()).unwrap();
        assert_eq!((frame.header(), frame.tables()), (&b"{}"[..], vec![&[1_u8, 2, 3][..], &[]]));
        assert_eq!(written(b"{}", &[vec![0; 10]], 19), Err(20));
    }

    #[test]
    fn what_a_frame_says_of_lengths_is_checked() {
        let of = |bytes: &[u8]| Frame::of(bytes.to_vec()).map(|_| ()).unwrap_err();
        assert_eq!(of(&[]), NoFrame::Wrong("a frame that ends within a length".into()));
        assert_eq!(of(&[0, 0, 0, 9, 1]), NoFrame::Wrong("a part of a frame that is longer than the frame".into()));
        assert_eq!(of(&[0xff; 8]), NoFrame::Wrong("a part of a frame that is longer than the frame".into()));
        assert_eq!(of(&[0, 0, 0, 0, 7]), NoFrame::Wrong("a frame that ends within a length".into()));
        let many = [vec![0; 4 * (TABLES_MAX + 2)]].concat();
        assert_eq!(of(&many), NoFrame::Wrong("a frame with more than 64 tables".into()));
    }
}
