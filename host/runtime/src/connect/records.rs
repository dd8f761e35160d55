//! The two directions of a connection, which speaks TLS. rustls keeps both in one place: it is held while bytes are sealed or opened, and
//! never while a socket is read or written, so that neither direction waits for the other.

use millstream_connectors::tls::peers::Peers;
use millstream_engine::running::peer_trust::EXPORTED_BYTES;
use rustls::Connection;
use std::io::{self, ErrorKind, Read, Write};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes that are taken from a socket at a time.
const TAKEN_BYTES: usize = 64 << 10;

/// What was taken from a socket at a time; it stays with whoever reads.
#[derive(Default)]
pub struct Taken {
    bytes: Vec<u8>,
    /// What of it was not opened yet.
    left: Range<usize>,
}

/// A connection whose ends have greeted each other.
#[derive(Clone)]
pub struct Records {
    connection: Arc<Mutex<Connection>>,
    peers: Peers,
}

impl Records {
    /// Of this one, between these processes.
    pub fn new(mut connection: Connection, peers: Peers) -> Records {
        // All that is sealed is taken out at once.
        connection.set_buffer_limit(None);
        Records { connection: Arc::new(Mutex::new(connection)), peers }
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts these bytes, as they go over the connection, behind what `wire` has.
    pub fn seal(&self, plain: &[u8], wire: &mut Vec<u8>) -> io::Result<()> {
        let mut connection = self.lock();
        connection.writer().write_all(plain)?;
        while connection.wants_write() {
            connection.write_tls(wire)?;
        }
        Ok(())
    }

    /// Opens into `to` what comes next from the socket; 0: the connection has ended. Where an error follows, nothing of it counts.
    pub fn open(&self, socket: &mut impl Read, taken: &mut Taken, to: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.take_out(taken, to)?;
            if count > 0 || to.is_empty() {
                return Ok(count);
            }
            taken.bytes.resize(TAKEN_BYTES, 0);
            match socket.read(&mut taken.bytes) {
                Ok(0) => return Ok(0),
                Ok(count) => taken.left = 0..count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Opens what was taken, as much as `to` has room for. What came with the greeting is there before anything was taken.
    fn take_out(&self, taken: &mut Taken, to: &mut [u8]) -> io::Result<usize> {
        let (mut connection, mut count) = (self.lock(), 0);
        loop {
            let state = connection.process_new_packets().map_err(|error| self.in_words(error))?;
            let next = count + state.plaintext_bytes_to_read().min(to.len() - count);
            connection.reader().read_exact(&mut to[count..next])?;
            count = next;
            if taken.left.is_empty() || count == to.len() {
                return Ok(count);
            }
            let mut left = &taken.bytes[taken.left.clone()];
            if connection.read_tls(&mut left)? == 0 {
                return Err(io::Error::new(ErrorKind::InvalidData, "bytes after the end of a connection"));
            }
            taken.left.start = taken.left.end - left.len();
        }
    }

    fn in_words(&self, error: rustls::Error) -> io::Error {
        let error = io::Error::new(ErrorKind::InvalidData, error);
        match self.peers.refused(&error) {
            Some(words) => io::Error::new(ErrorKind::InvalidData, words),
            None => error,
        }
    }
}

/// What only the two ends of this connection have.
pub fn exported<Data>(connection: &rustls::ConnectionCommon<Data>) -> io::Result<[u8; EXPORTED_BYTES]> {
    connection.export_keying_material([0; EXPORTED_BYTES], b"EXPORTER-millstream-peer", None).map_err(io::Error::other)
}
