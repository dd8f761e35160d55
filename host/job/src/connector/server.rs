//! What connectors of servers share: reading keys, and checking them.

use crate::http_url;
use crate::keys::{self, KeyShape, TableKey, key};
use crate::part_errors::PartErrors;
use crate::parts::poll_fits;
use crate::spec::{PartWriter, ServerStart, StreamStart, SubjectSpec, TableMode, TlsSpec};
use crate::table::Reader;
use crate::{records, tls};
use millstream_base::limits::POLLED_PARTITIONS_MAX;
use millstream_rows::batch::column::ColumnSpec;
use millstream_rows::batch::times::TimeParser;
use millstream_rows::batch::types::ColumnType;
use millstream_rows::formats::{ProtobufSpec, RecordFormat};
use std::collections::BTreeSet;
use std::time::Duration;
use toml::Value;

/// The shape of a key `start` that [`Reader::start`] reads.
pub const START: KeyShape = KeyShape::Word(&["earliest", "latest"]);
/// The shape of a key `registry` that [`Reader::subject`] reads.
pub const SUBJECT_SHAPE: KeyShape = KeyShape::Either(&[KeyShape::Text, KeyShape::Table(keys::SUBJECT)]);
/// The example in a message about a missing key.
pub const REGISTRY_EXAMPLE: &str = records::REGISTRY;
/// The shape of a key `compression`: the names of [`Compression`](millstream_rows::formats::Compression).
pub const COMPRESSIONS: KeyShape = KeyShape::Word(keys::COMPRESSIONS);
/// The shape of a key `parts` that [`Reader::parts_by`] reads.
pub const PARTS_SHAPE: KeyShape = KeyShape::Word(&["batch", "worker"]);
/// The shape of a key `tls` of a source or sink that listens.
pub const CERTIFICATE_SHAPE: KeyShape = KeyShape::Table(CERTIFICATE);
const CERTIFICATE: &[TableKey] = &[keys::SERVER_CERTIFICATE, keys::PRIVATE_KEY.required()];
/// The key `tls` if the URL of a server says whether to use TLS.
pub(super) const TLS: TableKey = key(
    "tls",
    KeyShape::Either(&[KeyShape::Flag, KeyShape::Table(keys::TLS_KEYS)]),
    "TLS settings, if `url` uses TLS: { ca = \"ca.pem\", cert = \"own.pem\", key = \"own.key\", name = \"feed.example.org\" }. The \
     server's certificate is always checked.",
);
/// The keys of [`TLS_OF_HOST`].
pub const TLS_KEYS_OF_HOST: &[TableKey] = &[keys::TRUSTED_CA, keys::CLIENT_CERTIFICATE, keys::PRIVATE_KEY];
/// The same, if the name in the certificate is always the host of the URL.
pub(super) const TLS_OF_HOST: TableKey = key(
    "tls",
    KeyShape::Either(&[KeyShape::Flag, KeyShape::Table(TLS_KEYS_OF_HOST)]),
    "TLS settings, if `url` uses TLS: { ca = \"ca.pem\", cert = \"own.pem\", key = \"own.key\" }. The server's certificate is always \
     checked.",
);

impl Reader<'_> {
    /// Returns strings, none of them empty; an empty list if the key is absent.
    pub fn list(&self, key: &str, example: &str) -> Vec<String> {
        self.strings(key, example).unwrap_or_default()
    }

    /// Reads the key `headers`: headers other than those that are always sent.
    pub fn headers(&self) -> Vec<(String, String)> {
        let example = "headers = { \"X-Key\" = \"${NAME}\" }";
        let Some(inner) = self.inner("headers", example) else { return Vec::new() };
        let header = |(name, value): (&String, &Value)| match value {
            Value::String(text) => Some((name.clone(), text.clone())),
            other => {
                inner.wrong_type(name, other, "text", example);
                None
            }
        };
        inner.table.iter().filter_map(header).collect()
    }

    /// Reads the key `tls`; `None`: plain TCP.
    pub fn tls(&self) -> Option<TlsSpec> {
        tls::read(self)
    }

    /// Like [`Reader::tls`], for a table with these keys.
    pub fn tls_with(&self, keys: &[TableKey]) -> Option<TlsSpec> {
        tls::read_with(self, keys)
    }

    /// Reads the key `registry` of records that have a schema there.
    pub fn subject(&self) -> Option<SubjectSpec> {
        records::subject(self)
    }

    /// Reads `descriptor` and `message`.
    pub fn protobuf(&self) -> ProtobufSpec {
        records::protobuf(self, self.dir)
    }

    /// Reads the key `parts`.
    pub fn parts_by(&self) -> PartWriter {
        self.choice("parts", &[("batch", PartWriter::Batch), ("worker", PartWriter::Worker)], &[]).unwrap_or_default()
    }

    /// Reads the key `start`.
    pub fn start(&self) -> ServerStart {
        let choices = [("earliest", ServerStart::Earliest), ("latest", ServerStart::Latest)];
        self.choice("start", &choices, &[]).unwrap_or_default()
    }

    /// Reads the key `start` of a stream with times, which may be a time.
    pub fn stream_start(&self) -> Option<StreamStart> {
        let text = self.text("start", "start = \"latest\"")?;
        let time = || {
            let times = TimeParser::new(&ColumnSpec::new("start", ColumnType::Timestamp));
            times.read(text).ok().map(|micros| StreamStart::At(micros.div_euclid(1_000)))
        };
        let start = match text {
            "earliest" => Some(StreamStart::Earliest),
            "latest" => Some(StreamStart::Latest),
            _ => time(),
        };
        if start.is_none() {
            let hint = "write \"earliest\", \"latest\", or a time as \"2026-11-21T12:00:00Z\"";
            self.wrong("start", format!("`start = \"{text}\"` is not a valid start position; {hint}"));
        }
        start
    }

    /// Returns the destination of messages, set by one of two keys: a fixed one or (`Err`) the column that has it.
    pub fn either(&self, (fixed, one): (&str, &str), (from, column): (&str, &str)) -> Result<String, String> {
        match (self.has(fixed), self.has(from)) {
            (false, true) => Err(self.text(from, column).unwrap_or_default().to_owned()),
            (true, true) => {
                self.wrong(from, format!("`{fixed}` and `{from}` both say where messages go; remove one of them"));
                Ok("?".into())
            }
            (has, false) => {
                if !has {
                    self.need(fixed, &format!("{one}, or {column}"));
                }
                Ok(self.text(fixed, one).unwrap_or_default().to_owned())
            }
        }
    }

    /// Reads `mode`, `key` and `op` of a table.
    pub fn table_mode(&self) -> TableMode {
        let upsert = self.choice("mode", &[("append", false), ("upsert", true)], &["replace", "update", "delete"]);
        let example = "key = \"word\", or key = [\"a\", \"b\"]";
        match upsert {
            Some(true) => {
                self.need("key", example);
                TableMode::Upsert { key: self.strings("key", example).unwrap_or_default(), op: self.op() }
            }
            append => {
                // If the mode could not be read, the key may be right.
                if self.has("key") && (append.is_some() || !self.has("mode")) {
                    self.wrong("key", "`key` does nothing without mode = \"upsert\"; write that, or remove `key`");
                }
                if self.has("op") && (append.is_some() || !self.has("mode")) {
                    self.wrong(
                        "op",
                        "`op` does nothing without mode = \"upsert\"; write that and `key`, or remove `op`",
                    );
                }
                TableMode::Append
            }
        }
    }

    /// Reads the column with the operation of a row.
    pub fn op(&self) -> Option<String> {
        self.text("op", "op = \"op\", the name of a column").map(str::to_owned)
    }

    /// Reads the content of a message.
    pub fn message_format(&self) -> RecordFormat {
        let formats = [("json", RecordFormat::Json), ("text", RecordFormat::Text), ("binary", RecordFormat::Binary)];
        self.choice("format", &formats, &["csv", "parquet", "avro", "protobuf"]).unwrap_or(RecordFormat::Json)
    }
}

impl PartErrors<'_> {
    /// Checks the URL of a server, plain or with TLS.
    pub fn url(&self, url: &str, [plain, safe]: [&str; 2], tls: Option<&TlsSpec>) {
        if let Err(message) = http_url::begins_with(url, &[plain, safe]) {
            self.wrong("url", message);
        } else if tls.is_some() && url.starts_with(plain) {
            let message = format!("`tls` does nothing if `url` begins with {plain}; write {safe}, or remove `tls`");
            self.wrong("tls", message);
        }
    }

    /// Checks names of what is read or written.
    pub fn names(&self, key: &str, names: &[String]) {
        let mut seen = BTreeSet::new();
        for name in names {
            if name.is_empty() || name.chars().any(char::is_control) {
                self.wrong(key, format!("`{}` is not a valid name; use visible characters", name.escape_debug()));
            } else if !seen.insert(name) {
                self.wrong(key, format!("`{key}` names `{name}` twice; remove one"));
            }
        }
    }

    /// Checks an interval of polling.
    pub fn poll(&self, poll: Duration) {
        if let Err(message) = poll_fits(poll) {
            self.wrong("poll", message);
        }
    }

    /// Checks the number of partitions that a key names. `what` names them, for example "streams".
    pub fn partitions(&self, key: &str, count: usize, what: &str) {
        if count > POLLED_PARTITIONS_MAX {
            let message = format!(
                "`{key}` names {count} {what}, but a source reads at most {POLLED_PARTITIONS_MAX}, each on a \
                 thread; write several sources, and combine them with from = [\"a\", \"b\"]"
            );
            self.wrong(key, message);
        }
    }

    /// Checks `mode` and `key` of a table.
    pub fn table_mode(&self, mode: &TableMode) {
        super::super::parts::mode(mode, self);
    }

    /// Checks that a number is at least one.
    pub fn not_zero(&self, key: &str, value: u64) {
        if value == 0 {
            self.wrong(key, format!("`{key}` is 0; write at least 1"));
        }
    }

    /// Checks the name of a column.
    pub fn column(&self, key: &str, name: &str) {
        if name.is_empty() {
            self.wrong(key, format!("`{key}` is empty; write the name of a column"));
        }
    }
}
