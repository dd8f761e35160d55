//! Frames of version 2 of the protocol, of which a window is made:
//!
//! | frame | behind `2` and its letter |
//! |---|---|
//! | `W` begins a window | how many events it has |
//! | `J` an event | its number, how many bytes follow, and these: JSON |
//! | `C` frames, compressed | how many bytes follow, and these: zlib |
//! | `A` an answer | the number of the last event that is safe; 0: none yet, and somebody is at work on it |
//!
//! Numbers have four bytes, the largest first. What a sender says of lengths is not believed before the bytes are there.

use crate::receiver::budget::{Budget, BudgetPermit};
use flate2::{Decompress, FlushDecompress, Status};
use std::io::{self, ErrorKind};
use tokio::io::{AsyncRead, AsyncReadExt};

/// What room is made for at a time, as bytes come.
const PIECE_BYTES: usize = 64 << 10;
/// Bytes of an event's frame before its JSON: events without any take room as well.
const EVENT_HEAD_BYTES: usize = 10;

/// Why a window is not taken, and its connection ends.
#[derive(Debug)]
pub enum WindowRefusal {
    /// The connection ended, or broke.
    Broken,
    /// What came is not what there is; for a person to read.
    Wrong(String),
    /// The window is larger than it may be.
    TooLarge,
    /// Too much is coming in on all connections together.
    NoRoom,
}

impl From<io::Error> for WindowRefusal {
    fn from(_: io::Error) -> WindowRefusal {
        WindowRefusal::Broken
    }
}

/// The events of a window, as they come.
pub struct Window {
    /// How many it has.
    count: u32,
    /// Those that came, one behind the other.
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// The number of the last of them.
    last: u32,
    bytes_max: usize,
    room: BudgetPermit,
}

impl Window {
    /// With so many events, of so many bytes together at most.
    pub fn new(count: u32, bytes_max: usize) -> Window {
        Window { count, bytes: Vec::new(), ends: Vec::new(), last: 0, bytes_max, room: BudgetPermit::default() }
    }

    /// Whether all of its events are there.
    pub fn is_whole(&self) -> bool {
        self.ends.len() as u64 >= u64::from(self.count)
    }

    /// The number of the last event.
    pub fn last(&self) -> u32 {
        self.last
    }

    /// The events.
    pub fn events(&self) -> impl Iterator<Item = &[u8]> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins.zip(&self.ends).map(|(from, to)| self.bytes.get(from..*to).unwrap_or_default())
    }

    /// What it takes, with `more` bytes that are not events yet.
    fn grow(&mut self, budget: &Budget, more: usize) -> Result<(), WindowRefusal> {
        let bytes = self.bytes.len() + self.ends.len() * EVENT_HEAD_BYTES;
        if bytes > self.bytes_max || more > self.bytes_max {
            return Err(WindowRefusal::TooLarge);
        }
        match budget.grow(&mut self.room, (bytes + more) as u64) {
            true => Ok(()),
            false => Err(WindowRefusal::NoRoom),
        }
    }

    /// Reads the next frame, one of its events or several that are compressed.
    pub async fn read(
        mut self,
        stream: &mut (impl AsyncRead + Unpin),
        budget: &Budget,
    ) -> Result<Window, WindowRefusal> {
        match letter(stream).await? {
            b'J' => {
                let (number, length) = (stream.read_u32().await?, stream.read_u32().await?);
                let mut left = length as usize;
                while left > 0 {
                    let piece = left.min(PIECE_BYTES);
                    self.append(stream, piece, budget).await?;
                    left -= piece;
                }
                self.ended(number);
                self.grow(budget, 0)?;
                Ok(self)
            }
            b'C' => {
                let packed = self.packed(stream, budget).await?;
                let budget = budget.clone();
                let unpacking = tokio::task::spawn_blocking(move || {
                    self.unpack(&packed, &budget)?;
                    self.grow(&budget, 0)?;
                    Ok(self)
                });
                unpacking.await.unwrap_or(Err(WindowRefusal::Broken))
            }
            b'W' => Err(WindowRefusal::Wrong("a window begins before the one before it is whole".into())),
            other => Err(unknown(other)),
        }
    }

    async fn append(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        piece: usize,
        budget: &Budget,
    ) -> Result<(), WindowRefusal> {
        let from = self.bytes.len();
        self.grow(budget, piece)?;
        self.bytes.resize(from + piece, 0);
        stream.read_exact(self.bytes.get_mut(from..).unwrap_or_default()).await?;
        Ok(())
    }

    fn ended(&mut self, number: u32) {
        self.ends.push(self.bytes.len());
        self.last = number;
    }

    /// The bytes of a compressed frame.
    async fn packed(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        budget: &Budget,
    ) -> Result<Vec<u8>, WindowRefusal> {
        let mut left = stream.read_u32().await? as usize;
        let mut packed = Vec::new();
        while left > 0 {
            let (from, piece) = (packed.len(), left.min(PIECE_BYTES));
            self.grow(budget, from + piece)?;
            packed.resize(from + piece, 0);
            stream.read_exact(packed.get_mut(from..).unwrap_or_default()).await?;
            left -= piece;
        }
        Ok(packed)
    }

    /// Takes the events out of a compressed frame, a piece after the other: little may become much.
    fn unpack(&mut self, packed: &[u8], budget: &Budget) -> Result<(), WindowRefusal> {
        let broken = |why: &str| WindowRefusal::Wrong(format!("a compressed frame is not whole: {why}"));
        let (mut zlib, mut inner) = (Decompress::new(true), Inner::default());
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        loop {
            let from = usize::try_from(zlib.total_in()).unwrap_or(usize::MAX);
            let made = zlib.total_out();
            piece.clear();
            let rest = packed.get(from..).unwrap_or_default();
            let state = zlib.decompress_vec(rest, &mut piece, FlushDecompress::None);
            let state = state.map_err(|error| broken(&error.to_string()))?;
            inner.take(&piece, self)?;
            self.grow(budget, packed.len())?;
            match state {
                Status::StreamEnd => break,
                // All is read, and nothing more comes of it.
                _ if zlib.total_out() == made => return Err(broken("it ends in the middle")),
                _ => {}
            }
        }
        match inner.is_between() {
            true => Ok(()),
            false => Err(broken("its last event ends in the middle")),
        }
    }
}

/// What frames within a compressed one are taken apart by.
#[derive(Default)]
struct Inner {
    head: Vec<u8>,
    number: u32,
    /// Bytes of the event that are still to come.
    left: usize,
}

impl Inner {
    fn is_between(&self) -> bool {
        self.head.is_empty() && self.left == 0
    }

    fn take(&mut self, mut bytes: &[u8], window: &mut Window) -> Result<(), WindowRefusal> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let (part, rest) = bytes.split_at(self.left.min(bytes.len()));
                window.bytes.extend_from_slice(part);
                self.left -= part.len();
                bytes = rest;
                if self.left == 0 {
                    window.ended(self.number);
                }
                continue;
            }
            let (part, rest) = bytes.split_at((EVENT_HEAD_BYTES - self.head.len()).min(bytes.len()));
            self.head.extend_from_slice(part);
            bytes = rest;
            match self.head[..] {
                [b'2', b'J', ..] | [b'2'] => {}
                [b'2', b'C', ..] => {
                    return Err(WindowRefusal::Wrong("a compressed frame is within another one".into()));
                }
                [b'2', other, ..] => return Err(unknown(other)),
                [version, ..] => return Err(foreign(version)),
                [] => {}
            }
            if let [_, _, a, b, c, d, e, f, g, h] = self.head[..] {
                self.number = u32::from_be_bytes([a, b, c, d]);
                self.left = u32::from_be_bytes([e, f, g, h]) as usize;
                self.head.clear();
                if self.left == 0 {
                    window.ended(self.number);
                }
            }
        }
        Ok(())
    }
}

/// How many events the next window has; `None`: the connection has ended before one.
pub async fn begins(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<u32>, WindowRefusal> {
    let version = match stream.read_u8().await {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    };
    match kind(version, stream).await? {
        b'W' => Ok(Some(stream.read_u32().await?)),
        b'J' | b'C' => Err(WindowRefusal::Wrong("an event comes before a window begins".into())),
        other => Err(unknown(other)),
    }
}

/// The letter of the next frame.
async fn letter(stream: &mut (impl AsyncRead + Unpin)) -> Result<u8, WindowRefusal> {
    let version = stream.read_u8().await?;
    kind(version, stream).await
}

async fn kind(version: u8, stream: &mut (impl AsyncRead + Unpin)) -> Result<u8, WindowRefusal> {
    match version {
        b'2' => Ok(stream.read_u8().await?),
        other => Err(foreign(other)),
    }
}

fn foreign(version: u8) -> WindowRefusal {
    WindowRefusal::Wrong(match version {
        b'1' => "it speaks version 1 of the protocol; configure version 2, as Beats use".into(),
        0x16 => "it speaks TLS, and the source has no certificate (`tls`)".into(),
        _ => "it does not speak the protocol of Beats (Lumberjack, version 2)".into(),
    })
}

fn unknown(letter: u8) -> WindowRefusal {
    WindowRefusal::Wrong(format!(
        "it sends a frame `{}`, of which nothing is known",
        char::from(letter).escape_default()
    ))
}

/// An answer: this event is safe, and those before it; 0: somebody is at work on it.
pub fn answer(number: u32) -> [u8; 6] {
    let [a, b, c, d] = number.to_be_bytes();
    [b'2', b'A', a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use futures_util::FutureExt as _;
    use std::io::Write;

    fn event(number: u32, json: &[u8]) -> Vec<u8> {
        [b"2J", &number.to_be_bytes()[..], &(json.len() as u32).to_be_bytes(), json].concat()
    }

    fn packed(frames: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(frames).unwrap();
        let packed = encoder.finish().unwrap();
        [b"2C", &(packed.len() as u32).to_be_bytes()[..], &packed].concat()
    }

    /// The events of a window whose frames these are, and the number of the last; or why it was refused.
    async fn read(count: u32, mut frames: &[u8], bytes_max: usize) -> Result<(Vec<String>, u32), String> {
        let budget = Budget::new(2 << 20);
        let mut window = Window::new(count, bytes_max);
        while !window.is_whole() {
            window = window.read(&mut frames, &budget).await.map_err(|refused| match refused {
                WindowRefusal::Wrong(words) => words,
                other => format!("{other:?}"),
            })?;
        }
        let events = window.events().map(|event| String::from_utf8_lossy(event).into_owned()).collect();
        Ok((events, window.last()))
    }

    #[tokio::test]
    async fn a_window_is_events_single_and_compressed() {
        let many: Vec<u8> = (2..=9).flat_map(|number| event(number, format!("[{number}]").as_bytes())).collect();
        let frames = [event(1, b"{}"), packed(&many), event(10, b"")].concat();
        let (events, last) = read(10, &frames, 1 << 20).await.unwrap();
        assert_eq!((events.len(), last), (10, 10));
        assert_eq!((&*events[0], &*events[1], &*events[8], &*events[9]), ("{}", "[2]", "[9]", ""));
        for end in 0..frames.len() {
            assert!(read(10, &frames[..end], 1 << 20).await.unwrap_err().starts_with("Broken"), "{end}");
        }
    }

    #[tokio::test]
    async fn what_is_no_window_is_refused() {
        for (frames, told) in [
            (b"2W\0\0\0\x01".to_vec(), "a window begins before the one before it is whole"),
            (b"1D\0\0".to_vec(), "it speaks version 1 of the protocol"),
            (b"GET / HTTP".to_vec(), "it does not speak the protocol of Beats"),
            (b"2D\0\0\0\x01".to_vec(), "it sends a frame `D`, of which nothing is known"),
            (packed(b"2J\0\0"), "a compressed frame is not whole: its last event ends in the middle"),
            (packed(&packed(&event(1, b"{}"))), "a compressed frame is within another one"),
            (packed(b"1J"), "it speaks version 1"),
            (b"2C\0\0\0\x04abcd".to_vec(), "a compressed frame is not whole: "),
            (b"2C\0\0\0\0".to_vec(), "a compressed frame is not whole: it ends in the middle"),
            ([&b"2C\0\0\0\x14"[..], &packed(&event(1, &[b'x'; 999]))[6..26]].concat(), "it ends in the middle"),
        ] {
            let refused = read(2, &frames, 1 << 20).await.unwrap_err();
            assert!(refused.contains(told), "{refused}, not {told}");
        }
        assert!(matches!(begins(&mut &b""[..]).await, Ok(None)));
        assert!(matches!(begins(&mut &b"2W\0\0\x01\0"[..]).await, Ok(Some(256))));
        assert!(matches!(begins(&mut &event(1, b"{}")[..]).await, Err(WindowRefusal::Wrong(_))));
    }

    #[tokio::test]
    async fn little_that_becomes_much_is_refused_before_it_is_kept() {
        // A thousand times as much as came.
        let bomb = packed(&event(1, &vec![b' '; 64 << 20]));
        assert!(bomb.len() < 128 << 10, "{}", bomb.len());
        assert_eq!(read(1, &bomb, 1 << 20).await.unwrap_err(), "TooLarge");
        // Events of nothing take room as well.
        let nothing = packed(&event(1, b"").repeat(1 << 20));
        assert_eq!(read(u32::MAX, &nothing, 1 << 20).await.unwrap_err(), "TooLarge");
        assert_eq!(read(1, &event(1, &[b' '; 4000]), 3000).await.unwrap_err(), "TooLarge");
        // The bound of all connections together.
        assert_eq!(read(1, &event(1, &vec![b' '; 3 << 20]), 8 << 20).await.unwrap_err(), "NoRoom");
        // A length that is not believed.
        let lie = [&b"2J\0\0\0\x01\xff\xff\xff\xff"[..], b"{}"].concat();
        assert!(read(1, &lie, usize::MAX).now_or_never().unwrap().unwrap_err().starts_with("Broken"));
    }
}
