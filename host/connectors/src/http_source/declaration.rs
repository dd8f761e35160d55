//! What a job file says of sources of kind `http`.

mod client;
mod server;

use super::settings::{ClientReads, ServerReads};
use crate::limits::HTTP_PRODUCERS_MAX_MAX;
use millstream_base::job::connector::{COLUMNS, ROWS, SourceDeclaration, TLS};
use millstream_base::job::keys::{KeyShape, TableKey, key};
use millstream_base::limits;
use std::sync::Arc;

const KIND: &str = "http";

/// Sources.
pub const SOURCE: SourceDeclaration = SourceDeclaration {
    kind: KIND,
    doc: "what others POST, or what a server answers or streams",
    keys: &[
        key(
            "listen",
            KeyShape::Address,
            "Where senders POST rows to, as \"127.0.0.1:8080\". Instead, `url` may say what to read.",
        ),
        key(
            "spread",
            KeyShape::Flag,
            "With `listen`: whether all processes of the job listen there, each for a part of those who send; false by default, where one \
             process does.",
        ),
        key(
            "url",
            KeyShape::Text,
            "The server to read from, as \"https://host/path\", with `every` or `stream`, or as \"wss://host/path\".",
        ),
        key("every", KeyShape::Time, "With `url`: how often it is asked."),
        key(
            "stream",
            KeyShape::Word(&["lines", "sse", "websocket"]),
            "With `url`: the answer never ends, and is lines (`lines`) or events (`sse`, text/event-stream). A URL with ws:// or wss:// is \
             a WebSocket without a word of it.",
        ),
        key(
            "cursor",
            KeyShape::Table(CURSOR),
            "With `every`: how the next request tells what came already: { parameter = \"since\", field = \"id\" }.",
        ),
        key(
            "rows",
            KeyShape::Text,
            "With `every`: where the rows are within an answer, an array of JSON: \"items\" or \"data.items\". Without it the answer is \
             the rows.",
        ),
        key(
            "pages",
            KeyShape::Word(&["link"]),
            "With `every`: an answer that is not all says where its next page is, in a header `Link: <…>; rel=\"next\"` (`link`).",
        ),
        key(
            "token",
            KeyShape::Text,
            "What each request must bring as `Authorization: Bearer …`, or, with `url`, brings; write \"${NAME}\", so that it does not \
             stand in the file.",
        ),
        key(
            "headers",
            KeyShape::ByName(&KeyShape::Text),
            "With `url`: other headers of each request, as { X-Key = \"${NAME}\" }.",
        ),
        key("send", KeyShape::Texts, "What is said on a new WebSocket: a message, or a list of messages."),
        key(
            "stall",
            KeyShape::Time,
            "How long a stream may be silent, 30s by default; then the source connects again.",
        ),
        key(
            "timeout",
            KeyShape::Time,
            "With `url`: how long an answer may take, of a stream its head; 30s by default.",
        ),
        key(
            "answer_bytes_max",
            KeyShape::Size,
            "With `url`: the longest answer, event or message that is read, unpacked; 8MiB by default.",
        ),
        key("request_bytes_max", KeyShape::Size, "A larger request is refused, 8MiB by default."),
        key("request_time_max", KeyShape::Time, "How long a request may take to come in, 30s by default."),
        key(
            "connections_max",
            KeyShape::Whole(1, limits::HTTP_CONNECTIONS_MAX_MAX),
            "Connections that are open at a time, 1000 by default; more wait.",
        ),
        key(
            "producers_max",
            KeyShape::Whole(1, HTTP_PRODUCERS_MAX_MAX),
            "Producers whose last sequence is remembered, 10000 by default; then the one that was silent for longest is forgotten.",
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

/// `cursor` of a source that asks a server.
const CURSOR: &[TableKey] = &[
    key("parameter", KeyShape::Text, "The parameter of the URL that tells it, as \"since\".").required(),
    key("field", KeyShape::Text, "The field of the last row that holds it, as \"id\" or \"user.id\"."),
    key("header", KeyShape::Text, "The header of the answer that holds it, as \"X-Next\"."),
];
