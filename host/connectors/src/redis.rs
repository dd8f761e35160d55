//! Redis servers for sources and sinks: connections, and the meaning of errors.

pub mod declaration;
pub mod settings;
mod sink;
mod source;
mod connection;
mod protocol;

pub use connection::{Connection, Response};
pub use protocol::{Command, RedisError, Value, error_message, is_transient};

use connection::Stream;
use millstream_base::secrets;
use millstream_connect::tls::{Tls, explain_error};
use millstream_job::http_url;
use percent_encoding::percent_decode_str;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// Maximum time of a connection attempt, and of a response.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum time of a blocking read before an empty response.
pub const BLOCK_MAX: Duration = Duration::from_secs(1);
/// The port of a URL without one.
const PORT: u16 = 6379;

/// The address of a server, and the job's login.
pub struct Server {
    host: String,
    port: u16,
    user: Option<String>,
    password: Option<String>,
    /// The number of its database.
    database: u64,
    tls: Option<Arc<ClientConfig>>,
    server_name: String,
}

impl Server {
    /// Creates the server of a job file's URL. `rediss://` enables TLS.
    pub fn new(
        url: &str,
        tls: Option<&millstream_job::spec::TlsSpec>,
        dir: &Path,
    ) -> Result<Server, (&'static str, String)> {
        let url = http_url::url(url).map_err(|message| ("url", message))?;
        // The URL is not repeated, as it may contain a password.
        let unusable =
            || ("url", "`url` cannot be used; write it as \"redis://user:${REDIS_PASSWORD}@host:6379/0\"".to_owned());
        let url = Url::parse(&url).map_err(|_| unusable())?;
        let decoded = |text: &str| percent_decode_str(text).decode_utf8().ok().map(String::from).ok_or_else(unusable);
        let password = url.password().map(decoded).transpose()?;
        if let Some(password) = &password {
            secrets::keep(password, "(password)");
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(unusable)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_owned();
        let database = match url.path().trim_start_matches('/') {
            "" => 0,
            number => number.parse().map_err(|_| unusable())?,
        };
        if url.query().is_some() || url.fragment().is_some() {
            return Err(unusable());
        }
        let tls = match url.scheme() {
            "rediss" => {
                let used = Tls::from_spec(&tls.cloned().unwrap_or_default(), dir);
                Some(used.config().map_err(|tls_error| ("tls", format!("`tls` cannot be used: {tls_error}")))?)
            }
            _ => None,
        };
        let user = Some(decoded(url.username())?).filter(|user| !user.is_empty());
        let port = url.port().unwrap_or(PORT);
        let server_name = format!("Redis at {host}:{port}");
        Ok(Server { host, port, user, password, database, tls, server_name })
    }

    /// Returns its address for messages.
    pub fn server_name(&self) -> &str {
        &self.server_name
    }

    /// Connects. Responses have a time limit and this limit of memory.
    pub fn connect(&self, response_bytes_max: usize) -> Result<Connection, RedisError> {
        let mut connection = Connection::new(self.stream()?, response_bytes_max);
        if let Some(password) = &self.password {
            let login = |user: Option<&String>| {
                let login = Command::new("AUTH");
                user.into_iter().fold(login, Command::arg).arg(password)
            };
            let result = match connection.request_complete(&login(self.user.as_ref())) {
                // Servers before Redis 6 have no users.
                Err(RedisError::Server(reason)) if reason.contains("wrong number of arguments") => {
                    connection.request_complete(&login(None))
                }
                result => result,
            };
            result.map_err(|error| match error {
                RedisError::Server(_) if !is_transient(&error) => RedisError::Login,
                error => error,
            })?;
        }
        if self.database != 0 {
            connection.request_complete(&Command::new("SELECT").arg(self.database))?;
        }
        Ok(connection)
    }

    fn stream(&self) -> io::Result<Box<dyn Stream>> {
        let mut failed = io::Error::other("its host has no address");
        for address in (self.host.as_str(), self.port).to_socket_addrs()? {
            let mut socket = match TcpStream::connect_timeout(&address, RESPONSE_TIMEOUT) {
                Ok(socket) => socket,
                Err(error) => {
                    failed = error;
                    continue;
                }
            };
            socket.set_nodelay(true)?;
            socket.set_read_timeout(Some(RESPONSE_TIMEOUT + BLOCK_MAX))?;
            socket.set_write_timeout(Some(RESPONSE_TIMEOUT))?;
            let Some(tls) = &self.tls else { return Ok(Box::new(socket)) };
            let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
            let mut session = ClientConnection::new(tls.clone(), name).map_err(io::Error::other)?;
            while session.is_handshaking() {
                session.complete_io(&mut socket).map_err(|error| explain_error(error, &self.host))?;
            }
            return Ok(Box::new(StreamOwned::new(session, socket)));
        }
        Err(failed)
    }
}
