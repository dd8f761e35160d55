//! Those who listen to a `websocket` sink. Strangers may connect, also pages in browsers: who may is said by token and origin.

use super::Audience;
use crate::http::heads::repeated;
use crate::http::listener::accept_all;
use crate::http::places::{Place, Standing};
use crate::http::upgrade;
use crate::limits::HTTP_HEAD_MS_MAX;
use crate::tls;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use hyper::header::{AUTHORIZATION, ORIGIN};
use hyper::http::Request;
use hyper::{StatusCode, Uri};
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

/// How long a client may take to become one.
const GREETING_TIME_MAX: Duration = Duration::from_millis(HTTP_HEAD_MS_MAX);
/// How long a client may take for one message; then it is gone.
const SEND_TIME_MAX: Duration = Duration::from_secs(30);
/// How often a client is asked whether it is there, and when it has been silent for too long.
const PING_EVERY: Duration = Duration::from_secs(20);
const SILENT_MAX: Duration = Duration::from_secs(60);
/// Bytes of what a client says, which nobody reads.
const HEARD_BYTES_MAX: usize = 4 << 10;

/// Serves all that come, for as long as the sink lives.
pub async fn serve_all(listener: TcpListener, audience: Arc<Audience>) {
    let who = format!("sink `{}`", audience.name);
    let scheme = if audience.certificate.is_some() { "wss" } else { "ws" };
    tracing::info!("{who}: listening on {scheme}://{}", audience.spec.listen);
    let reachable = listener.local_addr().is_ok_and(|address| !address.ip().is_loopback());
    if reachable && audience.spec.token.is_none() {
        tracing::warn!("{who}: any client that reaches {} can read its rows; set `token`", audience.spec.listen);
    }
    let clients_max = audience.spec.clients_max;
    accept_all(&listener, &who, clients_max, |stream, peer, place| {
        let audience = audience.clone();
        async move { serve(stream, (peer, &place), &audience).await }
    })
    .await;
}

async fn serve(stream: TcpStream, (peer, place): (SocketAddr, &Place), audience: &Audience) {
    // Rows are shown as they come.
    let _ = stream.set_nodelay(true);
    let Some(certificate) = &audience.certificate else { return greet(stream, (peer, place), audience).await };
    let acceptor = match certificate.acceptor(&format!("sink `{}`", audience.name)) {
        Ok(acceptor) => acceptor,
        Err(why) => return audience.refusals.tell(peer, &why),
    };
    match timeout(GREETING_TIME_MAX, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => greet(stream, (peer, place), audience).await,
        Ok(Err(error)) => {
            audience.refusals.tell(peer, &format!("TLS: {}", tls::of_client(&error, "let it send to https://")))
        }
        Err(_) => audience.refusals.tell(peer, "TLS: it did not finish its greeting in time"),
    }
}

async fn greet<S: AsyncRead + AsyncWrite + Unpin>(stream: S, (peer, place): (SocketAddr, &Place), audience: &Audience) {
    // From before the greeting on: what is committed when a client knows that it is one is not missed.
    let messages = audience.messages.subscribe();
    let mut refused = None;
    let refuse = |request: &Request<()>| refusal(audience, request).inspect(|(_, why)| refused = Some(*why));
    let config =
        WebSocketConfig::default().max_message_size(Some(HEARD_BYTES_MAX)).max_frame_size(Some(HEARD_BYTES_MAX));
    let greeting = upgrade::accept(stream, config, refuse);
    let greeted = timeout(GREETING_TIME_MAX, greeting).await;
    match (greeted, refused) {
        (_, Some(why)) => audience.refusals.tell(peer, why),
        (Ok(Ok(client)), None) => {
            place.set_standing(if audience.spec.token.is_some() { Standing::Known } else { Standing::Guest });
            tell(client, messages).await;
        }
        (Ok(Err(error)), None) => audience.refusals.tell(peer, &format!("it does not speak WebSocket: {error}")),
        (Err(_), None) => audience.refusals.tell(peer, "it did not finish its greeting in time"),
    }
}

/// Why a client may not listen.
fn refusal(audience: &Audience, request: &Request<()>) -> Option<(StatusCode, &'static str)> {
    if repeated(request.headers()).is_some() {
        return Some((StatusCode::BAD_REQUEST, "a header with credentials is repeated; send it once"));
    }
    if let Some(token) = &audience.spec.token {
        let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let header =
            header.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let given = header.map(|(_, given)| given.to_owned()).or_else(|| token_of(request.uri())).unwrap_or_default();
        let right: bool = given.as_bytes().ct_eq(token.as_bytes()).into();
        if !right {
            let why = "the token is wrong or missing; send it as `Authorization: Bearer …`, or as `?token=…`";
            return Some((StatusCode::UNAUTHORIZED, why));
        }
    }
    // Browsers say whose page it is, and let every page connect to everywhere.
    let origin = request.headers().get(ORIGIN)?;
    let origin = origin.to_str().unwrap_or_default();
    let allowed = &audience.spec.origins;
    let may = is_local(origin) || allowed.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin));
    (!may).then_some((StatusCode::FORBIDDEN, "a page of another site may not listen; name its address in `origins`"))
}

/// Pages in browsers can set no header.
fn token_of(uri: &Uri) -> Option<String> {
    let value = uri.query()?.split('&').find_map(|pair| pair.strip_prefix("token="))?;
    Some(percent_decode_str(value).decode_utf8_lossy().into_owned())
}

/// Whether a page came from this machine itself.
fn is_local(origin: &str) -> bool {
    let host = origin.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned));
    host.is_some_and(|host| matches!(host.as_str(), "localhost" | "127.0.0.1" | "[::1]"))
}

/// Tells a client what is committed, until it is gone.
async fn tell<S: AsyncRead + AsyncWrite + Unpin>(mut client: WebSocketStream<S>, mut messages: Receiver<Utf8Bytes>) {
    let mut ask = interval(PING_EVERY);
    let mut heard = Instant::now();
    loop {
        let message = tokio::select! {
            said = client.next() => match said {
                Some(Ok(_)) => {
                    heard = Instant::now();
                    continue;
                }
                _ => return,
            },
            message = messages.recv() => match message {
                Ok(message) => Message::Text(message),
                Err(RecvError::Lagged(skipped)) => Message::text(format!("{{\"skipped\":{skipped}}}")),
                Err(RecvError::Closed) => Message::Close(None),
            },
            _ = ask.tick() => {
                if heard.elapsed() > SILENT_MAX {
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
