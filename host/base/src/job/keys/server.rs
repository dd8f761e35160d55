//! The keys of sources that read messages of a server, partition by partition.

use super::{KeyShape, TableKey, key};

const REDIS: &[&str] = &["redis"];
const KINESIS: &[&str] = &["kinesis"];
/// Those that name their server by a URL.
const BY_URL: &[&str] = &["redis"];

/// They.
pub(super) const SOURCE: &[TableKey] = &[
    key(
        "url",
        KeyShape::Text,
        "The server, as \"redis://user:${REDIS_PASSWORD}@host:6379/0\"; `rediss://` speaks TLS. ${NAME} is replaced by the environment \
         variable of that name, so that no password stands in the file.",
    )
    .of(BY_URL)
    .needed(BY_URL),
    key("stream", KeyShape::Texts, "The stream to read, or a list of streams; each is a partition.").of(REDIS).needed(REDIS),
    key(
        "field",
        KeyShape::Text,
        "The field of an entry that holds the record, in the format of the source. Without it the fields are the columns, by name.",
    )
    .of(REDIS),
    key(
        "start",
        KeyShape::Word(&["earliest", "latest"]),
        "Where a job begins to read that has not read yet: at the oldest entries that are there (`earliest`, the default), or behind the \
         newest (`latest`).",
    )
    .of(REDIS),
    key("stream", KeyShape::Text, STREAM).of(KINESIS).needed(KINESIS),
    key("region", KeyShape::Text, REGION).of(KINESIS),
    key(
        "start",
        KeyShape::Text,
        "Where a job begins to read a stream that it has not read yet: \"earliest\" (the default), \"latest\", or a time as \
         \"2026-11-21T12:00:00Z\".",
    )
    .of(KINESIS),
];

const STREAM: &str = "The stream.";
const REGION: &str = "Its region, as \"eu-west-1\"; by default that of AWS_REGION. Who asks, and another endpoint, stand in the environment, too.";

/// Those of sinks that write to a server.
pub(super) const SINK: &[TableKey] = &[
    key("stream", KeyShape::Text, STREAM).of(KINESIS).needed(KINESIS),
    key("region", KeyShape::Text, REGION).of(KINESIS),
    key(
        "key",
        KeyShape::Text,
        "The column that is the partition key of records, which decides about their shard; without it rows spread over all shards.",
    )
    .of(KINESIS),
    key("wait", KeyShape::Time, "How long the job waits where the stream takes nothing; 1h by default.").of(KINESIS),
];
