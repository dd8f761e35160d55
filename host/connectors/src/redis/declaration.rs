//! Declarations of `redis` sources and sinks: their keys in job files.

use super::settings::{RedisReads, RedisWrites};
use super::{sink, source};
use arrow::datatypes::SchemaRef;
use millstream_base::error::Result;
use millstream_base::failure::Failure;
use millstream_base::ids::BatchId;
use millstream_connect::receiver::polled;
use millstream_job::PartErrors;
use millstream_job::connector::{RECORDS, ROWS, START, SinkDeclaration, SourceDeclaration, TLS_OF_HOST, WAIT};
use millstream_job::keys::{KeyShape, RECORD_FORMATS, TableKey, columns, key};
use millstream_job::spec::{Origin, SourceSpec, TlsSpec};
use millstream_job::spec::{SinkConfig, SinkServer, SinkStart, SourceConfig, SourceStart};
use millstream_job::table::Reader;
use millstream_rows::batch::column::ColumnSource;
use millstream_rows::batch::sink::Sink;
use millstream_rows::decode::spec::RecordBounds;
use millstream_rows::formats::Format;

const KIND: &str = "redis";
const SCHEMES: [&str; 2] = ["redis://", "rediss://"];
const URL_EXAMPLE: &str = "url = \"redis://127.0.0.1:6379\"";
const FIELD_EXAMPLE: &str = "field = \"data\"";

const URL: TableKey = key(
    "url",
    KeyShape::Text,
    "Redis server, for example \"redis://user:${REDIS_PASSWORD}@host:6379/0\"; `rediss://` uses TLS. ${NAME} is replaced by that \
     environment variable, which keeps the password out of the file.",
)
.required();

/// Sources of kind `redis`.
pub const SOURCE: SourceDeclaration = SourceDeclaration {
    kind: KIND,
    doc: "Redis streams",
    keys: &[
        URL,
        key("stream", KeyShape::TextList, "Stream to read, or a list of streams; each is a partition.").required(),
        key(
            "field",
            KeyShape::Text,
            "Field of an entry that holds the record, in the format of the source. Without it, the fields are the columns, by \
             name.",
        ),
        key(
            "start",
            START,
            "Where to begin without a saved position: at the oldest entries (`earliest`), or after the newest (`latest`). \
             `earliest` by default.",
        ),
        key(
            "format",
            RECORD_FORMATS,
            "Format of the record in `field`, `text` by default. Without `field`, the format is `json`.",
        ),
        columns(&["topic", "id", "timestamp"]),
    ],
    shared: &[ROWS, RECORDS, TLS_OF_HOST],
    read: |r| RedisReads::read(r).into(),
};

/// Sinks of kind `redis`.
pub const SINK: SinkDeclaration = SinkDeclaration {
    kind: KIND,
    doc: "a Redis stream",
    keys: &[
        URL,
        key("stream", KeyShape::Text, "Stream to which each row is added as an entry.").required(),
        key(
            "field",
            KeyShape::Text,
            "Field of an entry that holds the row as JSON. Without it, each column is a field, as text, and nulls are omitted.",
        ),
        key(
            "maxlen",
            KeyShape::Integer(1, i64::MAX as u64),
            "Approximate maximum length of the stream. Older entries are deleted, even if unread. Unlimited by default.",
        ),
    ],
    shared: &[TLS_OF_HOST, WAIT],
    read: |r| RedisWrites::read(r).into(),
};

impl RedisReads {
    fn read(r: &Reader<'_>) -> RedisReads {
        let example = "stream = \"orders\", or stream = [\"a\", \"b\"]";
        r.need("stream", example);
        RedisReads {
            streams: r.list("stream", example),
            field: r.text("field", FIELD_EXAMPLE).map(str::to_owned),
            start: r.start(),
            url: r.url(URL_EXAMPLE),
        }
    }
}

impl RedisWrites {
    fn read(r: &Reader<'_>) -> RedisWrites {
        RedisWrites {
            stream: r.needed_text("stream", "stream = \"totals\""),
            field: r.text("field", FIELD_EXAMPLE).map(str::to_owned),
            entries_max: r.integer("maxlen", 1, i64::MAX as u64),
            server: SinkServer::read(r, URL_EXAMPLE),
        }
    }
}

impl SourceConfig for RedisReads {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn check(&self, source: &SourceSpec, part: &PartErrors<'_>) {
        part.url(&self.url, SCHEMES, source.tls.as_ref());
        check_tls_name(source.tls.as_ref(), part);
        part.names("stream", &self.streams);
        part.partitions("stream", self.streams.len(), "streams");
        if self.are_fields() && source.format != Format::Json {
            let word = source.format.keyword();
            let message = format!(
                "without `field`, the fields of an entry are its columns, and the format is `{word}`; name the field that holds the record, \
                 for example field = \"data\", or write format = \"json\""
            );
            part.wrong("format", message);
        }
    }

    fn promise(&self) -> Option<&'static str> {
        Some("exactly once, with [checkpoint]; entries that the server trims before they are read fail the job")
    }

    fn bounds(&self) -> RecordBounds {
        RecordBounds::Envelope
    }

    fn has_partitions(&self) -> bool {
        true
    }

    fn are_fields(&self) -> bool {
        self.field.is_none()
    }

    fn provides(&self, part: &ColumnSource) -> bool {
        matches!(part, ColumnSource::Id | ColumnSource::Timestamp | ColumnSource::Topic)
    }

    fn check_start(&self, source: &SourceSpec, origin: &Origin) -> Result<()> {
        polled::check(source, origin, source::Redis::new(source, self, origin))
    }

    fn start(&self, start: SourceStart<'_>) -> Result<()> {
        let readers = polled::readers((start.source, self, start.origin), source::Redis::new);
        polled::start(start, readers);
        Ok(())
    }
}

impl SinkConfig for RedisWrites {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn check(&self, part: &PartErrors<'_>) {
        part.url(&self.server.url, SCHEMES, self.server.tls.as_ref());
        check_tls_name(self.server.tls.as_ref(), part);
        part.names("stream", std::slice::from_ref(&self.stream));
    }

    fn promises(&self) -> Vec<String> {
        vec!["exactly once, with [checkpoint], if the server loses nothing that it has confirmed".into()]
    }

    fn check_start(&self, start: SinkStart<'_>, schema: &SchemaRef, _keeps_checkpoints: bool) -> Result<()> {
        sink::check(self, start, schema)
    }

    fn await_server(&self, start: SinkStart<'_>) -> Result<()> {
        sink::await_server(self, start)
    }

    fn open(&self, start: SinkStart<'_>, _schema: &SchemaRef, failure: &Failure) -> Result<Box<dyn Sink>> {
        sink::open(self, start, start.owner, failure)
    }

    fn committed(&self, start: SinkStart<'_>, job_id: &str) -> Result<Option<BatchId>> {
        sink::committed(self, start, job_id)
    }
}

fn check_tls_name(tls: Option<&TlsSpec>, part: &PartErrors<'_>) {
    if tls.is_some_and(|tls| tls.name.is_some()) {
        part.wrong("tls", "`tls.name` is not for kind `redis`; write the name in the certificate into `url`");
    }
}
