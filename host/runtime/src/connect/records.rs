//! The two directions of a TLS connection. rustls keeps both in one object. It is locked while bytes are encrypted or
//! decrypted, but never while a socket is read or written, so neither direction waits for the other.

use millstream_connect::tls::peers::Peers;
use millstream_engine::running::peer_trust::EXPORTED_BYTES;
use rustls::Connection;
use std::io::{self, ErrorKind, Read, Write};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes read from a socket at a time.
const READ_BYTES: usize = 64 << 10;

/// A buffer with data read from a socket. The reader keeps it.
#[derive(Default)]
pub struct ReadBuffer {
    bytes: Vec<u8>,
    /// The range that is not decrypted yet.
    remaining: Range<usize>,
}

/// A connection after its TLS handshake.
#[derive(Clone)]
pub struct Records {
    connection: Arc<Mutex<Connection>>,
    peers: Peers,
}

impl Records {
    /// Wraps this connection between these processes.
    pub fn new(mut connection: Connection, peers: Peers) -> Records {
        // All encrypted bytes are taken out immediately.
        connection.set_buffer_limit(None);
        Records { connection: Arc::new(Mutex::new(connection)), peers }
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Encrypts these bytes and appends them to `wire`.
    pub fn seal(&self, plain: &[u8], wire: &mut Vec<u8>) -> io::Result<()> {
        let mut connection = self.lock();
        connection.writer().write_all(plain)?;
        while connection.wants_write() {
            connection.write_tls(wire)?;
        }
        Ok(())
    }

    /// Decrypts the next bytes from the socket into `to`. Returns 0 at the end of the connection. After an error, the
    /// content of `to` is undefined.
    pub fn open(&self, socket: &mut impl Read, taken: &mut ReadBuffer, to: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.read_buffered(taken, to)?;
            if count > 0 || to.is_empty() {
                return Ok(count);
            }
            taken.bytes.resize(READ_BYTES, 0);
            match socket.read(&mut taken.bytes) {
                Ok(0) => return Ok(0),
                Ok(count) => taken.remaining = 0..count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Decrypts buffered data, as much as `to` has room for. Data that came with the handshake is available before any
    /// was read.
    fn read_buffered(&self, taken: &mut ReadBuffer, to: &mut [u8]) -> io::Result<usize> {
        let (mut connection, mut count) = (self.lock(), 0);
        loop {
            let state = connection.process_new_packets().map_err(|error| self.to_io_error(error))?;
            let next = count + state.plaintext_bytes_to_read().min(to.len() - count);
            connection.reader().read_exact(&mut to[count..next])?;
            count = next;
            if taken.remaining.is_empty() || count == to.len() {
                return Ok(count);
            }
            let mut remaining = &taken.bytes[taken.remaining.clone()];
            if connection.read_tls(&mut remaining)? == 0 {
                return Err(io::Error::new(ErrorKind::InvalidData, "bytes after the end of a connection"));
            }
            taken.remaining.start = taken.remaining.end - remaining.len();
        }
    }

    fn to_io_error(&self, error: rustls::Error) -> io::Error {
        let error = io::Error::new(ErrorKind::InvalidData, error);
        match self.peers.rejection_reason(&error) {
            Some(message) => io::Error::new(ErrorKind::InvalidData, message),
            None => error,
        }
    }
}

/// Exports the secret that only the two ends of this connection share.
pub fn export_secret<Data>(connection: &rustls::ConnectionCommon<Data>) -> io::Result<[u8; EXPORTED_BYTES]> {
    connection.export_keying_material([0; EXPORTED_BYTES], b"EXPORTER-millstream-peer", None).map_err(io::Error::other)
}
