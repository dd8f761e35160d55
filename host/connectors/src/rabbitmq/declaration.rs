//! What a job file says of sources and sinks of kind `rabbitmq`.

use super::settings::{RabbitmqKey, RabbitmqReads, RabbitmqWrites};
use super::{sink, source};
use crate::receiver::polled;
use arrow::datatypes::SchemaRef;
use millstream_base::batch::reading::MakeReader;
use millstream_base::batch::sink::Sink;
use millstream_base::error::Result;
use millstream_base::failure::Failure;
use millstream_base::job::PartMistakes;
use millstream_base::job::connector::{
    COLUMNS, MESSAGES, RECORDS, ROWS, START, SinkDeclaration, SourceDeclaration, TLS, WAIT,
};
use millstream_base::job::keys::{KeyShape, TableKey, key};
use millstream_base::job::spec::{ColumnSource, Origin, SourceSpec};
use millstream_base::job::spec::{SinkConfig, SinkServer, SinkStart, SourceConfig};
use millstream_base::job::table::Reader;
use millstream_base::owner::Owner;
use std::sync::Arc;

const KIND: &str = "rabbitmq";
const SCHEMES: [&str; 2] = ["amqp://", "amqps://"];
const URL_EXAMPLE: &str = "url = \"amqp://127.0.0.1:5672\"";
/// Bytes of the name of a queue or exchange, or of a routing key.
const TEXT_BYTES_MAX: usize = 255;

const URL: TableKey = key(
    "url",
    KeyShape::Text,
    "The server of RabbitMQ, as \"amqp://user:${RABBITMQ_PASSWORD}@host:5672/vhost\"; `amqps://` speaks TLS. ${NAME} is replaced by the \
     environment variable of that name, so that no password stands in the file.",
)
.required();

/// Sources.
pub const SOURCE: SourceDeclaration = SourceDeclaration {
    kind: KIND,
    doc: "queues and streams of RabbitMQ",
    keys: &[
        URL,
        key(
            "queue",
            KeyShape::Texts,
            "The queue to read, or a list of queues; each is a partition. Instead, `stream` names streams.",
        ),
        key("stream", KeyShape::Texts, "The stream to read, or a list of streams; each is a partition."),
        key(
            "start",
            START,
            "Where a job begins to read a stream that it has not read yet: at the oldest messages that are there (`earliest`, the \
             default), or behind the newest (`latest`).",
        ),
    ],
    shared: &[ROWS, COLUMNS, RECORDS, TLS],
    read: |r| Arc::new(RabbitmqReads::read(r)),
};

/// Sinks.
pub const SINK: SinkDeclaration = SinkDeclaration {
    kind: KIND,
    doc: "an exchange of RabbitMQ",
    keys: &[
        URL,
        key(
            "exchange",
            KeyShape::Text,
            "The exchange that messages are published to; by default the one without a name, which takes them to the queue that the \
             routing key names.",
        ),
        key(
            "routing_key",
            KeyShape::Text,
            "The routing key of all messages. Instead, `routing_key_from` may name a column.",
        ),
        key(
            "routing_key_from",
            KeyShape::Text,
            "The column that holds the routing key of each message; it is not in the message.",
        ),
    ],
    shared: &[MESSAGES, TLS, WAIT],
    read: |r| Arc::new(RabbitmqWrites::read(r)),
};

impl RabbitmqReads {
    fn read(r: &Reader<'_>) -> RabbitmqReads {
        let (queue, stream) = ("queue = \"orders\", or queue = [\"a\", \"b\"]", "stream = \"orders\"");
        match (r.has("queue"), r.has("stream")) {
            (false, false) => r.need("queue", &format!("{queue}, or {stream} where it is a stream")),
            (true, true) => r.wrong(
                "stream",
                "`queue` and `stream` both say what is read; remove one of them, or write two sources",
            ),
            _ => {}
        }
        let streams = r.has("stream");
        if !streams && r.has("start") {
            r.wrong("start", "`start` is for a `stream`: a queue hands out what it has; remove it");
        }
        let queues = if streams { r.list("stream", stream) } else { r.list("queue", queue) };
        RabbitmqReads { queues, streams, start: r.start(), url: r.url(URL_EXAMPLE) }
    }
}

impl RabbitmqWrites {
    fn read(r: &Reader<'_>) -> RabbitmqWrites {
        let key = r.either(
            ("routing_key", "routing_key = \"totals\""),
            ("routing_key_from", "routing_key_from = \"place\", the name of a column"),
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

    fn check(&self, source: &SourceSpec, part: &PartMistakes<'_>) {
        part.url(&self.url, SCHEMES, source.tls.as_ref());
        let key = if self.streams { "stream" } else { "queue" };
        part.names(key, &self.queues);
        self.queues.iter().for_each(|name| check_length(key, name, part));
        part.partitions(key, self.queues.len(), "of them");
    }

    fn promise(&self) -> &'static str {
        match self.streams {
            true => {
                "exactly once, with [checkpoint]; messages that the stream deletes before they are read end the job"
            }
            false => "at least once, with [checkpoint]: a message is acknowledged when a durable plan holds it",
        }
    }

    fn has_partitions(&self) -> bool {
        true
    }

    fn gives(&self, part: &ColumnSource) -> bool {
        use ColumnSource::*;
        match part {
            Offset => self.streams,
            part => matches!(part, Topic | Id | Timestamp | Headers | Header(_)),
        }
    }

    fn check_start(&self, source: &SourceSpec, origin: &Origin) -> Result<()> {
        polled::check(source, origin, source::Rabbitmq::of(source, self, origin))
    }

    fn readers(&self, source: &SourceSpec, origin: &Origin, _owner: Option<&Owner>) -> MakeReader {
        polled::readers((source, self, origin), source::Rabbitmq::of)
    }
}

impl SinkConfig for RabbitmqWrites {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn check(&self, part: &PartMistakes<'_>) {
        part.url(&self.server.url, SCHEMES, self.server.tls.as_ref());
        check_length("exchange", &self.exchange, part);
        match &self.key {
            RabbitmqKey::Fixed(key) => check_length("routing_key", key, part),
            RabbitmqKey::Column(name) => part.column("routing_key_from", name),
        }
    }

    fn promises(&self) -> Vec<String> {
        vec!["at least once: after a crash, or when a connection is lost, some messages come again, with the id that they had".into()]
    }

    fn is_text(&self) -> bool {
        self.format.is_text()
    }

    fn check_start(&self, start: SinkStart<'_>, schema: &SchemaRef, _keeps_checkpoints: bool) -> Result<()> {
        sink::check(self, start, schema)
    }

    fn await_server(&self, start: SinkStart<'_>) -> Result<()> {
        sink::await_answer(self, start)
    }

    fn open(
        &self,
        start: SinkStart<'_>,
        schema: &SchemaRef,
        owner: Option<&Owner>,
        failure: &Failure,
    ) -> Result<Box<dyn Sink>> {
        sink::open(self, start, schema, owner, failure)
    }
}

fn check_length(key: &str, name: &str, part: &PartMistakes<'_>) {
    if name.len() > TEXT_BYTES_MAX {
        part.wrong(key, format!("`{key}` has {} bytes, and AMQP allows {TEXT_BYTES_MAX}; shorten it", name.len()));
    }
}
