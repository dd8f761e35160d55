//! What a job file says of sources and sinks of kind `flight`.

use super::limits::{MESSAGE_BYTES_MAX, MESSAGE_BYTES_MAX_MAX, STALL_MS};
use super::settings::{FlightDescriptor, FlightReads, FlightWrites};
use super::{sink, source};
use crate::receiver::wrong;
use arrow::datatypes::SchemaRef;
use millstream_base::batch::reading::MakeReader;
use millstream_base::batch::sink::Sink;
use millstream_base::error::Result;
use millstream_base::failure::Failure;
use millstream_base::job::connector::{ROWS, SinkDeclaration, SourceDeclaration, TLS, WAIT};
use millstream_base::job::keys::{KeyShape, TableKey, key};
use millstream_base::job::spec::{ColumnSource, Format, Origin, SourceSpec};
use millstream_base::job::spec::{SinkConfig, SinkServer, SinkStart, SourceConfig, Url};
use millstream_base::job::table::Reader;
use millstream_base::job::{PartMistakes, parts};
use millstream_base::owner::Owner;
use std::sync::Arc;
use std::time::Duration;

const KIND: &str = "flight";
const SCHEMES: [&str; 2] = ["grpc://", "grpc+tls://"];
const URL_EXAMPLE: &str = "url = \"grpc://127.0.0.1:8815\"";
const PATH_EXAMPLE: &str = "path = \"orders\", or path = [\"shop\", \"orders\"]";
const COMMAND_EXAMPLE: &str = "command = \"SELECT * FROM orders\"";

const URL: TableKey = key(
    "url",
    KeyShape::Text,
    "The server of Flight, as \"grpc://127.0.0.1:8815\" or \"grpc+tls://user:${PASSWORD}@host:8815\". ${NAME} is replaced by the \
     environment variable of that name, so that no password stands in the file.",
)
.required();
const TOKEN: TableKey = key(
    "token",
    KeyShape::Text,
    "Sent with each request as `Authorization: Bearer …`; write \"${NAME}\", so that it does not stand in the file.",
);

/// Sources.
pub const SOURCE: SourceDeclaration = SourceDeclaration {
    kind: KIND,
    doc: "a stream of a server of Arrow Flight",
    keys: &[
        URL,
        key(
            "path",
            KeyShape::Texts,
            "The path by which the server knows what is read, as \"orders\" or [\"shop\", \"orders\"]. Instead, `command` may say it.",
        ),
        key("command", KeyShape::Text, "The command that the server is given, such as a query that it understands."),
        TOKEN,
        key(
            "locations",
            KeyShape::Texts,
            "Where else the server may say that rows lie, as \"grpc+tls://worker-*.example.org:8815\", or a list; `*` stands for anything. \
             Servers there get the credentials. By default all rows come from the server itself.",
        ),
        key(
            "message_bytes_max",
            KeyShape::Size,
            "The longest message, a record batch, that is read, unpacked; 128MiB by default.",
        ),
        key(
            "stall",
            KeyShape::Time,
            "How long the server may be silent while rows are awaited, 5m by default; then the source asks again.",
        ),
        key("schema", KeyShape::Columns, "The columns of the stream that are read: name = \"type\".").required(),
    ],
    shared: &[ROWS, TLS],
    read: |r| Arc::new(FlightReads::read(r)),
};

/// Sinks.
pub const SINK: SinkDeclaration = SinkDeclaration {
    kind: KIND,
    doc: "a stream of a server of Arrow Flight",
    keys: &[
        URL,
        key(
            "path",
            KeyShape::Texts,
            "The path by which the server knows where rows go, as \"orders\" or [\"shop\", \"orders\"]. Instead, `command` may say it.",
        ),
        key("command", KeyShape::Text, "The command that the server is given with the rows."),
        TOKEN,
        key(
            "timeout",
            KeyShape::Time,
            "How long the server may take over a batch, 5m by default; then the batch is sent again.",
        ),
    ],
    shared: &[TLS, WAIT],
    read: |r| Arc::new(FlightWrites::read(r)),
};

impl FlightReads {
    /// With defaults.
    pub fn new(url: impl Into<String>, wanted: FlightDescriptor) -> FlightReads {
        FlightReads {
            url: Url(url.into()),
            wanted,
            token: None,
            locations: Vec::new(),
            message_bytes_max: MESSAGE_BYTES_MAX,
            stall: Duration::from_millis(STALL_MS),
        }
    }

    fn read(r: &Reader<'_>) -> FlightReads {
        r.need("schema", "schema = { id = \"int64\", name = \"text\" }, columns of the stream");
        let usual = FlightReads::new("", descriptor(r));
        FlightReads {
            token: token(r),
            locations: r.list("locations", "locations = \"grpc+tls://worker-*.example.org:8815\", or a list"),
            message_bytes_max: r.size("message_bytes_max", 1, MESSAGE_BYTES_MAX_MAX).unwrap_or(usual.message_bytes_max),
            stall: r.time("stall").unwrap_or(usual.stall),
            url: r.url(URL_EXAMPLE),
            ..usual
        }
    }
}

impl FlightWrites {
    fn read(r: &Reader<'_>) -> FlightWrites {
        FlightWrites {
            to: descriptor(r),
            token: token(r),
            timeout: r.time("timeout").unwrap_or(Duration::from_millis(STALL_MS)),
            server: SinkServer::read(r, URL_EXAMPLE),
        }
    }
}

/// How the server knows the stream, which one of two keys says.
fn descriptor(r: &Reader<'_>) -> FlightDescriptor {
    match (r.has("path"), r.has("command")) {
        (false, true) => {
            return FlightDescriptor::Command(r.text("command", COMMAND_EXAMPLE).unwrap_or("?").to_owned());
        }
        (false, false) => r.need("path", &format!("{PATH_EXAMPLE}, or {COMMAND_EXAMPLE}")),
        (true, true) => r.wrong("command", "`path` and `command` both say what is meant; remove one of them"),
        (true, false) => {}
    }
    FlightDescriptor::Path(r.list("path", PATH_EXAMPLE))
}

fn token(r: &Reader<'_>) -> Option<String> {
    r.text("token", "token = \"${NAME}\"").map(str::to_owned)
}

impl SourceConfig for FlightReads {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn check(&self, source: &SourceSpec, part: &PartMistakes<'_>) {
        part.url(&self.url, SCHEMES, source.tls.as_ref());
        check_descriptor(&self.wanted, part);
        self.token.iter().for_each(|token| parts::token(token, part));
        for location in &self.locations {
            if !SCHEMES.iter().any(|scheme| location.starts_with(scheme)) {
                let shown = location.escape_debug();
                part.wrong(
                    "locations",
                    format!("`{shown}` is no place of a server; write it as \"grpc+tls://worker-*.example.org:8815\""),
                );
            } else if self.url.starts_with(SCHEMES[1]) && location.starts_with(SCHEMES[0]) {
                let shown = location.escape_debug();
                part.wrong("locations", format!("`{shown}` is without TLS, and `url` has it; write grpc+tls://"));
            }
        }
        if self.stall.is_zero() {
            part.wrong("stall", "`stall` is 0s, by which no server could answer; write a time as \"5m\"");
        }
        if source.format != Format::Json {
            let word = source.format.word();
            part.wrong(
                "format",
                format!("streams of Flight have columns and no format, and it says `{word}`; remove `format`"),
            );
        }
    }

    fn promise(&self) -> &'static str {
        "exactly once, with [checkpoint], of a server that gives the same rows in the same order again; other rows end the job"
    }

    fn has_partitions(&self) -> bool {
        true
    }

    /// What a stream is made of is told anew to each who asks.
    fn is_spread(&self) -> bool {
        false
    }

    fn are_fields(&self) -> bool {
        true
    }

    fn gives(&self, _part: &ColumnSource) -> bool {
        false
    }

    fn writes_hex(&self) -> bool {
        true
    }

    fn check_start(&self, source: &SourceSpec, origin: &Origin) -> Result<()> {
        source::check(self, source, origin).map_err(|(key, message)| wrong(source, origin, key, message))
    }

    fn readers(&self, source: &SourceSpec, origin: &Origin, _owner: Option<&Owner>) -> MakeReader {
        // Who reads a part of a stream, and who asks which there are, know of each other.
        let shared = source::Shared::of(source, self, origin)
            .map(Arc::new)
            .map_err(|(key, message)| wrong(source, origin, key, message));
        Arc::new(move || Ok(Box::new(source::Flight::new(shared.as_ref().map_err(Clone::clone)?))))
    }
}

impl SinkConfig for FlightWrites {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn check(&self, part: &PartMistakes<'_>) {
        part.url(&self.server.url, SCHEMES, self.server.tls.as_ref());
        check_descriptor(&self.to, part);
        self.token.iter().for_each(|token| parts::token(token, part));
        if self.timeout.is_zero() {
            part.wrong("timeout", "`timeout` is 0s, by which no server could answer; write a time as \"5m\"");
        }
    }

    fn promises(&self) -> Vec<String> {
        vec!["at least once: after a crash, or when a connection is lost, some batches come again, with the number that they had".into()]
    }

    fn check_start(&self, start: SinkStart<'_>, _schema: &SchemaRef, _keeps_checkpoints: bool) -> Result<()> {
        sink::check(self, start)
    }

    fn await_server(&self, start: SinkStart<'_>) -> Result<()> {
        sink::await_answer(self, start)
    }

    fn open(
        &self,
        start: SinkStart<'_>,
        _schema: &SchemaRef,
        owner: Option<&Owner>,
        failure: &Failure,
    ) -> Result<Box<dyn Sink>> {
        sink::open(self, start, owner, failure)
    }
}

fn check_descriptor(descriptor: &FlightDescriptor, part: &PartMistakes<'_>) {
    match descriptor {
        FlightDescriptor::Path(names) => {
            if names.iter().any(String::is_empty) {
                part.wrong("path", "`path` has an empty name; write it as \"orders\" or [\"shop\", \"orders\"]");
            }
        }
        FlightDescriptor::Command(command) if command.is_empty() => {
            part.wrong("command", "`command` is empty; write what the server understands");
        }
        FlightDescriptor::Command(_) => {}
    }
}
