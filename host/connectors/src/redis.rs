//! A server of Redis, as sources and sinks name it: connections to it, and what its errors mean.

mod connection;

pub use connection::{Answer, Connection};

use crate::tls::{Check, Tls, TlsRefusal, refused};
use ::redis::{
    self as library, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisError, ServerErrorKind,
};
use connection::Stream;
use millstream_base::job::http_url;
use millstream_base::{secrets, shown};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long a connection may take, and an answer.
pub const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How long a server may be asked to wait before it answers that there is nothing.
pub const BLOCK_MAX: Duration = Duration::from_secs(1);
const SHOWN_BYTES_MAX: usize = 300;

/// Where a server is.
pub struct Server {
    info: ConnectionInfo,
    tls: Option<Arc<ClientConfig>>,
    place: String,
}

impl Server {
    /// Of a URL of a job file. TLS by `rediss://`.
    pub fn of(
        url: &str,
        tls: Option<&millstream_base::job::spec::TlsSpec>,
        folder: &Path,
    ) -> Result<Server, (&'static str, String)> {
        let url = http_url::url(url).map_err(|message| ("url", message))?;
        let info = url.as_str().into_connection_info();
        // The library's words may hold the URL, and so a password.
        let info = info.map_err(|_| {
            ("url", "`url` cannot be used; write it as \"redis://user:${REDIS_PASSWORD}@host:6379/0\"".to_owned())
        })?;
        if let Some(password) = info.redis_settings().password() {
            secrets::keep(password, "(password)");
        }
        let place = format!("Redis at {}", info.addr());
        let tls = match info.addr() {
            ConnectionAddr::TcpTls { insecure, .. } => {
                let mut used = Tls::of(&tls.cloned().unwrap_or_default(), folder);
                if *insecure {
                    used.check = Check::Nothing;
                }
                Some(used.config().map_err(|refusal| ("tls", format!("`tls` cannot be used: {refusal}")))?)
            }
            _ => None,
        };
        Ok(Server { info, tls, place })
    }

    /// Where it is, for people.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// A new connection, whose answers come in time or not at all, and take so many bytes of memory at most.
    pub fn connect(&self, answer_bytes_max: usize) -> Result<Connection, RedisError> {
        let mut connection = Connection::new(self.stream()?, answer_bytes_max);
        let settings = self.info.redis_settings();
        if let Some(password) = settings.password() {
            let login = |user: Option<&str>| {
                let mut login = library::cmd("AUTH");
                login.arg(user).arg(password);
                login
            };
            let told = match login(settings.username()).exec(&mut connection) {
                // Servers before Redis 6 know no users.
                Err(error) if error.detail().is_some_and(|told| told.contains("wrong number of arguments")) => {
                    login(None).exec(&mut connection)
                }
                told => told,
            };
            told.map_err(|error| match passes(&error) {
                true => error,
                false => (ErrorKind::AuthenticationFailed, "it does not accept the password").into(),
            })?;
        }
        if settings.db() != 0 {
            library::cmd("SELECT").arg(settings.db()).exec(&mut connection)?;
        }
        Ok(connection)
    }

    fn stream(&self) -> io::Result<Box<dyn Stream>> {
        let (host, port) = match self.info.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => (host, *port),
            ConnectionAddr::Unix(path) => {
                let socket = UnixStream::connect(path)?;
                socket.set_read_timeout(Some(ANSWER_MAX + BLOCK_MAX))?;
                socket.set_write_timeout(Some(ANSWER_MAX))?;
                return Ok(Box::new(socket));
            }
            _ => return Err(io::Error::other("it is named in a way that is not spoken here")),
        };
        let mut failed = io::Error::other("its host has no address");
        for address in (host.as_str(), port).to_socket_addrs()? {
            let socket = match TcpStream::connect_timeout(&address, ANSWER_MAX) {
                Ok(socket) => socket,
                Err(error) => {
                    failed = error;
                    continue;
                }
            };
            socket.set_nodelay(true)?;
            socket.set_read_timeout(Some(ANSWER_MAX + BLOCK_MAX))?;
            socket.set_write_timeout(Some(ANSWER_MAX))?;
            let Some(tls) = &self.tls else { return Ok(Box::new(socket)) };
            let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
            let session = ClientConnection::new(tls.clone(), name).map_err(io::Error::other)?;
            return Ok(Box::new(StreamOwned::new(session, socket)));
        }
        Err(failed)
    }
}

/// What a server or the library says, for people.
pub fn words(error: &RedisError) -> String {
    if let Some(refusal) = refusal(error) {
        return format!("TLS: {refusal}");
    }
    let words = shown::harmless(&error.to_string(), SHOWN_BYTES_MAX);
    match (error.kind(), error.code()) {
        (ErrorKind::AuthenticationFailed, _) => "it does not accept user or password; mend them in `url`".to_owned(),
        (_, Some("NOAUTH")) => format!("{words}; write user and password into `url`"),
        (ErrorKind::Server(ServerErrorKind::NoPerm), _) => format!("{words}; let it allow the user this"),
        (ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::Ask | ServerErrorKind::CrossSlot), _) => {
            format!("{words}; it is a node of a cluster, which is not spoken to; name a server without one")
        }
        (_, Some("WRONGTYPE")) => "something that is no stream has this key; mend `stream`".to_owned(),
        _ => words,
    }
}

/// Whether what failed may succeed later: nobody answers, or the server is not ready.
pub fn passes(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Io if refusal(error).is_some() => false,
        ErrorKind::Io | ErrorKind::Parse => true,
        ErrorKind::Server(kind) => matches!(
            kind,
            ServerErrorKind::BusyLoading
                | ServerErrorKind::TryAgain
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ReadOnly
        ),
        ErrorKind::Extension => {
            error.code().is_some_and(|code| ["OOM", "MISCONF", "BUSY", "NOREPLICAS", "UNBLOCKED"].contains(&code))
        }
        _ => false,
    }
}

/// What TLS has against the server, where that is what the error is about.
fn refusal(error: &RedisError) -> Option<TlsRefusal> {
    let source = std::error::Error::source(error)?;
    // The library shares causes.
    let cause = match source.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>() {
        Some(shared) => shared.downcast_ref::<std::io::Error>(),
        None => source.downcast_ref::<std::io::Error>(),
    };
    refused(cause?, "of the host in `url`")
}
