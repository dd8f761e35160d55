//! Frames of version 2 of the protocol, of which a window consists:
//!
//! | frame | content after `2` and its character |
//! |---|---|
//! | `W` starts a window | number of its events |
//! | `J` an event | its number, the number of bytes, and the bytes: JSON |
//! | `C` compressed frames | the number of bytes, and the bytes: zlib |
//! | `A` acknowledgment | number of the last durable event; 0: keep-alive, none yet |
//!
//! Numbers have four bytes, big-endian. Lengths are not trusted before the bytes have arrived.

use flate2::{Decompress, FlushDecompress, Status};
use millstream_connect::receiver::budget::{Budget, BudgetPermit};
use std::io::{self, ErrorKind};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes that are allocated at a time as data arrives.
const PIECE_BYTES: usize = 64 << 10;
/// Bytes of an event's frame before its JSON: empty events take memory as well.
const EVENT_HEAD_BYTES: usize = 10;

/// Why a window is rejected and its connection closed.
#[derive(Debug)]
pub enum WindowError {
    /// The connection was closed or broken.
    Broken,
    /// A protocol violation, as a message for users.
    Wrong(String),
    /// The window exceeds its maximum size.
    TooLarge,
    /// Too many bytes are being received on all connections.
    NoRoom,
}

impl From<io::Error> for WindowError {
    fn from(_: io::Error) -> WindowError {
        WindowError::Broken
    }
}

/// The received events of a window.
pub struct Window {
    /// Number of its events.
    count: u32,
    /// The received events, concatenated.
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// Number of the last received event.
    last: u32,
    bytes_max: usize,
    room: BudgetPermit,
}

impl Window {
    /// Creates a window of `count` events with at most `bytes_max`.
    pub fn new(count: u32, bytes_max: usize) -> Window {
        Window { count, bytes: Vec::new(), ends: Vec::new(), last: 0, bytes_max, room: BudgetPermit::default() }
    }

    /// Returns whether all events were received.
    pub fn is_complete(&self) -> bool {
        self.ends.len() as u64 >= u64::from(self.count)
    }

    /// Returns the number of the last event.
    pub fn last(&self) -> u32 {
        self.last
    }

    /// Returns the events.
    pub fn events(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(from, to)| self.bytes.get(from..*to).unwrap_or_default())
    }

    /// Reserves budget for the window, with `more` bytes that are not events yet.
    fn grow(&mut self, budget: &Budget, more: usize) -> Result<(), WindowError> {
        let bytes = self.bytes.len() + self.ends.len() * EVENT_HEAD_BYTES;
        if bytes > self.bytes_max || more > self.bytes_max {
            return Err(WindowError::TooLarge);
        }
        match budget.grow(&mut self.room, (bytes + more) as u64) {
            true => Ok(()),
            false => Err(WindowError::NoRoom),
        }
    }

    /// Reads the next frame: an event, or several compressed ones.
    pub async fn read(mut self, stream: &mut (impl AsyncRead + Unpin), budget: &Budget) -> Result<Window, WindowError> {
        match frame_type(stream).await? {
            b'J' => {
                let (number, length) = (stream.read_u32().await?, stream.read_u32().await?);
                let mut left = length as usize;
                while left > 0 {
                    let piece = left.min(PIECE_BYTES);
                    self.append(stream, piece, budget).await?;
                    left -= piece;
                }
                self.end_event(number);
                self.grow(budget, 0)?;
                Ok(self)
            }
            b'C' => {
                let compressed = self.read_compressed(stream, budget).await?;
                let budget = budget.clone();
                let decompressing = tokio::task::spawn_blocking(move || {
                    self.decompress(&compressed, &budget)?;
                    self.grow(&budget, 0)?;
                    Ok(self)
                });
                decompressing.await.unwrap_or(Err(WindowError::Broken))
            }
            b'W' => Err(WindowError::Wrong("a window begins before the previous one is complete".into())),
            other => Err(unknown_frame(other)),
        }
    }

    async fn append(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        piece: usize,
        budget: &Budget,
    ) -> Result<(), WindowError> {
        let from = self.bytes.len();
        self.grow(budget, piece)?;
        self.bytes.resize(from + piece, 0);
        stream.read_exact(self.bytes.get_mut(from..).unwrap_or_default()).await?;
        Ok(())
    }

    fn end_event(&mut self, number: u32) {
        self.ends.push(self.bytes.len());
        self.last = number;
    }

    /// Reads the bytes of a compressed frame.
    async fn read_compressed(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        budget: &Budget,
    ) -> Result<Vec<u8>, WindowError> {
        let mut left = stream.read_u32().await? as usize;
        let mut compressed = Vec::new();
        while left > 0 {
            let (from, piece) = (compressed.len(), left.min(PIECE_BYTES));
            self.grow(budget, from + piece)?;
            compressed.resize(from + piece, 0);
            stream.read_exact(compressed.get_mut(from..).unwrap_or_default()).await?;
            left -= piece;
        }
        Ok(compressed)
    }

    /// Decompresses the events of a frame in pieces, as few bytes may expand to many.
    fn decompress(&mut self, compressed: &[u8], budget: &Budget) -> Result<(), WindowError> {
        let broken = |why: &str| WindowError::Wrong(format!("a compressed frame is incomplete: {why}"));
        let (mut zlib, mut inner) = (Decompress::new(true), InnerFrames::default());
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        loop {
            let from = usize::try_from(zlib.total_in()).unwrap_or(usize::MAX);
            let output_bytes = zlib.total_out();
            piece.clear();
            let rest = compressed.get(from..).unwrap_or_default();
            let state = zlib.decompress_vec(rest, &mut piece, FlushDecompress::None);
            let state = state.map_err(|error| broken(&error.to_string()))?;
            inner.take(&piece, self)?;
            self.grow(budget, compressed.len())?;
            match state {
                Status::StreamEnd => break,
                // All input is consumed, and no more output follows.
                _ if zlib.total_out() == output_bytes => return Err(broken("it ends in the middle")),
                _ => {}
            }
        }
        match inner.is_at_frame_start() {
            true => Ok(()),
            false => Err(broken("its last event ends in the middle")),
        }
    }
}

/// Parses the frames within a compressed frame.
#[derive(Default)]
struct InnerFrames {
    head: Vec<u8>,
    number: u32,
    /// Remaining bytes of the event.
    left: usize,
}

impl InnerFrames {
    fn is_at_frame_start(&self) -> bool {
        self.head.is_empty() && self.left == 0
    }

    fn take(&mut self, mut bytes: &[u8], window: &mut Window) -> Result<(), WindowError> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let (part, rest) = bytes.split_at(self.left.min(bytes.len()));
                window.bytes.extend_from_slice(part);
                self.left -= part.len();
                bytes = rest;
                if self.left == 0 {
                    window.end_event(self.number);
                }
                continue;
            }
            let (part, rest) = bytes.split_at((EVENT_HEAD_BYTES - self.head.len()).min(bytes.len()));
            self.head.extend_from_slice(part);
            bytes = rest;
            match self.head[..] {
                [b'2', b'J', ..] | [b'2'] => {}
                [b'2', b'C', ..] => {
                    return Err(WindowError::Wrong("a compressed frame is within another one".into()));
                }
                [b'2', other, ..] => return Err(unknown_frame(other)),
                [version, ..] => return Err(wrong_protocol(version)),
                [] => {}
            }
            if let [_, _, a, b, c, d, e, f, g, h] = self.head[..] {
                self.number = u32::from_be_bytes([a, b, c, d]);
                self.left = u32::from_be_bytes([e, f, g, h]) as usize;
                self.head.clear();
                if self.left == 0 {
                    window.end_event(self.number);
                }
            }
        }
        Ok(())
    }
}

/// Reads the number of events of the next window; `None` if the connection ended before one.
pub async fn read_window_start(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<u32>, WindowError> {
    let version = match stream.read_u8().await {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    };
    match read_frame_type(version, stream).await? {
        b'W' => Ok(Some(stream.read_u32().await?)),
        b'J' | b'C' => Err(WindowError::Wrong("an event comes before a window begins".into())),
        other => Err(unknown_frame(other)),
    }
}

/// Reads the type of the next frame.
async fn frame_type(stream: &mut (impl AsyncRead + Unpin)) -> Result<u8, WindowError> {
    let version = stream.read_u8().await?;
    read_frame_type(version, stream).await
}

async fn read_frame_type(version: u8, stream: &mut (impl AsyncRead + Unpin)) -> Result<u8, WindowError> {
    match version {
        b'2' => Ok(stream.read_u8().await?),
        other => Err(wrong_protocol(other)),
    }
}

fn wrong_protocol(version: u8) -> WindowError {
    WindowError::Wrong(match version {
        b'1' => "it speaks version 1 of the protocol; configure version 2, as Beats use".into(),
        0x16 => "it uses TLS, and the source has no certificate (`tls`)".into(),
        _ => "it does not speak the protocol of Beats (Lumberjack, version 2)".into(),
    })
}

fn unknown_frame(frame_type: u8) -> WindowError {
    WindowError::Wrong(format!("it sends an unknown frame `{}`", char::from(frame_type).escape_default()))
}

/// Encodes an acknowledgment of this event and those before it; 0 is a keep-alive.
pub fn acknowledgment(number: u32) -> [u8; 6] {
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

    fn compressed_frame(frames: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(frames).unwrap();
        let compressed = encoder.finish().unwrap();
        [b"2C", &(compressed.len() as u32).to_be_bytes()[..], &compressed].concat()
    }

    /// Reads a window with these frames. Returns its events and the number of the last one, or why it was rejected.
    async fn read(count: u32, mut frames: &[u8], bytes_max: usize) -> Result<(Vec<String>, u32), String> {
        let budget = Budget::new(2 << 20);
        let mut window = Window::new(count, bytes_max);
        while !window.is_complete() {
            window = window.read(&mut frames, &budget).await.map_err(|error| match error {
                WindowError::Wrong(message) => message,
                other => format!("{other:?}"),
            })?;
        }
        let events = window.events().map(|event| String::from_utf8_lossy(event).into_owned()).collect();
        Ok((events, window.last()))
    }

    #[tokio::test]
    async fn a_window_is_events_single_and_compressed() {
        let many: Vec<u8> = (2..=9).flat_map(|number| event(number, format!("[{number}]").as_bytes())).collect();
        let frames = [event(1, b"{}"), compressed_frame(&many), event(10, b"")].concat();
        let (events, last) = read(10, &frames, 1 << 20).await.unwrap();
        assert_eq!((events.len(), last), (10, 10));
        assert_eq!((&*events[0], &*events[1], &*events[8], &*events[9]), ("{}", "[2]", "[9]", ""));
        for end in 0..frames.len() {
            assert!(read(10, &frames[..end], 1 << 20).await.unwrap_err().starts_with("Broken"), "{end}");
        }
    }

    #[tokio::test]
    async fn what_is_no_window_is_refused() {
        for (frames, expected) in [
            (b"2W\0\0\0\x01".to_vec(), "a window begins before the previous one is complete"),
            (b"1D\0\0".to_vec(), "it speaks version 1 of the protocol"),
            (b"GET / HTTP".to_vec(), "it does not speak the protocol of Beats"),
            (b"2D\0\0\0\x01".to_vec(), "it sends an unknown frame `D`"),
            (compressed_frame(b"2J\0\0"), "a compressed frame is incomplete: its last event ends in the middle"),
            (compressed_frame(&compressed_frame(&event(1, b"{}"))), "a compressed frame is within another one"),
            (compressed_frame(b"1J"), "it speaks version 1"),
            (b"2C\0\0\0\x04abcd".to_vec(), "a compressed frame is incomplete: "),
            (b"2C\0\0\0\0".to_vec(), "a compressed frame is incomplete: it ends in the middle"),
            (
                [&b"2C\0\0\0\x14"[..], &compressed_frame(&event(1, &[b'x'; 999]))[6..26]].concat(),
                "it ends in the middle",
            ),
        ] {
            let error = read(2, &frames, 1 << 20).await.unwrap_err();
            assert!(error.contains(expected), "{error}, not {expected}");
        }
        assert!(matches!(read_window_start(&mut &b""[..]).await, Ok(None)));
        assert!(matches!(read_window_start(&mut &b"2W\0\0\x01\0"[..]).await, Ok(Some(256))));
        assert!(matches!(read_window_start(&mut &event(1, b"{}")[..]).await, Err(WindowError::Wrong(_))));
    }

    #[tokio::test]
    async fn little_that_becomes_much_is_refused_before_it_is_kept() {
        // Expands to a thousand times its length.
        let bomb = compressed_frame(&event(1, &vec![b' '; 64 << 20]));
        assert!(bomb.len() < 128 << 10, "{}", bomb.len());
        assert_eq!(read(1, &bomb, 1 << 20).await.unwrap_err(), "TooLarge");
        // Empty events take memory as well.
        let nothing = compressed_frame(&event(1, b"").repeat(1 << 20));
        assert_eq!(read(u32::MAX, &nothing, 1 << 20).await.unwrap_err(), "TooLarge");
        assert_eq!(read(1, &event(1, &[b' '; 4000]), 3000).await.unwrap_err(), "TooLarge");
        // The limit of all connections together.
        assert_eq!(read(1, &event(1, &vec![b' '; 3 << 20]), 8 << 20).await.unwrap_err(), "NoRoom");
        // A false length is not trusted.
        let lie = [&b"2J\0\0\0\x01\xff\xff\xff\xff"[..], b"{}"].concat();
        assert!(read(1, &lie, usize::MAX).now_or_never().unwrap().unwrap_err().starts_with("Broken"));
    }
}
