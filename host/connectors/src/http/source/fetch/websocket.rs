//! Reads the messages of a WebSocket. The server cannot resume at a position: messages that it sends while the source is disconnected are lost.

use super::client::{ResponseKind, Target};
use super::last_bytes::LastBytes;
use super::rows::PushedMessage;
use super::{Fetch, RoundEnd};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use hyper::header::{HeaderMap, HeaderValue};
use millstream_base::shown;
use millstream_connect::http1::{Wire, upgrade};
use std::time::Duration;
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WebsocketError, Message};

/// Maximum number of redirects.
const REDIRECTS_MAX: usize = 5;
/// Timeout for sending a message.
const SEND_TIME_MAX: Duration = Duration::from_secs(30);
const SHOWN_BYTES_MAX: usize = 200;

type Socket = WebSocketStream<Box<dyn Wire>>;

/// Reads one connection until it ends.
pub async fn follow(fetch: &mut Fetch<'_>) -> RoundEnd {
    let (mut socket, last_bytes) = match timeout(fetch.client.timeout, open_socket(fetch)).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(ended)) => return ended,
        Err(_) => {
            let time = millstream_base::units::show_time(fetch.client.timeout);
            return RoundEnd::unexpected_loss(format!("no response within {time} (`timeout`)"));
        }
    };
    for message in &fetch.client.send {
        if let Err(ended) = send(&mut socket, Message::text(message.clone())).await {
            return ended;
        }
    }
    fetch.report_connected();
    loop {
        // A server that never pauses must not block other tasks of its thread.
        consume_budget().await;
        let message = match next(fetch, &mut socket, &last_bytes).await {
            Ok(message) => message,
            Err(ended) => return ended,
        };
        let data = match &message {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes,
            Message::Close(frame) => return loss_of_close(frame.as_ref()),
            // The library replies to a ping while waiting for the next message.
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
        };
        fetch.backoff.reset();
        let chunks = fetch.rows.to_chunks(PushedMessage { data, ..PushedMessage::default() });
        if !fetch.rows.put_together(chunks).await {
            return RoundEnd::Closed;
        }
    }
}

/// Waits for the next message.
async fn next(fetch: &Fetch<'_>, socket: &mut Socket, last_bytes: &LastBytes) -> Result<Message, RoundEnd> {
    // After half of the time without data, a ping checks whether the server is alive.
    let half = fetch.client.stall / 2;
    let (mut pause, mut has_pinged) = (half, false);
    loop {
        let begin = Instant::now();
        match fetch.wait_within(pause, socket.next()).await {
            Some(Some(Ok(message))) => return Ok(message),
            Some(Some(Err(error))) => return Err(to_round_end(fetch, error)),
            Some(None) => return Err(RoundEnd::expected_loss("the server closed the connection")),
            None => {}
        }
        if let Some(idle) = last_bytes.idle_since(begin) {
            // A message is arriving, however long it takes.
            (pause, has_pinged) = (half.saturating_sub(idle), false);
        } else if has_pinged {
            return Err(fetch.stalled());
        } else {
            (pause, has_pinged) = (half, true);
            send(socket, Message::Ping(Bytes::new())).await?;
        }
    }
}

/// Connects, and follows redirects.
async fn open_socket(fetch: &Fetch<'_>) -> Result<(Socket, LastBytes), RoundEnd> {
    let mut target = fetch.fetcher.target(None);
    for _ in 0..=REDIRECTS_MAX {
        let (wire, last_bytes) = target.stream().await?;
        let request = request(fetch, &target)?;
        let bytes_max = usize::try_from(fetch.client.response_bytes_max(fetch.source)).unwrap_or(usize::MAX);
        let config = WebSocketConfig::default().max_message_size(Some(bytes_max)).max_frame_size(Some(bytes_max));
        let response = match upgrade::connect(request, wire, config).await {
            Ok(socket) => return Ok((socket, last_bytes)),
            Err(WebsocketError::Http(response)) => response,
            Err(error) => return Err(to_round_end(fetch, error)),
        };
        let body = response.body().as_deref().unwrap_or_default();
        match fetch.fetcher.classify(&target, response.status(), response.headers(), body) {
            ResponseKind::Good => {
                return Err(
                    fetch.failed(&format!("{}: the server does not speak WebSocket; check `url`", response.status()))
                );
            }
            ResponseKind::Redirect(next) => target = next,
            ResponseKind::Ended(ended) => return Err(ended),
        }
    }
    Err(RoundEnd::unexpected_loss(format!("more than {REDIRECTS_MAX} redirects; check `url`")))
}

fn request(fetch: &Fetch<'_>, target: &Target) -> Result<hyper::http::Request<()>, RoundEnd> {
    let url = format!("ws://{}{}", target.server().authority(), target.path());
    let request = url.into_client_request();
    let mut request = request.map_err(|error| fetch.failed(&format!("{error}; check `url`")))?;
    let agent = HeaderValue::from_static(concat!("millstream/", env!("CARGO_PKG_VERSION")));
    request.headers_mut().insert(hyper::header::USER_AGENT, agent);
    request.headers_mut().extend(fetch.fetcher.headers(target, &HeaderMap::new()));
    Ok(request)
}

async fn send(socket: &mut Socket, message: Message) -> Result<(), RoundEnd> {
    match timeout(SEND_TIME_MAX, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(RoundEnd::unexpected_loss(format!("the connection broke ({error})"))),
        Err(_) => Err(RoundEnd::unexpected_loss("the server does not read what the job sends")),
    }
}

fn loss_of_close(frame: Option<&CloseFrame>) -> RoundEnd {
    let Some(frame) = frame else { return RoundEnd::expected_loss("the server closed the connection") };
    let code = u16::from(frame.code);
    let reason = shown::harmless(frame.reason.as_str(), SHOWN_BYTES_MAX);
    let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    let why = format!("the server closed the connection with code {code}{reason}");
    // These codes are normal: the server is done, or shuts down.
    if matches!(code, 1000 | 1001 | 1012) { RoundEnd::expected_loss(why) } else { RoundEnd::unexpected_loss(why) }
}

fn to_round_end(fetch: &Fetch<'_>, error: WebsocketError) -> RoundEnd {
    match error {
        WebsocketError::ConnectionClosed | WebsocketError::AlreadyClosed => {
            RoundEnd::expected_loss("the server closed the connection")
        }
        WebsocketError::Capacity(_) => RoundEnd::unexpected_loss(format!(
            "a message has more than {} bytes (`answer_bytes_max`), and is lost; raise that, or request less",
            fetch.client.response_bytes_max(fetch.source)
        )),
        other => RoundEnd::unexpected_loss(format!("the connection broke ({other})")),
    }
}
