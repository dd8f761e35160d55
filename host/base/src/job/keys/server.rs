//! The keys of sources that read messages of a server, partition by partition, and of sinks that write to one which a URL names.

use super::{KeyShape, TableKey, key};

const REDIS: &[&str] = &["redis"];
const KINESIS: &[&str] = &["kinesis"];
const MQTT: &[&str] = &["mqtt"];
const CHANGES: &[&str] = &["postgres-changes"];
/// Those that name their server by a URL.
const BY_URL: &[&str] = &["redis", "mqtt", "nats", "rabbitmq"];

/// Of sources.
pub(super) const SOURCE: &[TableKey] = &[
    key(
        "url",
        KeyShape::Text,
        "The server, as \"redis://user:${REDIS_PASSWORD}@host:6379/0\" or \"mqtt://user:${MQTT_PASSWORD}@host:1883\"; `rediss://` and \
         `mqtts://` speak TLS. Of NATS as \"nats://user:${NATS_PASSWORD}@host:4222\" or \"nats://${NATS_TOKEN}@host:4222\"; `tls://` speaks TLS. Of RabbitMQ as \"amqp://user:${RABBITMQ_PASSWORD}@host:5672/vhost\", or `amqps://`. ${NAME} is replaced by the environment variable of that name, so that no password stands in the file.",
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
         newest (`latest`). Kind postgres-changes: with the rows that the tables have, or with the changes from then on.",
    )
    .of(&["redis", "postgres-changes"]),
    key("stream", KeyShape::Text, STREAM).of(KINESIS).needed(KINESIS),
    key("region", KeyShape::Text, REGION).of(KINESIS),
    key(
        "start",
        KeyShape::Text,
        "Where a job begins to read a stream that it has not read yet: \"earliest\" (the default), \"latest\", or a time as \
         \"2026-11-21T12:00:00Z\".",
    )
    .of(KINESIS),
    key(
        "topic",
        KeyShape::Texts,
        "The topic to subscribe to, or a list, with `+` for one level and `#` for all levels behind: \"plant/+/temperature\".",
    )
    .of(MQTT)
    .needed(MQTT),
    key(
        "client_id",
        KeyShape::Text,
        "Under which name the server keeps messages for the job, `millstream-<job>-<source>` by default. No two clients may have one name.",
    )
    .of(MQTT),
    key(
        "qos",
        KeyShape::Whole(0, 1),
        "1 (the default): the server keeps each message until a plan that holds it is durable. 0: it sends each once and forgets it.",
    )
    .of(MQTT),
    key(
        "session",
        KeyShape::Time,
        "How long the server keeps messages while the job is away, 7d by default; a server may allow less, and fewer.",
    )
    .of(MQTT),
    key(
        "url",
        KeyShape::Text,
        "The database, as \"postgres://user:${PGPASSWORD}@host/database\".",
    )
    .of(CHANGES)
    .needed(CHANGES),
    key("table", KeyShape::Texts, "The table whose changes are read, as \"orders\" or \"shop.orders\", or a list of tables.")
        .of(CHANGES)
        .needed(CHANGES),
    key(
        "publication",
        KeyShape::Text,
        "The publication that has the tables, where somebody has made one; by default the job makes its own.",
    )
    .of(CHANGES),
];

const STREAM: &str = "The stream.";
const REGION: &str = "Its region, as \"eu-west-1\"; by default that of AWS_REGION. Who asks, and another endpoint, stand in the environment, too.";

/// Of sinks.
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
    key(
        "url",
        KeyShape::Text,
        "The server, as \"redis://user:${REDIS_PASSWORD}@host:6379/0\" or \"mqtt://user:${MQTT_PASSWORD}@host:1883\"; `rediss://` and \
         `mqtts://` speak TLS. Of NATS as \"nats://user:${NATS_PASSWORD}@host:4222\" or \"nats://${NATS_TOKEN}@host:4222\"; `tls://` speaks TLS. Of RabbitMQ as \"amqp://user:${RABBITMQ_PASSWORD}@host:5672/vhost\", or `amqps://`.",
    )
    .of(BY_URL)
    .needed(BY_URL),
    key("stream", KeyShape::Text, "The stream to which each row is added as an entry.").of(REDIS).needed(REDIS),
    key(
        "field",
        KeyShape::Text,
        "The one field of an entry, which holds the row as JSON. Without it each column is a field, as text, and a null none.",
    )
    .of(REDIS),
    key(
        "maxlen",
        KeyShape::Whole(1, i64::MAX as u64),
        "About how many entries the stream keeps: older ones are deleted, whether anybody read them or not. By default all stay.",
    )
    .of(REDIS),
    key("topic", KeyShape::Text, "The topic that all messages go to. Instead, `topic_from` may name a column.").of(MQTT),
    key("topic_from", KeyShape::Text, "The column that holds the topic of each message; it is not in the message.").of(MQTT),
    key("retain", KeyShape::Flag, "Whether the server keeps the last message of each topic for those who subscribe later; false by default.")
        .of(MQTT),
    key(
        "client_id",
        KeyShape::Text,
        "Who the job is to the server, `millstream-<job>-<sink>` by default. No two clients may have one name.",
    )
    .of(MQTT),
];
