//! A connection to a PostgreSQL server, and what goes wrong with one: for sinks, for tables that stages read, and for sources that follow
//! changes.

mod patience;
pub mod pgoutput;
pub mod replication;
pub mod sink;
mod tls;

pub(crate) use self::patience::AwaitDatabase;
use self::replication::Replication;
use self::tls::Handshake;
use crate::tls::{TlsRefusal, refusal};
use millstream_base::fault;
use millstream_base::job::database::{Database, Mode};
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
use tokio_postgres::{Client, Config};

const CONNECT_TIMEOUT_MS: u64 = 10_000;
/// A server that answers nothing for so long is taken for lost.
pub const SILENT_TIMEOUT_MS: u64 = 30_000;
/// Where a URL names no port.
const PORT: u16 = 5432;
/// What a server may say before it lets the job in: settings, and notices.
const GREETING_BYTES_MAX: u64 = 256 << 10;

/// A value that the column cannot hold.
#[derive(Debug)]
pub struct Unfit {
    pub column: String,
    /// From 1, within the batch.
    pub row: i64,
    pub why: String,
}

impl std::fmt::Display for Unfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "row {}, column `{}`: {}", self.row, self.column, self.why)
    }
}

impl std::error::Error for Unfit {}

/// A name in quotes, so that it is taken as it is.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// What went wrong with a database.
#[derive(Debug)]
pub struct DatabaseError {
    /// Whether it helps to try again.
    pub kind: DatabaseErrorKind,
    /// For a person to read.
    pub message: String,
}

/// Whether it helps to try again what failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseErrorKind {
    /// It may go away by itself: the server is away, or has no room.
    Passing,
    /// Somebody has to mend something.
    Lasting,
    /// TLS is to blame: somebody has to mend something, or a connection without it may do.
    Tls,
    /// A row is to blame, so trying again, or starting again, would come to the same row.
    Row,
    /// Another start of the job has taken it over, so this process must not write any more.
    TakenOver,
}

impl DatabaseError {
    /// Something that does not go away by itself.
    pub fn lasting(message: String) -> DatabaseError {
        DatabaseError { kind: DatabaseErrorKind::Lasting, message }
    }

    /// Something that may go away by itself.
    pub fn passing(message: String) -> DatabaseError {
        DatabaseError { kind: DatabaseErrorKind::Passing, message }
    }

    /// What a process finds whose job another start has taken over.
    pub fn taken_over(message: String) -> DatabaseError {
        DatabaseError { kind: DatabaseErrorKind::TakenOver, message }
    }

    /// Whether the server told it with this code.
    pub fn has_code(&self, code: &str) -> bool {
        self.message.strip_suffix(']').is_some_and(|message| message.ends_with(&format!("[{code}")))
    }

    /// Whether it may go away by itself.
    pub fn passes(&self) -> bool {
        self.kind == DatabaseErrorKind::Passing
    }

    /// Gives this part of a talk with a server so long, and says what did not come in that time.
    pub async fn within<T, E: Into<DatabaseError>>(
        time_max: Duration,
        what: &str,
        talk: impl Future<Output = Result<T, E>>,
    ) -> Result<T, DatabaseError> {
        match tokio::time::timeout(time_max, talk).await {
            Ok(done) => done.map_err(Into::into),
            Err(_) => Err(DatabaseError::passing(format!("no response in {} s {what}", time_max.as_secs()))),
        }
    }

    /// What is wrong with a connection.
    pub fn of_io(error: &io::Error) -> DatabaseError {
        match refusal(error) {
            Some(TlsRefusal(why)) => DatabaseError { kind: DatabaseErrorKind::Tls, message: format!("TLS: {why}") },
            None => DatabaseError::passing(format!("the connection: {error}")),
        }
    }

    /// What a server says, in its own code and words.
    pub fn told(code: &str, message: &str, detail: Option<&str>, place: Option<&str>) -> DatabaseError {
        // Classes and codes of PostgreSQL's appendix A: lost connections, too few resources, a server that stops or
        // starts or only lets read, what somebody else uses, deadlocks, and failures of its disk.
        let passing = ["08", "53", "58"].iter().any(|class| code.starts_with(class))
            || ["55006", "57P01", "57P02", "57P03", "57P05", "25006", "40001", "40P01"].contains(&code);
        let detail = detail.map(|detail| format!(" ({detail})")).unwrap_or_default();
        // A value that does not go into its type, that a constraint, a view or a trigger refuses, or that is too large for an index.
        let of_row =
            ["22", "23", "44"].iter().any(|class| code.starts_with(class)) || ["54000", "P0001"].contains(&code);
        let kind = match (of_row, passing) {
            (true, _) => DatabaseErrorKind::Row,
            (false, true) => DatabaseErrorKind::Passing,
            (false, false) => DatabaseErrorKind::Lasting,
        };
        let place = place.map(|place| format!(" ({place})")).unwrap_or_default();
        let message = format!("PostgreSQL says: {message}{detail}{place} [{code}]");
        DatabaseError { kind, message }
    }

    /// What the driver says. Without a code it is about the connection, unless a value was refused before it was sent.
    pub fn of(error: &tokio_postgres::Error) -> DatabaseError {
        if let Some(db) = error.as_db_error() {
            // Of rows that are copied it tells the number and the column.
            let place = db.where_().and_then(|place| place.lines().next()).filter(|place| place.starts_with("COPY "));
            return DatabaseError::told(db.code().code(), db.message(), db.detail(), place);
        }
        let cause = error.source();
        if let Some(unfit) = cause.and_then(|cause| cause.downcast_ref::<Unfit>()) {
            return DatabaseError { kind: DatabaseErrorKind::Row, message: unfit.to_string() };
        }
        let broken = cause.and_then(|cause| cause.downcast_ref::<io::Error>());
        let refused = broken.and_then(refusal).or_else(|| cause.and_then(|cause| cause.downcast_ref::<TlsRefusal>()));
        if let Some(TlsRefusal(why)) = refused {
            return DatabaseError { kind: DatabaseErrorKind::Tls, message: format!("TLS: {why}") };
        }
        if error.to_string().contains("TLS") && cause.is_some_and(|cause| cause.to_string().contains("not support TLS"))
        {
            return DatabaseError::lasting(
                "TLS: the server does not support it; turn it on there (`ssl = on`), or set sslmode=disable on a trusted network".into(),
            );
        }
        let passing = error.is_closed() || cause.is_none_or(|cause| cause.is::<std::io::Error>());
        let message = cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
        if passing { DatabaseError::passing(message) } else { DatabaseError::lasting(message) }
    }
}

impl From<tokio_postgres::Error> for DatabaseError {
    fn from(error: tokio_postgres::Error) -> DatabaseError {
        DatabaseError::of(&error)
    }
}

/// What moves the bytes of a connection; it ends when the client is dropped and the server was told.
pub type Driver = JoinHandle<()>;

/// A way to a server: TCP, a socket of this machine, or TLS.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

/// Any of them.
pub type AnyStream = Box<dyn Duplex>;

/// Where a database is, and how it is reached.
pub struct Connection(Config, Handshake);

impl Connection {
    /// With limits on how long it waits, where the URL has none.
    pub fn new(database: Database) -> Connection {
        let Database { mut config, ssl } = database;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(Duration::from_millis(CONNECT_TIMEOUT_MS));
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(Duration::from_millis(SILENT_TIMEOUT_MS));
        }
        if config.get_application_name().is_none() {
            config.application_name("millstream");
        }
        Connection(config, Handshake::new(ssl))
    }

    /// Host, port and database, without user and password.
    pub fn place(&self) -> String {
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

    /// A new connection, with the first of the URL's hosts that gives one. What drives it runs on the runtime whenever
    /// somebody waits there.
    pub async fn connect(&self) -> Result<(Client, Driver), DatabaseError> {
        self.first_of_hosts(async |stream, name| self.over(stream, name).await).await
    }

    /// The same, for replication.
    pub async fn replicate(&self) -> Result<Replication, DatabaseError> {
        self.first_of_hosts(async |stream, name| {
            let handshake = name.map(|name| self.1.with(name));
            let allowed = GreetingAllowance::default();
            allowed.set(GREETING_BYTES_MAX);
            let stream = Box::new(GreetingStream { stream, allowed: allowed.clone() });
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
        let mut last = DatabaseError::lasting("the URL names no host".into());
        for place in 0..hosts.len().max(self.0.get_hostaddrs().len()) {
            let connected = match self.connect_to(place, self.1.ssl.mode != Mode::Disable, &greet).await {
                // As PostgreSQL's own library does it.
                Err(fault) if fault.kind == DatabaseErrorKind::Tls && self.1.ssl.mode == Mode::Prefer => {
                    self.connect_to(place, false, &greet).await
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

    /// Connects with one host of the URL. The server has so long for all of it, greeting and password included.
    async fn connect_to<T>(
        &self,
        place: usize,
        tls: bool,
        greet: &impl AsyncFn(AnyStream, Option<String>) -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        let ports = self.0.get_ports();
        let port = *ports.get(place).or(ports.first()).unwrap_or(&PORT);
        let connecting = async {
            let away = |error: io::Error| DatabaseError::passing(format!("error connecting to server: {error}"));
            let (stream, name): (AnyStream, _) =
                match (self.0.get_hostaddrs().get(place), self.0.get_hosts().get(place)) {
                    (Some(address), host) => {
                        let name = match host {
                            Some(Host::Tcp(host)) => host.clone(),
                            _ => address.to_string(),
                        };
                        (Box::new(tcp((*address, port), &self.0).await.map_err(away)?) as AnyStream, Some(name))
                    }
                    (None, Some(Host::Tcp(host))) => {
                        (Box::new(tcp((host.as_str(), port), &self.0).await.map_err(away)?), Some(host.clone()))
                    }
                    #[cfg(unix)]
                    (None, Some(Host::Unix(folder))) => {
                        let path = folder.join(format!(".s.PGSQL.{port}"));
                        // Nobody listens in between.
                        (Box::new(tokio::net::UnixStream::connect(path).await.map_err(away)?), None)
                    }
                    (None, None) => return Err(DatabaseError::lasting("the URL names fewer hosts than ports".into())),
                };
            greet(stream, name.filter(|_| tls)).await
        };
        let time_max = *self.0.get_connect_timeout().unwrap_or(&Duration::from_millis(CONNECT_TIMEOUT_MS));
        DatabaseError::within(
            time_max,
            "to the greeting: the server does not respond, or is not PostgreSQL",
            connecting,
        )
        .await
    }

    /// Greeting and password, with TLS where the server is to have this name.
    async fn over(&self, stream: AnyStream, name: Option<String>) -> Result<(Client, Driver), DatabaseError> {
        let allowed = GreetingAllowance::default();
        allowed.set(GREETING_BYTES_MAX);
        let mut config = self.0.clone();
        if name.is_none() {
            config.ssl_mode(SslMode::Disable);
        }
        let handshake = self.1.with(name.unwrap_or_default());
        let (client, connection) =
            config.connect_raw(GreetingStream { stream, allowed: allowed.clone() }, handshake).await?;
        // From now on the driver passes on what somebody waits for, and drops the rest as it comes.
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
            false => Err(DatabaseError::passing(format!("its `transaction_read_only` is not `{wanted}`"))),
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

/// How many bytes a server may still send.
#[derive(Clone, Default)]
struct GreetingAllowance(Arc<AtomicU64>);

impl GreetingAllowance {
    fn set(&self, bytes: u64) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    /// Whether there was so much left.
    fn take(&self, bytes: usize) -> bool {
        let left = self.0.load(Ordering::Relaxed);
        match left {
            u64::MAX => true,
            left => left.checked_sub(bytes as u64).map(|left| self.set(left)).is_some(),
        }
    }
}

/// A stream that ends in an error when the other end sends more than it may: the driver keeps whatever a server says before
/// a connection stands.
struct GreetingStream<S> {
    stream: S,
    allowed: GreetingAllowance,
}

impl<S: AsyncRead + Unpin> AsyncRead for GreetingStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if !self.allowed.take(buf.filled().len() - before) {
            let words = format!("it says more than {} KiB before it lets the job in", GREETING_BYTES_MAX >> 10);
            return Poll::Ready(Err(io::Error::other(words)));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for GreetingStream<S> {
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
