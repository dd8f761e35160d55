//! Declaration of the `http` source.

mod client;
mod server;

use super::settings::{ClientReads, ServerReads};
use crate::limits::HTTP_PRODUCERS_MAX_MAX;
use millstream_base::limits::RECORD_BYTES_MAX_MAX;
use millstream_connect::receiver::listening::CONNECTIONS_MAX;
use millstream_job::connector::{ROWS, SourceDeclaration};
use millstream_job::keys::{
    CONFLUENT, DESCRIPTOR, KeyShape, MESSAGE, PRIVATE_KEY, SCHEMA_FILE, SEPARATOR, TableKey, columns, key,
};

const KIND: &str = "http";

/// The source kind.
pub const SOURCE: SourceDeclaration = SourceDeclaration {
    kind: KIND,
    doc: "rows that clients POST, or that a server returns or streams",
    keys: &[
        key(
            "listen",
            KeyShape::Address,
            "Address on which to receive rows by HTTP POST, for example \"127.0.0.1:8080\". `url` reads from a server instead.",
        ),
        key(
            "spread",
            KeyShape::Flag,
            "With `listen`: listen in all processes of the job, each for some of the senders. If false, one process listens. \
             false by default.",
        ),
        key(
            "url",
            KeyShape::Text,
            "Server to read from: \"https://host/path\" with `every` or `stream`, or \"wss://host/path\".",
        ),
        key("every", KeyShape::Time, "With `url`: time between requests."),
        key(
            "stream",
            KeyShape::Word(&["lines", "sse", "websocket"]),
            "With `url`: kind of an endless response: lines (`lines`), server-sent events (`sse`) or a WebSocket (`websocket`). \
             Not needed for ws:// and wss://.",
        ),
        key(
            "cursor",
            KeyShape::Table(CURSOR),
            "With `every`: URL parameter with the position of the last row, after which the server continues: { parameter = \"since\", \
             field = \"id\" }.",
        ),
        key(
            "rows",
            KeyShape::Text,
            "With `every`: path of the JSON array with the rows in a response: \"items\" or \"data.items\". Without it, the \
             response is the rows.",
        ),
        key(
            "pages",
            KeyShape::Word(&["link"]),
            "With `every`: read all pages of a response. `link` follows the header `Link: <…>; rel=\"next\"`.",
        ),
        key(
            "token",
            KeyShape::Text,
            "With `listen`: token that each request must have as `Authorization: Bearer …`. With `url`: token that is sent. \
             \"${NAME}\" keeps it out of the file.",
        ),
        key(
            "headers",
            KeyShape::ByName(&KeyShape::Text),
            "With `url`: additional headers of each request, for example { X-Key = \"${NAME}\" }.",
        ),
        key("send", KeyShape::TextList, "Message to send on each new WebSocket, or a list of messages."),
        key("stall", KeyShape::Time, "How long a stream may send nothing, 30s by default; then the source reconnects."),
        key(
            "timeout",
            KeyShape::Time,
            "With `url`: timeout for a response, or for the head of a stream, 30s by default.",
        ),
        key(
            "answer_bytes_max",
            KeyShape::Size,
            "With `url`: maximum size of a response, event or message, decompressed, 8MiB by default.",
        ),
        key(
            "request_bytes_max",
            KeyShape::Size,
            "Maximum size of a request, 8MiB by default; a larger one is rejected.",
        ),
        key("request_time_max", KeyShape::Time, "Maximum time to receive a request, 30s by default."),
        CONNECTIONS_MAX,
        key(
            "producers_max",
            KeyShape::Integer(1, HTTP_PRODUCERS_MAX_MAX),
            "Maximum producers whose last sequence number is kept, 10000 by default. With more, the producer that has been \
             idle longest is dropped.",
        ),
        columns(&["event", "id"]),
        key(
            "header",
            KeyShape::Flag,
            "Format csv: whether the first record of each request or response names the columns; false by default.",
        ),
        key(
            "record_bytes",
            KeyShape::Integer(1, RECORD_BYTES_MAX_MAX),
            "Format binary: bytes per record, by default the sum of the columns' widths. If these vary, a body is one record.",
        ),
        key(
            "tls",
            KeyShape::Either(&[KeyShape::Flag, KeyShape::Table(TLS_KEYS)]),
            "With `listen`: server certificate, { cert = \"own.pem\", key = \"own.key\" }; without it, plain HTTP. With `url`: TLS \
             settings for https:// and wss://, { ca = \"ca.pem\", cert = \"own.pem\", key = \"own.key\" }. The server's certificate \
             is always checked.",
        ),
    ],
    shared: &[ROWS, &[SEPARATOR, SCHEMA_FILE, DESCRIPTOR, MESSAGE, CONFLUENT]],
    read: |r| match r.has("url") {
        true => ClientReads::read(r).into(),
        false => ServerReads::read(r).into(),
    },
};

/// `tls`, as a table.
const TLS_KEYS: &[TableKey] = &[
    key("ca", KeyShape::Text, "With `url`: CA certificates (PEM) that are trusted, by default those of the system."),
    key(
        "cert",
        KeyShape::Text,
        "With `listen`: server certificate (PEM). With `url`: client certificate (PEM), for servers that require one.",
    ),
    PRIVATE_KEY,
];

/// Keys of `cursor`.
const CURSOR: &[TableKey] = &[
    key("parameter", KeyShape::Text, "URL parameter for the cursor, for example \"since\".").required(),
    key("field", KeyShape::Text, "Field of the last row with the cursor, for example \"id\" or \"user.id\"."),
    key("header", KeyShape::Text, "Header of the response with the cursor, for example \"X-Next\"."),
];
