//! The WebSocket handshake, client and server side (RFC 6455, section 4). `Connection` and `Upgrade` are case-insensitive lists of tokens, possibly
//! in several headers. The library supports only a single header with a single token, so the heads are compared here.

use hyper::StatusCode;
use hyper::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use hyper::http::{Request, Response};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error as WebsocketError;
use tokio_tungstenite::tungstenite::error::{ProtocolError, SubProtocolError};
use tokio_tungstenite::tungstenite::handshake::client::generate_request;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::handshake::machine::TryParse;
use tokio_tungstenite::tungstenite::handshake::server::{create_response, write_response};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

/// Bytes of the head of a request or response.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Bytes that are read at a time.
const READ_BYTES: usize = 4 << 10;
const WEBSOCKET: &str = "websocket";

/// Opens a WebSocket over a connection to a server. A response other than 101 is `Error::Http`, with the beginning of its body.
pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    request: Request<()>,
    mut stream: S,
    config: WebSocketConfig,
) -> Result<WebSocketStream<S>, WebsocketError> {
    let wanted = request.headers().clone();
    let (head, key) = generate_request(request)?;
    stream.write_all(&head).await?;
    stream.flush().await?;
    let (mut response, tail) = read_head::<_, Response<Option<Vec<u8>>>>(&mut stream).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        *response.body_mut() = Some(tail);
        return Err(WebsocketError::Http(Box::new(response)));
    }
    accepts(response.headers(), &wanted, &key).map_err(WebsocketError::Protocol)?;
    Ok(WebSocketStream::from_partially_read(stream, tail, Role::Client, Some(config)).await)
}

/// Accepts a WebSocket over a client's connection. `reject` returns why this client is rejected.
pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    config: WebSocketConfig,
    reject: impl FnOnce(&Request<()>) -> Option<(StatusCode, &'static str)>,
) -> Result<WebSocketStream<S>, WebsocketError> {
    let (mut request, tail) = read_head::<_, Request<()>>(&mut stream).await?;
    // A client sends nothing before it has the response.
    if !tail.is_empty() {
        return Err(WebsocketError::Protocol(ProtocolError::JunkAfterRequest));
    }
    for (name, token) in [(CONNECTION, "Upgrade"), (UPGRADE, WEBSOCKET)] {
        if has_token(request.headers(), &name, token) {
            request.headers_mut().insert(name, HeaderValue::from_static(token));
        }
    }
    let response = create_response(&request)?;
    let mut head = Vec::new();
    let rejection = reject(&request);
    match rejection {
        None => write_response(&mut head, &response)?,
        Some((status, why)) => {
            let mut response = Response::new(());
            *response.status_mut() = status;
            write_response(&mut head, &response)?;
            head.extend_from_slice(why.as_bytes());
            head.push(b'\n');
        }
    }
    stream.write_all(&head).await?;
    stream.flush().await?;
    if let Some((status, _)) = rejection {
        let mut response = Response::new(None);
        *response.status_mut() = status;
        return Err(WebsocketError::Http(Box::new(response)));
    }
    Ok(WebSocketStream::from_partially_read(stream, Vec::new(), Role::Server, Some(config)).await)
}

/// Reads a complete head. Returns also the bytes after it.
async fn read_head<S: AsyncRead + Unpin, H: TryParse>(stream: &mut S) -> Result<(H, Vec<u8>), WebsocketError> {
    let mut head = Vec::new();
    loop {
        let seen = head.len();
        let mut block = [0; READ_BYTES];
        let read = stream.read(&mut block).await?;
        if read == 0 {
            return Err(WebsocketError::Protocol(ProtocolError::HandshakeIncomplete));
        }
        head.extend_from_slice(block.get(..read).unwrap_or_default());
        // A head ends with a blank line; nothing is parsed before there is one, however small the pieces are.
        let tail = head.get(seen.saturating_sub(3)..).unwrap_or_default();
        let ends = memchr::memchr_iter(b'\n', tail).any(|at| {
            let rest = tail.get(at + 1..).unwrap_or_default();
            rest.starts_with(b"\n") || rest.starts_with(b"\r\n")
        });
        if ends && let Some((bytes, parsed)) = H::try_parse(&head)? {
            return Ok((parsed, head.split_off(bytes.min(head.len()))));
        }
        if head.len() > HEAD_BYTES_MAX {
            return Err(WebsocketError::Io(io::Error::other(format!("its head has more than {HEAD_BYTES_MAX} bytes"))));
        }
    }
}

/// Checks that a server has accepted, according to section 4.1 of the RFC.
fn accepts(given: &HeaderMap, wanted: &HeaderMap, key: &str) -> Result<(), ProtocolError> {
    if !has_token(given, &UPGRADE, WEBSOCKET) {
        return Err(ProtocolError::MissingUpgradeWebSocketHeader);
    }
    if !has_token(given, &CONNECTION, "upgrade") {
        return Err(ProtocolError::MissingConnectionUpgradeHeader);
    }
    let accepted = given.get(SEC_WEBSOCKET_ACCEPT).map(|value| value.as_bytes().trim_ascii());
    if accepted != Some(derive_accept_key(key.as_bytes()).as_bytes()) {
        return Err(ProtocolError::SecWebSocketAcceptKeyMismatch);
    }
    let Some(protocol) = given.get(SEC_WEBSOCKET_PROTOCOL) else { return Ok(()) };
    let wrong = match protocol.to_str() {
        Ok(protocol) if tokens(wanted, &SEC_WEBSOCKET_PROTOCOL).any(|token| token == protocol.trim()) => return Ok(()),
        _ if wanted.contains_key(SEC_WEBSOCKET_PROTOCOL) => SubProtocolError::InvalidSubProtocol,
        _ => SubProtocolError::ServerSentSubProtocolNoneRequested,
    };
    Err(ProtocolError::SecWebSocketSubProtocolError(wrong))
}

fn has_token(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    tokens(headers, name).any(|token| token.eq_ignore_ascii_case(wanted))
}

/// Returns the tokens of a header, which may be repeated.
fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|text| text.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{SinkExt, StreamExt};
    use tokio::io::duplex;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_token_is_found_in_lists_in_any_case() {
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        let good = (SEC_WEBSOCKET_ACCEPT, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        for (connection, upgrade, accepted) in [
            (vec!["Upgrade"], "websocket", true),
            (vec!["keep-alive, Upgrade"], "WebSocket", true),
            (vec!["UPGRADE ,\tkeep-alive"], "h2c, websocket", true),
            (vec!["keep-alive", "upgrade"], "websocket", true),
            (vec!["keep-alive"], "websocket", false),
            (vec!["no-upgrade"], "websocket", false),
            (vec![], "websocket", false),
            (vec!["Upgrade"], "websockets", false),
        ] {
            let mut given = headers(&[(UPGRADE, upgrade), good.clone()]);
            for value in &connection {
                given.append(CONNECTION, HeaderValue::from_static(value));
            }
            assert_eq!(accepts(&given, &HeaderMap::new(), key).is_ok(), accepted, "{connection:?} {upgrade}");
        }
        let base = [(UPGRADE, "websocket"), (CONNECTION, "Upgrade")];
        assert!(accepts(&headers(&base), &HeaderMap::new(), key).is_err(), "no key");
        let with = |protocol| headers(&[&base[..], &[good.clone(), (SEC_WEBSOCKET_PROTOCOL, protocol)]].concat());
        let wanted = headers(&[(SEC_WEBSOCKET_PROTOCOL, "a, b")]);
        assert!(accepts(&with("b"), &wanted, key).is_ok());
        assert!(accepts(&with("c"), &wanted, key).is_err());
        assert!(accepts(&with("b"), &HeaderMap::new(), key).is_err());
    }

    #[tokio::test]
    async fn both_sides_shake_hands() {
        let (client, server) = duplex(1 << 10);
        let config = WebSocketConfig::default();
        let serve = tokio::spawn(async move { accept(server, config, |_| None).await });
        let request = "ws://h/".into_client_request().unwrap();
        let mut client = connect(request, client, config).await.unwrap();
        let mut server = serve.await.unwrap().unwrap();
        client.send(Message::text("hi")).await.unwrap();
        assert_eq!(server.next().await.unwrap().unwrap(), Message::text("hi"));

        let (client, server) = duplex(1 << 10);
        let no = |_: &Request<()>| Some((StatusCode::FORBIDDEN, "no"));
        let serve = tokio::spawn(async move { accept(server, config, no).await.map(drop) });
        let rejection = connect("ws://h/".into_client_request().unwrap(), client, config).await.map(drop).unwrap_err();
        assert!(matches!(rejection, WebsocketError::Http(response) if response.status() == StatusCode::FORBIDDEN));
        assert!(serve.await.unwrap().is_err());
    }

    #[tokio::test]
    async fn a_client_may_name_several_connection_headers() {
        let (mut client, server) = duplex(1 << 10);
        let serve = tokio::spawn(async move { accept(server, WebSocketConfig::default(), |_| None).await.map(drop) });
        let head = "GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\nConnection: x,\tUpgrade\r\nUpgrade: WebSocket\r\n\
                    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        for byte in head.bytes() {
            client.write_all(&[byte]).await.unwrap();
        }
        let mut response = [0; 12];
        client.read_exact(&mut response).await.unwrap();
        assert_eq!(&response, b"HTTP/1.1 101");
        serve.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_head_without_an_end_is_given_up() {
        let (mut client, server) = duplex(1 << 20);
        client.write_all(&[b'x'; HEAD_BYTES_MAX + READ_BYTES]).await.unwrap();
        let rejection = accept(server, WebSocketConfig::default(), |_| None).await.map(drop);
        assert!(rejection.unwrap_err().to_string().contains("more than 65536 bytes"));
    }
}
