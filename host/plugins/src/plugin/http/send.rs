//! Sends a request to addresses that were checked, over a connection of its own.

use super::addresses::Destination;
use super::{HttpDriver, limited};
use bytes::Bytes;
use http::uri::PathAndQuery;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_rustls::TlsConnector;
use wasmtime_wasi_http::{Error, WasiBody};

/// A connection, plain or with TLS.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Timeouts of the steps of a request.
pub struct Times {
    /// Until there is a connection.
    pub connect: Duration,
    /// Time until the head of the response is received.
    pub first_byte: Duration,
    /// Between two pieces of its body.
    pub between_bytes: Duration,
}

/// Sends a request. Returns the response, and the task that drives its connection.
pub async fn send(
    mut request: http::Request<WasiBody>,
    to: Destination,
    times: &Times,
) -> Result<(http::Response<WasiBody>, HttpDriver), Error> {
    let connecting = async {
        let stream = connect(&to.addresses).await.map_err(Error::Connect)?;
        match to.tls {
            true => Ok(Box::new(connect_tls(stream, &to.host).await?) as Box<dyn Stream>),
            false => Ok(Box::new(stream) as Box<dyn Stream>),
        }
    };
    let stream: Result<_, Error> = timeout(times.connect, connecting).await.map_err(|_| Error::ConnectionTimeout)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream?)).await?;
    let mut connection = Box::pin(connection);
    // A request to a server names the path alone; the header `Host` has the rest.
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = path.unwrap_or_else(|| PathAndQuery::from_static("/")).into();
    let sending = async {
        let mut sent = pin!(sender.send_request(request));
        tokio::select! {
            response = &mut sent => Ok((response?, true)),
            ended = &mut connection => {
                ended?;
                Ok((sent.await?, false))
            }
        }
    };
    let sent: Result<_, Error> = timeout(times.first_byte, sending).await.map_err(|_| Error::ConnectionReadTimeout)?;
    let (response, open) = sent?;
    let between = times.between_bytes;
    let response = response.map(|incoming| {
        let body = ResponseBody { incoming, between, idle_timer: Box::pin(sleep(between)) };
        limited(body, Error::HttpResponseBodySize)
    });
    let driver: HttpDriver = Box::new(async move {
        match open {
            true => Ok(connection.await?),
            false => Ok(()),
        }
    });
    Ok((response, driver))
}

/// Connects to the first address that accepts.
async fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn connect_tls(stream: TcpStream, host: &str) -> Result<impl Stream + use<>, Error> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let config = CONFIG.get_or_init(|| {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() };
        Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
    });
    let name = ServerName::try_from(host.to_owned()).map_err(|_| Error::HttpRequestUriInvalid)?;
    TlsConnector::from(config.clone()).connect(name, stream).await.map_err(Error::Tls)
}

/// The body of a response. It fails if no data arrives for too long.
struct ResponseBody {
    incoming: Incoming,
    between: Duration,
    idle_timer: Pin<Box<Sleep>>,
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let next = Instant::now() + self.between;
                self.idle_timer.as_mut().reset(next);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(other) => Poll::Ready(other.map(|frame| frame.map_err(Error::from))),
            Poll::Pending => match self.idle_timer.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(Some(Err(Error::ConnectionReadTimeout))),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
