//! The NATS client protocol: parses what servers send and encodes messages. Does no I/O.

use bytes::{Buf, Bytes, BytesMut};
use millstream_base::shown;
use millstream_connect::dial::{Fault, ProtocolError};
use serde::Deserialize;
use std::io::Write as _;

/// Maximum bytes of a line. `INFO` lists all servers of a cluster.
const LINE_BYTES_MAX: usize = 1 << 20;
/// Maximum bytes of a message: the maximum `max_payload` of a server (64 MiB), and headers.
const MESSAGE_BYTES_MAX: usize = 65 << 20;
const SHOWN_BYTES_MAX: usize = 300;

/// The server's information.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Info {
    /// Whether the server requires TLS, or only supports it.
    pub tls_required: bool,
    pub tls_available: bool,
    /// Whether messages may have headers.
    pub headers: bool,
    /// Maximum bytes of a message; 0 if the server does not say.
    pub max_payload: usize,
    /// What clients with a key must sign.
    pub nonce: Option<String>,
}

/// Where the job's credentials come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMethod {
    Nothing,
    Url,
    Credentials,
}

/// An operation that a server sends.
#[derive(Debug)]
pub enum ServerOp {
    Info(Box<Info>),
    Message(ReceivedMessage),
    Ping,
    /// The response to a ping: the server has processed what was sent before it.
    Pong,
    Ok,
    Error(String),
}

/// A received message.
#[derive(Clone, Debug, Default)]
pub struct ReceivedMessage {
    pub subject: String,
    /// Subject for a response.
    pub reply: Option<String>,
    /// Set if the message is a status of the server.
    pub status: Option<u16>,
    pub headers: Vec<(String, String)>,
    pub payload: Bytes,
}

/// Takes the next operation out of `buffer`, or returns `None` if it is incomplete.
pub fn take(buffer: &mut BytesMut) -> Result<Option<ServerOp>, ProtocolError> {
    let Some(end) = memchr::memchr(b'\n', buffer) else {
        return if buffer.len() > LINE_BYTES_MAX { Err(ProtocolError("a line is too long")) } else { Ok(None) };
    };
    let line = buffer.get(..end).unwrap_or_default();
    let name = line.split(u8::is_ascii_whitespace).next().unwrap_or_default();
    if [&b"MSG"[..], b"HMSG"].iter().any(|message| name.eq_ignore_ascii_case(message)) {
        return take_message(buffer, end);
    }
    let line = std::str::from_utf8(line.strip_suffix(b"\r").unwrap_or(line))
        .map_err(|_| ProtocolError("a line is not UTF-8"))?;
    let (word, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let other = match word.to_ascii_uppercase().as_str() {
        "INFO" => ServerOp::Info(Box::new(
            serde_json::from_str(rest).map_err(|_| ProtocolError("its server information is not JSON"))?,
        )),
        "PING" => ServerOp::Ping,
        "PONG" => ServerOp::Pong,
        "+OK" => ServerOp::Ok,
        "-ERR" => ServerOp::Error(rest.trim().trim_matches('\'').to_owned()),
        _ => return Err(ProtocolError("a line begins with an unknown word")),
    };
    buffer.advance(end + 1);
    Ok(Some(other))
}

/// Takes a message whose first line ends at `end`.
fn take_message(buffer: &mut BytesMut, end: usize) -> Result<Option<ServerOp>, ProtocolError> {
    let line = buffer.get(..end).unwrap_or_default();
    let parts: Vec<&[u8]> = line.split(u8::is_ascii_whitespace).filter(|part| !part.is_empty()).collect();
    let number = |digits: &[u8]| {
        let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<usize>().ok());
        number.ok_or(ProtocolError("a length is not a number"))
    };
    let with_headers = parts.first().is_some_and(|word| word.len() == 4);
    let (subject, reply, headers, all) = match (with_headers, &parts[..]) {
        (false, [_, subject, _, all]) => (*subject, None, 0, number(all)?),
        (false, [_, subject, _, reply, all]) => (*subject, Some(*reply), 0, number(all)?),
        (true, [_, subject, _, headers, all]) => (*subject, None, number(headers)?, number(all)?),
        (true, [_, subject, _, reply, headers, all]) => (*subject, Some(*reply), number(headers)?, number(all)?),
        _ => return Err(ProtocolError("a message has the wrong number of fields")),
    };
    if all > MESSAGE_BYTES_MAX || headers > all {
        return Err(ProtocolError("a message is too long"));
    }
    let end_of_message = end + 1 + all + 2;
    if buffer.len() < end_of_message {
        buffer.reserve(end_of_message - buffer.len());
        return Ok(None);
    }
    // Servers check neither the encoding of subjects nor encoding and form of headers. An error here would repeat forever: the stream keeps
    // the message.
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut received = ReceivedMessage { subject: text(subject), reply: reply.map(text), ..ReceivedMessage::default() };
    buffer.advance(end + 1);
    let head = buffer.split_to(headers);
    received.payload = buffer.split_to(all - headers).freeze();
    buffer.advance(2);
    let head = String::from_utf8_lossy(&head);
    let mut lines = head.split("\r\n");
    let first = lines.next().and_then(|line| line.strip_prefix("NATS/1.0"));
    received.status = first.and_then(|status| status.split_ascii_whitespace().next()?.parse().ok());
    for line in lines {
        if let Some((name, value)) = line.split_once(':') {
            received.headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }
    Ok(Some(ServerOp::Message(received)))
}

/// Encodes a message to a subject.
pub fn publish(to: &mut Vec<u8>, subject: &str, reply: Option<&str>, headers: &[(&str, &str)], payload: &[u8]) {
    const BEGIN: &[u8] = b"NATS/1.0\r\n";
    const END: &[u8] = b"\r\n";
    let reply = reply.map_or(["", ""], |reply| [reply, " "]);
    let word = if headers.is_empty() { "PUB" } else { "HPUB" };
    for text in [word, " ", subject, " ", reply[0], reply[1]] {
        to.extend_from_slice(text.as_bytes());
    }
    // Writing into memory cannot fail.
    if headers.is_empty() {
        let _ = write!(to, "{}\r\n", payload.len());
    } else {
        let of_headers = headers.iter().map(|(name, value)| name.len() + value.len() + 2 + END.len()).sum::<usize>();
        let head = BEGIN.len() + of_headers + END.len();
        let _ = write!(to, "{head} {}\r\n", head + payload.len());
        to.extend_from_slice(BEGIN);
        for (name, value) in headers {
            for text in [name, ": ", value] {
                to.extend_from_slice(text.as_bytes());
            }
            to.extend_from_slice(END);
        }
        to.extend_from_slice(END);
    }
    to.extend_from_slice(payload);
    to.extend_from_slice(b"\r\n");
}

/// Converts an error of the server. The protocol has no error codes, only strings.
pub fn to_fault(text: &str, auth: AuthMethod) -> Fault {
    let shown = shown::harmless(text, SHOWN_BYTES_MAX);
    let begins = |prefix: &str| text.get(..prefix.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(prefix));
    if begins("Authorization Violation") || begins("User Authentication Revoked") || begins("Account Authentication") {
        return Fault::Permanent(match auth {
            AuthMethod::Url => "authentication failed; check user, password or token in `url`".into(),
            AuthMethod::Credentials => {
                "it rejected the key or JWT, which may have expired; renew the file that `credentials` names".into()
            }
            AuthMethod::Nothing => {
                "authentication required; add user and password or a token to `url`, or set `credentials`".into()
            }
        });
    }
    if begins("Permissions Violation") {
        return Fault::Permanent(format!("{shown}; grant the user this permission"));
    }
    match begins("Maximum Payload") || begins("Invalid") || begins("Unknown Protocol") {
        true => Fault::Permanent(shown),
        false => Fault::Transient(shown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Vec<ServerOp> {
        let mut buffer = BytesMut::from(bytes);
        std::iter::from_fn(|| take(&mut buffer).expect("it can be read")).collect()
    }

    #[test]
    fn operations_are_parsed() {
        let mut bytes = b"INFO {\"max_payload\":5,\"other\":1}\r\nping\r\n-ERR 'it fails'\r\n".to_vec();
        bytes.extend(b"HMSG a.b 1 back 29 32\r\nNATS/1.0 404 None\r\nA: b:c\r\n\r\n\r\nx\r\nMSG c 1 2\r\nhi\r\n");
        let found = all(&bytes);
        let [
            ServerOp::Info(info),
            ServerOp::Ping,
            ServerOp::Error(why),
            ServerOp::Message(first),
            ServerOp::Message(second),
        ] = &found[..]
        else {
            panic!("{found:?}")
        };
        assert_eq!((info.max_payload, why.as_str()), (5, "it fails"));
        assert_eq!((first.subject.as_str(), first.reply.as_deref(), first.status), ("a.b", Some("back"), Some(404)));
        assert_eq!(
            (&first.headers[..], &first.payload[..]),
            (&[("A".to_owned(), "b:c".to_owned())][..], &b"\r\nx"[..])
        );
        assert_eq!((second.reply.as_deref(), &second.payload[..]), (None, &b"hi"[..]));
    }

    #[test]
    fn a_subject_that_is_not_utf8_is_read() {
        let message = take(&mut BytesMut::from(&b"MSG a.\xff 1 back 2\r\nhi\r\n"[..])).unwrap();
        let Some(ServerOp::Message(message)) = message else { panic!("{message:?}") };
        assert_eq!((message.subject.as_str(), message.reply.as_deref()), ("a.\u{fffd}", Some("back")));
        assert_eq!(&message.payload[..], b"hi");
    }

    #[test]
    fn incomplete_operations_wait_and_invalid_ones_fail() {
        let message = b"HMSG a 1 12 14\r\nNATS/1.0\r\n\r\nhi\r\n";
        for end in 0..message.len() {
            assert!(all(&message[..end]).is_empty(), "{end}");
        }
        for wrong in [
            &b"MSG a\r\n"[..],
            b"MSG a 1 x\r\n",
            b"MSG a 1 99999999999\r\n",
            b"HMSG a 1 9 5\r\n",
            b"\xff\r\n",
            b"HTTP/1.1 400\r\n",
        ] {
            assert!(take(&mut BytesMut::from(wrong)).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn messages_are_encoded_with_headers() {
        let mut to = Vec::new();
        publish(&mut to, "a", None, &[], b"x");
        publish(&mut to, "b", Some("r"), &[("N", "v")], b"yz");
        assert_eq!(to, b"PUB a 1\r\nx\r\nHPUB b r 18 20\r\nNATS/1.0\r\nN: v\r\n\r\nyz\r\n");
    }
}
