//! Declarations of `kinesis` sources and sinks: their keys in job files. Endpoint and credentials are in the environment (`AWS_…`).

use super::settings::{KinesisReads, KinesisWrites};
use super::{Stream, sink, source};
use arrow::datatypes::SchemaRef;
use millstream_base::error::Result;
use millstream_base::failure::Failure;
use millstream_base::limits::SERVER_WAIT_MS;
use millstream_connect::objects::environment;
use millstream_connect::receiver::{polled, wrong};
use millstream_job::PartErrors;
use millstream_job::connector::{JSON_ENCODING, RECORDS, ROWS, SinkDeclaration, SourceDeclaration};
use millstream_job::keys::{KeyShape, TableKey, columns, key};
use millstream_job::spec::{Origin, SourceSpec};
use millstream_job::spec::{SinkConfig, SinkStart, SourceConfig, SourceStart};
use millstream_job::table::Reader;
use millstream_rows::batch::column::ColumnSource;
use millstream_rows::batch::sink::Sink;
use millstream_rows::decode::spec::RecordBounds;
use std::sync::Arc;
use std::time::Duration;

const KIND: &str = "kinesis";
/// Maximum length of a stream's name.
const STREAM_BYTES_MAX: usize = 128;

const STREAM: TableKey = key("stream", KeyShape::Text, "Name of the Kinesis stream.").required();
const REGION: TableKey = key(
    "region",
    KeyShape::Text,
    "AWS region, for example \"eu-west-1\"; by default that of AWS_REGION. Credentials, and another endpoint, also come from the \
     environment.",
);

/// Sources of kind `kinesis`.
pub const SOURCE: SourceDeclaration = SourceDeclaration {
    kind: KIND,
    doc: "a Kinesis stream",
    keys: &[
        STREAM,
        REGION,
        key(
            "start",
            KeyShape::Text,
            "Where to begin without a saved position: \"earliest\", \"latest\", or a time such as \"2026-11-21T12:00:00Z\"; \
             \"earliest\" by default.",
        ),
        columns(&["key", "timestamp", "id"]),
    ],
    shared: &[ROWS, RECORDS],
    read: |r| KinesisReads::read(r).into(),
};

/// Sinks of kind `kinesis`.
pub const SINK: SinkDeclaration = SinkDeclaration {
    kind: KIND,
    doc: "a Kinesis stream",
    keys: &[
        STREAM,
        REGION,
        key(
            "key",
            KeyShape::Text,
            "Column with the partition key of records, which selects their shard. Without it, rows are spread over all shards.",
        ),
        key("wait", KeyShape::Time, "How long the job waits while the stream accepts no records, 1h by default."),
    ],
    shared: &[JSON_ENCODING],
    read: |r| KinesisWrites::read(r).into(),
};

impl KinesisReads {
    fn read(r: &Reader<'_>) -> KinesisReads {
        let (stream, region) = stream(r);
        KinesisReads { stream, region, start: r.stream_start().unwrap_or_default() }
    }

    /// Opens the stream; or returns the invalid key, and why.
    pub fn open(&self) -> std::result::Result<Stream, (&'static str, String)> {
        Stream::new(&self.stream, self.region.as_deref(), &environment())
    }

    fn found(&self, source: &SourceSpec, origin: &Origin) -> Result<Stream> {
        self.open().map_err(|(key, why)| wrong(source, origin, key, format!("cannot be used: {why}")))
    }
}

impl KinesisWrites {
    fn read(r: &Reader<'_>) -> KinesisWrites {
        let (stream, region) = stream(r);
        KinesisWrites {
            stream,
            region,
            key: r.text("key", "key = \"user\", the name of one column").map(str::to_owned),
            wait: r.time("wait").unwrap_or(Duration::from_millis(SERVER_WAIT_MS)),
        }
    }
}

/// Reads the name of the stream and its region.
fn stream(r: &Reader<'_>) -> (String, Option<String>) {
    let stream = r.needed_text("stream", "stream = \"orders\"");
    (stream, r.text("region", "region = \"eu-west-1\"").map(str::to_owned))
}

impl SourceConfig for KinesisReads {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn check(&self, _source: &SourceSpec, part: &PartErrors<'_>) {
        check_stream(&self.stream, self.region.as_deref(), part);
    }

    fn promise(&self) -> Option<&'static str> {
        Some("exactly once, with [checkpoint]; records that the stream deletes before they are read fail the job")
    }

    fn bounds(&self) -> RecordBounds {
        RecordBounds::Envelope
    }

    fn has_partitions(&self) -> bool {
        true
    }

    fn provides(&self, part: &ColumnSource) -> bool {
        matches!(part, ColumnSource::Id | ColumnSource::Timestamp | ColumnSource::Key)
    }

    fn check_start(&self, source: &SourceSpec, origin: &Origin) -> Result<()> {
        self.found(source, origin).map(drop)
    }

    fn start(&self, start: SourceStart<'_>) -> Result<()> {
        let SourceStart { source, origin, .. } = start;
        // All readers must know which shards were read to their end.
        let shared =
            self.found(source, origin).and_then(|stream| source::Shared::new(source, self, stream)).map(Arc::new);
        polled::start(
            start,
            Arc::new(move || Ok(Box::new(source::Kinesis::new(shared.as_ref().map_err(Clone::clone)?)))),
        );
        Ok(())
    }
}

impl SinkConfig for KinesisWrites {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn check(&self, part: &PartErrors<'_>) {
        check_stream(&self.stream, self.region.as_deref(), part);
        if self.key.as_ref().is_some_and(String::is_empty) {
            part.wrong("key", "`key` has an empty name; write the name of a column");
        }
    }

    fn promises(&self) -> Vec<String> {
        vec!["at least once: a stream keeps no marker".into()]
    }

    fn check_start(&self, start: SinkStart<'_>, schema: &SchemaRef, _keeps_checkpoints: bool) -> Result<()> {
        sink::check(self, start, schema)
    }

    /// The first batch connects, and waits.
    fn await_server(&self, _start: SinkStart<'_>) -> Result<()> {
        Ok(())
    }

    fn open(&self, start: SinkStart<'_>, schema: &SchemaRef, failure: &Failure) -> Result<Box<dyn Sink>> {
        sink::open(self, start, schema, start.owner, failure)
    }
}

/// Checks the name of a stream and its region.
fn check_stream(name: &str, region: Option<&str>, part: &PartErrors<'_>) {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if !(1..=STREAM_BYTES_MAX).contains(&name.len()) || !name.bytes().all(good) {
        let shown = name.escape_debug();
        let hint = match name.starts_with("arn:") {
            true => "write only the name at its end, and its region as `region`".to_owned(),
            false => format!("use up to {STREAM_BYTES_MAX} characters of a-z, A-Z, 0-9, `.`, `_` and `-`"),
        };
        part.wrong("stream", format!("`{shown}` is not a stream name; {hint}"));
    }
    if let Some(region) = region
        .filter(|region| region.is_empty() || !region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'))
    {
        part.wrong(
            "region",
            format!("`{}` is not a region; write one, for example \"eu-west-1\"", region.escape_debug()),
        );
    }
}
