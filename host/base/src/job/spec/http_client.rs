//! A server that a source asks, or whose stream it follows.

use std::fmt;
use std::time::Duration;

/// Where and how an `http` source reads.
#[derive(Clone, PartialEq)]
pub struct HttpClientSpec {
    /// The URL, as it was written.
    pub url: String,
    /// What is done there.
    pub shape: HttpShape,
    /// Sent as `Authorization: Bearer …`.
    pub token: Option<String>,
    /// Other headers.
    pub headers: Vec<(String, String)>,
    /// What is said on a new WebSocket.
    pub send: Vec<String>,
    /// How long a stream may be silent.
    pub stall: Duration,
    /// Bytes of an answer, an event or a message, unpacked.
    pub answer_bytes_max: u64,
    /// How long the head of an answer may take, and all of one that is no stream.
    pub timeout: Duration,
}

impl fmt::Debug for HttpClientSpec {
    /// Without what may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClientSpec").field("url", &self.url).field("shape", &self.shape).finish_non_exhaustive()
    }
}

/// How an `http` source reads.
#[derive(Clone, Debug, PartialEq)]
pub enum HttpShape {
    /// It asks again and again.
    Poll {
        /// How often.
        every: Duration,
        /// How the next request tells what came already; `None`: it does not.
        cursor: Option<HttpCursor>,
        /// Where the rows stand within an answer, an array of JSON; empty: the answer is the rows.
        rows: Vec<String>,
        /// Whether an answer may say where its next page is (`Link`).
        pages: bool,
    },
    /// The answer is lines that come for ever.
    Lines,
    /// The answer is events as browsers understand them (`text/event-stream`).
    Events,
    /// Messages of a WebSocket.
    Websocket,
}

/// What a poll says of what came already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpCursor {
    /// The parameter of the URL that tells it.
    pub parameter: String,
    /// Where it is found.
    pub from: CursorFrom,
}

/// Where a cursor is found in an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CursorFrom {
    /// In the last row, a JSON object, at this path.
    Field(Vec<String>),
    /// In a header of the answer.
    Header(String),
}
