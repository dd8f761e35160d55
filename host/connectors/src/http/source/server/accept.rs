//! Listens, and serves each connection in its own task. Strangers may connect: connections, the head of a request and the time for it are limited,
//! and no client waits for another one.

use super::{Intake, respond};
use crate::limits::{HTTP_HEAD_BYTES_MAX, HTTP_HEAD_MS_MAX, HTTP_HEADERS_MAX};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use millstream_base::fault;
use millstream_connect::http1::certificate::Certificate;
use millstream_connect::http1::heads::CheckedHeads;
use millstream_connect::http1::listener::Acceptor;
use millstream_connect::http1::slots::Slot;
use millstream_connect::http1::write_deadline::WriteDeadline;
use millstream_connect::receiver::listening::connection_ended;
use millstream_connect::tls;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{info, warn};

const HEAD_TIME_MAX: Duration = Duration::from_millis(HTTP_HEAD_MS_MAX);

/// Serves connections until the inbox is closed and all requests have a response.
pub async fn listen(intake: Arc<Intake>, listener: TcpListener, certificate: Option<Certificate>) {
    let (name, address) = (&intake.source.name, &intake.server.listen);
    let scheme = if certificate.is_some() { "https" } else { "http" };
    info!("source `{name}`: listening on {scheme}://{address}");
    let reachable = listener.local_addr().is_ok_and(|address| !address.ip().is_loopback());
    if reachable && intake.server.token.is_none() {
        warn!("source `{name}`: any client that reaches {address} can send rows; set `token`");
    } else if reachable && certificate.is_none() {
        warn!("source `{name}`: the token is sent to {address} unencrypted; set `tls`");
    }
    let certificate = certificate.map(Arc::new);
    let (closing, closed) = watch::channel(false);
    let mut connections = JoinSet::new();
    let who = format!("source `{name}`");
    let mut acceptor = Acceptor::new(&listener, &who, intake.server.connections_max);
    loop {
        tokio::select! {
            () = intake.inbox.closed() => break,
            Some(ended) = connections.join_next(), if !connections.is_empty() => connection_ended(&intake.source, &intake.inbox, ended),
            (stream, peer, slot) = acceptor.next() => {
                let (intake, certificate, closed) = (intake.clone(), certificate.clone(), closed.clone());
                let response_guard = intake.inbox.open_response();
                connections.spawn(async move {
                    let _kept = response_guard;
                    fault::thread("http-connection");
                    tokio::select! {
                        () = serve(stream, (peer, &slot), &intake, certificate.as_deref(), closed) => {}
                        () = slot.ended() => {}
                    }
                });
            }
        }
    }
    drop(acceptor);
    drop(listener);
    // Idle connections end now, the others after their response.
    closing.send_replace(true);
    while let Some(ended) = connections.join_next().await {
        connection_ended(&intake.source, &intake.inbox, ended);
    }
}

/// Serves one connection to its end.
async fn serve(
    stream: TcpStream,
    (peer, slot): (SocketAddr, &Arc<Slot>),
    intake: &Arc<Intake>,
    certificate: Option<&Certificate>,
    closed: watch::Receiver<bool>,
) {
    // Responses are small, and clients wait for them.
    let _ = stream.set_nodelay(true);
    let stream = WriteDeadline::new(stream);
    let Some(certificate) = certificate else { return serve_http(stream, (peer, slot), intake, closed).await };
    let acceptor = match certificate.acceptor(&format!("source `{}`", intake.source.name)) {
        Ok(acceptor) => acceptor,
        Err(why) => return intake.rejection_log.log(peer, &why),
    };
    match timeout(HEAD_TIME_MAX, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => serve_http(stream, (peer, slot), intake, closed).await,
        Ok(Err(error)) => intake
            .rejection_log
            .log(peer, &format!("TLS: {}", tls::describe_client_error(&error, "configure it for https://"))),
        Err(_) => intake.rejection_log.log(peer, "TLS: it did not finish the handshake in time"),
    }
}

async fn serve_http<S>(
    stream: S,
    (peer, slot): (SocketAddr, &Arc<Slot>),
    intake: &Arc<Intake>,
    mut closed: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let (intake, slot) = (intake.clone(), slot.clone());
        async move { Ok::<_, std::convert::Infallible>(respond::respond(&intake, peer, &slot, request).await) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME_MAX);
    // A client that has closed its sending side still waits for the response.
    server.half_close(true);
    server.max_headers(HTTP_HEADERS_MAX).max_header_size(HTTP_HEAD_BYTES_MAX);
    let mut connection = pin!(server.serve_connection(TokioIo::new(CheckedHeads::new(stream)), service));
    let closing = async {
        let _ = closed.wait_for(|closed| *closed).await;
    };
    // Errors of a connection have got a response if that was possible.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = closing => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}
