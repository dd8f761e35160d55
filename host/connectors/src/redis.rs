//! A server of Redis, as sources and sinks name it: connections to it, and what its errors mean.

pub mod declaration;
pub mod settings;
mod sink;
mod source;
mod connection;
mod protocol;

pub use connection::{Answer, Connection};
pub use protocol::{Command, RedisError, Value, passes, words};

use crate::tls::Tls;
use connection::Stream;
use millstream_base::job::http_url;
use millstream_base::secrets;
use percent_encoding::percent_decode_str;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// How long a connection may take, and an answer.
pub const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How long a server may be asked to wait before it answers that there is nothing.
pub const BLOCK_MAX: Duration = Duration::from_secs(1);
/// The port of a URL without one.
const PORT: u16 = 6379;

/// Where a server is, and the login of the job there.
pub struct Server {
    host: String,
    port: u16,
    user: Option<String>,
    password: Option<String>,
    /// The number of its database.
    database: u64,
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
        // The URL is not repeated, as there may be a password in it.
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
                let used = Tls::of(&tls.cloned().unwrap_or_default(), folder);
                Some(used.config().map_err(|refusal| ("tls", format!("`tls` cannot be used: {refusal}")))?)
            }
            _ => None,
        };
        let user = Some(decoded(url.username())?).filter(|user| !user.is_empty());
        let port = url.port().unwrap_or(PORT);
        let place = format!("Redis at {host}:{port}");
        Ok(Server { host, port, user, password, database, tls, place })
    }

    /// Where it is, for people.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// A new connection, whose answers come in time or not at all, and take so many bytes of memory at most.
    pub fn connect(&self, answer_bytes_max: usize) -> Result<Connection, RedisError> {
        let mut connection = Connection::new(self.stream()?, answer_bytes_max);
        if let Some(password) = &self.password {
            let login = |user: Option<&String>| {
                let login = Command::new("AUTH");
                user.into_iter().fold(login, Command::arg).arg(password)
            };
            let told = match connection.whole(&login(self.user.as_ref())) {
                // Servers before Redis 6 know no users.
                Err(RedisError::Refused(words)) if words.contains("wrong number of arguments") => {
                    connection.whole(&login(None))
                }
                told => told,
            };
            told.map_err(|error| if passes(&error) { error } else { RedisError::Login })?;
        }
        if self.database != 0 {
            connection.whole(&Command::new("SELECT").arg(self.database))?;
        }
        Ok(connection)
    }

    fn stream(&self) -> io::Result<Box<dyn Stream>> {
        let mut failed = io::Error::other("its host has no address");
        for address in (self.host.as_str(), self.port).to_socket_addrs()? {
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
            let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
            let session = ClientConnection::new(tls.clone(), name).map_err(io::Error::other)?;
            return Ok(Box::new(StreamOwned::new(session, socket)));
        }
        Err(failed)
    }
}
