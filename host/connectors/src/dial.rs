//! Connections with servers that a URL names, for a thread that waits: where a server is, and bytes to and from it. What they mean is
//! for the clients of our own (`mqtt`, `nats`) to say.

use crate::tls;
use crate::tls::Tls;
use bytes::BytesMut;
use millstream_base::job::http_url;
use millstream_base::job::spec::TlsSpec;
use millstream_base::secrets;
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

/// How long a connection may take, and an answer.
pub const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How much is read at a time.
const READ_BYTES: usize = 64 << 10;

/// Why something did not work.
#[derive(Debug)]
pub enum Fault {
    /// The server is away, or hangs: it may work later.
    Passing(String),
    /// Somebody has to mend something: it is not the server that it should be, or does not speak the protocol.
    Lasting(String),
}

/// What the other side sent is not of this protocol.
#[derive(Debug, PartialEq, Eq)]
pub struct ProtocolError(pub &'static str);

/// How URLs of a kind of server are written, and what its messages call it.
pub struct UrlForm {
    /// What its servers are called.
    pub name: &'static str,
    /// How a URL without TLS begins, and the port that it means.
    pub plain: (&'static str, u16),
    /// The same with TLS.
    pub safe: (&'static str, u16),
    /// How to write one.
    pub help: &'static str,
    /// What it means that a server closes the connection and says nothing.
    pub closed: &'static str,
}

/// Where a server is, whether over TLS, and the login of the job there.
#[derive(Clone)]
pub struct ServerAddress {
    pub host: String,
    pub port: u16,
    /// TLS, and the name that the server's certificate is for.
    pub tls: Option<(Tls, String)>,
    pub user: Option<String>,
    pub password: Option<Vec<u8>>,
    name: &'static str,
    closed: &'static str,
}

impl ServerAddress {
    /// Of a URL of a job file; or the key that is wrong, and why.
    pub fn of(
        url: &str,
        form: &UrlForm,
        tls: Option<&TlsSpec>,
        folder: &Path,
    ) -> Result<ServerAddress, (&'static str, String)> {
        let url = http_url::url(url).map_err(|message| ("url", message))?;
        ServerAddress::plain(&url, form, tls, folder)
    }

    /// The same of a URL without placeholders.
    pub fn plain(
        url: &str,
        form: &UrlForm,
        tls: Option<&TlsSpec>,
        folder: &Path,
    ) -> Result<ServerAddress, (&'static str, String)> {
        let wrong = |why: &str| ("url", format!("`url` {why}; {}", form.help));
        // What is wrong is not repeated, as there may be a password in it.
        let url = Url::parse(url).map_err(|_| wrong("cannot be read"))?;
        let safe = match url.scheme() {
            scheme if scheme == form.plain.0 => false,
            scheme if scheme == form.safe.0 => true,
            _ => return Err(wrong(&format!("is not that of a server of {}", form.name))),
        };
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| wrong("names no host"))?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_owned();
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("has something behind host and port, which does nothing here"));
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
        let used = Tls::of(&spec, folder);
        if safe {
            used.config().map_err(|refusal| ("tls", format!("`tls` cannot be used: {refusal}")))?;
        }
        let port = url.port().unwrap_or(if safe { form.safe.1 } else { form.plain.1 });
        let tls = safe.then_some((used, name));
        Ok(ServerAddress { host, port, tls, user, password, name: form.name, closed: form.closed })
    }

    /// Whether somebody listens there.
    pub fn reach(&self) -> Result<(), Fault> {
        let mut addresses = (self.host.as_str(), self.port).to_socket_addrs()?;
        let address = addresses.next().ok_or_else(|| Fault::Passing("its host has no address".into()))?;
        PlainStream::connect_timeout(&address, ANSWER_MAX).map(drop).map_err(Fault::from)
    }

    /// Where it is, for people.
    pub fn shown(&self) -> String {
        format!("{} at {}:{}", self.name, self.host, self.port)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        match tls::refusal(&error) {
            Some(refusal) => Fault::Lasting(format!("TLS: {refusal}")),
            None => Fault::Passing(plain(&error)),
        }
    }
}

/// An error of the system without its number.
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection: what comes is read when it is asked for.
pub struct Line {
    runtime: Runtime,
    /// `None`: TLS could not be begun.
    stream: Option<Box<dyn Stream>>,
    /// What came and was not taken out.
    pub buffer: BytesMut,
    /// When something was sent.
    pub sent: Instant,
    /// When something came.
    pub heard: Instant,
    closed: &'static str,
}

impl Line {
    /// Connects without TLS.
    pub fn open(place: &ServerAddress) -> Result<Line, Fault> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let connecting = async {
            let tcp = TcpStream::connect((place.host.as_str(), place.port)).await?;
            tcp.set_nodelay(true)?;
            Ok::<_, io::Error>(tcp)
        };
        let tcp = match runtime.block_on(async { timeout(ANSWER_MAX, connecting).await }) {
            Ok(tcp) => tcp?,
            Err(_) => return Err(silent()),
        };
        let now = Instant::now();
        let buffer = BytesMut::new();
        Ok(Line { runtime, stream: Some(Box::new(tcp)), buffer, sent: now, heard: now, closed: place.closed })
    }

    /// Speaks TLS from here on, where the place says so.
    pub fn secure(&mut self, place: &ServerAddress) -> Result<(), Fault> {
        let (Some((tls, name)), Some(stream)) = (&place.tls, self.stream.take_if(|_| place.tls.is_some())) else {
            return Ok(());
        };
        // Whoever stands between could have put it there.
        if !self.buffer.is_empty() {
            return Err(Fault::Passing("it continues without TLS where TLS should begin".into()));
        }
        let shaken = self.runtime.block_on(async { timeout(ANSWER_MAX, tls.handshake(stream, name)).await });
        self.stream = Some(Box::new(shaken.map_err(|_| silent())??));
        Ok(())
    }

    /// Sends this.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let Line { runtime, stream: Some(stream), .. } = self else { return Err(self.ended()) };
        let sending = async {
            stream.write_all(bytes).await?;
            stream.flush().await
        };
        match runtime.block_on(async { timeout(ANSWER_MAX, sending).await }) {
            Ok(sent) => sent?,
            Err(_) => return Err(Fault::Passing(format!("it accepts nothing for {} s", ANSWER_MAX.as_secs()))),
        }
        self.sent = Instant::now();
        Ok(())
    }

    /// Reads what comes next into the buffer; false: nothing came within this time.
    pub fn more(&mut self, wait: Duration) -> Result<bool, Fault> {
        let Line { runtime, stream: Some(stream), buffer, .. } = self else { return Err(self.ended()) };
        buffer.reserve(READ_BYTES);
        match runtime.block_on(async { timeout(wait, stream.read_buf(buffer)).await }) {
            Err(_) => Ok(false),
            Ok(Ok(0)) => Err(self.ended()),
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.ended()),
            Ok(read) => {
                read?;
                self.heard = Instant::now();
                Ok(true)
            }
        }
    }

    fn ended(&self) -> Fault {
        Fault::Passing(self.closed.into())
    }
}

/// Nobody answers in time.
pub fn silent() -> Fault {
    Fault::Passing(format!("it does not respond within {} s", ANSWER_MAX.as_secs()))
}
