//! The two directions of a connection with TLS. rustls keeps both in one place: it is held while bytes are sealed or opened, and never while
//! a socket is read or written, so that neither direction waits for the other.

use millstream_connectors::tls::peers;
use millstream_engine::running::peer_trust::EXPORTED_BYTES;
use rustls::Connection;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes that are taken from a socket at a time.
const TAKEN_BYTES: usize = 64 << 10;

/// A connection with TLS whose ends have made sure of each other.
#[derive(Clone)]
pub struct Records(Arc<Mutex<Connection>>);

impl Records {
    /// Of this one.
    pub fn new(mut connection: Connection) -> Records {
        // All that is sealed is taken out at once.
        connection.set_buffer_limit(None);
        Records(Arc::new(Mutex::new(connection)))
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Reads from the socket until there is something, which takes the place of what `plain` has. `false`: the connection has ended.
    /// `taken` is room for what comes, which stays with whoever reads.
    pub fn open(&self, socket: &mut impl Read, taken: &mut Vec<u8>, plain: &mut Vec<u8>) -> io::Result<bool> {
        taken.resize(TAKEN_BYTES, 0);
        plain.clear();
        // What came with the greeting.
        self.take_out(&[], plain)?;
        while plain.is_empty() {
            match socket.read(taken) {
                Ok(0) => return Ok(false),
                Ok(count) => self.take_out(&taken[..count], plain)?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Opens what came, of which there is no more than a piece, and appends it to `plain`.
    fn take_out(&self, mut came: &[u8], plain: &mut Vec<u8>) -> io::Result<()> {
        let mut connection = self.lock();
        loop {
            if !came.is_empty() && connection.read_tls(&mut came)? == 0 {
                return Err(io::Error::new(ErrorKind::InvalidData, "bytes behind the end of a connection"));
            }
            let state = connection.process_new_packets().map_err(in_words)?;
            let (from, count) = (plain.len(), state.plaintext_bytes_to_read());
            plain.resize(from + count, 0);
            connection.reader().read_exact(&mut plain[from..])?;
            if came.is_empty() {
                return Ok(());
            }
        }
    }
}

/// What only the two ends of this connection have.
pub fn exported<Data>(connection: &rustls::ConnectionCommon<Data>) -> io::Result<[u8; EXPORTED_BYTES]> {
    connection.export_keying_material([0; EXPORTED_BYTES], b"EXPORTER-millstream-peer", None).map_err(io::Error::other)
}

fn in_words(error: rustls::Error) -> io::Error {
    let error = io::Error::new(ErrorKind::InvalidData, error);
    match peers::refused(&error) {
        Some(words) => io::Error::new(ErrorKind::InvalidData, words),
        None => error,
    }
}
