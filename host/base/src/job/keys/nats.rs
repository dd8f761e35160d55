//! The keys of sources and sinks of kind `nats`, beside those that all have which name their server by a URL.

use super::{KeyShape, TableKey, key};

const NATS: &[&str] = &["nats"];

const CREDENTIALS: TableKey = key(
    "credentials",
    KeyShape::Text,
    "A file with who the job is to the server: a file of credentials (`.creds`), with a JWT and the seed of a key, or one with the seed alone \
     (an nkey). It is read each time the job connects. Instead of user, password or token in `url`.",
);

/// Of sources.
pub(super) const SOURCE: &[TableKey] = &[
    key("stream", KeyShape::Texts, "The stream of JetStream to read, or a list of streams; each is a partition.").of(NATS).needed(NATS),
    key(
        "subject",
        KeyShape::Texts,
        "Which subjects of a stream are read, with `*` for one token and `>` for all tokens behind: \"orders.*.new\", or a list; by default all.",
    )
    .of(NATS),
    key(
        "start",
        KeyShape::Word(&["earliest", "latest"]),
        "Where a job begins to read that has not read yet: at the oldest messages that are there (`earliest`, the default), or behind the \
         newest (`latest`).",
    )
    .of(NATS),
    CREDENTIALS.of(NATS),
];

/// Of sinks.
pub(super) const SINK: &[TableKey] = &[
    key("stream", KeyShape::Text, "The stream of JetStream that messages go into. It is made where it is not there and `subject` is written.")
        .of(NATS)
        .needed(NATS),
    key("subject", KeyShape::Text, "The subject that all messages go to. Instead, `subject_from` may name a column.").of(NATS),
    key("subject_from", KeyShape::Text, "The column that holds the subject of each message; it is not in the message.").of(NATS),
    key(
        "exactly_once",
        KeyShape::Flag,
        "Whether the job refuses a stream that takes no batches as a whole (allow_atomic), true by default; with false messages may come \
         again after a crash.",
    )
    .of(NATS),
    CREDENTIALS.of(NATS),
];
