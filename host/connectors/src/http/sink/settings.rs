//! Settings of `http` sinks.

use crate::limits;
use millstream_base::limits::{HTTP_TIMEOUT_MS, SERVER_WAIT_MS};
use millstream_job::spec::{PartWriter, TlsSpec};
use std::time::Duration;

/// The destination of rows, and the form of the requests.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpWrites {
    /// `https://host/path`; `${NAME}` is replaced by an environment variable, `{key}` by the key of a request.
    pub url: String,
    /// PUT instead of POST.
    pub put: bool,
    /// Format of the body.
    pub body: HttpBody,
    /// Sent as `Authorization: Bearer …`.
    pub token: Option<String>,
    /// Other headers, by name.
    pub headers: Vec<(String, String)>,
    /// TLS settings for `https`; `None`: the system trust store.
    pub tls: Option<TlsSpec>,
    /// Maximum rows per request.
    pub rows_per_request_max: u64,
    /// Maximum bytes of rows per request; at least one row is sent.
    pub request_bytes_max: u64,
    /// Timeout for a response.
    pub timeout: Duration,
    /// How long the job waits for an unreachable server.
    pub wait: Duration,
    /// Whether rows of a `_bulk` that the server rejects are dropped; otherwise the job stops.
    pub reject: bool,
    /// Whether worker 0 sends complete batches, or each worker its own rows.
    pub parts: PartWriter,
}

impl HttpWrites {
    /// Placeholder in headers for a number that increases with each request: it counts batches and their rows.
    pub const SEQUENCE: &str = "{sequence}";

    /// Creates settings that send rows as JSON lines to this URL, with default limits.
    pub fn new(url: impl Into<String>) -> HttpWrites {
        HttpWrites {
            url: url.into(),
            put: false,
            body: HttpBody::Lines,
            token: None,
            headers: Vec::new(),
            tls: None,
            rows_per_request_max: limits::HTTP_REQUEST_ROWS_SENT_MAX,
            request_bytes_max: limits::HTTP_REQUEST_BYTES_SENT_MAX,
            timeout: Duration::from_millis(HTTP_TIMEOUT_MS),
            wait: Duration::from_millis(SERVER_WAIT_MS),
            reject: false,
            parts: PartWriter::default(),
        }
    }

    /// Returns whether requests have a sequence number.
    pub fn counts_rows(&self) -> bool {
        self.headers.iter().any(|(_, value)| value.contains(HttpWrites::SEQUENCE))
    }

    /// Returns the settings of documents that rows share.
    pub fn keyed(&self) -> Option<&KeyedDocuments> {
        match &self.body {
            HttpBody::Bulk { documents, .. } => documents.as_ref(),
            HttpBody::Lines | HttpBody::Array => None,
        }
    }
}

/// Format of a request's body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HttpBody {
    /// One JSON object per line.
    #[default]
    Lines,
    /// A JSON array of objects.
    Array,
    /// The `_bulk` format of OpenSearch: an action line before each row.
    Bulk {
        /// The index, if the URL does not name it.
        index: Option<String>,
        /// Settings of shared documents; `None`: each row is a separate document.
        documents: Option<KeyedDocuments>,
    },
}

/// Documents that rows of the same key share: the last row is the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyedDocuments {
    /// The column whose value names the document of a row.
    pub key: String,
    /// The column that says what a row does, if rows may delete documents; it is not written.
    pub op: Option<String>,
}
