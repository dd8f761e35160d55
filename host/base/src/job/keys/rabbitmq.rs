//! The keys of sources and sinks of kind `rabbitmq`, beside those that all have which name their server by a URL.

use super::{KeyShape, TableKey, key};

const RABBITMQ: &[&str] = &["rabbitmq"];

/// Of sources.
pub(super) const SOURCE: &[TableKey] = &[
    key("queue", KeyShape::Texts, "The queue to read, or a list of queues; each is a partition. Instead, `stream` names streams.").of(RABBITMQ),
    key("stream", KeyShape::Texts, "The stream to read, or a list of streams; each is a partition.").of(RABBITMQ),
    key(
        "start",
        KeyShape::Word(&["earliest", "latest"]),
        "Where a job begins to read a stream that it has not read yet: at the oldest messages that are there (`earliest`, the default), or \
         behind the newest (`latest`).",
    )
    .of(RABBITMQ),
];

/// Of sinks.
pub(super) const SINK: &[TableKey] = &[
    key(
        "exchange",
        KeyShape::Text,
        "The exchange that messages are published to; by default the one without a name, which takes them to the queue that the routing key names.",
    )
    .of(RABBITMQ),
    key("routing_key", KeyShape::Text, "The routing key of all messages. Instead, `routing_key_from` may name a column.").of(RABBITMQ),
    key("routing_key_from", KeyShape::Text, "The column that holds the routing key of each message; it is not in the message.").of(RABBITMQ),
];
