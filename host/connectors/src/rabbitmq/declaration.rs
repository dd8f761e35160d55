//! Declares sources and sinks of kind `rabbitmq`: their keys, checks and guarantees.

use super::settings::{RabbitmqKey, RabbitmqReads, RabbitmqWrites};
use super::{sink, source};
use arrow::datatypes::SchemaRef;
use millstream_base::error::Result;
use millstream_base::failure::Failure;
use millstream_connect::receiver::polled;
use millstream_job::PartErrors;
use millstream_job::connector::{MESSAGES, RECORDS, ROWS, START, SinkDeclaration, SourceDeclaration, TLS, WAIT};
use millstream_job::keys::{KeyShape, TableKey, columns, key};
use millstream_job::spec::{Origin, SourceSpec};
use millstream_job::spec::{SinkConfig, SinkServer, SinkStart, SourceConfig, SourceStart};
use millstream_job::table::Reader;
use millstream_rows::batch::column::ColumnSource;
use millstream_rows::batch::sink::Sink;
use millstream_rows::decode::spec::RecordBounds;

const KIND: &str = "rabbitmq";
const SCHEMES: [&str; 2] = ["amqp://", "amqps://"];
const URL_EXAMPLE: &str = "url = \"amqp://127.0.0.1:5672\"";
/// Maximum bytes of the name of a queue or exchange, or of a routing key.
const TEXT_BYTES_MAX: usize = 255;

const URL: TableKey = key(
    "url",
    KeyShape::Text,
    "RabbitMQ server, for example \"amqp://user:${RABBITMQ_PASSWORD}@host:5672/vhost\"; `amqps://` uses TLS. ${NAME} is replaced \
     by that environment variable, which keeps the password out of the file.",
)
.required();

/// The source.
pub const SOURCE: SourceDeclaration = SourceDeclaration {
    kind: KIND,
    doc: "RabbitMQ queues and streams",
    keys: &[
        URL,
        key(
            "queue",
            KeyShape::TextList,
            "Queue to read, or a list of queues; each is a partition. `stream` names streams instead.",
        ),
        key("stream", KeyShape::TextList, "Stream to read, or a list of streams; each is a partition."),
        key(
            "start",
            START,
            "Where to begin to read a stream without a saved position: at the oldest messages (`earliest`), or after the newest \
             (`latest`). `earliest` by default.",
        ),
        columns(&["topic", "id", "timestamp", "offset", "headers", "header.NAME"]),
    ],
    shared: &[ROWS, RECORDS, TLS],
    read: |r| RabbitmqReads::read(r).into(),
};

/// The sink.
pub const SINK: SinkDeclaration = SinkDeclaration {
    kind: KIND,
    doc: "a RabbitMQ exchange",
    keys: &[
        URL,
        key(
            "exchange",
            KeyShape::Text,
            "Exchange for the messages, by default the default exchange, which routes them to the queue named by the routing key.",
        ),
        key("routing_key", KeyShape::Text, "Routing key of all messages. `routing_key_from` names a column instead."),
        key(
            "routing_key_from",
            KeyShape::Text,
            "Column with the routing key of each message; it is not part of the message.",
        ),
    ],
    shared: &[MESSAGES, TLS, WAIT],
    read: |r| RabbitmqWrites::read(r).into(),
};

impl RabbitmqReads {
    fn read(r: &Reader<'_>) -> RabbitmqReads {
        let (queue, stream) = ("queue = \"orders\", or queue = [\"a\", \"b\"]", "stream = \"orders\"");
        match (r.has("queue"), r.has("stream")) {
            (false, false) => r.need("queue", &format!("{queue}, or {stream} for a stream")),
            (true, true) => r.wrong(
                "stream",
                "`queue` and `stream` both say what is read; remove one of them, or write two sources",
            ),
            _ => {}
        }
        let streams = r.has("stream");
        if !streams && r.has("start") {
            r.wrong("start", "`start` is for a `stream`, because a queue has no positions; remove it");
        }
        let queues = if streams { r.list("stream", stream) } else { r.list("queue", queue) };
        RabbitmqReads { queues, streams, start: r.start(), url: r.url(URL_EXAMPLE) }
    }
}

impl RabbitmqWrites {
    fn read(r: &Reader<'_>) -> RabbitmqWrites {
        let key = r.either(
            ("routing_key", "routing_key = \"totals\""),
            ("routing_key_from", "routing_key_from = \"region\", the name of a column"),
        );
        RabbitmqWrites {
            exchange: r.text("exchange", "exchange = \"totals\"").unwrap_or_default().to_owned(),
            key: key.map_or_else(RabbitmqKey::Column, RabbitmqKey::Fixed),
            format: r.message_format(),
            server: SinkServer::read(r, URL_EXAMPLE),
        }
    }
}

impl SourceConfig for RabbitmqReads {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn check(&self, source: &SourceSpec, part: &PartErrors<'_>) {
        part.url(&self.url, SCHEMES, source.tls.as_ref());
        let key = if self.streams { "stream" } else { "queue" };
        part.names(key, &self.queues);
        self.queues.iter().for_each(|name| check_length(key, name, part));
        part.partitions(key, self.queues.len(), "of them");
    }

    fn promise(&self) -> Option<&'static str> {
        Some(match self.streams {
            true => {
                "exactly once, with [checkpoint]; messages that the stream deletes before they are read fail the job"
            }
            false => "at least once, with [checkpoint]: a message is acknowledged when a durable plan holds it",
        })
    }

    fn bounds(&self) -> RecordBounds {
        RecordBounds::Envelope
    }

    fn has_partitions(&self) -> bool {
        true
    }

    fn provides(&self, part: &ColumnSource) -> bool {
        use ColumnSource::*;
        match part {
            Offset => self.streams,
            part => matches!(part, Topic | Id | Timestamp | Headers | Header(_)),
        }
    }

    fn check_start(&self, source: &SourceSpec, origin: &Origin) -> Result<()> {
        polled::check(source, origin, source::RabbitmqReader::new(source, self, origin))
    }

    fn start(&self, start: SourceStart<'_>) -> Result<()> {
        let readers = polled::readers((start.source, self, start.origin), source::RabbitmqReader::new);
        polled::start(start, readers);
        Ok(())
    }
}

impl SinkConfig for RabbitmqWrites {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn check(&self, part: &PartErrors<'_>) {
        part.url(&self.server.url, SCHEMES, self.server.tls.as_ref());
        check_length("exchange", &self.exchange, part);
        match &self.key {
            RabbitmqKey::Fixed(key) => check_length("routing_key", key, part),
            RabbitmqKey::Column(name) => part.column("routing_key_from", name),
        }
    }

    fn promises(&self) -> Vec<String> {
        vec![
            "at least once: after a crash, or when a connection is lost, some messages are sent again, with the \
            same ID"
                .into(),
        ]
    }

    fn is_text(&self) -> bool {
        self.format.is_text()
    }

    fn check_start(&self, start: SinkStart<'_>, schema: &SchemaRef, _keeps_checkpoints: bool) -> Result<()> {
        sink::check(self, start, schema)
    }

    fn await_server(&self, start: SinkStart<'_>) -> Result<()> {
        sink::await_server(self, start)
    }

    fn open(&self, start: SinkStart<'_>, schema: &SchemaRef, failure: &Failure) -> Result<Box<dyn Sink>> {
        sink::open(self, start, schema, start.owner, failure)
    }
}

fn check_length(key: &str, name: &str, part: &PartErrors<'_>) {
    if name.len() > TEXT_BYTES_MAX {
        part.wrong(key, format!("`{key}` has {} bytes, and AMQP allows {TEXT_BYTES_MAX}; shorten it", name.len()));
    }
}
