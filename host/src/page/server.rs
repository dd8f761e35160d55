//! Listens, and serves each connection with a task of its own. There is a bound on connections, on the head of a request and on the
//! time for it, and on the time that an answer waits to be taken. Where all places are taken, a connection without the token makes
//! room.

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
use millstream_connectors::http::certificate::Certificate;
use millstream_connectors::http::heads::CheckedHeads;
use millstream_connectors::http::listener::accept_all;
use millstream_connectors::http::places::{Place, Standing};
use millstream_connectors::http::write_deadline::WriteDeadline;
use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

const CONNECTIONS_MAX: u64 = 128;
/// For the first byte of a connection. Browsers connect before they ask, and where a machine has much else to do a browser may
/// need long for it: one that finds such a connection closed does not ask again, and its page stays empty.
const SILENT_TIME_MAX: Duration = Duration::from_secs(60);
/// For the rest of a head, and between two requests.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);
const HEAD_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;

/// Serves for as long as the process lives, on a thread of its own.
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
    accept_all(&listener, "the page", CONNECTIONS_MAX, |stream, _, place| {
        greet(stream, place, certificate.clone(), site.clone())
    })
    .await;
}

/// Serves a connection as soon as it says something, behind TLS where there is a certificate.
async fn greet(stream: TcpStream, place: Arc<Place>, certificate: Option<Arc<Certificate>>, site: Arc<Site>) {
    let Ok(Ok(1)) = timeout(SILENT_TIME_MAX, stream.peek(&mut [0])).await else { return };
    let stream = WriteDeadline::new(stream);
    let Some(certificate) = certificate else { return connection(stream, place, site).await };
    let acceptor = match certificate.acceptor("the page") {
        Ok(acceptor) => acceptor,
        Err(why) => return tracing::warn!("the page cannot use TLS: {why}"),
    };
    // Whoever does not speak TLS, or takes its time, has no answer.
    if let Ok(Ok(stream)) = timeout(HEAD_TIME_MAX, acceptor.accept(stream)).await {
        connection(stream, place, site).await;
    }
}

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, place: Arc<Place>, site: Arc<Site>) {
    // Kept until the answer is written: the connection ends then.
    let acted = OnceLock::new();
    let service = service_fn(|request: Request<Incoming>| {
        let (site, acts) = (site.clone(), request.method() == Method::POST);
        if site.access.is_shown(request.headers()) {
            place.set_standing(Standing::Known);
        }
        if acts {
            acted.get_or_init(|| site.unanswered.begin());
        }
        async move {
            let mut answer = routes::answer(&site, request).await;
            if acts {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME_MAX);
    server.max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX);
    // A client that has sent its request may close its side and still wait for the response (`nc -N`).
    server.half_close(true);
    // Whoever goes away or says nonsense has no answer.
    let _ = server.serve_connection(TokioIo::new(CheckedHeads::new(stream)), service).await;
}
