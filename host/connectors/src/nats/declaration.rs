//! Declares sources and sinks of kind `nats`: their keys, checks and guarantees.

use super::settings::{NatsReads, NatsSubject, NatsWrites};
use super::{sink, source, subject};
use arrow::datatypes::SchemaRef;
use millstream_base::error::Result;
use millstream_base::failure::Failure;
use millstream_base::ids::BatchId;
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

const KIND: &str = "nats";
const SCHEMES: [&str; 2] = ["nats://", "tls://"];
const URL_EXAMPLE: &str = "url = \"nats://127.0.0.1:4222\"";
const CREDENTIALS_EXAMPLE: &str = "credentials = \"job.creds\"";

const URL: TableKey = key(
    "url",
    KeyShape::Text,
    "NATS server, for example \"nats://user:${NATS_PASSWORD}@host:4222\" or \"nats://${NATS_TOKEN}@host:4222\"; `tls://` uses \
     TLS. ${NAME} is replaced by that environment variable, which keeps the password out of the file.",
)
.required();
const CREDENTIALS: TableKey = key(
    "credentials",
    KeyShape::Text,
    "Path to a NATS credentials file (`.creds`, with a JWT and the seed of a key), or a file with only the seed (an nkey). It is \
     read at each connection, and replaces user, password or token in `url`.",
);

/// The source.
pub const SOURCE: SourceDeclaration = SourceDeclaration {
    kind: KIND,
    doc: "a NATS JetStream stream",
    keys: &[
        URL,
        key("stream", KeyShape::TextList, "JetStream stream to read, or a list of streams; each is a partition.")
            .required(),
        key(
            "subject",
            KeyShape::TextList,
            "Subjects of a stream to read, with `*` for one token and `>` for all further tokens: \"orders.*.new\", or a list; \
             by default all.",
        ),
        key(
            "start",
            START,
            "Where to begin without a saved position: at the oldest messages (`earliest`), or after the newest (`latest`). \
             `earliest` by default.",
        ),
        CREDENTIALS,
        columns(&["topic", "offset", "timestamp", "headers", "header.NAME"]),
    ],
    shared: &[ROWS, RECORDS, TLS],
    read: |r| NatsReads::read(r).into(),
};

/// The sink.
pub const SINK: SinkDeclaration = SinkDeclaration {
    kind: KIND,
    doc: "a NATS JetStream stream",
    keys: &[
        URL,
        key(
            "stream",
            KeyShape::Text,
            "JetStream stream for the messages. If it does not exist and `subject` is set, it is created.",
        )
        .required(),
        key("subject", KeyShape::Text, "Subject of all messages. `subject_from` names a column instead."),
        key("subject_from", KeyShape::Text, "Column with the subject of each message; it is not part of the message."),
        key(
            "exactly_once",
            KeyShape::Flag,
            "Require a stream with atomic batches (`allow_atomic`). If false, messages may be duplicated after a crash. true by \
             default.",
        ),
        CREDENTIALS,
    ],
    shared: &[MESSAGES, TLS, WAIT],
    read: |r| NatsWrites::read(r).into(),
};

impl NatsReads {
    fn read(r: &Reader<'_>) -> NatsReads {
        let example = "stream = \"ORDERS\", or stream = [\"A\", \"B\"]";
        r.need("stream", example);
        NatsReads {
            streams: r.list("stream", example),
            subjects: r.list("subject", "subject = \"orders.*.new\", or subject = [\"a.>\", \"b\"]"),
            start: r.start(),
            credentials: r.path("credentials", CREDENTIALS_EXAMPLE),
            url: r.url(URL_EXAMPLE),
        }
    }
}

impl NatsWrites {
    fn read(r: &Reader<'_>) -> NatsWrites {
        let stream = r.needed_text("stream", "stream = \"TOTALS\"");
        let subject = r.either(
            ("subject", "subject = \"totals.eu\""),
            ("subject_from", "subject_from = \"subject\", the name of a column"),
        );
        NatsWrites {
            stream,
            subject: subject.map_or_else(NatsSubject::Column, NatsSubject::Fixed),
            format: r.message_format(),
            exactly_once: r.flag("exactly_once").unwrap_or(true),
            credentials: r.path("credentials", CREDENTIALS_EXAMPLE),
            server: SinkServer::read(r, URL_EXAMPLE),
        }
    }
}

impl SourceConfig for NatsReads {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn check(&self, source: &SourceSpec, part: &PartErrors<'_>) {
        part.url(&self.url, SCHEMES, source.tls.as_ref());
        part.names("stream", &self.streams);
        self.streams.iter().for_each(|stream| check_stream(stream, part));
        part.names("subject", &self.subjects);
        for filter in &self.subjects {
            if let Err(why) = subject::check_filter(filter) {
                part.wrong(
                    "subject",
                    format!(
                        "`{}` is not a subject to read: it {why}; write it as \"orders.*.new\" or \"orders.>\"",
                        filter.escape_debug()
                    ),
                );
            }
        }
        part.partitions("stream", self.streams.len(), "streams");
    }

    fn promise(&self) -> Option<&'static str> {
        Some("exactly once, with [checkpoint]; messages that the stream deletes before they are read fail the job")
    }

    fn bounds(&self) -> RecordBounds {
        RecordBounds::Envelope
    }

    fn has_partitions(&self) -> bool {
        true
    }

    fn provides(&self, part: &ColumnSource) -> bool {
        use ColumnSource::*;
        matches!(part, Topic | Offset | Timestamp | Headers | Header(_))
    }

    fn check_start(&self, source: &SourceSpec, origin: &Origin) -> Result<()> {
        polled::check(source, origin, source::NatsReader::new(source, self, origin))
    }

    fn start(&self, start: SourceStart<'_>) -> Result<()> {
        let readers = polled::readers((start.source, self, start.origin), source::NatsReader::new);
        polled::start(start, readers);
        Ok(())
    }
}

impl SinkConfig for NatsWrites {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn check(&self, part: &PartErrors<'_>) {
        part.url(&self.server.url, SCHEMES, self.server.tls.as_ref());
        check_stream(&self.stream, part);
        match &self.subject {
            NatsSubject::Fixed(subject) => {
                if let Err(why) = subject::check(subject) {
                    let shown = subject.escape_debug();
                    let help = "write one, for example \"totals.eu\", or subject_from = \"column\"";
                    part.wrong("subject", format!("`{shown}` is not a subject to publish to: it {why}; {help}"));
                }
            }
            NatsSubject::Column(name) => part.column("subject_from", name),
        }
    }

    fn promises(&self) -> Vec<String> {
        let promise = match self.exactly_once {
            true => "exactly once, with [checkpoint], if the stream keeps the job's marker",
            false => "at least once; the stream removes duplicates within its deduplication window",
        };
        vec![promise.into()]
    }

    fn is_text(&self) -> bool {
        self.format.is_text()
    }

    fn check_start(&self, start: SinkStart<'_>, schema: &SchemaRef, keeps_checkpoints: bool) -> Result<()> {
        sink::check(self, start, schema, keeps_checkpoints)
    }

    fn await_server(&self, start: SinkStart<'_>) -> Result<()> {
        sink::await_server(self, start)
    }

    fn open(&self, start: SinkStart<'_>, schema: &SchemaRef, failure: &Failure) -> Result<Box<dyn Sink>> {
        sink::open(self, start, schema, start.owner, failure)
    }

    fn committed(&self, start: SinkStart<'_>, job_id: &str) -> Result<Option<BatchId>> {
        sink::committed(self, start, job_id)
    }
}

fn check_stream(name: &str, part: &PartErrors<'_>) {
    if !subject::is_stream(name) {
        let shown = name.escape_debug();
        part.wrong(
            "stream",
            format!("`{shown}` is not a stream name; a name must not contain blanks, `.`, `*`, `>`, `/` or `\\`"),
        );
    }
}
