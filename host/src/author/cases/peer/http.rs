//! An HTTP peer. A request is a message `POST /path [name: value] body`, with the headers that the case names. The
//! first record of a response is its status, `200 [name: value]`, and the further records are the lines of its body.

use super::script::Reply;
use super::{MESSAGE_BYTES_MAX, Shared};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

/// Maximum bytes of a line of a request's head, and the maximum number of lines.
const LINE_BYTES_MAX: u64 = 16 << 10;
const LINES_MAX: usize = 200;

/// Serves one request.
pub fn serve(shared: &Shared, stream: TcpStream) {
    let Ok(mut writer) = stream.try_clone() else { return };
    let mut reader = BufReader::new(stream);
    let sent = match request(shared, &mut reader) {
        Ok(None) => return,
        Ok(Some(message)) => match shared.receive(&message) {
            Some(reply) if reply.closes && reply.records.is_empty() => return,
            Some(reply) => response(&reply),
            None => Ok(encode_response("500", &[], b"the case has no response to this")),
        },
        Err(hint) => Err(hint),
    };
    match sent {
        // A plugin that has exited receives nothing.
        Ok(bytes) => drop(writer.write_all(&bytes)),
        Err(hint) => shared.fails(hint),
    }
}

/// Reads the next request as a message, or `None` at the end.
fn request(shared: &Shared, from: &mut BufReader<TcpStream>) -> Result<Option<Vec<u8>>, String> {
    let first = read_line(from)?;
    if first.is_empty() {
        return Ok(None);
    }
    let mut hint = first.split(' ');
    let (Some(method), Some(target), Some(_)) = (hint.next(), hint.next(), hint.next()) else {
        return Err(format!("`{}` does not start an HTTP request", super::escape(first.as_bytes())));
    };
    let mut headers = Vec::new();
    loop {
        let line = read_line(from)?;
        if line.is_empty() {
            break;
        }
        if headers.len() == LINES_MAX {
            return Err(format!("a request has more than {LINES_MAX} headers"));
        }
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
    }
    let header =
        |name: &str| headers.iter().find(|(of, _)| *of == name.to_ascii_lowercase()).map(|(_, value)| value.as_str());
    let is_chunked = header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
    let body = match header("content-length").map(str::parse) {
        _ if is_chunked => read_chunked(from)?,
        None => Vec::new(),
        Some(Ok(length)) => read_exact(from, length)?,
        Some(Err(_)) => return Err("the length of a request's body is not a number".into()),
    };
    let mut message = format!("{method} {target}").into_bytes();
    for name in &shared.spec.headers {
        if let Some(value) = header(name) {
            message.extend_from_slice(format!(" [{}: {value}]", name.to_ascii_lowercase()).as_bytes());
        }
    }
    if !body.is_empty() {
        message.push(b' ');
        message.extend_from_slice(&body);
    }
    Ok(Some(message))
}

/// Reads a line of the head, without its end. Empty at the end of the head, or of the connection.
fn read_line(from: &mut impl BufRead) -> Result<String, String> {
    let mut line = Vec::new();
    from.take(LINE_BYTES_MAX).read_until(b'\n', &mut line).map_err(|error| format!("a request broke off: {error}"))?;
    if line.len() as u64 == LINE_BYTES_MAX {
        return Err(format!("a line of a request is longer than {LINE_BYTES_MAX} bytes"));
    }
    Ok(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned())
}

fn read_exact(from: &mut impl Read, length: usize) -> Result<Vec<u8>, String> {
    if length > MESSAGE_BYTES_MAX {
        return Err(format!("a request's body is longer than {MESSAGE_BYTES_MAX} bytes"));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).map_err(|error| format!("the body of a request broke off: {error}"))?;
    Ok(body)
}

fn read_chunked(from: &mut impl BufRead) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    loop {
        let head = read_line(from)?;
        let size = head.split(';').next().unwrap_or_default().trim();
        let size =
            usize::from_str_radix(size, 16).map_err(|_| "a chunk of a request's body has no length".to_owned())?;
        let mut piece = read_exact(from, size)?;
        if body.len() + piece.len() > MESSAGE_BYTES_MAX {
            return Err(format!("a request's body is longer than {MESSAGE_BYTES_MAX} bytes"));
        }
        body.append(&mut piece);
        // After the last chunk, which is empty, there may be trailers.
        let mut after = read_line(from)?;
        if size == 0 {
            while !after.is_empty() {
                after = read_line(from)?;
            }
            return Ok(body);
        }
    }
}

/// Encodes a reply.
fn response(reply: &Reply) -> Result<Vec<u8>, String> {
    let hint = || "an HTTP response begins with its status, for example `< 200` or `< 200 [etag: \"1\"]`".to_owned();
    let (head, lines) = reply.records.split_first().ok_or_else(hint)?;
    let head = String::from_utf8_lossy(head);
    let (status, mut rest) = head.split_once(' ').unwrap_or((&head, ""));
    if !(status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err(hint());
    }
    let mut headers = Vec::new();
    while let Some((header, after)) = rest.trim_start().strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        headers.push(header.to_owned());
        rest = after;
    }
    if !rest.trim().is_empty() || headers.iter().any(|header| !header.contains(':') || header.contains(['\r', '\n'])) {
        return Err(hint());
    }
    let lines: Vec<&[u8]> = lines.iter().skip(reply.from).map(Vec::as_slice).collect();
    Ok(encode_response(status, &headers, &lines.join(&b'\n')))
}

fn encode_response(status: &str, headers: &[String], body: &[u8]) -> Vec<u8> {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let length = match status {
        // These statuses have no body.
        "204" | "304" => String::new(),
        _ => format!("Content-Length: {}\r\n", body.len()),
    };
    let mut bytes = format!("HTTP/1.1 {status} Case\r\nConnection: close\r\n{length}{headers}\r\n").into_bytes();
    if !length.is_empty() {
        bytes.extend_from_slice(body);
    }
    bytes
}
