//! The part of gRPC that a Flight client needs: one HTTP/2 connection, on which each request is a call. Messages have a prefix of five
//! bytes, a flag and a length. After the last one the server sends the status in a trailer.

use super::{CallRefusal, call_refusal};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, TE};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use millstream_base::shown;
use millstream_connect::dial::{Fault, RESPONSE_TIMEOUT, ServerAddress, response_timed_out};
use percent_encoding::percent_decode;
use prost::Message;
use std::error::Error as _;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

const SERVICE: &str = "/arrow.flight.protocol.FlightService";
/// The flag and the length before a message.
const PREFIX_BYTES: usize = 5;
/// Flow control window per stream and per connection, and maximum frame size. Each frame costs a wake-up and a copy.
const WINDOW_BYTES: u32 = 4 << 20;
const FRAME_BYTES: u32 = 1 << 20;
const HEADERS_BYTES_MAX: u32 = 64 << 10;
/// Messages that wait to be sent.
const QUEUE: usize = 1;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection. A task of the runtime in which it was opened drives it.
#[derive(Clone)]
pub struct Connection {
    sender: SendRequest<Outgoing>,
    /// The URL of all requests, up to the name of the call.
    base: String,
    /// The credentials of each request.
    pub authorization: Option<HeaderValue>,
}

impl Connection {
    /// Connects.
    pub async fn open(address: &ServerAddress) -> Result<Connection, Fault> {
        let opening = async {
            let tcp = TcpStream::connect((address.host.as_str(), address.port)).await?;
            tcp.set_nodelay(true)?;
            // Detects a dead peer, even if nothing is sent.
            socket2::SockRef::from(&tcp)
                .set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(RESPONSE_TIMEOUT))?;
            let stream: Box<dyn Stream> = match &address.tls {
                None => Box::new(tcp),
                Some((tls, name)) => Box::new(tls.handshake_for(tcp, name, &[b"h2"]).await?),
            };
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.timer(TokioTimer::new()).max_header_list_size(HEADERS_BYTES_MAX);
            builder.max_frame_size(FRAME_BYTES).initial_stream_window_size(WINDOW_BYTES);
            builder.initial_connection_window_size(2 * WINDOW_BYTES);
            let shaken = builder.handshake(TokioIo::new(stream)).await;
            shaken.map_err(|error| broken(&error))
        };
        let opened = timeout(RESPONSE_TIMEOUT, opening).await;
        let (sender, connection) = opened.map_err(|_| response_timed_out())??;
        // Its requests receive the error that ends it.
        tokio::spawn(async move { drop(connection.await) });
        let host = if address.host.contains(':') { format!("[{}]", address.host) } else { address.host.clone() };
        let scheme = if address.tls.is_some() { "https" } else { "http" };
        let base = format!("{scheme}://{host}:{}{SERVICE}", address.port);
        Ok(Connection { sender, base, authorization: None })
    }

    /// Whether the connection is lost.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Starts a call with one message. `bytes_max` limits each message of the response.
    pub fn call_once(&mut self, call: &str, message: &impl Message, bytes_max: usize) -> ResponseStream {
        self.call(call, Outgoing::One(Some(framed(message))), bytes_max)
    }

    /// Starts a call whose messages are streamed.
    pub fn call(&mut self, call: &str, outgoing: Outgoing, bytes_max: usize) -> ResponseStream {
        let mut request = Request::post(format!("{}/{call}", self.base))
            .header(CONTENT_TYPE, "application/grpc")
            .header(TE, "trailers")
            .header("user-agent", concat!("millstream/", env!("CARGO_PKG_VERSION")));
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let state = match request.body(outgoing) {
            Ok(request) => State::Pending(Box::pin(self.sender.send_request(request))),
            Err(error) => State::Failed(format!("its address is invalid: {error}")),
        };
        ResponseStream { state, buffer: BytesMut::new(), bytes_max, authorization: None }
    }
}

/// The messages of a request.
pub enum Outgoing {
    /// One, until it is sent.
    One(Option<Bytes>),
    /// Those of a queue, until it sends `None`. A queue that ends before is an incomplete request: the server receives its cancellation.
    Many(mpsc::Receiver<Option<Bytes>>),
}

/// Returns the sender of a request's messages, and the request. The sender takes [`framed`] messages, and `None` after the last.
pub fn outgoing() -> (mpsc::Sender<Option<Bytes>>, Outgoing) {
    let (sender, queue) = mpsc::channel(QUEUE);
    (sender, Outgoing::Many(queue))
}

/// A cancelled request.
#[derive(Debug)]
pub struct Cancelled;

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request was cancelled")
    }
}

impl std::error::Error for Cancelled {}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Cancelled;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cancelled>>> {
        Poll::Ready(match &mut *self {
            Outgoing::One(message) => message.take().map(|message| Ok(Frame::data(message))),
            Outgoing::Many(queue) => match ready!(queue.poll_recv(context)) {
                Some(Some(message)) => Some(Ok(Frame::data(message))),
                Some(None) => None,
                None => Some(Err(Cancelled)),
            },
        })
    }
}

/// Returns a message with its prefix.
pub fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(PREFIX_BYTES + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // There is room for all of it.
    let _ = message.encode(&mut bytes);
    bytes.freeze()
}

/// The messages of a response, read on demand.
pub struct ResponseStream {
    state: State,
    buffer: BytesMut,
    bytes_max: usize,
    /// The credentials that the server requires from now on.
    pub authorization: Option<HeaderValue>,
}

type PendingResponse = Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>;

enum State {
    Pending(PendingResponse),
    Streaming(Incoming),
    Done,
    Failed(String),
}

impl ResponseStream {
    /// Returns the next message; `None` after a successful end. Cancelling the call loses nothing.
    pub async fn next(&mut self) -> Result<Option<Bytes>, CallRefusal> {
        loop {
            match &mut self.state {
                State::Done => return Ok(None),
                State::Failed(why) => return Err(Fault::Permanent(std::mem::take(why)).into()),
                State::Pending(pending) => {
                    let response = pending.await.map_err(|error| broken(&error))?;
                    let (head, body) = response.into_parts();
                    self.take_authorization(&head.headers);
                    self.state = State::Done;
                    check_head(head.status, &head.headers)?;
                    // A response without messages may have no trailers either.
                    if let Some(outcome) = status(&head.headers) {
                        return outcome.map(|()| None);
                    }
                    self.state = State::Streaming(body);
                }
                State::Streaming(body) => {
                    if let Some(message) = take_message(&mut self.buffer, self.bytes_max)? {
                        return Ok(Some(message));
                    }
                    let frame = match body.frame().await {
                        None => {
                            return Err(Fault::Transient("its response ends without a status".into()).into());
                        }
                        Some(frame) => frame.map_err(|error| broken(&error))?,
                    };
                    match frame.into_data() {
                        Ok(data) => self.buffer.extend_from_slice(&data),
                        Err(frame) => {
                            let Ok(trailers) = frame.into_trailers() else { continue };
                            self.take_authorization(&trailers);
                            self.state = State::Done;
                            return match status(&trailers) {
                                Some(Ok(())) if self.buffer.is_empty() => Ok(None),
                                Some(Err(call_refusal)) => Err(call_refusal),
                                _ => {
                                    Err(Fault::Transient("its response ends in the middle of a message".into()).into())
                                }
                            };
                        }
                    }
                }
            }
        }
    }

    fn take_authorization(&mut self, headers: &HeaderMap) {
        if let Some(given) = headers.get(AUTHORIZATION) {
            let mut given = given.clone();
            given.set_sensitive(true);
            self.authorization = Some(given);
        }
    }
}

/// Takes a complete message out of the buffer, if it contains one. Its declared length is checked against the maximum.
fn take_message(buffer: &mut BytesMut, bytes_max: usize) -> Result<Option<Bytes>, Fault> {
    let Some(&[flag, a, b, c, d]) = buffer.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if flag != 0 {
        return Err(Fault::Permanent("it sends a compressed message, which was not requested".into()));
    }
    if length > bytes_max {
        return Err(Fault::Permanent(format!(
            "it sends a message of {length} bytes, more than {bytes_max} (message_bytes_max)"
        )));
    }
    if buffer.len() < PREFIX_BYTES + length {
        // As much as may be in flight.
        buffer.reserve((PREFIX_BYTES + length - buffer.len()).min(WINDOW_BYTES as usize));
        return Ok(None);
    }
    buffer.advance(PREFIX_BYTES);
    Ok(Some(buffer.split_to(length).freeze()))
}

/// Checks that a response is one of gRPC.
fn check_head(status: StatusCode, headers: &HeaderMap) -> Result<(), Fault> {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    if status == StatusCode::OK && kind.starts_with(b"application/grpc") {
        return Ok(());
    }
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Err(Fault::Permanent(format!("it replied {status}; check `token` or the user in `url`")))
        }
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Err(Fault::Transient(format!("it replied {status}"))),
        _ => Err(Fault::Permanent(format!("the server does not speak gRPC ({status}); check `url`"))),
    }
}

/// Returns the outcome of a call, if headers or trailers contain it.
fn status(headers: &HeaderMap) -> Option<Result<(), CallRefusal>> {
    let status = headers.get("grpc-status")?.to_str().ok().and_then(|status| status.parse().ok());
    let message = headers.get("grpc-message").map(HeaderValue::as_bytes).unwrap_or_default();
    let message = percent_decode(message).decode_utf8_lossy();
    Some(match status {
        Some(0) => Ok(()),
        Some(status) => Err(call_refusal(status, &message)),
        None => Err(Fault::Transient("its status is not a number".into()).into()),
    })
}

/// Interprets an error of the connection.
fn broken(error: &hyper::Error) -> Fault {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let why = shown::harmless(&cause.to_string(), 200);
    Fault::Transient(match error.source() {
        Some(_) => format!("the connection was lost: {why}"),
        None => format!("the connection was lost ({why})"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flight::messages::Ticket;

    #[test]
    fn messages_come_whole_and_no_length_is_believed() {
        let sent = framed(&Ticket { ticket: Bytes::from_static(b"abc") });
        let mut buffer = BytesMut::new();
        for byte in sent.iter() {
            assert!(take_message(&mut buffer, 100).unwrap().is_none());
            buffer.put_u8(*byte);
        }
        let message = take_message(&mut buffer, 100).unwrap().unwrap();
        assert_eq!(Ticket::decode(message).unwrap().ticket, "abc");
        assert!(buffer.is_empty());
        for (bytes, why) in [(&[1, 0, 0, 0, 0][..], "compressed"), (&[0, 255, 255, 255, 255], "4294967295 bytes")] {
            let Err(Fault::Permanent(reason)) = take_message(&mut BytesMut::from(bytes), 100) else {
                panic!("it is taken")
            };
            assert!(reason.contains(why), "{reason}");
        }
    }

    #[test]
    fn a_status_says_whether_it_passes() {
        let of = |status: &str, message: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-status", status.parse().unwrap());
            headers.insert("grpc-message", message.parse().unwrap());
            super::status(&headers).unwrap().map_err(|call_refusal| call_refusal.fault)
        };
        assert!(of("0", "").is_ok());
        assert!(matches!(of("14", "so%20it%20is"), Err(Fault::Transient(why)) if why.ends_with("so it is")));
        assert!(
            matches!(of("16", "%1b%0aerror"), Err(Fault::Permanent(why)) if why.ends_with("error") && !why.contains('\u{1b}'))
        );
        assert!(matches!(of("x", ""), Err(Fault::Transient(_))));
        assert!(super::status(&HeaderMap::new()).is_none());
    }
}
