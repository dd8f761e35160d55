//! Listens, and serves each connection with its own task. There are limits on connections, on the head of a request and
//! its time, and on the time that a client may take to read a response. If all slots are taken, a connection without
//! the token is closed for a new one.

use super::routes;
use super::site::Site;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request};
use hyper_util::rt::{TokioIo, TokioTimer};
use millstream_base::error::{Error, Result};
use millstream_base::threads;
use millstream_connect::http1::certificate::Certificate;
use millstream_connect::http1::heads::CheckedHeads;
use millstream_connect::http1::listener::accept_all;
use millstream_connect::http1::slots::{Slot, TrustLevel};
use millstream_connect::http1::write_deadline::WriteDeadline;
use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

const CONNECTIONS_MAX: u64 = 128;
/// The time limit for the first byte of a connection. Browsers connect before they send a request, and on a busy
/// machine that may take long. A browser whose connection was closed does not retry, and its page stays empty.
const IDLE_TIME_MAX: Duration = Duration::from_secs(60);
/// The time limit for the rest of a head, and between two requests.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);
const HEAD_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;

/// Serves until the process exits, on its own thread.
pub fn start(listener: TcpListener, certificate: Option<Certificate>, site: Site) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::environment(format!("the page cannot be served: {error}")))?;
    let site = Arc::new(site);
    let failed = |error| tracing::warn!("the page is no longer served: {error}");
    threads::start("millstream-page", "the thread that serves the page", failed, move || {
        runtime.block_on(async {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => serve(listener, certificate.map(Arc::new), site).await,
                Err(error) => tracing::warn!("the page cannot be served: {error}"),
            }
        });
    })
    .map(drop)
}

async fn serve(listener: tokio::net::TcpListener, certificate: Option<Arc<Certificate>>, site: Arc<Site>) {
    accept_all(&listener, "the page", CONNECTIONS_MAX, |stream, _, slot| {
        greet(stream, slot, certificate.clone(), site.clone())
    })
    .await;
}

/// Serves a connection as soon as it sends data, with TLS if there is a certificate.
async fn greet(stream: TcpStream, slot: Arc<Slot>, certificate: Option<Arc<Certificate>>, site: Arc<Site>) {
    let Ok(Ok(1)) = timeout(IDLE_TIME_MAX, stream.peek(&mut [0])).await else { return };
    let stream = WriteDeadline::new(stream);
    let Some(certificate) = certificate else { return connection(stream, slot, site).await };
    let acceptor = match certificate.acceptor("the page") {
        Ok(acceptor) => acceptor,
        Err(why) => return tracing::warn!("the page cannot use TLS: {why}"),
    };
    // A client that does not use TLS, or is too slow, gets no response.
    if let Ok(Ok(stream)) = timeout(HEAD_TIME_MAX, acceptor.accept(stream)).await {
        connection(stream, slot, site).await;
    }
}

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, slot: Arc<Slot>, site: Arc<Site>) {
    // Held until the response is written, which ends the connection.
    let acted = OnceLock::new();
    let service = service_fn(|request: Request<Incoming>| {
        let (site, acts) = (site.clone(), request.method() == Method::POST);
        if site.access.is_shown(request.headers()) {
            slot.set_trust_level(TrustLevel::Known);
        }
        if acts {
            acted.get_or_init(|| site.unanswered.begin());
        }
        async move {
            let mut response = routes::response(&site, request).await;
            if acts {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME_MAX);
    server.max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX);
    // A client that has sent its request may close its side and still wait for the response (`nc -N`).
    server.half_close(true);
    // A client that disconnects or sends invalid data gets no response.
    let _ = server.serve_connection(TokioIo::new(CheckedHeads::new(stream)), service).await;
}
