//! Settings of sinks of kind `http`.

use crate::limits;
use millstream_base::job::spec::{PartsBy, TlsSpec};
use millstream_base::limits::{HTTP_TIMEOUT_MS, SERVER_WAIT_MS};
use std::time::Duration;

/// Where rows are sent, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpWrites {
    /// `https://host/path`; `${NAME}` stands for an environment variable, `{key}` for the key of a request.
    pub url: String,
    /// PUT in the place of POST.
    pub put: bool,
    /// What a request holds.
    pub body: HttpBody,
    /// Sent as `Authorization: Bearer …`.
    pub token: Option<String>,
    /// Other headers, by name.
    pub headers: Vec<(String, String)>,
    /// How a server with https is spoken to; `None`: it is checked by what the system trusts.
    pub tls: Option<TlsSpec>,
    /// Most rows of a request.
    pub rows_per_request_max: u64,
    /// Most bytes of rows of a request; one row at least.
    pub request_bytes_max: u64,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How long the job waits for a server that is away.
    pub wait: Duration,
    /// Rows of a `_bulk` that the server refuses are left out; else the job stops.
    pub reject: bool,
    /// Who sends: worker 0 whole batches, or each worker the rows that it has.
    pub parts: PartsBy,
}

impl HttpWrites {
    /// What stands in headers for a number that is larger with each request: it counts batches and their rows.
    pub const SEQUENCE: &str = "{sequence}";

    /// Rows as JSON lines to this URL, with default limits.
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
            parts: PartsBy::default(),
        }
    }

    /// Whether its requests have such a number.
    pub fn counts_rows(&self) -> bool {
        self.headers.iter().any(|(_, value)| value.contains(HttpWrites::SEQUENCE))
    }

    /// What the documents are that rows share.
    pub fn keyed(&self) -> Option<&KeyedDocuments> {
        match &self.body {
            HttpBody::Bulk { documents, .. } => documents.as_ref(),
            HttpBody::Lines | HttpBody::Array => None,
        }
    }
}

/// What a request holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HttpBody {
    /// A JSON object a line.
    #[default]
    Lines,
    /// A JSON array of them.
    Array,
    /// What `_bulk` of OpenSearch takes: a line with what to do before each.
    Bulk {
        /// The index, where the URL does not name it.
        index: Option<String>,
        /// What its documents are; `None`: each row is one of its own.
        documents: Option<KeyedDocuments>,
    },
}

/// Documents that rows of the same key share: the last row is the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyedDocuments {
    /// The column whose value names the document of a row.
    pub key: String,
    /// The column that says what a row does, where some of them delete documents; it is not written.
    pub op: Option<String>,
}
