//! A connection of which every frame is sealed with a key that only its two ends have, and counted: what somebody else puts in,
//! leaves out or sends once more ends the connection, and nothing of it is used. Where the processes speak TLS, its records
//! are the frames (`records`); otherwise they are our own (AES-256-GCM).
//!
//! On the wire a frame of our own is the number of its bytes, the sealed bytes, and their tag. How large a frame may be is known, so
//! nobody makes the other end keep more than that.

use super::message::Messages;
use super::records::Records;
use millstream_base::fault;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use timely::communication::allocator::zero_copy::stream::Stream;

/// Bytes of a frame, before they are sealed.
pub const FRAME_BYTES_MAX: usize = 128 << 10;
/// Bytes of the length in front of a frame.
const LENGTH_BYTES: usize = 4;
const TAG_BYTES: usize = 16;

fn wrong(words: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, words)
}

/// No number is used twice with one key.
fn next(count: &mut u64) -> io::Result<Nonce> {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&count.to_le_bytes());
    *count = count.checked_add(1).ok_or_else(|| wrong("a connection has sent all it can"))?;
    Ok(Nonce::assume_unique_for_key(bytes))
}

fn key(bytes: &[u8; 32]) -> Option<Box<LessSafeKey>> {
    UnboundKey::new(&AES_256_GCM, bytes).ok().map(LessSafeKey::new).map(Box::new)
}

/// Seals the frames of one direction.
pub struct Sealer {
    seals: SealingKey,
    frame: Vec<u8>,
}

enum SealingKey {
    /// `None`: the library does not take the key.
    Own(Option<Box<LessSafeKey>>, u64),
    Tls(Records),
}

impl Sealer {
    /// Seals with this key, which nothing else may use.
    pub fn new(bytes: &[u8; 32]) -> Sealer {
        Sealer { seals: SealingKey::Own(key(bytes), 0), frame: Vec::new() }
    }

    /// The next frame as it goes over the connection. Takes at most [`FRAME_BYTES_MAX`].
    pub fn seal(&mut self, plain: &[u8]) -> io::Result<&[u8]> {
        self.frame.clear();
        match &mut self.seals {
            SealingKey::Tls(records) => records.seal(plain, &mut self.frame)?,
            SealingKey::Own(key, count) => {
                let key = key.as_ref().ok_or_else(|| wrong("no cipher"))?;
                let length = u32::try_from(plain.len() + TAG_BYTES).map_err(|_| wrong("a frame is too large"))?;
                self.frame.extend_from_slice(&length.to_le_bytes());
                self.frame.extend_from_slice(plain);
                let nonce = next(count)?;
                let sealed = &mut self.frame[LENGTH_BYTES..];
                let tag =
                    key.seal_in_place_separate_tag(nonce, Aad::empty(), sealed).map_err(|_| wrong("no cipher"))?;
                self.frame.extend_from_slice(tag.as_ref());
            }
        }
        Ok(&self.frame)
    }
}

/// Opens the frames of one direction.
pub struct Opener {
    opens: OpeningKey,
    frame: Vec<u8>,
    /// Of the opened frame: what was not read yet.
    from: usize,
    to: usize,
    /// Checks what is in the frames.
    messages: Option<Messages>,
}

enum OpeningKey {
    Own(Option<Box<LessSafeKey>>, u64),
    /// With what was taken from the socket last.
    Tls(Records, Vec<u8>),
}

impl Opener {
    /// Opens what was sealed with this key.
    pub fn new(bytes: &[u8; 32]) -> Opener {
        Opener::of(OpeningKey::Own(key(bytes), 0))
    }

    fn of(opens: OpeningKey) -> Opener {
        Opener { opens, frame: Vec::new(), from: 0, to: 0, messages: None }
    }

    /// Reads the next frame from the socket and opens it; `false`: the connection has ended.
    fn next(&mut self, socket: &mut impl Read) -> io::Result<bool> {
        // What there was of it counts for nothing where an error follows.
        (self.from, self.to) = (0, 0);
        let (key, count) = match &mut self.opens {
            OpeningKey::Own(key, count) => (key, count),
            OpeningKey::Tls(records, taken) => {
                let more = records.open(socket, taken, &mut self.frame)?;
                self.to = self.frame.len();
                return Ok(more);
            }
        };
        let mut head = [0; LENGTH_BYTES];
        // The connection may end here, and nowhere else.
        match socket.read(&mut head)? {
            0 => return Ok(false),
            got => socket.read_exact(&mut head[got..])?,
        }
        let length = u32::from_le_bytes(head) as usize;
        if !(TAG_BYTES..=FRAME_BYTES_MAX + TAG_BYTES).contains(&length) {
            return Err(wrong("a frame of a length that there is not"));
        }
        self.frame.resize(length, 0);
        socket.read_exact(&mut self.frame)?;
        let key = key.as_ref().ok_or_else(|| wrong("no cipher"))?;
        let opened = key.open_in_place(next(count)?, Aad::empty(), &mut self.frame);
        self.to = opened.map_err(|_| wrong("a frame that no process of the job has sealed"))?.len();
        Ok(true)
    }

    /// Reads what the next frames hold.
    pub fn read(&mut self, mut socket: impl Read, to: &mut [u8]) -> io::Result<usize> {
        if self.messages.is_some() {
            fault::thread("connection");
        }
        while self.from == self.to {
            match self.next(&mut socket) {
                Ok(true) => {}
                Ok(false) => return Ok(0),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            if let Some(messages) = &mut self.messages {
                let checked = messages.check(&self.frame[self.from..self.to]);
                if let Err(error) = checked {
                    tracing::error!("what another process sent: {error}");
                    self.from = self.to;
                    return Err(error);
                }
            }
        }
        let count = to.len().min(self.to - self.from);
        to[..count].copy_from_slice(&self.frame[self.from..self.from + count]);
        self.from += count;
        Ok(count)
    }
}

/// Both directions of a connection with TLS.
pub fn with_tls(connection: rustls::Connection) -> (Sealer, Opener) {
    let records = Records::new(connection);
    (
        Sealer { seals: SealingKey::Tls(records.clone()), frame: Vec::new() },
        Opener::of(OpeningKey::Tls(records, Vec::new())),
    )
}

/// A connection between two processes that know each other. Clones are handles of the same connection: one may read while
/// another writes.
#[derive(Clone)]
pub struct Sealed {
    socket: Arc<TcpStream>,
    sealer: Arc<Mutex<Sealer>>,
    opener: Arc<Mutex<Opener>>,
}

impl Sealed {
    /// A connection whose ends have agreed on keys.
    pub fn new(socket: TcpStream, (sealer, opener): (Sealer, Opener)) -> Sealed {
        let (sealer, opener) = (Arc::new(Mutex::new(sealer)), Arc::new(Mutex::new(opener)));
        Sealed { socket: Arc::new(socket), sealer, opener }
    }

    /// The connection itself.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Checks from now on that what comes are messages of timely's, between these workers.
    pub fn expect(&self, messages: Messages) {
        self.opener().messages = Some(messages);
    }

    fn opener(&self) -> MutexGuard<'_, Opener> {
        self.opener.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Read for Sealed {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.opener().read(&*self.socket, to)
    }
}

impl Write for Sealed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(FRAME_BYTES_MAX);
        let mut sealer = self.sealer.lock().unwrap_or_else(PoisonError::into_inner);
        (&*self.socket).write_all(sealer.seal(&bytes[..count])?)?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Sealed {
    fn try_clone(&self) -> io::Result<Self> {
        Ok(self.clone())
    }

    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.socket.set_nonblocking(nonblocking)
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.shutdown(how)
    }
}

/// Two ends of one connection.
#[cfg(test)]
pub fn pair() -> (Sealed, Sealed) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let seals = |own, other| (Sealer::new(&[own; 32]), Opener::new(&[other; 32]));
    (Sealed::new(near, seals(1, 2)), Sealed::new(listener.accept().unwrap().0, seals(2, 1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_base::random::Random;

    /// What one end sends of these pieces, and where each frame ends.
    fn sealed(pieces: &[Vec<u8>]) -> (Vec<u8>, Vec<usize>) {
        let mut sealer = Sealer::new(&[7; 32]);
        let (mut wire, mut ends) = (Vec::new(), vec![0]);
        for piece in pieces {
            wire.extend_from_slice(sealer.seal(piece).unwrap());
            ends.push(wire.len());
        }
        (wire, ends)
    }

    fn opened(mut wire: &[u8]) -> io::Result<Vec<u8>> {
        let (mut opener, mut all, mut bytes) = (Opener::new(&[7; 32]), Vec::new(), [0; 1000]);
        loop {
            match opener.read(&mut wire, &mut bytes)? {
                0 => return Ok(all),
                count => all.extend_from_slice(&bytes[..count]),
            }
        }
    }

    #[test]
    fn only_what_was_sealed_in_its_order_is_read() {
        let mut random = Random(5);
        let pieces: Vec<Vec<u8>> = [0, 1, 15, 16, 17, 5000, FRAME_BYTES_MAX]
            .iter()
            .map(|length| (0..*length).map(|_| random.next().to_le_bytes()[0]).collect())
            .collect();
        let (wire, ends) = sealed(&pieces);
        assert_eq!(opened(&wire).unwrap(), pieces.concat());
        // Every flipped bit of what comes before the large frame, and the end at every byte but those between frames.
        let end = ends[6];
        for byte in 0..end {
            let mut changed = wire[..end].to_vec();
            changed[byte] ^= 1 << random.below(8);
            assert!(opened(&changed).is_err(), "byte {byte}");
            let cut = opened(&wire[..byte]);
            assert_eq!(cut.is_ok(), ends.contains(&byte), "byte {byte}");
        }
        let frame = |number: usize| wire[ends[number]..ends[number + 1]].to_vec();
        assert!(opened(&[frame(0), frame(0)].concat()).is_err(), "a frame comes twice");
        assert!(opened(&[frame(0), frame(2)].concat()).is_err(), "a frame is left out");
        assert!(opened(&[frame(1), frame(0)].concat()).is_err(), "frames have changed places");
    }

    #[test]
    fn a_frame_too_large_is_refused_before_it_is_kept() {
        for length in [0, 15, u32::try_from(FRAME_BYTES_MAX).unwrap() + 17, u32::MAX] {
            let error = opened(&[&length.to_le_bytes()[..], &[0; 64]].concat()).unwrap_err();
            assert_eq!(error.to_string(), "a frame of a length that there is not");
        }
    }
}
