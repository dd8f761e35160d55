//! Commands, values and errors of version 2 of the protocol of Redis, which all servers speak (redis.io, "Redis serialization protocol").

use crate::dial::plain;
use crate::tls::{TlsRefusal, refused};
use millstream_base::shown;
use std::fmt::Display;
use std::io;

/// Bytes of a server's words that are shown.
const SHOWN_BYTES_MAX: usize = 300;
/// Errors of a server that is not ready.
const NOT_READY: [&str; 10] = [
    "LOADING",
    "TRYAGAIN",
    "CLUSTERDOWN",
    "MASTERDOWN",
    "READONLY",
    "OOM",
    "MISCONF",
    "BUSY",
    "NOREPLICAS",
    "UNBLOCKED",
];

/// An answer, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// There is nothing.
    Nil,
    /// A number.
    Int(i64),
    /// Bytes.
    BulkString(Vec<u8>),
    /// A word, such as `OK`.
    SimpleString(String),
    /// Several values.
    Array(Vec<Value>),
    /// An error, as the server says it: a code, a blank and words.
    Error(String),
}

impl Value {
    /// As text, if it is text or a number.
    pub fn text(&self) -> Option<String> {
        match self {
            Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
            Value::SimpleString(text) => Some(text.clone()),
            Value::Int(number) => Some(number.to_string()),
            Value::Nil | Value::Array(_) | Value::Error(_) => None,
        }
    }

    /// As a whole number.
    pub fn number(&self) -> Option<u64> {
        self.text()?.parse().ok()
    }
}

/// A command with its arguments, as it is sent.
pub struct Command {
    arguments: usize,
    bytes: Vec<u8>,
}

impl Command {
    /// Without arguments.
    pub fn new(name: &str) -> Command {
        Command { arguments: 0, bytes: Vec::new() }.arg(name)
    }

    /// With one more, as it is shown.
    pub fn arg(self, argument: impl Display) -> Command {
        self.bytes(argument.to_string().as_bytes())
    }

    /// With one more of these bytes.
    pub fn bytes(mut self, argument: &[u8]) -> Command {
        self.arguments += 1;
        self.bytes.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        self.bytes.extend_from_slice(argument);
        self.bytes.extend_from_slice(b"\r\n");
        self
    }

    /// All of it.
    pub fn packed(&self) -> Vec<u8> {
        [format!("*{}\r\n", self.arguments).as_bytes(), &self.bytes].concat()
    }
}

/// Why there is no answer, or none that can be used.
#[derive(Debug)]
pub enum RedisError {
    /// The connection failed.
    Io(io::Error),
    /// The server refuses, in its words.
    Refused(String),
    /// It does not accept user or password.
    Login,
    /// It answers, but not what was asked for.
    Unexpected,
}

impl From<io::Error> for RedisError {
    fn from(error: io::Error) -> RedisError {
        RedisError::Io(error)
    }
}

impl RedisError {
    /// The word with which an error of the server begins.
    fn code(&self) -> Option<&str> {
        match self {
            RedisError::Refused(words) => words.split(' ').next(),
            RedisError::Io(_) | RedisError::Login | RedisError::Unexpected => None,
        }
    }

    /// What TLS has against the server, if that is what the error is about.
    fn tls(&self) -> Option<TlsRefusal> {
        match self {
            RedisError::Io(error) => refused(error, "of the host in `url`"),
            RedisError::Refused(_) | RedisError::Login | RedisError::Unexpected => None,
        }
    }
}

/// What a server or its connection says, for people.
pub fn words(error: &RedisError) -> String {
    if let Some(refusal) = error.tls() {
        return format!("TLS: {refusal}");
    }
    let words = match error {
        RedisError::Io(error) => shown::harmless(&plain(error), SHOWN_BYTES_MAX),
        RedisError::Refused(words) => shown::harmless(words, SHOWN_BYTES_MAX),
        RedisError::Unexpected => "its reply does not fit the request".to_owned(),
        RedisError::Login => return "authentication failed; check user and password in `url`".to_owned(),
    };
    match error.code() {
        Some("NOAUTH") => format!("{words}; add user and password to `url`"),
        Some("NOPERM") => format!("{words}; grant the user this permission"),
        Some("MOVED" | "ASK" | "CROSSSLOT") => {
            format!("{words}; it is a node of a cluster, which is not supported; name a standalone server")
        }
        Some("WRONGTYPE") => "this key is not a stream; check `stream`".to_owned(),
        _ => words,
    }
}

/// Whether what failed may succeed later: nobody answers, or the server is not ready.
pub fn passes(error: &RedisError) -> bool {
    match error {
        RedisError::Io(_) => error.tls().is_none(),
        RedisError::Refused(_) => error.code().is_some_and(|code| NOT_READY.contains(&code)),
        RedisError::Login | RedisError::Unexpected => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_packed() {
        let command = Command::new("XREAD").arg(5).arg("a b").bytes(b"\r\n\xff");
        assert_eq!(command.packed(), b"*4\r\n$5\r\nXREAD\r\n$1\r\n5\r\n$3\r\na b\r\n$3\r\n\r\n\xff\r\n");
    }

    #[test]
    fn errors_say_whether_they_pass() {
        let refused = |words: &str| RedisError::Refused(words.to_owned());
        for (error, passing, text) in [
            (refused("LOADING the data set"), true, "LOADING the data set"),
            (refused("OOM command not allowed"), true, "OOM command not allowed"),
            (refused("NOAUTH needed"), false, "NOAUTH needed; add user and password to `url`"),
            (refused("WRONGTYPE x"), false, "this key is not a stream; check `stream`"),
            (refused("ERR \u{1b}[31m"), false, "ERR \\u{1b}[31m"),
            (RedisError::Login, false, "authentication failed; check user and password in `url`"),
            (io::Error::other("gone").into(), true, "gone"),
        ] {
            assert_eq!((passes(&error), words(&error).as_str()), (passing, text));
        }
    }
}
