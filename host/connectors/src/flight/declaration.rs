//! Declarations of `flight` sources and sinks: their keys in job files.

use super::limits::{MESSAGE_BYTES_MAX, MESSAGE_BYTES_MAX_MAX, STALL_MS};
use super::settings::{FlightDescriptor, FlightReads, FlightWrites};
use super::{sink, source};
use arrow::datatypes::SchemaRef;
use millstream_base::error::Result;
use millstream_base::failure::Failure;
use millstream_connect::receiver::{polled, wrong};
use millstream_job::connector::{ROWS, SinkDeclaration, SourceDeclaration, TLS, WAIT};
use millstream_job::keys::{JSON_FORMAT, KeyShape, TableKey, key};
use millstream_job::spec::{Origin, SourceSpec};
use millstream_job::spec::{SinkConfig, SinkServer, SinkStart, SourceConfig, SourceStart, Url};
use millstream_job::table::Reader;
use millstream_job::{PartErrors, parts};
use millstream_rows::batch::sink::Sink;
use millstream_rows::decode::spec::RecordBounds;
use millstream_rows::formats::Format;
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
    "Flight server, for example \"grpc://127.0.0.1:8815\" or \"grpc+tls://user:${PASSWORD}@host:8815\". ${NAME} is replaced by \
     that environment variable, which keeps the password out of the file.",
)
.required();
const TOKEN: TableKey = key(
    "token",
    KeyShape::Text,
    "Token sent with each request as `Authorization: Bearer …`; \"${NAME}\" keeps it out of the file.",
);

/// Sources of kind `flight`.
pub const SOURCE: SourceDeclaration = SourceDeclaration {
    kind: KIND,
    doc: "an Arrow Flight stream",
    keys: &[
        URL,
        key(
            "path",
            KeyShape::TextList,
            "Path of the stream on the server: \"orders\" or [\"shop\", \"orders\"]. `command` selects a stream instead.",
        ),
        key("command", KeyShape::Text, "Command that selects the stream, such as a query that the server supports."),
        TOKEN,
        key(
            "locations",
            KeyShape::TextList,
            "Other servers from which rows may come, for example \"grpc+tls://worker-*.example.org:8815\", or a list; `*` matches \
             any characters. They receive the credentials. By default all rows must come from the server of `url`.",
        ),
        key(
            "message_bytes_max",
            KeyShape::Size,
            "Maximum size of a message (a record batch), decompressed, 128MiB by default.",
        ),
        key(
            "stall",
            KeyShape::Time,
            "How long the server may send nothing while the source waits for rows, 5m by default; then the source sends the \
             request again.",
        ),
        key("format", JSON_FORMAT, "Not needed, because a stream has columns. Only `json` is allowed."),
        key("schema", KeyShape::Columns(&[]), "Columns of the stream to read: name = \"type\".").required(),
    ],
    shared: &[ROWS, TLS],
    read: |r| FlightReads::read(r).into(),
};

/// Sinks of kind `flight`.
pub const SINK: SinkDeclaration = SinkDeclaration {
    kind: KIND,
    doc: "an Arrow Flight stream",
    keys: &[
        URL,
        key(
            "path",
            KeyShape::TextList,
            "Path of the stream on the server: \"orders\" or [\"shop\", \"orders\"]. `command` selects a stream instead.",
        ),
        key("command", KeyShape::Text, "Command that the server receives with the rows."),
        TOKEN,
        key(
            "timeout",
            KeyShape::Time,
            "Timeout for the server to take a batch, 5m by default; then the batch is sent again.",
        ),
    ],
    shared: &[TLS, WAIT],
    read: |r| FlightWrites::read(r).into(),
};

impl FlightReads {
    /// Returns settings with defaults.
    pub fn new(url: impl Into<String>, requested: FlightDescriptor) -> FlightReads {
        FlightReads {
            url: Url(url.into()),
            requested,
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

/// Reads the stream's descriptor, which one of two keys sets.
fn descriptor(r: &Reader<'_>) -> FlightDescriptor {
    match (r.has("path"), r.has("command")) {
        (false, true) => {
            return FlightDescriptor::Command(r.text("command", COMMAND_EXAMPLE).unwrap_or("?").to_owned());
        }
        (false, false) => r.need("path", &format!("{PATH_EXAMPLE}, or {COMMAND_EXAMPLE}")),
        (true, true) => r.wrong("command", "`path` and `command` both select the stream; remove one of them"),
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

    fn check(&self, source: &SourceSpec, part: &PartErrors<'_>) {
        part.url(&self.url, SCHEMES, source.tls.as_ref());
        check_descriptor(&self.requested, part);
        self.token.iter().for_each(|token| parts::token(token, part));
        for location in &self.locations {
            if !SCHEMES.iter().any(|scheme| location.starts_with(scheme)) {
                let shown = location.escape_debug();
                part.wrong(
                    "locations",
                    format!("`{shown}` is not a server address; write it as \"grpc+tls://worker-*.example.org:8815\""),
                );
            } else if self.url.starts_with(SCHEMES[1]) && location.starts_with(SCHEMES[0]) {
                let shown = location.escape_debug();
                part.wrong("locations", format!("`{shown}` has no TLS, but `url` has; write grpc+tls://"));
            }
        }
        if self.stall.is_zero() {
            part.wrong("stall", "`stall` is 0s, so no server could respond; write a time, for example \"5m\"");
        }
        if source.format != Format::Json {
            let word = source.format.keyword();
            part.wrong(
                "format",
                format!("Flight streams have columns and no format, and `format` is `{word}`; remove `format`"),
            );
        }
    }

    fn promise(&self) -> Option<&'static str> {
        Some(
            "exactly once, with [checkpoint], if the server returns the same rows in the same order again; other \
            rows fail the job",
        )
    }

    fn bounds(&self) -> RecordBounds {
        RecordBounds::Envelope
    }

    fn has_partitions(&self) -> bool {
        true
    }

    /// Each process may be given different parts for the same stream.
    fn is_spread(&self) -> bool {
        false
    }

    fn are_fields(&self) -> bool {
        true
    }

    fn writes_hex(&self) -> bool {
        true
    }

    fn check_start(&self, source: &SourceSpec, origin: &Origin) -> Result<()> {
        source::check(self, source, origin).map_err(|(key, message)| wrong(source, origin, key, message))
    }

    fn start(&self, start: SourceStart<'_>) -> Result<()> {
        let SourceStart { source, origin, .. } = start;
        // The readers of parts and the query for parts share state.
        let shared = source::Shared::new(source, self, origin)
            .map(Arc::new)
            .map_err(|(key, message)| wrong(source, origin, key, message));
        polled::start(
            start,
            Arc::new(move || Ok(Box::new(source::Flight::new(shared.as_ref().map_err(Clone::clone)?)))),
        );
        Ok(())
    }
}

impl SinkConfig for FlightWrites {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn check(&self, part: &PartErrors<'_>) {
        part.url(&self.server.url, SCHEMES, self.server.tls.as_ref());
        check_descriptor(&self.to, part);
        self.token.iter().for_each(|token| parts::token(token, part));
        if self.timeout.is_zero() {
            part.wrong("timeout", "`timeout` is 0s, so no server could respond; write a time, for example \"5m\"");
        }
    }

    fn promises(&self) -> Vec<String> {
        vec![
            "at least once: after a crash, or when a connection is lost, some batches are sent again, with the \
            same number"
                .into(),
        ]
    }

    fn check_start(&self, start: SinkStart<'_>, _schema: &SchemaRef, _keeps_checkpoints: bool) -> Result<()> {
        sink::check(self, start)
    }

    fn await_server(&self, start: SinkStart<'_>) -> Result<()> {
        sink::await_server(self, start)
    }

    fn open(&self, start: SinkStart<'_>, _schema: &SchemaRef, failure: &Failure) -> Result<Box<dyn Sink>> {
        sink::open(self, start, start.owner, failure)
    }
}

fn check_descriptor(descriptor: &FlightDescriptor, part: &PartErrors<'_>) {
    match descriptor {
        FlightDescriptor::Path(names) => {
            if names.iter().any(String::is_empty) {
                part.wrong("path", "`path` has an empty name; write it as \"orders\" or [\"shop\", \"orders\"]");
            }
        }
        FlightDescriptor::Command(command) if command.is_empty() => {
            part.wrong("command", "`command` is empty; write a command that the server supports");
        }
        FlightDescriptor::Command(_) => {}
    }
}
