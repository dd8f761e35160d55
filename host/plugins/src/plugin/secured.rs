//! Connections of a plugin with TLS, which the host speaks: the plugin reads and writes what is inside.

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A connection.
pub type Secured = StreamOwned<ClientConnection, TcpStream>;

/// How the host speaks TLS for a plugin.
#[derive(Clone, Debug)]
pub struct TlsClient {
    /// Who is trusted.
    pub config: Arc<ClientConfig>,
    /// What TLS has against a server of this name, in words with what to do; `None`: the error is not about that.
    pub refused: fn(&io::Error, &str) -> Option<String>,
}

/// Why a connection could not be secured.
#[derive(Debug)]
pub enum Unsecured {
    /// It was not done in time, or the connection broke: it may pass.
    Broken(io::Error),
    /// Something that does not go away by itself, in words.
    Refused(String),
}

impl TlsClient {
    /// Begins to speak TLS with the server of this name, within this time.
    pub fn secure(&self, mut stream: TcpStream, name: &str, time: Duration) -> Result<Secured, Unsecured> {
        let server = ServerName::try_from(name.to_owned())
            .map_err(|_| Unsecured::Refused(format!("`{name}` is no name that a certificate could have")))?;
        let mut connection = ClientConnection::new(self.config.clone(), server)
            .map_err(|error| Unsecured::Refused(format!("TLS cannot be spoken with `{name}`: {error}")))?;
        let end = Instant::now() + time;
        while connection.is_handshaking() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Unsecured::Broken(io::ErrorKind::TimedOut.into()));
            }
            let wait = Some(left.max(Duration::from_millis(1)));
            let waits = stream.set_read_timeout(wait).and_then(|()| stream.set_write_timeout(wait));
            let told = waits.and_then(|()| connection.complete_io(&mut stream));
            if let Err(error) = told {
                return Err(match (self.refused)(&error, name) {
                    Some(words) => Unsecured::Refused(format!("{name}: {words}")),
                    None => Unsecured::Broken(error),
                });
            }
        }
        Ok(StreamOwned::new(connection, stream))
    }
}
