//! The words of the protocol of NATS, written and read; nothing here waits.

use crate::dial::{Fault, ProtocolError};
use bytes::{Buf, Bytes, BytesMut};
use millstream_base::shown;
use serde::Deserialize;
use std::io::Write as _;

/// Bytes of a line; that of `INFO` names all servers of a cluster.
const LINE_BYTES_MAX: usize = 1 << 20;
/// Bytes of a message: the most that a server can be told to take, and its headers.
const MESSAGE_BYTES_MAX: usize = 65 << 20;
const SHOWN_BYTES_MAX: usize = 300;

/// What a server says of itself.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Info {
    /// Whether it speaks TLS only, or also.
    pub tls_required: bool,
    pub tls_available: bool,
    /// Whether messages may have headers.
    pub headers: bool,
    /// Whether it wants to know who connects.
    pub auth_required: bool,
    /// Most bytes of a message.
    pub max_payload: usize,
    /// What those who show a key are to sign.
    pub nonce: Option<String>,
}

/// By what a server is to know the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownBy {
    Nothing,
    Url,
    Credentials,
}

/// What a server sends.
#[derive(Debug)]
pub enum Incoming {
    Info(Box<Info>),
    Message(Received),
    Ping,
    /// It heard what was sent before.
    Pong,
    Ok,
    Error(String),
}

/// A message.
#[derive(Clone, Debug, Default)]
pub struct Received {
    pub subject: String,
    /// Where an answer is to go.
    pub reply: Option<String>,
    /// That of a message which only tells how something stands.
    pub status: Option<u16>,
    pub headers: Vec<(String, String)>,
    pub payload: Bytes,
}

/// Takes the next one out; `None`: it has not come as a whole.
pub fn take(buffer: &mut BytesMut) -> Result<Option<Incoming>, ProtocolError> {
    let Some(end) = memchr::memchr(b'\n', buffer) else {
        return if buffer.len() > LINE_BYTES_MAX { Err(ProtocolError("a line is too long")) } else { Ok(None) };
    };
    let line = buffer.get(..end).unwrap_or_default();
    let line = std::str::from_utf8(line.strip_suffix(b"\r").unwrap_or(line))
        .map_err(|_| ProtocolError("a line is not UTF-8"))?;
    let (word, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let other = match word.to_ascii_uppercase().as_str() {
        "MSG" | "HMSG" => return message(buffer, end),
        "INFO" => Incoming::Info(Box::new(
            serde_json::from_str(rest).map_err(|_| ProtocolError("its server information is not JSON"))?,
        )),
        "PING" => Incoming::Ping,
        "PONG" => Incoming::Pong,
        "+OK" => Incoming::Ok,
        "-ERR" => Incoming::Error(rest.trim().trim_matches('\'').to_owned()),
        _ => return Err(ProtocolError("a line begins with an unknown word")),
    };
    buffer.advance(end + 1);
    Ok(Some(other))
}

/// A message whose first line ends here.
fn message(buffer: &mut BytesMut, end: usize) -> Result<Option<Incoming>, ProtocolError> {
    let line = buffer.get(..end).unwrap_or_default();
    let line = std::str::from_utf8(line).map_err(|_| ProtocolError("a line is not UTF-8"))?;
    let parts: Vec<&str> = line.split_ascii_whitespace().collect();
    let number = |text: &str| text.parse::<usize>().map_err(|_| ProtocolError("a length is no number"));
    let with_headers = parts.first().is_some_and(|word| word.len() == 4);
    let (subject, reply, headers, all) = match (with_headers, &parts[..]) {
        (false, [_, subject, _, all]) => (*subject, None, 0, number(all)?),
        (false, [_, subject, _, reply, all]) => (*subject, Some(*reply), 0, number(all)?),
        (true, [_, subject, _, headers, all]) => (*subject, None, number(headers)?, number(all)?),
        (true, [_, subject, _, reply, headers, all]) => (*subject, Some(*reply), number(headers)?, number(all)?),
        _ => return Err(ProtocolError("a message has not as many words as it should")),
    };
    if all > MESSAGE_BYTES_MAX || headers > all {
        return Err(ProtocolError("a message is too long"));
    }
    let whole = end + 1 + all + 2;
    if buffer.len() < whole {
        buffer.reserve(whole - buffer.len());
        return Ok(None);
    }
    let mut received = Received { subject: subject.to_owned(), reply: reply.map(str::to_owned), ..Received::default() };
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
    Ok(Some(Incoming::Message(received)))
}

/// Writes a message to a subject.
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

/// What a server means by an error. The protocol has words for them and no numbers.
pub fn refusal(said: &str, known_by: KnownBy) -> Fault {
    let shown = shown::harmless(said, SHOWN_BYTES_MAX);
    let begins = |words: &str| said.get(..words.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(words));
    if begins("Authorization Violation") || begins("User Authentication Revoked") || begins("Account Authentication") {
        return Fault::Lasting(match known_by {
            KnownBy::Url => "authentication failed; check user, password or token in `url`".into(),
            KnownBy::Credentials => {
                "it rejected the key or JWT, which may have expired; renew the file that `credentials` names".into()
            }
            KnownBy::Nothing => {
                "authentication required; add user and password or a token to `url`, or set `credentials`".into()
            }
        });
    }
    if begins("Permissions Violation") {
        return Fault::Lasting(format!("{shown}; grant the user this permission"));
    }
    match begins("Maximum Payload") || begins("Invalid") || begins("Unknown Protocol") {
        true => Fault::Lasting(shown),
        false => Fault::Passing(shown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Vec<Incoming> {
        let mut buffer = BytesMut::from(bytes);
        std::iter::from_fn(|| take(&mut buffer).expect("it can be read")).collect()
    }

    #[test]
    fn messages_are_read_as_they_were_written() {
        let mut bytes = b"INFO {\"max_payload\":5,\"other\":1}\r\nping\r\n-ERR 'it fails'\r\n".to_vec();
        bytes.extend(b"HMSG a.b 1 back 29 32\r\nNATS/1.0 404 None\r\nA: b:c\r\n\r\n\r\nx\r\nMSG c 1 2\r\nhi\r\n");
        let found = all(&bytes);
        let [
            Incoming::Info(info),
            Incoming::Ping,
            Incoming::Error(why),
            Incoming::Message(first),
            Incoming::Message(second),
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
    fn what_comes_in_pieces_is_waited_for_and_what_is_wrong_is_told() {
        let whole = b"HMSG a 1 12 14\r\nNATS/1.0\r\n\r\nhi\r\n";
        for end in 0..whole.len() {
            assert!(all(&whole[..end]).is_empty(), "{end}");
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
    fn what_is_published_has_its_headers() {
        let mut to = Vec::new();
        publish(&mut to, "a", None, &[], b"x");
        publish(&mut to, "b", Some("r"), &[("N", "v")], b"yz");
        assert_eq!(to, b"PUB a 1\r\nx\r\nHPUB b r 18 20\r\nNATS/1.0\r\nN: v\r\n\r\nyz\r\n");
    }
}
