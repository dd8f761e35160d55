//! Settings of the `http` source, which listens or reads from a server.

use crate::limits;
use millstream_base::limits as shared;
use millstream_job::spec::SourceSpec;
use std::fmt;
use std::time::Duration;

/// Settings of a source that receives requests.
#[derive(Clone, PartialEq)]
pub struct ServerReads {
    /// `host:port`
    pub listen: String,
    /// Whether all processes of the job listen.
    pub spread: bool,
    /// The token that requests must have, if any.
    pub token: Option<String>,
    /// Maximum bytes of a request's body; `None`: 8 MiB, or the maximum of a batch if that is less.
    pub request_bytes_max: Option<u64>,
    /// Maximum time to receive a request.
    pub request_time_max: Duration,
    /// Maximum number of open connections.
    pub connections_max: u64,
    /// Number of producers whose last sequence number is kept.
    pub producers_max: u64,
}

impl fmt::Debug for ServerReads {
    /// Omits what may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerReads").field("listen", &self.listen).finish_non_exhaustive()
    }
}

impl ServerReads {
    /// Creates settings for `host:port` with default limits, without a token.
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

    /// Returns the maximum bytes of a request for this source.
    pub fn request_bytes_max(&self, source: &SourceSpec) -> u64 {
        self.request_bytes_max.unwrap_or(limits::HTTP_REQUEST_BYTES_MAX.min(source.bytes_per_batch_max))
    }
}

/// Settings of a source that reads from a server.
#[derive(Clone, PartialEq)]
pub struct ClientReads {
    /// The URL as written.
    pub url: String,
    /// How the URL is read.
    pub shape: HttpShape,
    /// Sent as `Authorization: Bearer …`.
    pub token: Option<String>,
    /// Other headers.
    pub headers: Vec<(String, String)>,
    /// Messages to send on a new WebSocket.
    pub send: Vec<String>,
    /// How long a stream may send nothing.
    pub stall: Duration,
    /// Maximum bytes of a response, event or message after decompression; `None`: 8 MiB, or the maximum of a batch if that is less.
    pub response_bytes_max: Option<u64>,
    /// Timeout for the head of a response, and for a complete response that is not a stream.
    pub timeout: Duration,
}

impl ClientReads {
    /// Creates settings that read lines from this URL, with default limits.
    pub fn new(url: impl Into<String>) -> ClientReads {
        ClientReads {
            url: url.into(),
            shape: HttpShape::Lines,
            token: None,
            headers: Vec::new(),
            send: Vec::new(),
            stall: Duration::from_millis(limits::HTTP_STALL_MS),
            response_bytes_max: None,
            timeout: Duration::from_millis(shared::HTTP_TIMEOUT_MS),
        }
    }

    /// Returns the maximum bytes of a response for this source.
    pub fn response_bytes_max(&self, source: &SourceSpec) -> u64 {
        self.response_bytes_max.unwrap_or(limits::HTTP_RESPONSE_BYTES_MAX.min(source.bytes_per_batch_max))
    }
}

impl fmt::Debug for ClientReads {
    /// Omits what may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientReads").field("url", &self.url).field("shape", &self.shape).finish_non_exhaustive()
    }
}

/// How an `http` source reads from a server.
#[derive(Clone, Debug, PartialEq)]
pub enum HttpShape {
    /// Polls.
    Poll {
        /// Time between requests.
        every: Duration,
        /// The cursor of the next request, if any.
        cursor: Option<HttpCursor>,
        /// Path of the JSON array with the rows in a response; empty if the response is the rows.
        rows: Vec<String>,
        /// Whether a response may name its next page (`Link`).
        pages: bool,
    },
    /// The response is an endless stream of lines.
    Lines,
    /// The response is a stream of server-sent events (`text/event-stream`).
    Events,
    /// Messages of a WebSocket.
    Websocket,
}

/// The cursor of a poll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpCursor {
    /// Name of the URL parameter.
    pub parameter: String,
    /// Where the cursor is found.
    pub from: CursorFrom,
}

/// Where a response has its cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CursorFrom {
    /// In the last row, a JSON object, at this path.
    Field(Vec<String>),
    /// In a header of the response.
    Header(String),
}
