//! Blocking connections to servers that a URL names: the server's address, and a byte stream to it. Our own clients (`mqtt`, `nats`) implement the
//! protocols.

use crate::tls;
use crate::tls::Tls;
use bytes::BytesMut;
use millstream_base::secrets;
use millstream_job::http_url;
use millstream_job::spec::TlsSpec;
use percent_encoding::percent_decode_str;
use std::io;
use std::net::{TcpStream as PlainStream, ToSocketAddrs};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use url::Url;

/// Timeout for a connection and for a response.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes that are read at a time.
const READ_BYTES: usize = 64 << 10;

/// Why an operation failed.
#[derive(Debug)]
pub enum Fault {
    /// The server is unreachable or does not respond: a retry may succeed.
    Transient(String),
    /// A user has to fix the cause: it is the wrong server, or does not speak the protocol.
    Permanent(String),
}

/// The peer sent data that violates the protocol.
#[derive(Debug, PartialEq, Eq)]
pub struct ProtocolError(pub &'static str);

/// The URL schemes of a kind of server, and its name in messages.
pub struct UrlForm {
    /// Name of this kind of server.
    pub name: &'static str,
    /// Scheme without TLS, and its default port.
    pub plain: (&'static str, u16),
    /// Scheme with TLS, and its default port.
    pub secure: (&'static str, u16),
    /// Example of a URL.
    pub help: &'static str,
    /// What it means if a server closes the connection without a message.
    pub closed: &'static str,
}

/// The address of a server, whether it uses TLS, and the job's credentials.
#[derive(Clone)]
pub struct ServerAddress {
    pub host: String,
    pub port: u16,
    /// TLS settings, and the name for which the server's certificate must be valid.
    pub tls: Option<(Tls, String)>,
    pub user: Option<String>,
    pub password: Option<Vec<u8>>,
    name: &'static str,
    closed: &'static str,
}

impl ServerAddress {
    /// Parses a URL of a job file. An error is the invalid key and the reason.
    pub fn parse(
        url: &str,
        form: &UrlForm,
        tls: Option<&TlsSpec>,
        dir: &Path,
    ) -> Result<ServerAddress, (&'static str, String)> {
        let url = http_url::url(url).map_err(|message| ("url", message))?;
        ServerAddress::plain(&url, form, tls, dir)
    }

    /// Like [`ServerAddress::parse`], for a URL without placeholders.
    pub fn plain(
        url: &str,
        form: &UrlForm,
        tls: Option<&TlsSpec>,
        dir: &Path,
    ) -> Result<ServerAddress, (&'static str, String)> {
        let wrong = |why: &str| ("url", format!("`url` {why}; {}", form.help));
        // The URL is not repeated, as it may contain a password.
        let url = Url::parse(url).map_err(|_| wrong("cannot be read"))?;
        let secure = match url.scheme() {
            scheme if scheme == form.plain.0 => false,
            scheme if scheme == form.secure.0 => true,
            _ => return Err(wrong(&format!("is not the URL of a {} server", form.name))),
        };
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| wrong("names no host"))?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_owned();
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("has extra text after host and port; remove it"));
        }
        let decoded = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
        let password = url.password().map(decoded);
        if let Some(password) = password.as_deref().and_then(|password| std::str::from_utf8(password).ok()) {
            secrets::keep(password, "(password)");
        }
        let user = Some(decoded(url.username())).filter(|user| !user.is_empty() || password.is_some());
        let user = user.map(String::from_utf8).transpose().map_err(|_| wrong("has a user that is not UTF-8"))?;
        let spec = tls.cloned().unwrap_or_default();
        let name = spec.name.clone().unwrap_or_else(|| host.clone());
        let used = Tls::from_spec(&spec, dir);
        if secure {
            used.config().map_err(|tls_error| ("tls", format!("`tls` cannot be used: {tls_error}")))?;
        }
        let port = url.port().unwrap_or(if secure { form.secure.1 } else { form.plain.1 });
        let tls = secure.then_some((used, name));
        Ok(ServerAddress { host, port, tls, user, password, name: form.name, closed: form.closed })
    }

    /// Checks that the server accepts connections.
    pub fn reach(&self) -> Result<(), Fault> {
        let mut addresses = (self.host.as_str(), self.port).to_socket_addrs()?;
        let address = addresses.next().ok_or_else(|| Fault::Transient("its host has no address".into()))?;
        PlainStream::connect_timeout(&address, RESPONSE_TIMEOUT).map(drop).map_err(Fault::from)
    }

    /// Names the server for messages.
    pub fn shown(&self) -> String {
        format!("{} at {}:{}", self.name, self.host, self.port)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        match tls::inner_tls_error(&error) {
            Some(tls_error) => Fault::Permanent(format!("TLS: {tls_error}")),
            None => Fault::Transient(plain(&error)),
        }
    }
}

/// Describes an I/O error without its OS error number.
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection that is read on request.
pub struct BlockingStream {
    runtime: Runtime,
    /// `None` if the TLS handshake failed.
    stream: Option<Box<dyn Stream>>,
    /// Bytes received and not consumed.
    pub buffer: BytesMut,
    /// When bytes were last sent.
    pub sent: Instant,
    /// When bytes were last received.
    pub received: Instant,
    closed: &'static str,
}

impl BlockingStream {
    /// Connects without TLS.
    pub fn open(address: &ServerAddress) -> Result<BlockingStream, Fault> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let connecting = async {
            let tcp = TcpStream::connect((address.host.as_str(), address.port)).await?;
            tcp.set_nodelay(true)?;
            Ok::<_, io::Error>(tcp)
        };
        let tcp = match runtime.block_on(async { timeout(RESPONSE_TIMEOUT, connecting).await }) {
            Ok(tcp) => tcp?,
            Err(_) => return Err(response_timed_out()),
        };
        let now = Instant::now();
        let buffer = BytesMut::new();
        Ok(BlockingStream {
            runtime,
            stream: Some(Box::new(tcp)),
            buffer,
            sent: now,
            received: now,
            closed: address.closed,
        })
    }

    /// Starts TLS if the address requires it.
    pub fn secure(&mut self, address: &ServerAddress) -> Result<(), Fault> {
        let (Some((tls, name)), Some(stream)) = (&address.tls, self.stream.take_if(|_| address.tls.is_some())) else {
            return Ok(());
        };
        // A man in the middle could have inserted it.
        if !self.buffer.is_empty() {
            return Err(Fault::Transient("it continues without TLS when TLS should begin".into()));
        }
        let connected = self.runtime.block_on(async { timeout(RESPONSE_TIMEOUT, tls.handshake(stream, name)).await });
        self.stream = Some(Box::new(connected.map_err(|_| response_timed_out())??));
        Ok(())
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let BlockingStream { runtime, stream: Some(stream), .. } = self else { return Err(self.closed_fault()) };
        let sending = async {
            stream.write_all(bytes).await?;
            stream.flush().await
        };
        match runtime.block_on(async { timeout(RESPONSE_TIMEOUT, sending).await }) {
            Ok(sent) => sent?,
            Err(_) => return Err(Fault::Transient(format!("it accepts nothing for {} s", RESPONSE_TIMEOUT.as_secs()))),
        }
        self.sent = Instant::now();
        Ok(())
    }

    /// Reads the next bytes into the buffer. Returns false if none arrived within `wait`.
    pub fn read_more(&mut self, wait: Duration) -> Result<bool, Fault> {
        let BlockingStream { runtime, stream: Some(stream), buffer, .. } = self else {
            return Err(self.closed_fault());
        };
        buffer.reserve(READ_BYTES);
        match runtime.block_on(async { timeout(wait, stream.read_buf(buffer)).await }) {
            Err(_) => Ok(false),
            Ok(Ok(0)) => Err(self.closed_fault()),
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.closed_fault()),
            Ok(read) => {
                read?;
                self.received = Instant::now();
                Ok(true)
            }
        }
    }

    fn closed_fault(&self) -> Fault {
        Fault::Transient(self.closed.into())
    }
}

/// Returns the fault for a response that did not arrive in time.
pub fn response_timed_out() -> Fault {
    Fault::Transient(format!("it does not respond within {} s", RESPONSE_TIMEOUT.as_secs()))
}
