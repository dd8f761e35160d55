//! A Redis connection based on the standard library alone. Existing clients keep whatever a server sends. Here a response takes no more
//! memory than the caller allows, however long it is.

use super::protocol::{Command, RedisError, Value};
use std::io::{self, BufRead, BufReader, Read, Write};

/// Maximum bytes of a line in a response: an error, a number, a length.
const LINE_BYTES_MAX: u64 = 64 << 10;
/// Approximate memory of a value in addition to its bytes.
const VALUE_BYTES: usize = 128;
/// Maximum bytes of a response that are read, even though they are not kept. Redis itself has no value of more than 512 MiB.
const RESPONSE_BYTES_MAX: u64 = 1 << 30;
/// Maximum values of a response, in all its lists.
const VALUES_MAX: usize = 4 << 20;
/// Maximum nesting of lists.
const DEPTH_MAX: usize = 16;

/// A byte stream.
pub trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

/// A connection.
pub struct Connection {
    stream: BufReader<Box<dyn Stream>>,
    /// Maximum memory of a response.
    kept_max: usize,
}

/// A response, truncated to the memory limit.
pub struct Response {
    /// The kept part: the first values of lists, and no strings that are too long.
    pub value: Value,
    /// Its total bytes, if it was truncated.
    pub cut: Option<u64>,
}

impl Connection {
    /// Creates a connection on an unused stream.
    pub fn new(stream: Box<dyn Stream>, kept_max: usize) -> Connection {
        Connection { stream: BufReader::new(stream), kept_max }
    }

    /// Sends a command and returns its response, possibly truncated.
    pub fn request(&mut self, command: &Command) -> Result<Response, RedisError> {
        let stream = self.stream.get_mut();
        stream.write_all(&command.encoded())?;
        stream.flush()?;
        let mut reading =
            ResponseReader { from: &mut self.stream, left: self.kept_max, read: 0, values: 0, is_cut: false };
        let value = reading.value(0)?;
        let cut = reading.is_cut.then_some(reading.read);
        match value {
            Value::Error(message) => Err(RedisError::Server(message)),
            value => Ok(Response { value, cut }),
        }
    }

    /// Sends a command and returns its complete response.
    pub fn request_complete(&mut self, command: &Command) -> Result<Value, RedisError> {
        let Response { value, cut } = self.request(command)?;
        match cut {
            None => Ok(value),
            Some(bytes) => Err(RedisError::from(wrong(format!(
                "it replied with {bytes} bytes, more than the maximum of {}",
                self.kept_max
            )))),
        }
    }

    /// Sends a command and returns its complete response as text.
    pub fn text(&mut self, command: &Command) -> Result<String, RedisError> {
        self.request_complete(command)?.text().ok_or(RedisError::Unexpected)
    }

    /// Sends a command and returns its complete response as two strings.
    pub fn two_texts(&mut self, command: &Command) -> Result<(String, String), RedisError> {
        let Value::Array(values) = self.request_complete(command)? else { return Err(RedisError::Unexpected) };
        match values.as_slice() {
            [first, second] => first.text().zip(second.text()).ok_or(RedisError::Unexpected),
            _ => Err(RedisError::Unexpected),
        }
    }
}

/// Reads one response within its limits.
struct ResponseReader<'a, R> {
    from: &'a mut R,
    /// Bytes that may still be kept.
    left: usize,
    read: u64,
    values: usize,
    is_cut: bool,
}

impl<R: BufRead> ResponseReader<'_, R> {
    fn value(&mut self, depth: usize) -> io::Result<Value> {
        if depth > DEPTH_MAX {
            return Err(wrong("its response is nested too deep".into()));
        }
        self.values += 1;
        if self.values > VALUES_MAX {
            return Err(wrong(format!("its response has more than {VALUES_MAX} values")));
        }
        let line = self.line()?;
        match line.first() {
            Some(b'$') => match length(&line)? {
                None => Ok(Value::Nil),
                Some(length) => self.text(length),
            },
            Some(b'*') => match length(&line)? {
                None => Ok(Value::Nil),
                Some(length) => {
                    let mut values = Vec::new();
                    for _ in 0..length {
                        // Counted before its elements, so that a truncated list keeps its first elements.
                        let has_room = self.keep(VALUE_BYTES);
                        let value = self.value(depth + 1)?;
                        if has_room {
                            values.push(value);
                        }
                    }
                    Ok(Value::Array(values))
                }
            },
            Some(kind @ (b'+' | b'-' | b':')) => match self.keep(line.len()) {
                true => parse_line(*kind, &line).ok_or_else(not_redis),
                false => Ok(Value::Nil),
            },
            _ => Err(not_redis()),
        }
    }

    fn text(&mut self, length: u64) -> io::Result<Value> {
        self.count(length)?;
        let mut kept = Vec::new();
        let read = match usize::try_from(length).is_ok_and(|length| self.keep(length)) {
            true => self.from.take(length).read_to_end(&mut kept)? as u64,
            false => io::copy(&mut self.from.take(length), &mut io::sink())?,
        };
        if read < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match self.line()?.as_slice() {
            b"\r\n" => Ok(Value::BulkString(kept)),
            _ => Err(not_redis()),
        }
    }

    /// Reads a line with its end.
    fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        let read = self.from.take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
        self.count(read as u64)?;
        match line.ends_with(b"\r\n") {
            true => Ok(line),
            false if read as u64 == LINE_BYTES_MAX || line.ends_with(b"\n") => Err(not_redis()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Takes bytes from the remaining limit; `false`: too few remain.
    fn keep(&mut self, bytes: usize) -> bool {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                true
            }
            None => {
                self.is_cut = true;
                false
            }
        }
    }

    fn count(&mut self, bytes: u64) -> io::Result<()> {
        self.read = self.read.saturating_add(bytes);
        match self.read <= RESPONSE_BYTES_MAX {
            true => Ok(()),
            false => Err(wrong(format!("its response has more than {RESPONSE_BYTES_MAX} bytes"))),
        }
    }
}

/// Returns the content of a line between its first byte and its end.
fn content(line: &[u8]) -> Option<&str> {
    line.get(1..)?.strip_suffix(b"\r\n").and_then(|rest| std::str::from_utf8(rest).ok())
}

/// Decodes a value that is one line.
fn parse_line(kind: u8, line: &[u8]) -> Option<Value> {
    let content = content(line)?;
    match kind {
        b'+' => Some(Value::SimpleString(content.to_owned())),
        b':' => content.parse().ok().map(Value::Int),
        _ => Some(Value::Error(content.to_owned())),
    }
}

/// Decodes a length; `None`: a null.
fn length(line: &[u8]) -> io::Result<Option<u64>> {
    let number = content(line).and_then(|digits| digits.parse::<i64>().ok()).ok_or_else(not_redis)?;
    Ok(u64::try_from(number).ok())
}

fn not_redis() -> io::Error {
    wrong("its reply is not Redis".into())
}

fn wrong(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::repeat;

    fn read(from: impl Read, kept_max: usize) -> (io::Result<Value>, bool) {
        let mut from = BufReader::new(from);
        let mut reading = ResponseReader { from: &mut from, left: kept_max, read: 0, values: 0, is_cut: false };
        (reading.value(0), reading.is_cut)
    }

    fn text(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    #[test]
    fn answers_are_read() {
        let all = b"*6\r\n$2\r\na\n\r\n:-7\r\n+OK\r\n$-1\r\n*-1\r\n*1\r\n$0\r\n\r\n";
        let (value, is_cut) = read(&all[..], 10_000);
        let inner = Value::Array(vec![text("")]);
        let expected =
            vec![text("a\n"), Value::Int(-7), Value::SimpleString("OK".into()), Value::Nil, Value::Nil, inner];
        assert_eq!((value.unwrap(), is_cut), (Value::Array(expected), false));
        assert_eq!(read(&b"-ERR no\r\n"[..], 100).0.unwrap(), Value::Error("ERR no".into()));
        for end in 0..all.len() {
            assert!(read(&all[..end], 10_000).0.is_err(), "{end}");
        }
        for other in
            [&b"HTTP/1.1 400\r\n"[..], b"$x\r\n", b"$1\r\nab\r\n", b"\r\n", b"+a\n", b"%1\r\n+a\r\n+b\r\n", b":x\r\n"]
        {
            let error = read(other, 10_000).0.unwrap_err();
            assert_eq!(error.to_string(), "its reply is not Redis", "{other:?}");
        }
    }

    /// Bytes beyond the limit are read, so that the next response is in sync, but not kept.
    #[test]
    fn no_more_is_kept_than_may_be() {
        let (value, is_cut) = read(&b"*2\r\n+1-0\r\n$20\r\n01234567890123456789\r\n"[..], 300);
        assert_eq!(
            (value.unwrap(), is_cut),
            (Value::Array(vec![Value::SimpleString("1-0".into()), text("01234567890123456789")]), false)
        );
        let (value, is_cut) = read(&b"*2\r\n+1-0\r\n$20\r\n01234567890123456789\r\n"[..], 270);
        assert_eq!((value.unwrap(), is_cut), (Value::Array(vec![Value::SimpleString("1-0".into()), text("")]), true));
        let many = b"*1000000\r\n".iter().copied().chain(b":1\r\n".repeat(1_000_000)).collect::<Vec<_>>();
        let (Ok(Value::Array(values)), true) = read(&many[..], 100_000) else { panic!("a list") };
        assert!(values.len() < 1_000);
    }

    #[test]
    fn an_answer_without_an_end_is_refused() {
        for head in ["$9223372036854775807\r\n", "$2000000000\r\n", "+", "$"] {
            let (error, _) = read(head.as_bytes().chain(repeat(b'1')), 1000);
            assert!(error.is_err(), "{head}");
        }
        let (error, _) = read(b"*2147483647\r\n".chain(&b":1\r\n".repeat(VALUES_MAX)[..]), 1000);
        assert_eq!(error.unwrap_err().to_string(), "its response has more than 4194304 values");
        let nested = "*1\r\n".repeat(10_000);
        assert_eq!(read(nested.as_bytes(), 1000).0.unwrap_err().to_string(), "its response is nested too deep");
    }
}
