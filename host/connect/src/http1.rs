//! HTTP/1.1 requests, with TLS for `https` URLs: one connection to one server, reopened after it was lost. The submodules are also used by sources
//! and sinks that listen.

pub mod certificate;
pub mod heads;
pub mod listener;
pub mod slots;
pub mod write_deadline;
pub mod rejection_log;
pub mod upgrade;

pub use crate::dial::Fault;
use crate::tls::{Tls, explain_error, inner_tls_error};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use std::io;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Timeout for opening a connection.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// Maximum bytes of a response head.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Header with ClickHouse's error code.
const EXCEPTION_CODE: &str = "x-clickhouse-exception-code";
const AGENT: HeaderValue = HeaderValue::from_static(concat!("millstream/", env!("CARGO_PKG_VERSION")));

/// The address of a server, and how to connect to it.
#[derive(Clone, Debug)]
pub struct Server {
    host: String,
    port: u16,
    tls: Option<Tls>,
    authority: HeaderValue,
    /// Path and query of the URL.
    path: String,
    display_url: String,
}

/// A connection, with or without TLS.
pub trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Wire for S {}

/// A request to a server.
#[derive(Clone, Debug)]
pub struct HttpRequest {
    /// For example POST.
    pub method: Method,
    /// Including the query.
    pub path: String,
    /// In addition to the headers that every request has.
    pub headers: HeaderMap,
    /// The complete body.
    pub body: Bytes,
}

/// A server's response.
#[derive(Debug)]
pub struct Reply {
    /// For example 200.
    pub status: StatusCode,
    /// When to retry.
    pub retry_after: Option<Duration>,
    /// Target of a redirect.
    pub location: Option<String>,
    /// ClickHouse's error code.
    pub exception: Option<u32>,
    /// The beginning of the body, up to the requested length.
    pub body: Bytes,
}

impl Server {
    /// Parses the URL of a server. `tls` applies to `https`.
    pub fn parse(url: &str, tls: Tls) -> Result<Server, String> {
        let help = "write it as \"https://host:port/path\"";
        let uri: Uri = url.parse().map_err(|error| format!("is not a URL ({error}); {help}"))?;
        let (tls, usual_port) = match uri.scheme_str() {
            Some("http") => (None, 80),
            Some("https") => (Some(tls), 443),
            _ => return Err(format!("begins with neither http:// nor https://; {help}")),
        };
        let authority = uri.authority().ok_or_else(|| format!("names no host; {help}"))?;
        if authority.as_str().contains('@') {
            return Err("contains a login; set `token` or `headers` instead".into());
        }
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_owned();
        if host.is_empty() {
            return Err(format!("names no host; {help}"));
        }
        if authority.port().is_none() && authority.as_str() != authority.host() {
            return Err(format!("has an invalid port; {help}"));
        }
        let port = authority.port_u16().unwrap_or(usual_port);
        let path = match uri.path_and_query().map_or("/", |path| path.as_str()) {
            // A request needs a path.
            query if query.starts_with('?') => format!("/{query}"),
            path => path.to_owned(),
        };
        let scheme = if tls.is_some() { "https" } else { "http" };
        // The query may be secret.
        let display_url = format!("{scheme}://{authority}{}", uri.path());
        let authority =
            HeaderValue::from_str(authority.as_str()).map_err(|_| format!("has an invalid host; {help}"))?;
        Ok(Server { host, port, tls, authority, path, display_url })
    }

    /// Returns path and query of the URL.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the URL without its query, for messages.
    pub fn display_url(&self) -> &str {
        &self.display_url
    }

    /// Checks that its TLS files are usable.
    pub fn check(&self) -> Result<(), String> {
        self.tls.as_ref().map_or(Ok(()), |tls| tls.config().map(drop).map_err(|tls_error| tls_error.0))
    }

    /// Returns whether both are the same host, port and scheme.
    pub fn is_same(&self, other: &Server) -> bool {
        (&self.host, self.port, self.is_secure()) == (&other.host, other.port, other.is_secure())
    }

    /// Returns whether it uses TLS.
    pub fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// Returns host and port as in the URL.
    pub fn authority(&self) -> &str {
        self.authority.to_str().unwrap_or_default()
    }

    /// Opens a connection for another protocol that begins as HTTP does. `over` wraps the network stream.
    pub async fn stream<S: Wire + 'static>(&self, over: impl FnOnce(TcpStream) -> S) -> Result<Box<dyn Wire>, Fault> {
        let connecting = async {
            let stream =
                TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|error| to_transient(&error))?;
            let _ = stream.set_nodelay(true);
            let stream = over(stream);
            let wire: Box<dyn Wire> = match &self.tls {
                None => Box::new(stream),
                Some(tls) => {
                    Box::new(tls.handshake(stream, &self.host).await.map_err(|error| to_tls_fault(error, &self.host))?)
                }
            };
            Ok(wire)
        };
        timeout(CONNECT_TIME_MAX, connecting).await.unwrap_or_else(|_| Err(connect_timed_out()))
    }

    /// Opens an HTTP connection.
    async fn connect(&self) -> Result<OpenConnection, Fault> {
        open(TokioIo::new(self.stream(|stream| stream).await?)).await
    }
}

fn connect_timed_out() -> Fault {
    Fault::Transient(format!("no connection within {} s", CONNECT_TIME_MAX.as_secs()))
}

fn to_transient(error: &io::Error) -> Fault {
    Fault::Transient(match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        _ => error.to_string(),
    })
}

fn to_tls_fault(error: io::Error, name: &str) -> Fault {
    let error = explain_error(error, name);
    match inner_tls_error(&error) {
        Some(tls_error) => Fault::Permanent(format!("TLS: {tls_error}")),
        None => to_transient(&error),
    }
}

/// An open connection.
struct OpenConnection {
    sender: SendRequest<Full<Bytes>>,
    /// The task that moves the connection's bytes.
    driver: JoinHandle<()>,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

async fn open(stream: TokioIo<Box<dyn Wire>>) -> Result<OpenConnection, Fault> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX);
    let (sender, connection) = builder.handshake(stream).await.map_err(|error| to_fault(&error))?;
    // Errors reach the caller that waits for the response.
    let driver = tokio::spawn(async move { drop(connection.await) });
    Ok(OpenConnection { sender, driver })
}

/// Converts an error of a connection.
pub fn to_fault(error: &hyper::Error) -> Fault {
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        message.push_str(&format!(": {error}"));
        cause = error.source();
    }
    match error.is_parse() {
        true => Fault::Permanent(format!("the server does not speak HTTP/1.1 ({message}); check `url`")),
        false => Fault::Transient(message),
    }
}

/// Sends requests to one server over one connection.
pub struct Client {
    server: Server,
    connection: Option<OpenConnection>,
}

impl Client {
    /// Creates a client that is not connected.
    pub fn new(server: Server) -> Client {
        Client { server, connection: None }
    }

    /// Returns the server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Sends a request and waits for the complete response. Keeps at most `body_bytes_max` of its body.
    pub async fn request_reply(
        &mut self,
        http_request: &HttpRequest,
        time_max: Duration,
        body_bytes_max: usize,
    ) -> Result<Reply, Fault> {
        let kept = self.connection.as_ref().is_some_and(|open| !open.sender.is_closed());
        match timeout(time_max, self.attempt(http_request, body_bytes_max)).await {
            Ok(Ok(reply)) => Ok(reply),
            // A server may close an idle connection at any time.
            Ok(Err(Fault::Transient(_))) if kept => {
                self.connection = None;
                match timeout(time_max, self.attempt(http_request, body_bytes_max)).await {
                    Ok(Ok(reply)) => Ok(reply),
                    other => self.lost(other.ok(), time_max),
                }
            }
            other => self.lost(other.ok(), time_max),
        }
    }

    fn lost(&mut self, attempt: Option<Result<Reply, Fault>>, time_max: Duration) -> Result<Reply, Fault> {
        self.connection = None;
        attempt.unwrap_or_else(|| {
            Err(Fault::Transient(format!("no response within {}", millstream_base::units::show_time(time_max))))
        })
    }

    async fn attempt(&mut self, http_request: &HttpRequest, body_bytes_max: usize) -> Result<Reply, Fault> {
        let response = self.send(http_request).await?;
        let reply = read(response, body_bytes_max).await;
        // An unread rest would precede the next response.
        match reply {
            Ok((reply, true)) => Ok(reply),
            Ok((reply, false)) => {
                self.connection = None;
                Ok(reply)
            }
            Err(fault) => Err(fault),
        }
    }

    /// Sends a request and waits for the head of the response. The body arrives as long as this client lives.
    pub async fn open(&mut self, http_request: &HttpRequest, time_max: Duration) -> Result<Response<Incoming>, Fault> {
        match timeout(time_max, self.send(http_request)).await {
            Ok(response) => response,
            Err(_) => {
                Err(Fault::Transient(format!("no response within {}", millstream_base::units::show_time(time_max))))
            }
        }
    }

    async fn send(&mut self, http_request: &HttpRequest) -> Result<Response<Incoming>, Fault> {
        let open = match self.connection.take().filter(|open| !open.sender.is_closed()) {
            Some(open) => open,
            None => self.server.connect().await?,
        };
        let open = self.connection.insert(open);
        open.sender.ready().await.map_err(|error| to_fault(&error))?;
        let request = request(&self.server, http_request)?;
        open.sender.send_request(request).await.map_err(|error| to_fault(&error))
    }
}

fn request(server: &Server, http_request: &HttpRequest) -> Result<Request<Full<Bytes>>, Fault> {
    let request = Request::builder()
        .method(&http_request.method)
        .uri(&http_request.path)
        .body(Full::new(http_request.body.clone()));
    let mut request = request.map_err(|error| Fault::Transient(error.to_string()))?;
    let headers = request.headers_mut();
    headers.insert(HOST, server.authority.clone());
    headers.insert(USER_AGENT, AGENT);
    if http_request.method != Method::GET {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(http_request.body.len()));
    }
    headers.extend(http_request.headers.clone());
    Ok(request)
}

/// Reads a response. Returns also whether the body is complete.
async fn read(mut response: Response<Incoming>, bytes_max: usize) -> Result<(Reply, bool), Fault> {
    let mut body = BytesMut::new();
    let mut is_complete = true;
    while let Some(frame) = response.body_mut().frame().await {
        let Ok(data) = frame.map_err(|error| to_fault(&error))?.into_data() else { continue };
        let room = bytes_max - body.len();
        body.extend_from_slice(data.get(..room).unwrap_or(&data));
        if data.len() > room {
            is_complete = false;
            break;
        }
    }
    let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let reply = Reply {
        status: response.status(),
        retry_after: text(RETRY_AFTER).and_then(retry_after),
        exception: response.headers().get(EXCEPTION_CODE).and_then(|code| code.to_str().ok()?.parse().ok()),
        location: text(LOCATION).map(str::to_owned),
        body: body.freeze(),
    };
    Ok((reply, is_complete))
}

/// Parses `Retry-After`: seconds or a date.
pub fn retry_after(text: &str) -> Option<Duration> {
    match text.trim().parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let date = httpdate::parse_http_date(text).ok()?;
            Some(date.duration_since(SystemTime::now()).unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let of = |url: &str| {
            Server::parse(url, Tls::default())
                .map(|server| (server.host, server.port, server.tls.is_some(), server.path, server.display_url))
        };
        let parts = |host: &str, port, tls, path: &str, display_url: &str| {
            Ok((host.to_owned(), port, tls, path.to_owned(), display_url.to_owned()))
        };
        assert_eq!(of("http://h"), parts("h", 80, false, "/", "http://h/"));
        assert_eq!(of("https://h:9/a?b=c"), parts("h", 9, true, "/a?b=c", "https://h:9/a"));
        assert_eq!(of("http://[::1]:9/"), parts("::1", 9, false, "/", "http://[::1]:9/"));
        assert_eq!(of("http://h:9?b=c"), parts("h", 9, false, "/?b=c", "http://h:9/"));
        assert_eq!(of("https://h?"), parts("h", 443, true, "/?", "https://h/"));
        for wrong in ["", "h", "h:9", "/a", "ftp://h", "http://", "http://me:pw@h/", "http://h h/", "http://h:99999"] {
            assert!(of(wrong).is_err(), "{wrong}: {:?}", of(wrong));
        }
    }

    #[test]
    fn when_to_try_again_is_a_number_or_a_date() {
        assert_eq!(retry_after("7"), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert!(retry_after("Wed, 21 Oct 2065 07:28:00 GMT").unwrap() > Duration::from_secs(9_999_999));
        assert_eq!(retry_after("soon"), None);
    }
}
