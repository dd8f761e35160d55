//! What a job file says of sinks of kind `http`.

use super::settings::{HttpBody, HttpWrites, KeyedDocuments};
use arrow::datatypes::SchemaRef;
use millstream_base::error::Result;
use millstream_base::failure::Failure;
use millstream_base::limits;
use millstream_base::units;
use millstream_job::connector::{
    CHANGES, JSON_ENCODING, PARTS_SHAPE, SinkDeclaration, TLS_KEYS_OF_HOST, TLS_OF_HOST, WAIT,
};
use millstream_job::keys::{KeyShape, key};
use millstream_job::spec::{PartWriter, SinkChanges, SinkConfig, SinkStart};
use millstream_job::table::Reader;
use millstream_job::{PartErrors, http_url, parts};
use millstream_rows::batch::json;
use millstream_rows::batch::sink::{EncodeRows, Sink};
use std::any::Any;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

const KIND: &str = "http";
/// Maximum of `timeout`.
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);

/// Sinks.
pub const SINK: SinkDeclaration = SinkDeclaration {
    kind: KIND,
    doc: "an HTTP server",
    keys: &[
        key(
            "url",
            KeyShape::Text,
            "URL of the requests, for example \"https://host/path\". ${NAME} is replaced by that environment variable, which \
             keeps a password out of the file.",
        )
        .required(),
        key("method", KeyShape::Word(&["POST", "PUT"]), "HTTP method of the requests, POST by default."),
        key(
            "body",
            KeyShape::Word(&["lines", "array", "bulk"]),
            "Body of a request: one JSON object per line (`lines`), a JSON array of them (`array`), or the `_bulk` format of \
             OpenSearch (`bulk`). `lines` by default.",
        ),
        key("index", KeyShape::Text, "Body bulk: the index, if `url` does not name it."),
        key(
            "key",
            KeyShape::Text,
            "Body bulk: column with the `_id` of the document, so the last row of a key wins.",
        ),
        key(
            "op",
            KeyShape::Text,
            "Body bulk: column of type text with the operation of a row: `insert`, `update` and `upsert` write its document, \
             `delete` deletes it. The column itself is not written.",
        ),
        key(
            "token",
            KeyShape::Text,
            "Token, sent with each request as `Authorization: Bearer …`; \"${NAME}\" keeps it out of the file.",
        ),
        key(
            "headers",
            KeyShape::ByName(&KeyShape::Text),
            "Headers of each request, by name. `{key}` is replaced by the key of the request, `{sequence}` by a counter that \
             grows with each request, `{sender}` by the name of the counter.",
        ),
        key(
            "rows_per_request_max",
            KeyShape::Integer(1, i64::MAX as u64),
            "Maximum rows per request, 10000 by default.",
        ),
        key(
            "request_bytes_max",
            KeyShape::Size,
            "Maximum bytes of rows per request, 4MiB by default; at least one row is sent.",
        ),
        key("timeout", KeyShape::Time, "Timeout for a response, 30s by default."),
        key(
            "on_error",
            KeyShape::Word(&["stop", "reject"]),
            "Body bulk: what happens if the server rejects a row: the job stops (`stop`), or the row is logged and dropped \
             (`reject`). `stop` by default.",
        ),
        key(
            "parts",
            PARTS_SHAPE,
            "Senders of a batch: one, with its rows in order (`batch`), or one per worker that has rows (`worker`). With `worker`, \
             workers send at the same time, and request keys contain the worker's number. `batch` by default.",
        ),
    ],
    shared: &[CHANGES, JSON_ENCODING, TLS_OF_HOST, WAIT],
    read: |r| HttpWrites::read(r).into(),
};

impl HttpWrites {
    fn read(r: &Reader<'_>) -> HttpWrites {
        let mut writes = HttpWrites::new(r.needed_text("url", "url = \"https://host/path\""));
        writes.put = r.choice("method", &[("POST", false), ("PUT", true)], &["PATCH"]).unwrap_or(false);
        let text = |key: &str, example: &str| r.text(key, example).map(str::to_owned);
        let forms = [
            ("lines", HttpBody::Lines),
            ("array", HttpBody::Array),
            ("bulk", HttpBody::Bulk { index: text("index", "index = \"events\""), documents: documents(&text) }),
        ];
        let form = r.choice("body", &forms, &["csv", "arrow", "avro"]);
        let known = form.is_some() || !r.has("body");
        writes.body = form.unwrap_or_default();
        for key in ["index", "on_error", "key", "op"].into_iter().filter(|key| r.has(key)) {
            if known && !matches!(writes.body, HttpBody::Bulk { .. }) {
                r.wrong(key, format!("`{key}` is for body = \"bulk\"; write that, or remove `{key}`"));
            }
        }
        if r.has("op") && !r.has("key") {
            r.wrong("op", "`op` needs `key`: a row that deletes names the key");
        }
        writes.token = text("token", "token = \"${NAME}\"");
        writes.headers = r.headers();
        writes.read_requests(r);
        writes.reject = r.choice("on_error", &[("stop", false), ("reject", true)], &["skip", "fail"]).unwrap_or(false);
        writes.parts = r.parts_by();
        writes
    }

    /// Reads the keys about requests, for every kind that sends rows in requests.
    pub fn read_requests(&mut self, r: &Reader<'_>) {
        self.tls = r.tls_with(TLS_KEYS_OF_HOST);
        let rows = r.integer("rows_per_request_max", 1, i64::MAX as u64);
        self.rows_per_request_max = rows.unwrap_or(self.rows_per_request_max);
        let bytes = r.size("request_bytes_max", 1, limits::HTTP_REQUEST_BYTES_MAX_MAX);
        self.request_bytes_max = bytes.unwrap_or(self.request_bytes_max);
        self.timeout = r.time("timeout").unwrap_or(self.timeout);
        self.wait = r.time("wait").unwrap_or(self.wait);
    }
}

/// Reads `key` and `op` of body `bulk`.
fn documents(text: &impl Fn(&str, &str) -> Option<String>) -> Option<KeyedDocuments> {
    let key = text("key", "key = \"order_id\", the name of one column")?;
    Some(KeyedDocuments { key, op: text("op", "op = \"op\", the name of a column") })
}

impl SinkConfig for HttpWrites {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn check(&self, part: &PartErrors<'_>) {
        if let Err(message) = http_url::check(&self.url) {
            part.wrong("url", message);
        }
        if let Some(token) = &self.token {
            parts::token(token, part);
        }
        if self.timeout.is_zero() || self.timeout > TIMEOUT_MAX {
            let time = units::show_time(self.timeout);
            part.wrong("timeout", format!("`timeout` is {time}; write a time from 1ms to 1h"));
        }
        part.not_zero("rows_per_request_max", self.rows_per_request_max);
        part.not_zero("request_bytes_max", self.request_bytes_max);
    }

    fn promises(&self) -> Vec<String> {
        let by = match self.body {
            HttpBody::Bulk { documents: Some(_), .. } => "the _id of each key, whose last row wins",
            HttpBody::Bulk { .. } => "the _id of each row",
            HttpBody::Lines | HttpBody::Array => "the header Idempotency-Key",
        };
        let shares = "each worker sends its share of a batch, with its own keys".to_owned();
        let first = format!("at least once; exactly once if the server deduplicates by {by}");
        [first].into_iter().chain(self.by_worker().then_some(shares)).collect()
    }

    fn row_key(&self) -> Option<&[String]> {
        self.keyed().map(|documents| slice::from_ref(&documents.key))
    }

    fn changes(&self) -> SinkChanges<'_> {
        match &self.body {
            HttpBody::Lines | HttpBody::Array => SinkChanges::Rows,
            HttpBody::Bulk { documents: Some(KeyedDocuments { key, op: Some(op) }), .. } => {
                SinkChanges::Followed { key: slice::from_ref(key), op, is_flag: false }
            }
            HttpBody::Bulk { .. } => SinkChanges::Unknown {
                key: "body",
                help: "write op = \"OP\" and the `key` of documents",
                appends: false,
            },
        }
    }

    fn by_worker(&self) -> bool {
        self.parts == PartWriter::Worker
    }

    /// Shares are identified by workers, so they must not change.
    fn passes_over_repeated_rows(&self) -> bool {
        self.counts_rows() || self.by_worker()
    }

    /// The settings by which a server may deduplicate requests. Rows are identified by their position in the batch.
    fn sent_as(&self, now: &dyn SinkConfig) -> Option<Arc<dyn SinkConfig>> {
        let now = (now as &dyn Any).downcast_ref::<HttpWrites>()?;
        Some(Arc::new(HttpWrites { parts: self.parts, ..now.clone() }))
    }

    fn check_start(&self, start: SinkStart<'_>, schema: &SchemaRef, keeps_checkpoints: bool) -> Result<()> {
        super::check(self, start, schema, keeps_checkpoints)
    }

    fn open(&self, start: SinkStart<'_>, _schema: &SchemaRef, failure: &Failure) -> Result<Box<dyn Sink>> {
        super::open(self, start, start.owner, failure)
    }

    fn encoder(&self, _start: SinkStart<'_>, _schema: &SchemaRef) -> Result<Option<EncodeRows>> {
        // The last row of each key is selected first.
        Ok(self.keyed().is_none().then(|| Arc::new(json::encode) as EncodeRows))
    }
}
