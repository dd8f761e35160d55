//! Connections to PostgreSQL servers and their errors: for sinks, lookup tables, and sources that follow changes.

mod startup_retry;
pub mod pgoutput;
pub mod replication;
pub mod sink;
pub mod table;
mod tls;

use self::replication::Replication;
pub(crate) use self::startup_retry::AwaitDatabase;
use self::tls::Handshake;
use millstream_base::fault;
use millstream_connect::tls::{TlsError, inner_tls_error};
use millstream_job::database::{Database, Mode};
use socket2::{SockRef, TcpKeepalive};
use std::error::Error as _;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config};

const CONNECT_TIMEOUT_MS: u64 = 10_000;
/// A server that is silent for this long counts as lost.
pub const IDLE_TIMEOUT_MS: u64 = 30_000;
/// The port if a URL names none.
const PORT: u16 = 5432;
/// Maximum bytes of settings and notices before a server admits the job.
const GREETING_BYTES_MAX: u64 = 256 << 10;

/// An error about a value that the column cannot hold.
#[derive(Debug)]
pub struct ConversionError {
    pub column: String,
    /// The row's number within the batch, from 1.
    pub row: i64,
    pub why: String,
}

impl std::fmt::Display for ConversionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "row {}, column `{}`: {}", self.row, self.column, self.why)
    }
}

impl std::error::Error for ConversionError {}

/// Quotes an identifier.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Whether a `create` failed because another connection created the same object first. If both do so at the same time, the server finds
/// the conflict in its catalog, whose indexes are unique.
pub(crate) fn is_already_created(error: &tokio_postgres::Error) -> bool {
    let codes = [SqlState::DUPLICATE_TABLE, SqlState::DUPLICATE_OBJECT, SqlState::UNIQUE_VIOLATION];
    error.code().is_some_and(|code| codes.contains(code))
}

/// An error of a database.
#[derive(Debug)]
pub struct DatabaseError {
    /// Whether a retry may help.
    pub kind: DatabaseErrorKind,
    /// A message for users.
    pub message: String,
}

/// Whether a retry of the failed operation may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseErrorKind {
    /// Transient: the server is unreachable or out of resources.
    Transient,
    /// Permanent: a user has to fix the cause.
    Permanent,
    /// A TLS error: a user has to fix the cause, or a connection without TLS may work.
    Tls,
    /// A row is invalid: a retry or a restart would fail on the same row.
    Row,
    /// Another start of the job has taken it over, so this process must stop writing.
    TakenOver,
}

impl DatabaseError {
    /// Returns a permanent error.
    pub fn permanent(message: String) -> DatabaseError {
        DatabaseError { kind: DatabaseErrorKind::Permanent, message }
    }

    /// Returns a transient error.
    pub fn transient(message: String) -> DatabaseError {
        DatabaseError { kind: DatabaseErrorKind::Transient, message }
    }

    /// Returns the error of a process whose job was taken over by another run.
    pub fn taken_over(message: String) -> DatabaseError {
        DatabaseError { kind: DatabaseErrorKind::TakenOver, message }
    }

    /// Whether the server reported this code.
    pub fn has_code(&self, code: &str) -> bool {
        self.message.strip_suffix(']').is_some_and(|message| message.ends_with(&format!("[{code}")))
    }

    /// Whether the error is transient.
    pub fn is_transient(&self) -> bool {
        self.kind == DatabaseErrorKind::Transient
    }

    /// Limits the time of a step, and names what did not arrive in time.
    pub async fn within<T, E: Into<DatabaseError>>(
        time_max: Duration,
        what: &str,
        step: impl Future<Output = Result<T, E>>,
    ) -> Result<T, DatabaseError> {
        match tokio::time::timeout(time_max, step).await {
            Ok(done) => done.map_err(Into::into),
            Err(_) => Err(DatabaseError::transient(format!("no response in {} s {what}", time_max.as_secs()))),
        }
    }

    /// Interprets an I/O error of a connection.
    pub fn of_io(error: &io::Error) -> DatabaseError {
        match inner_tls_error(error) {
            Some(TlsError(why)) => DatabaseError { kind: DatabaseErrorKind::Tls, message: format!("TLS: {why}") },
            None => DatabaseError::transient(format!("the connection: {error}")),
        }
    }

    /// Interprets an error that the server reported, by its code.
    pub fn from_server(code: &str, message: &str, detail: Option<&str>, position: Option<&str>) -> DatabaseError {
        // Classes and codes of PostgreSQL's appendix A: lost connections, lack of resources, a server that stops, starts or is read-only,
        // objects in use, deadlocks, and disk failures.
        let transient = ["08", "53", "58"].iter().any(|class| code.starts_with(class))
            || ["55006", "57P01", "57P02", "57P03", "57P05", "25006", "40001", "40P01"].contains(&code);
        let detail = detail.map(|detail| format!(" ({detail})")).unwrap_or_default();
        // A value that does not fit its type, that a constraint, view or trigger rejects, or that is too large for an index.
        let of_row =
            ["22", "23", "44"].iter().any(|class| code.starts_with(class)) || ["54000", "P0001"].contains(&code);
        let kind = match (of_row, transient) {
            (true, _) => DatabaseErrorKind::Row,
            (false, true) => DatabaseErrorKind::Transient,
            (false, false) => DatabaseErrorKind::Permanent,
        };
        let position = position.map(|position| format!(" ({position})")).unwrap_or_default();
        let message = format!("PostgreSQL says: {message}{detail}{position} [{code}]");
        DatabaseError { kind, message }
    }

    /// Adds the server to the message.
    pub fn at(self, server_name: &str) -> DatabaseError {
        DatabaseError { message: format!("{server_name}: {}", self.message), ..self }
    }

    /// Interprets an error of the driver. Without a code it concerns the connection, unless a value was rejected before it was sent.
    pub fn from_driver(error: &tokio_postgres::Error) -> DatabaseError {
        if let Some(db) = error.as_db_error() {
            // For copied rows the server reports the row number and the column.
            let position = db
                .where_()
                .and_then(|position| position.lines().next())
                .filter(|position| position.starts_with("COPY "));
            return DatabaseError::from_server(db.code().code(), db.message(), db.detail(), position);
        }
        let cause = error.source();
        if let Some(unfit) = cause.and_then(|cause| cause.downcast_ref::<ConversionError>()) {
            return DatabaseError { kind: DatabaseErrorKind::Row, message: unfit.to_string() };
        }
        let broken = cause.and_then(|cause| cause.downcast_ref::<io::Error>());
        let tls_refusal =
            broken.and_then(inner_tls_error).or_else(|| cause.and_then(|cause| cause.downcast_ref::<TlsError>()));
        if let Some(TlsError(why)) = tls_refusal {
            return DatabaseError { kind: DatabaseErrorKind::Tls, message: format!("TLS: {why}") };
        }
        if error.to_string().contains("TLS") && cause.is_some_and(|cause| cause.to_string().contains("not support TLS"))
        {
            return DatabaseError::permanent(
                "TLS: the server does not support it; turn it on there (`ssl = on`), or set sslmode=disable on a trusted network".into(),
            );
        }
        let transient = error.is_closed() || cause.is_none_or(|cause| cause.is::<std::io::Error>());
        let message = cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
        if transient { DatabaseError::transient(message) } else { DatabaseError::permanent(message) }
    }
}

impl From<tokio_postgres::Error> for DatabaseError {
    fn from(error: tokio_postgres::Error) -> DatabaseError {
        DatabaseError::from_driver(&error)
    }
}

/// The task that transfers the bytes of a connection. It ends once the client is dropped and the server was notified.
pub type Driver = JoinHandle<()>;

/// A stream to a server: TCP, a Unix socket, or TLS.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

/// A stream of any of these types.
pub type AnyStream = Box<dyn Duplex>;

/// The address of a database, and how to connect to it.
pub struct Connection(Config, Handshake);

impl Connection {
    /// Prepares connections, with default time limits if the URL has none.
    pub fn new(database: Database) -> Connection {
        let Database { mut config, ssl } = database;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(Duration::from_millis(CONNECT_TIMEOUT_MS));
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(Duration::from_millis(IDLE_TIMEOUT_MS));
        }
        if config.get_application_name().is_none() {
            config.application_name("millstream");
        }
        Connection(config, Handshake::new(ssl))
    }

    /// Returns host, port and database, without user and password.
    pub fn server_name(&self) -> String {
        let host = match self.0.get_hosts().first() {
            Some(Host::Tcp(host)) => host.clone(),
            #[cfg(unix)]
            Some(Host::Unix(path)) => path.display().to_string(),
            None => String::new(),
        };
        let port = self.0.get_ports().first().unwrap_or(&PORT);
        let database = self.0.get_dbname().or(self.0.get_user()).unwrap_or_default();
        format!("database `{database}` at {host}:{port}")
    }

    /// Connects to the first of the URL's hosts that accepts. The driver task makes progress whenever the runtime is being blocked on.
    pub async fn connect(&self) -> Result<(Client, Driver), DatabaseError> {
        self.first_of_hosts(async |stream, name| self.connect_over(stream, name).await).await
    }

    /// Connects for replication.
    pub async fn replicate(&self) -> Result<Replication, DatabaseError> {
        self.first_of_hosts(async |stream, name| {
            let handshake = name.map(|name| self.1.with(name));
            let allowed = HandshakeLimit::default();
            allowed.set(GREETING_BYTES_MAX);
            let stream = Box::new(HandshakeStream { stream, allowed: allowed.clone() });
            let begun = Replication::begin(stream, handshake, &self.0).await?;
            allowed.set(u64::MAX);
            Ok(begun)
        })
        .await
    }

    async fn first_of_hosts<T>(
        &self,
        greet: impl AsyncFn(AnyStream, Option<String>) -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        let hosts = self.0.get_hosts();
        let mut last = DatabaseError::permanent("the URL names no host".into());
        for index in 0..hosts.len().max(self.0.get_hostaddrs().len()) {
            let connected = match self.connect_to(index, self.1.ssl.mode != Mode::Disable, &greet).await {
                // As PostgreSQL's libpq does.
                Err(fault) if fault.kind == DatabaseErrorKind::Tls && self.1.ssl.mode == Mode::Prefer => {
                    self.connect_to(index, false, &greet).await
                }
                connected => connected,
            };
            match connected {
                Ok(connected) => return Ok(connected),
                Err(fault) => last = fault,
            }
        }
        Err(last)
    }

    /// Connects to one host of the URL. The time limit covers everything, including handshake and password.
    async fn connect_to<T>(
        &self,
        index: usize,
        tls: bool,
        greet: &impl AsyncFn(AnyStream, Option<String>) -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        let ports = self.0.get_ports();
        let port = *ports.get(index).or(ports.first()).unwrap_or(&PORT);
        let connecting = async {
            let unreachable =
                |error: io::Error| DatabaseError::transient(format!("error connecting to server: {error}"));
            let (stream, name): (AnyStream, _) =
                match (self.0.get_hostaddrs().get(index), self.0.get_hosts().get(index)) {
                    (Some(address), host) => {
                        let name = match host {
                            Some(Host::Tcp(host)) => host.clone(),
                            _ => address.to_string(),
                        };
                        (Box::new(tcp((*address, port), &self.0).await.map_err(unreachable)?) as AnyStream, Some(name))
                    }
                    (None, Some(Host::Tcp(host))) => {
                        (Box::new(tcp((host.as_str(), port), &self.0).await.map_err(unreachable)?), Some(host.clone()))
                    }
                    #[cfg(unix)]
                    (None, Some(Host::Unix(dir))) => {
                        let path = dir.join(format!(".s.PGSQL.{port}"));
                        // A Unix socket needs no TLS.
                        (Box::new(tokio::net::UnixStream::connect(path).await.map_err(unreachable)?), None)
                    }
                    (None, None) => {
                        return Err(DatabaseError::permanent("the URL names fewer hosts than ports".into()));
                    }
                };
            greet(stream, name.filter(|_| tls)).await
        };
        let time_max = *self.0.get_connect_timeout().unwrap_or(&Duration::from_millis(CONNECT_TIMEOUT_MS));
        DatabaseError::within(
            time_max,
            "to the first message: the server does not respond, or is not PostgreSQL",
            connecting,
        )
        .await
    }

    /// Performs handshake and authentication, with TLS if the server must have this name.
    async fn connect_over(&self, stream: AnyStream, name: Option<String>) -> Result<(Client, Driver), DatabaseError> {
        let allowed = HandshakeLimit::default();
        allowed.set(GREETING_BYTES_MAX);
        let mut config = self.0.clone();
        if name.is_none() {
            config.ssl_mode(SslMode::Disable);
        }
        let handshake = self.1.with(name.unwrap_or_default());
        let (client, connection) =
            config.connect_raw(HandshakeStream { stream, allowed: allowed.clone() }, handshake).await?;
        // From now on the driver passes on awaited messages, and drops the others immediately.
        allowed.set(u64::MAX);
        let driver = tokio::spawn(async move {
            fault::thread("postgres-connection");
            if let Err(error) = connection.await {
                tracing::debug!("a connection to PostgreSQL ended: {error}");
            }
        });
        let wanted = match self.0.get_target_session_attrs() {
            TargetSessionAttrs::ReadWrite => "off",
            TargetSessionAttrs::ReadOnly => "on",
            _ => return Ok((client, driver)),
        };
        let row = client.query_one("select pg_catalog.current_setting('transaction_read_only')", &[]).await?;
        match row.try_get::<_, &str>(0)? == wanted {
            true => Ok((client, driver)),
            false => Err(DatabaseError::transient(format!("its `transaction_read_only` is not `{wanted}`"))),
        }
    }
}

async fn tcp(address: impl tokio::net::ToSocketAddrs, config: &Config) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    socket.set_tcp_user_timeout(config.get_tcp_user_timeout().copied())?;
    if config.get_keepalives() {
        let mut alive = TcpKeepalive::new().with_time(config.get_keepalives_idle());
        if let Some(interval) = config.get_keepalives_interval() {
            alive = alive.with_interval(interval);
        }
        if let Some(retries) = config.get_keepalives_retries() {
            alive = alive.with_retries(retries);
        }
        socket.set_tcp_keepalive(&alive)?;
    }
    Ok(stream)
}

/// The number of bytes that a server may still send.
#[derive(Clone, Default)]
struct HandshakeLimit(Arc<AtomicU64>);

impl HandshakeLimit {
    fn set(&self, bytes: u64) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    /// Takes bytes from the limit. Returns whether there were enough left.
    fn take(&self, bytes: usize) -> bool {
        let left = self.0.load(Ordering::Relaxed);
        match left {
            u64::MAX => true,
            left => left.checked_sub(bytes as u64).map(|left| self.set(left)).is_some(),
        }
    }
}

/// A stream that fails if the other end exceeds its limit: the driver buffers whatever a server sends before a connection is established.
struct HandshakeStream<S> {
    stream: S,
    allowed: HandshakeLimit,
}

impl<S: AsyncRead + Unpin> AsyncRead for HandshakeStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if !self.allowed.take(buf.filled().len() - before) {
            let message = format!("it sent more than {} KiB before the login was complete", GREETING_BYTES_MAX >> 10);
            return Poll::Ready(Err(io::Error::other(message)));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HandshakeStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
