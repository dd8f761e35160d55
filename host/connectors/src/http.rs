//! Requests to servers over HTTP/1.1, with TLS where the URL says so: one connection to one server, made anew where it was lost.
//! And what those that listen have in common.

pub mod certificate;
pub mod heads;
pub mod listener;
pub mod places;
pub mod write_deadline;
pub mod refusals;
pub mod sink;
pub mod upgrade;

pub use crate::dial::Fault;
use crate::tls::{Tls, in_words, refusal};
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

/// How long a server may take until there is a connection.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// Bytes of the head of an answer.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// In which ClickHouse says what is wrong.
const EXCEPTION_CODE: &str = "x-clickhouse-exception-code";
const AGENT: HeaderValue = HeaderValue::from_static(concat!("millstream/", env!("CARGO_PKG_VERSION")));

/// Where a server is, and how it is spoken to.
#[derive(Clone, Debug)]
pub struct Server {
    host: String,
    port: u16,
    tls: Option<Tls>,
    authority: HeaderValue,
    /// Of the URL.
    path: String,
    place: String,
}

/// A connection, plain or with TLS.
pub trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Wire for S {}

/// A request to a server.
#[derive(Clone, Debug)]
pub struct HttpRequest {
    /// As POST.
    pub method: Method,
    /// With what stands behind it.
    pub path: String,
    /// Beside those that every request has.
    pub headers: HeaderMap,
    /// All of it.
    pub body: Bytes,
}

/// What a server answered.
#[derive(Debug)]
pub struct Reply {
    /// As 200.
    pub status: StatusCode,
    /// When to try again.
    pub retry_after: Option<Duration>,
    /// Where it leads to.
    pub location: Option<String>,
    /// What is wrong by ClickHouse's numbers.
    pub exception: Option<u32>,
    /// Its beginning, as much as was wanted.
    pub body: Bytes,
}

impl Server {
    /// The server of a URL. `tls`: what is checked of one with `https`.
    pub fn of(url: &str, tls: Tls) -> Result<Server, String> {
        let help = "write it as \"https://host:port/path\"";
        let uri: Uri = url.parse().map_err(|error| format!("is not a URL ({error}); {help}"))?;
        let (tls, usual_port) = match uri.scheme_str() {
            Some("http") => (None, 80),
            Some("https") => (Some(tls), 443),
            _ => return Err(format!("begins with neither http:// nor https://; {help}")),
        };
        let authority = uri.authority().ok_or_else(|| format!("names no host; {help}"))?;
        if authority.as_str().contains('@') {
            return Err("has a login in it; give it as `token`, or in `headers`".into());
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
            // Nobody can be asked for a query alone.
            query if query.starts_with('?') => format!("/{query}"),
            path => path.to_owned(),
        };
        let scheme = if tls.is_some() { "https" } else { "http" };
        // What stands behind `?` may be secret.
        let place = format!("{scheme}://{authority}{}", uri.path());
        let authority =
            HeaderValue::from_str(authority.as_str()).map_err(|_| format!("has no host that is one; {help}"))?;
        Ok(Server { host, port, tls, authority, path, place })
    }

    /// Path and query of the URL.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The URL without what stands behind `?`, for messages.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Whether the files of its TLS can be used.
    pub fn check(&self) -> Result<(), String> {
        self.tls.as_ref().map_or(Ok(()), |tls| tls.config().map(drop).map_err(|refusal| refusal.0))
    }

    /// Whether it is at the same place, whatever is asked of it.
    pub fn is_same(&self, other: &Server) -> bool {
        (&self.host, self.port, self.is_secure()) == (&other.host, other.port, other.is_secure())
    }

    /// Whether it is spoken to with TLS.
    pub fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// Host and port, as in the URL.
    pub fn authority(&self) -> &str {
        self.authority.to_str().unwrap_or_default()
    }

    /// Makes a connection for another protocol that begins as HTTP does. `over`: puts something between it and the network.
    pub async fn stream<S: Wire + 'static>(&self, over: impl FnOnce(TcpStream) -> S) -> Result<Box<dyn Wire>, Fault> {
        let connecting = async {
            let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|error| passing(&error))?;
            let _ = stream.set_nodelay(true);
            let stream = over(stream);
            let wire: Box<dyn Wire> = match &self.tls {
                None => Box::new(stream),
                Some(tls) => {
                    Box::new(tls.handshake(stream, &self.host).await.map_err(|error| of_tls(error, &self.host))?)
                }
            };
            Ok(wire)
        };
        timeout(CONNECT_TIME_MAX, connecting).await.unwrap_or_else(|_| Err(late()))
    }

    /// Makes a connection.
    async fn connect(&self) -> Result<OpenConnection, Fault> {
        open(TokioIo::new(self.stream(|stream| stream).await?)).await
    }
}

fn late() -> Fault {
    Fault::Passing(format!("no connection within {} s", CONNECT_TIME_MAX.as_secs()))
}

fn passing(error: &io::Error) -> Fault {
    Fault::Passing(match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        _ => error.to_string(),
    })
}

fn of_tls(error: io::Error, name: &str) -> Fault {
    let error = in_words(error, name);
    match refusal(&error) {
        Some(refusal) => Fault::Lasting(format!("TLS: {refusal}")),
        None => passing(&error),
    }
}

/// An open connection.
struct OpenConnection {
    sender: SendRequest<Full<Bytes>>,
    /// What moves its bytes.
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
    let (sender, connection) = builder.handshake(stream).await.map_err(|error| told(&error))?;
    // What goes wrong is told to who waits for the answer.
    let driver = tokio::spawn(async move { drop(connection.await) });
    Ok(OpenConnection { sender, driver })
}

/// What an error of a connection means.
pub fn told(error: &hyper::Error) -> Fault {
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        words.push_str(&format!(": {error}"));
        cause = error.source();
    }
    match error.is_parse() {
        true => Fault::Lasting(format!("the server does not speak HTTP/1.1 ({words}); check `url`")),
        false => Fault::Passing(words),
    }
}

/// Asks one server, over one connection.
pub struct Client {
    server: Server,
    connection: Option<OpenConnection>,
}

impl Client {
    /// Not connected yet.
    pub fn new(server: Server) -> Client {
        Client { server, connection: None }
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Asks, and waits for the whole answer, of whose body so many bytes are kept.
    pub async fn ask(
        &mut self,
        asked: &HttpRequest,
        time_max: Duration,
        body_bytes_max: usize,
    ) -> Result<Reply, Fault> {
        let kept = self.connection.as_ref().is_some_and(|open| !open.sender.is_closed());
        match timeout(time_max, self.attempt(asked, body_bytes_max)).await {
            Ok(Ok(reply)) => Ok(reply),
            // A server may close a connection that was quiet at any time.
            Ok(Err(Fault::Passing(_))) if kept => {
                self.connection = None;
                match timeout(time_max, self.attempt(asked, body_bytes_max)).await {
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
            Err(Fault::Passing(format!("no response within {}", millstream_base::units::show_time(time_max))))
        })
    }

    async fn attempt(&mut self, asked: &HttpRequest, body_bytes_max: usize) -> Result<Reply, Fault> {
        let response = self.send(asked).await?;
        let reply = read(response, body_bytes_max).await;
        // Of what is not read the rest would come before the next answer.
        match reply {
            Ok((reply, true)) => Ok(reply),
            Ok((reply, false)) => {
                self.connection = None;
                Ok(reply)
            }
            Err(fault) => Err(fault),
        }
    }

    /// Asks, and waits for the head of the answer: the body comes as long as this client lives.
    pub async fn open(&mut self, asked: &HttpRequest, time_max: Duration) -> Result<Response<Incoming>, Fault> {
        match timeout(time_max, self.send(asked)).await {
            Ok(answer) => answer,
            Err(_) => {
                Err(Fault::Passing(format!("no response within {}", millstream_base::units::show_time(time_max))))
            }
        }
    }

    async fn send(&mut self, asked: &HttpRequest) -> Result<Response<Incoming>, Fault> {
        let open = match self.connection.take().filter(|open| !open.sender.is_closed()) {
            Some(open) => open,
            None => self.server.connect().await?,
        };
        let open = self.connection.insert(open);
        open.sender.ready().await.map_err(|error| told(&error))?;
        let request = request(&self.server, asked)?;
        open.sender.send_request(request).await.map_err(|error| told(&error))
    }
}

fn request(server: &Server, asked: &HttpRequest) -> Result<Request<Full<Bytes>>, Fault> {
    let request = Request::builder().method(&asked.method).uri(&asked.path).body(Full::new(asked.body.clone()));
    let mut request = request.map_err(|error| Fault::Passing(error.to_string()))?;
    let headers = request.headers_mut();
    headers.insert(HOST, server.authority.clone());
    headers.insert(USER_AGENT, AGENT);
    if asked.method != Method::GET {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(asked.body.len()));
    }
    headers.extend(asked.headers.clone());
    Ok(request)
}

/// An answer, and whether that was all of it.
async fn read(mut response: Response<Incoming>, bytes_max: usize) -> Result<(Reply, bool), Fault> {
    let mut body = BytesMut::new();
    let mut whole = true;
    while let Some(frame) = response.body_mut().frame().await {
        let Ok(data) = frame.map_err(|error| told(&error))?.into_data() else { continue };
        let room = bytes_max - body.len();
        body.extend_from_slice(data.get(..room).unwrap_or(&data));
        if data.len() > room {
            whole = false;
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
    Ok((reply, whole))
}

/// Seconds, or a date.
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
            Server::of(url, Tls::default())
                .map(|server| (server.host, server.port, server.tls.is_some(), server.path, server.place))
        };
        let parts = |host: &str, port, tls, path: &str, place: &str| {
            Ok((host.to_owned(), port, tls, path.to_owned(), place.to_owned()))
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
