//! Connections of a plugin with TLS, which the host speaks: the plugin reads and writes what is inside.

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A connection.
pub type Secured = StreamOwned<ClientConnection, TcpStream>;

/// How the host uses TLS for a plugin.
#[derive(Clone, Debug)]
pub struct TlsClient {
    /// The servers with TLS, as `host:port`.
    pub servers: Vec<String>,
    /// The trusted CAs.
    pub config: Arc<ClientConfig>,
    /// Explains a TLS error for a server of this name, with what to do; `None` if the error is not about TLS.
    pub rejection_message: fn(&io::Error, &str) -> Option<String>,
}

/// Why a connection could not be secured.
#[derive(Debug)]
pub enum TlsFailure {
    /// The deadline passed, or the connection broke: transient.
    Broken(io::Error),
    /// A permanent error, with its message.
    Rejected(String),
}

/// A connection with a deadline, however few bytes arrive at a time.
struct DeadlineStream<'a> {
    stream: &'a mut TcpStream,
    end: Instant,
}

impl DeadlineStream<'_> {
    fn remaining(&self) -> io::Result<Option<Duration>> {
        match self.end.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(Some(left)),
        }
    }
}

impl Read for DeadlineStream<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.remaining()?)?;
        self.stream.read(to)
    }
}

impl Write for DeadlineStream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.remaining()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl TlsClient {
    /// Starts TLS with the server of this name, within this time.
    pub fn secure(&self, mut stream: TcpStream, name: &str, time: Duration) -> Result<Secured, TlsFailure> {
        let server = ServerName::try_from(name.to_owned())
            .map_err(|_| TlsFailure::Rejected(format!("`{name}` is not a valid name for a certificate")))?;
        let mut connection = ClientConnection::new(self.config.clone(), server)
            .map_err(|error| TlsFailure::Rejected(format!("TLS cannot be used with `{name}`: {error}")))?;
        let mut within = DeadlineStream { stream: &mut stream, end: Instant::now() + time };
        while connection.is_handshaking() {
            if let Err(error) = connection.complete_io(&mut within) {
                return Err(match (self.rejection_message)(&error, name) {
                    Some(message) => TlsFailure::Rejected(format!("{name}: {message}")),
                    None => TlsFailure::Broken(error),
                });
            }
        }
        Ok(StreamOwned::new(connection, stream))
    }
}
