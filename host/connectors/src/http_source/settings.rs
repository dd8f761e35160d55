//! Settings of sources of kind `http`: they listen, or read from a server.

use crate::limits;
use millstream_base::job::spec::SourceSpec;
use millstream_base::limits as shared;
use std::fmt;
use std::time::Duration;

/// Where and how a source hears who sends it rows.
#[derive(Clone, PartialEq)]
pub struct ServerReads {
    /// `host:port`
    pub listen: String,
    /// Whether all processes of the job listen there.
    pub spread: bool,
    /// What requests must bring; `None`: they need nothing.
    pub token: Option<String>,
    /// Bytes of the body of a request; `None`: 8 MiB, or as many as a batch takes.
    pub request_bytes_max: Option<u64>,
    /// How long a request may take to come in.
    pub request_time_max: Duration,
    /// Connections that are open at a time.
    pub connections_max: u64,
    /// Producers whose last sequence is remembered.
    pub producers_max: u64,
}

impl fmt::Debug for ServerReads {
    /// Without what may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerReads").field("listen", &self.listen).finish_non_exhaustive()
    }
}

impl ServerReads {
    /// At `host:port` with default limits, without a token.
    pub fn new(listen: impl Into<String>) -> ServerReads {
        ServerReads {
            listen: listen.into(),
            spread: false,
            token: None,
            request_bytes_max: None,
            request_time_max: Duration::from_millis(limits::HTTP_REQUEST_MS_MAX),
            connections_max: shared::HTTP_CONNECTIONS_MAX,
            producers_max: limits::HTTP_PRODUCERS_MAX,
        }
    }

    /// The largest request of this source.
    pub fn request_bytes_max(&self, source: &SourceSpec) -> u64 {
        self.request_bytes_max.unwrap_or(limits::HTTP_REQUEST_BYTES_MAX.min(source.bytes_per_batch_max))
    }
}

/// Where and how an `http` source reads.
#[derive(Clone, PartialEq)]
pub struct ClientReads {
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
    /// Bytes of an answer, an event or a message, unpacked; `None`: 8 MiB, or as many as a batch takes.
    pub answer_bytes_max: Option<u64>,
    /// How long the head of an answer may take, and all of one that is no stream.
    pub timeout: Duration,
}

impl ClientReads {
    /// Lines of this URL, with default limits.
    pub fn new(url: impl Into<String>) -> ClientReads {
        ClientReads {
            url: url.into(),
            shape: HttpShape::Lines,
            token: None,
            headers: Vec::new(),
            send: Vec::new(),
            stall: Duration::from_millis(limits::HTTP_STALL_MS),
            answer_bytes_max: None,
            timeout: Duration::from_millis(shared::HTTP_TIMEOUT_MS),
        }
    }

    /// The longest answer of this source.
    pub fn answer_bytes_max(&self, source: &SourceSpec) -> u64 {
        self.answer_bytes_max.unwrap_or(limits::HTTP_ANSWER_BYTES_MAX.min(source.bytes_per_batch_max))
    }
}

impl fmt::Debug for ClientReads {
    /// Without what may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientReads").field("url", &self.url).field("shape", &self.shape).finish_non_exhaustive()
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
