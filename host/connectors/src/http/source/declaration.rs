//! Declaration of the `http` source.

mod client;
mod server;

use super::settings::{ClientReads, ServerReads};
use crate::limits::HTTP_PRODUCERS_MAX_MAX;
use millstream_base::job::connector::{COLUMNS, ROWS, SourceDeclaration, TLS};
use millstream_base::job::keys::{KeyShape, TableKey, key};
use millstream_connect::receiver::listening::CONNECTIONS_MAX;
use std::sync::Arc;

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
            "With `url`: the response is a stream that does not end, of lines (`lines`) or server-sent events (`sse`). A URL \
             with ws:// or wss:// is a WebSocket without this key.",
        ),
        key(
            "cursor",
            KeyShape::Table(CURSOR),
            "With `every`: how the next request says which rows came already: { parameter = \"since\", field = \"id\" }.",
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
            "With `every`: how a response refers to its next page: a header `Link: <…>; rel=\"next\"` (`link`).",
        ),
        key(
            "token",
            KeyShape::Text,
            "Token that each request must have as `Authorization: Bearer …`; with `url`, the token sent. \"${NAME}\" keeps it \
             out of the file.",
        ),
        key(
            "headers",
            KeyShape::ByName(&KeyShape::Text),
            "With `url`: further headers of each request, for example { X-Key = \"${NAME}\" }.",
        ),
        key("send", KeyShape::Texts, "Message to send on each new WebSocket, or a list of messages."),
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
            "Producers whose last sequence number is kept, 10000 by default; with more, the producer that has been \
             idle longest is dropped.",
        ),
    ],
    shared: &[
        ROWS,
        COLUMNS,
        TLS,
        &["header", "separator", "record_bytes", "schema_file", "descriptor", "message", "confluent"],
    ],
    read: |r| match r.has("url") {
        true => Arc::new(ClientReads::read(r)),
        false => Arc::new(ServerReads::read(r)),
    },
};

/// Keys of `cursor`.
const CURSOR: &[TableKey] = &[
    key("parameter", KeyShape::Text, "URL parameter for the cursor, for example \"since\".").required(),
    key("field", KeyShape::Text, "Field of the last row with the cursor, for example \"id\" or \"user.id\"."),
    key("header", KeyShape::Text, "Header of the response with the cursor, for example \"X-Next\"."),
];
