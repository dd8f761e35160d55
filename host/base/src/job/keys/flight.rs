//! The keys of sources and sinks of kind `flight`, beside those that all have which name their server by a URL.

use super::{KeyShape, TableKey, key};

const FLIGHT: &[&str] = &["flight"];
const URL: &str = "The server, as \"grpc://127.0.0.1:8815\" or \"grpc+tls://user:${FLIGHT_PASSWORD}@host:8815\". ${NAME} is replaced by the \
                   environment variable of that name, so that no password stands in the file.";
const TOKEN: &str =
    "Sent with each request as `Authorization: Bearer …`; write \"${NAME}\", so that it does not stand in the file.";

/// Of sources.
pub(super) const SOURCE: &[TableKey] = &[
    key("url", KeyShape::Text, URL).of(FLIGHT).needed(FLIGHT),
    key("path", KeyShape::Texts, "The path by which the server knows what is read, as \"orders\" or [\"shop\", \"orders\"]. Instead, `command` may say it.")
        .of(FLIGHT),
    key("command", KeyShape::Text, "The command that the server is given, such as a query that it understands.").of(FLIGHT),
    key("token", KeyShape::Text, TOKEN).of(FLIGHT),
    key(
        "locations",
        KeyShape::Texts,
        "Where else the server may say that rows lie, as \"grpc+tls://worker-*.example.org:8815\", or a list; `*` stands for anything. Servers \
         there get what the job logs in with. By default all rows come from the server itself.",
    )
    .of(FLIGHT),
    key("message_bytes_max", KeyShape::Size, "The longest message, a record batch, that is read, unpacked; 128MiB by default.").of(FLIGHT),
    key(
        "stall",
        KeyShape::Time,
        "How long the server may be silent while rows are awaited, 5m by default; then the source asks again.",
    )
    .of(FLIGHT),
];

/// Of sinks.
pub(super) const SINK: &[TableKey] = &[
    key("url", KeyShape::Text, URL).of(FLIGHT).needed(FLIGHT),
    key("path", KeyShape::Texts, "The path by which the server knows where rows go, as \"orders\" or [\"shop\", \"orders\"]. Instead, `command` may say it.")
        .of(FLIGHT),
    key("command", KeyShape::Text, "The command that the server is given with the rows.").of(FLIGHT),
    key("token", KeyShape::Text, TOKEN).of(FLIGHT),
    key("timeout", KeyShape::Time, "How long the server may take over a batch, 5m by default; then the batch is sent again.").of(FLIGHT),
];
