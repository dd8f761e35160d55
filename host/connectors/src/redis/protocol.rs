//! Commands, values and errors of version 2 of the Redis protocol, which all servers support (redis.io, "Redis serialization protocol").

use millstream_base::shown;
use millstream_connect::dial::plain;
use millstream_connect::tls::{inner_tls_error, to_tls_error};
use std::fmt::Display;
use std::io;

/// Maximum bytes of a server's message in an error.
const SHOWN_BYTES_MAX: usize = 300;
/// Error codes of a server that is not ready.
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

/// A response, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A null.
    Nil,
    /// An integer.
    Int(i64),
    /// Bytes.
    BulkString(Vec<u8>),
    /// A status, such as `OK`.
    SimpleString(String),
    /// A list of values.
    Array(Vec<Value>),
    /// An error of the server: a code, a space and a message.
    Error(String),
}

impl Value {
    /// Returns the value as text, if it is text or a number.
    pub fn text(&self) -> Option<String> {
        match self {
            Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
            Value::SimpleString(text) => Some(text.clone()),
            Value::Int(number) => Some(number.to_string()),
            Value::Nil | Value::Array(_) | Value::Error(_) => None,
        }
    }

    /// Returns the value as an unsigned integer.
    pub fn number(&self) -> Option<u64> {
        self.text()?.parse().ok()
    }
}

/// A command with its arguments in wire format.
pub struct Command {
    arguments: usize,
    bytes: Vec<u8>,
}

impl Command {
    /// Creates a command without arguments.
    pub fn new(name: &str) -> Command {
        Command { arguments: 0, bytes: Vec::new() }.arg(name)
    }

    /// Appends an argument in its displayed form.
    pub fn arg(self, argument: impl Display) -> Command {
        self.bytes(argument.to_string().as_bytes())
    }

    /// Appends an argument of bytes.
    pub fn bytes(mut self, argument: &[u8]) -> Command {
        self.arguments += 1;
        self.bytes.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        self.bytes.extend_from_slice(argument);
        self.bytes.extend_from_slice(b"\r\n");
        self
    }

    /// Returns the encoded command.
    pub fn encoded(&self) -> Vec<u8> {
        [format!("*{}\r\n", self.arguments).as_bytes(), &self.bytes].concat()
    }
}

/// Why there is no usable response.
#[derive(Debug)]
pub enum RedisError {
    /// The connection failed.
    Io(io::Error),
    /// The server returned an error: its message.
    Server(String),
    /// The server rejected user or password.
    Login,
    /// An unexpected response.
    Unexpected,
}

impl From<io::Error> for RedisError {
    fn from(error: io::Error) -> RedisError {
        RedisError::Io(error)
    }
}

impl RedisError {
    /// Returns the code with which an error of the server begins.
    fn code(&self) -> Option<&str> {
        match self {
            RedisError::Server(message) => message.split(' ').next(),
            RedisError::Io(_) | RedisError::Login | RedisError::Unexpected => None,
        }
    }

    /// Returns the text of the TLS error, if this is one.
    fn tls(&self) -> Option<String> {
        match self {
            RedisError::Io(error) => match inner_tls_error(error) {
                Some(found) => Some(found.to_string()),
                None => to_tls_error(error, "of the host in `url`").map(|found| found.to_string()),
            },
            RedisError::Server(_) | RedisError::Login | RedisError::Unexpected => None,
        }
    }

    /// Whether the connection could not be made, or the server did not accept it.
    pub fn is_of_connection(&self) -> bool {
        matches!(self, RedisError::Io(_) | RedisError::Login)
    }
}

/// Formats an error of a server or its connection for users.
pub fn error_message(error: &RedisError) -> String {
    if let Some(tls_error) = error.tls() {
        return format!("TLS: {tls_error}");
    }
    let message = match error {
        RedisError::Io(error) => shown::harmless(&plain(error), SHOWN_BYTES_MAX),
        RedisError::Server(message) => shown::harmless(message, SHOWN_BYTES_MAX),
        RedisError::Unexpected => "its reply does not fit the request".to_owned(),
        RedisError::Login => return "authentication failed; check user and password in `url`".to_owned(),
    };
    match error.code() {
        Some("NOAUTH") => format!("{message}; add user and password to `url`"),
        Some("NOPERM") => format!("{message}; grant the user this permission"),
        Some("MOVED" | "ASK" | "CROSSSLOT") => {
            format!("{message}; it is a node of a cluster, which is not supported; name a standalone server")
        }
        Some("WRONGTYPE") => "this key is not a stream; check `stream`".to_owned(),
        _ => message,
    }
}

/// Whether a retry may succeed: the server is unreachable or not ready.
pub fn is_transient(error: &RedisError) -> bool {
    match error {
        RedisError::Io(_) => error.tls().is_none(),
        RedisError::Server(_) => error.code().is_some_and(|code| NOT_READY.contains(&code)),
        RedisError::Login | RedisError::Unexpected => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_packed() {
        let command = Command::new("XREAD").arg(5).arg("a b").bytes(b"\r\n\xff");
        assert_eq!(command.encoded(), b"*4\r\n$5\r\nXREAD\r\n$1\r\n5\r\n$3\r\na b\r\n$3\r\n\r\n\xff\r\n");
    }

    #[test]
    fn errors_say_whether_they_pass() {
        let server_error = |message: &str| RedisError::Server(message.to_owned());
        for (error, transient, text) in [
            (server_error("LOADING the data set"), true, "LOADING the data set"),
            (server_error("OOM command not allowed"), true, "OOM command not allowed"),
            (server_error("NOAUTH needed"), false, "NOAUTH needed; add user and password to `url`"),
            (server_error("WRONGTYPE x"), false, "this key is not a stream; check `stream`"),
            (server_error("ERR \u{1b}[31m"), false, "ERR \\u{1b}[31m"),
            (RedisError::Login, false, "authentication failed; check user and password in `url`"),
            (io::Error::other("gone").into(), true, "gone"),
        ] {
            assert_eq!((is_transient(&error), error_message(&error).as_str()), (transient, text));
        }
    }
}
