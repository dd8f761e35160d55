//! Clients of a `websocket` sink. Strangers may connect, also pages in browsers: a token and the origin decide who may.

use super::SharedState;
use crate::limits::HTTP_HEAD_MS_MAX;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use hyper::header::{AUTHORIZATION, ORIGIN};
use hyper::http::Request;
use hyper::{StatusCode, Uri};
use millstream_connect::http1::heads::repeated;
use millstream_connect::http1::listener::accept_all;
use millstream_connect::http1::slots::{Slot, TrustLevel};
use millstream_connect::http1::upgrade;
use millstream_connect::tls;
use percent_encoding::percent_decode_str;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use subtle::ConstantTimeEq;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, interval, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

/// Timeout for the handshakes.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_millis(HTTP_HEAD_MS_MAX);
/// Timeout for sending a message; then the client is disconnected.
const SEND_TIME_MAX: Duration = Duration::from_secs(30);
/// Interval of pings, and the idle time after which a client is disconnected.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const IDLE_MAX: Duration = Duration::from_secs(60);
/// Maximum bytes of a client's message; its content is ignored.
const RECEIVED_BYTES_MAX: usize = 4 << 10;

/// Serves clients as long as the sink lives.
pub async fn serve_all(listener: TcpListener, shared: Arc<SharedState>) {
    let who = format!("sink `{}`", shared.name);
    let scheme = if shared.certificate.is_some() { "wss" } else { "ws" };
    tracing::info!("{who}: listening on {scheme}://{}", shared.spec.listen);
    let reachable = listener.local_addr().is_ok_and(|address| !address.ip().is_loopback());
    if reachable && shared.spec.token.is_none() {
        tracing::warn!("{who}: any client that reaches {} can read its rows; set `token`", shared.spec.listen);
    }
    let clients_max = shared.spec.clients_max;
    accept_all(&listener, &who, clients_max, |stream, peer, slot| {
        let shared = shared.clone();
        async move { serve(stream, (peer, &slot), &shared).await }
    })
    .await;
}

async fn serve(stream: TcpStream, (peer, slot): (SocketAddr, &Slot), shared: &SharedState) {
    // Rows are sent without delay.
    let _ = stream.set_nodelay(true);
    let Some(certificate) = &shared.certificate else { return open_websocket(stream, (peer, slot), shared).await };
    let acceptor = match certificate.acceptor(&format!("sink `{}`", shared.name)) {
        Ok(acceptor) => acceptor,
        Err(why) => return shared.rejection_log.log(peer, &why),
    };
    match timeout(HANDSHAKE_TIME_MAX, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => open_websocket(stream, (peer, slot), shared).await,
        Ok(Err(error)) => shared
            .rejection_log
            .log(peer, &format!("TLS: {}", tls::describe_client_error(&error, "configure it for https://"))),
        Err(_) => shared.rejection_log.log(peer, "TLS: it did not finish the handshake in time"),
    }
}

async fn open_websocket<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    (peer, slot): (SocketAddr, &Slot),
    shared: &SharedState,
) {
    // Subscribes before the handshake, so that a client misses nothing that is committed after it.
    let messages = shared.messages.subscribe();
    let mut rejected_because = None;
    let reject = |request: &Request<()>| rejection(shared, request).inspect(|(_, why)| rejected_because = Some(*why));
    let config =
        WebSocketConfig::default().max_message_size(Some(RECEIVED_BYTES_MAX)).max_frame_size(Some(RECEIVED_BYTES_MAX));
    let handshake = upgrade::accept(stream, config, reject);
    let opened = timeout(HANDSHAKE_TIME_MAX, handshake).await;
    match (opened, rejected_because) {
        (_, Some(why)) => shared.rejection_log.log(peer, why),
        (Ok(Ok(client)), None) => {
            slot.set_trust_level(if shared.spec.token.is_some() { TrustLevel::Known } else { TrustLevel::Guest });
            send_messages(client, messages).await;
        }
        (Ok(Err(error)), None) => shared.rejection_log.log(peer, &format!("it does not speak WebSocket: {error}")),
        (Err(_), None) => shared.rejection_log.log(peer, "it did not finish the handshake in time"),
    }
}

/// Returns why a client is rejected.
fn rejection(shared: &SharedState, request: &Request<()>) -> Option<(StatusCode, &'static str)> {
    if repeated(request.headers()).is_some() {
        return Some((StatusCode::BAD_REQUEST, "a header with credentials is repeated; send it once"));
    }
    if let Some(token) = &shared.spec.token {
        let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let header =
            header.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let given = header.map(|(_, given)| given.to_owned()).or_else(|| token_of(request.uri())).unwrap_or_default();
        let is_equal: bool = given.as_bytes().ct_eq(token.as_bytes()).into();
        if !is_equal {
            let why = "the token is wrong or missing; send it as `Authorization: Bearer …`, or as `?token=…`";
            return Some((StatusCode::UNAUTHORIZED, why));
        }
    }
    // Browsers send the page's origin, and allow every page to connect anywhere.
    let origin = request.headers().get(ORIGIN)?;
    let origin = origin.to_str().unwrap_or_default();
    let allowed = &shared.spec.origins;
    let is_allowed =
        is_local(origin) || allowed.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin));
    (!is_allowed)
        .then_some((StatusCode::FORBIDDEN, "pages of other sites may not connect; add the site's address to `origins`"))
}

/// Returns the token in the query, as pages in browsers cannot set headers.
fn token_of(uri: &Uri) -> Option<String> {
    let value = uri.query()?.split('&').find_map(|pair| pair.strip_prefix("token="))?;
    Some(percent_decode_str(value).decode_utf8_lossy().into_owned())
}

/// Returns whether a page came from this machine.
fn is_local(origin: &str) -> bool {
    let host = origin.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned));
    host.is_some_and(|host| matches!(host.as_str(), "localhost" | "127.0.0.1" | "[::1]"))
}

/// Sends messages to a client until it disconnects.
async fn send_messages<S: AsyncRead + AsyncWrite + Unpin>(
    mut client: WebSocketStream<S>,
    mut messages: Receiver<Utf8Bytes>,
) {
    let mut ping_timer = interval(PING_INTERVAL);
    let mut last_received = Instant::now();
    loop {
        let message = tokio::select! {
            received = client.next() => match received {
                Some(Ok(_)) => {
                    last_received = Instant::now();
                    continue;
                }
                _ => return,
            },
            message = messages.recv() => match message {
                Ok(message) => Message::Text(message),
                Err(RecvError::Lagged(skipped)) => Message::text(format!("{{\"skipped\":{skipped}}}")),
                Err(RecvError::Closed) => Message::Close(None),
            },
            _ = ping_timer.tick() => {
                if last_received.elapsed() > IDLE_MAX {
                    return;
                }
                Message::Ping(Bytes::new())
            }
        };
        let last = matches!(message, Message::Close(_));
        match timeout(SEND_TIME_MAX, client.send(message)).await {
            Ok(Ok(())) if !last => {}
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_this_machine_are_told_from_others() {
        for local in ["http://localhost", "http://localhost:3000", "https://127.0.0.1:9", "http://[::1]:9"] {
            assert!(is_local(local), "{local}");
        }
        for other in
            ["", "null", "http://localhost.evil.example", "http://evil.example/localhost", "https://127.0.0.1.evil"]
        {
            assert!(!is_local(other), "{other}");
        }
    }

    #[test]
    fn a_token_may_stand_in_the_query() {
        assert_eq!(token_of(&"/?a=b&token=x%2Fy".parse().unwrap()), Some("x/y".into()));
        assert_eq!(token_of(&"/?tokens=x".parse().unwrap()), None);
    }
}
