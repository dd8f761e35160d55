//! An encrypted connection, whose TLS records (`records`) are authenticated and counted. Data that an attacker inserts,
//! drops or repeats ends the connection, and none of it is used.

use super::message::Messages;
use super::records::{ReadBuffer, Records};
use millstream_base::fault;
use millstream_connect::tls::peers::Peers;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use timely::communication::allocator::zero_copy::stream::Stream;

/// Bytes encrypted at a time. The encrypted bytes are buffered until they are sent.
pub const FRAME_BYTES_MAX: usize = 128 << 10;

/// Encrypts one direction.
pub struct Sealer {
    records: Records,
    frame: Vec<u8>,
}

impl Sealer {
    /// Returns the next bytes as they are sent. Takes at most [`FRAME_BYTES_MAX`].
    pub fn seal(&mut self, plain: &[u8]) -> io::Result<&[u8]> {
        self.frame.clear();
        self.records.seal(plain, &mut self.frame)?;
        Ok(&self.frame)
    }
}

/// Decrypts the other direction.
pub struct Opener {
    records: Records,
    read_buffer: ReadBuffer,
    /// Validates the messages, if set.
    messages: Option<Messages>,
}

impl Opener {
    /// Reads the next decrypted bytes.
    pub fn read(&mut self, mut socket: impl Read, to: &mut [u8]) -> io::Result<usize> {
        if self.messages.is_some() {
            fault::thread("connection");
        }
        let count = self.records.open(&mut socket, &mut self.read_buffer, to)?;
        if let Some(messages) = &mut self.messages {
            messages.check(&to[..count]).inspect_err(|error| tracing::error!("what another process sent: {error}"))?;
        }
        Ok(count)
    }
}

/// Returns both directions of a connection with these processes, after its TLS handshake.
pub fn split(connection: rustls::Connection, peers: &Peers) -> (Sealer, Opener) {
    let records = Records::new(connection, peers.clone());
    let opener = Opener { records: records.clone(), read_buffer: ReadBuffer::default(), messages: None };
    (Sealer { records, frame: Vec::new() }, opener)
}

/// A connection between two authenticated processes. Clones are handles of the same connection: one may read while
/// another writes.
#[derive(Clone)]
pub struct Sealed {
    socket: Arc<TcpStream>,
    sealer: Arc<Mutex<Sealer>>,
    opener: Arc<Mutex<Opener>>,
}

impl Sealed {
    /// Creates it from a connection whose ends have authenticated each other.
    pub fn new(socket: TcpStream, (sealer, opener): (Sealer, Opener)) -> Sealed {
        let (sealer, opener) = (Arc::new(Mutex::new(sealer)), Arc::new(Mutex::new(opener)));
        Sealed { socket: Arc::new(socket), sealer, opener }
    }

    /// Returns the socket.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Validates from now on that the received data are timely messages between these workers.
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

/// Returns two ends of one connection.
#[cfg(test)]
pub fn pair() -> (Sealed, Sealed) {
    use rustls::{ClientConnection, ServerConnection};
    let peers = Peers::uncertified().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mut far = listener.accept().unwrap().0;
    let listens = peers.listens();
    let listening = std::thread::spawn(move || {
        let mut listens = ServerConnection::new(listens).unwrap();
        while listens.is_handshaking() {
            listens.complete_io(&mut far).unwrap();
        }
        (far, listens)
    });
    let mut connects: ClientConnection = peers.connects("other").unwrap();
    while connects.is_handshaking() {
        connects.complete_io(&mut near).unwrap();
    }
    let (far, listens) = listening.join().unwrap();
    let [near, far] = [(near, connects.into()), (far, listens.into())]
        .map(|(socket, connection)| Sealed::new(socket, split(connection, &peers)));
    (near, far)
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_base::random::Random;
    use rustls::{Connection, ServerConnection};

    /// Returns the sealer of one end and the opener of the other, after a TLS handshake in memory.
    fn handshake_pair(peers: &Peers) -> (Sealer, Opener) {
        let mut connects = Connection::from(peers.connects("other").unwrap());
        let mut listens = Connection::from(ServerConnection::new(peers.listens()).unwrap());
        while connects.is_handshaking() || listens.is_handshaking() {
            pass(&mut connects, &mut listens);
            pass(&mut listens, &mut connects);
        }
        (split(connects, peers).0, split(listens, peers).1)
    }

    fn pass(from: &mut Connection, to: &mut Connection) {
        let mut wire = Vec::new();
        while from.wants_write() {
            from.write_tls(&mut wire).unwrap();
        }
        let mut wire = &wire[..];
        while !wire.is_empty() {
            to.read_tls(&mut wire).unwrap();
            to.process_new_packets().unwrap();
        }
    }

    /// Returns the encrypted pieces, the end of each, and the opener.
    fn sealed(peers: &Peers, pieces: &[Vec<u8>]) -> (Vec<u8>, Vec<usize>, Opener) {
        let (mut sealer, opener) = handshake_pair(peers);
        let (mut wire, mut ends) = (Vec::new(), vec![0]);
        for piece in pieces {
            wire.extend_from_slice(sealer.seal(piece).unwrap());
            ends.push(wire.len());
        }
        (wire, ends, opener)
    }

    /// Reads until the end or until an error.
    fn opened(mut opener: Opener, mut wire: &[u8]) -> (Vec<u8>, Option<io::Error>) {
        let (mut all, mut bytes) = (Vec::new(), [0; 1000]);
        loop {
            match opener.read(&mut wire, &mut bytes) {
                Ok(0) => return (all, None),
                Ok(count) => all.extend_from_slice(&bytes[..count]),
                Err(error) => return (all, Some(error)),
            }
        }
    }

    #[test]
    fn only_what_was_sealed_in_its_order_is_read() {
        let (mut random, peers) = (Random(5), Peers::uncertified().unwrap());
        let mut piece = |length: usize| -> Vec<u8> { (0..length).map(|_| random.next().to_le_bytes()[0]).collect() };
        let large = [0, 1, 5000, FRAME_BYTES_MAX].map(&mut piece);
        let (wire, _, opener) = sealed(&peers, &large);
        let (read, error) = opened(opener, &wire);
        assert!(error.is_none() && read == large.concat());
        let pieces = [1, 15, 16, 17, 60].map(&mut piece);
        let (sent, bytes) = (pieces.concat(), sealed(&peers, &pieces).0.len());
        let mut bits = Random(6);
        // Flips a bit in every byte, and cuts at every byte. The keys differ each time.
        for byte in 0..bytes {
            let (mut wire, ends, opener) = sealed(&peers, &pieces);
            wire[byte] ^= 1 << bits.below(8);
            let (read, _) = opened(opener, &wire);
            // The type of a record, in front of its length, has no effect.
            let named = ends.iter().any(|end| (*end..end + 3).contains(&byte));
            assert!(sent.starts_with(&read) && (named || read.len() < sent.len()), "byte {byte}");
            let (wire, ends, opener) = sealed(&peers, &pieces);
            let complete = ends.iter().filter(|end| **end <= byte).count() - 1;
            let (read, error) = opened(opener, &wire[..byte]);
            assert!(error.is_none() && read == pieces[..complete].concat(), "byte {byte}");
        }
        for (numbers, what) in [
            (&[0, 0][..], "a piece comes twice"),
            (&[0, 2], "a piece is left out"),
            (&[1, 0], "pieces have changed places"),
        ] {
            let (wire, ends, opener) = sealed(&peers, &pieces);
            let wire: Vec<u8> = numbers.iter().flat_map(|at| wire[ends[*at]..ends[at + 1]].to_vec()).collect();
            assert!(opened(opener, &wire).1.is_some(), "{what}");
        }
        // Data from another connection between the same processes.
        let ((wire, ..), (_, _, other)) = (sealed(&peers, &pieces), sealed(&peers, &pieces));
        assert!(matches!(opened(other, &wire), (read, Some(_)) if read.is_empty()));
    }

    #[test]
    fn a_record_too_large_is_refused_before_it_is_kept() {
        let peers = Peers::uncertified().unwrap();
        for length in [(18 << 10) + 1, u16::MAX] {
            let (_, opener) = handshake_pair(&peers);
            let [high, low] = length.to_be_bytes();
            let (read, error) = opened(opener, &[&[0x17, 3, 3, high, low][..], &[0; 64]].concat());
            assert!(read.is_empty() && error.is_some(), "{length}");
        }
    }
}
