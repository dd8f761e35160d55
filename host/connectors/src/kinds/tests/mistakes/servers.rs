//! Errors in sources that read messages of a server, and in sinks that write to a server with a URL.

use super::Cases;

/// The keys of `[sources.lines]`, whose header is line 1.
pub(super) const SOURCE: Cases = &[
    (
        r#"kind = "redis""#,
        r#"job.toml:1: source `lines`: `stream` is missing; write stream = "orders", or stream = ["a", "b"]
job.toml:1: source `lines`: `url` is missing; write url = "redis://127.0.0.1:6379""#,
    ),
    (
        r#"kind = "redis"
url = "http://h"
stream = ["s", "s"]
schema = { n = "int64" }"#,
        r#"job.toml:3: source `lines`: `url` begins with neither redis:// nor rediss://; write it as "rediss://host/path"
job.toml:4: source `lines`: `stream` names `s` twice; remove one"#,
    ),
    (
        r#"kind = "redis"
url = "redis://h"
tls = true
stream = "a\u0007"
schema = { n = "int64" }"#,
        r#"job.toml:4: source `lines`: `tls` does nothing if `url` begins with redis://; write rediss://, or remove `tls`
job.toml:5: source `lines`: `a\u{7}` is not a valid name; use visible characters"#,
    ),
    (
        r#"kind = "redis"
url = "redis://h"
stream = "s"
format = "csv"
schema = { n = "int64" }"#,
        r#"job.toml:5: source `lines`: without `field`, the fields of an entry are its columns, and the format is `csv`; name the field that holds the record, for example field = "data", or write format = "json""#,
    ),
    (
        r#"kind = "redis"
url = "redis://h"
stream = "s"
schema = { n = "int64", k = { type = "text", from = "key" } }"#,
        "job.toml:5: source `lines`: column `k` is `key`, which messages of kind `redis` do not have; remove it",
    ),
    (
        r#"kind = "redis"
url = "redis://h"
stream = "s"
schema = { n = "int64" }
start = "now""#,
        r#"job.toml:6: source `lines`: `start = "now"` is unknown; write one of: `earliest`, `latest`"#,
    ),
    (
        r#"kind = "mqtt""#,
        r#"job.toml:1: source `lines`: `topic` is missing; write topic = "plant/+/temperature", or topic = ["a", "b/#"]
job.toml:1: source `lines`: `url` is missing; write url = "mqtt://127.0.0.1:1883""#,
    ),
    (
        r#"kind = "mqtt"
url = "mqtt://h"
topic = ["a/#/b", "a+", "$share/g/a"]"#,
        r#"job.toml:4: source `lines`: `a/#/b` is not a topic to subscribe to: `#` must be at the end; write it as "plant/+/temperature" or "plant/#""#,
    ),
    (
        r#"kind = "mqtt"
url = "mqtt://h"
topic = "a"
qos = 2"#,
        "job.toml:5: source `lines`: `qos` is 2; write a number of 0 to 1",
    ),
    (
        r#"kind = "mqtt"
url = "mqtt://h"
topic = "a"
qos = 0
session = "1d""#,
        "job.toml:6: source `lines`: `session` has no effect with qos = 0, because the server keeps nothing; remove one of them",
    ),
    (
        r#"kind = "mqtt"
url = "mqtt://h"
topic = "a"
stream = "s""#,
        "job.toml:5: source `lines`: `stream` is not for kind `mqtt` but for `http`, `redis`, `nats`, `rabbitmq`, `kinesis`; remove it",
    ),
    (
        r#"kind = "nats""#,
        r#"job.toml:1: source `lines`: `stream` is missing; write stream = "ORDERS", or stream = ["A", "B"]
job.toml:1: source `lines`: `url` is missing; write url = "nats://127.0.0.1:4222""#,
    ),
    (
        r#"kind = "nats"
url = "nats://h"
tls = true
stream = ["a.b", "S"]
subject = ["a.>.b", "c"]"#,
        r#"job.toml:4: source `lines`: `tls` does nothing if `url` begins with nats://; write tls://, or remove `tls`
job.toml:5: source `lines`: `a.b` is not a stream name; a name must not contain blanks, `.`, `*`, `>`, `/` or `\`
job.toml:6: source `lines`: `a.>.b` is not a subject to read: it continues after `>`; write it as "orders.*.new" or "orders.>""#,
    ),
    (
        r#"kind = "zeromq""#,
        r#"job.toml:1: source `lines`: `url` is missing; write url = "tcp://127.0.0.1:5556" to connect with a socket, or listen = "127.0.0.1:5556" to let sockets connect"#,
    ),
    (
        r#"kind = "zeromq"
url = "tcp://h:1"
listen = "127.0.0.1:1"
socket = "pull"
topic = "a""#,
        r#"job.toml:4: source `lines`: `url` and `listen` both say where messages come from; remove one of them
job.toml:6: source `lines`: `topic` has no effect with socket = "pull", which receives all messages; remove one of them"#,
    ),
    (
        r#"kind = "zeromq"
url = "ipc:///tmp/x"
topic = ["a", "a"]"#,
        r#"job.toml:3: source `lines`: `url` does not begin with tcp://; write it as "tcp://host:5556"
job.toml:4: source `lines`: `topic` names `a` twice; remove one"#,
    ),
    (
        r#"kind = "rabbitmq""#,
        r#"job.toml:1: source `lines`: `queue` is missing; write queue = "orders", or queue = ["a", "b"], or stream = "orders" for a stream
job.toml:1: source `lines`: `url` is missing; write url = "amqp://127.0.0.1:5672""#,
    ),
    (
        r#"kind = "rabbitmq"
url = "amqp://h"
queue = "a"
stream = "b""#,
        "job.toml:5: source `lines`: `queue` and `stream` both say what is read; remove one of them, or write two sources",
    ),
    (
        r#"kind = "rabbitmq"
url = "amqp://h"
queue = ["a", "a"]
start = "latest""#,
        "job.toml:5: source `lines`: `start` is for a `stream`, because a queue has no positions; remove it",
    ),
    (
        r#"kind = "flight"
url = "grpc://h:1"
command = "a"
path = "b"
schema = { n = "int64" }"#,
        "job.toml:4: source `lines`: `path` and `command` both select the stream; remove one of them",
    ),
    (
        r#"kind = "flight"
url = "grpc+tls://h:1"
command = "a"
schema = { n = "int64" }
format = "csv"
stall = "0s"
locations = ["grpc://h:2"]"#,
        r#"job.toml:6: source `lines`: Flight streams have columns and no format, and `format` is `csv`; remove `format`
job.toml:7: source `lines`: `stall` is 0s, so no server could respond; write a time, for example "5m"
job.toml:8: source `lines`: `grpc://h:2` has no TLS, but `url` has; write grpc+tls://"#,
    ),
    (
        r#"kind = "flight"
url = "http://h:1""#,
        r#"job.toml:1: source `lines`: `schema` is missing; write schema = { id = "int64", name = "text" }, columns of the stream
job.toml:1: source `lines`: `path` is missing; write path = "orders", or path = ["shop", "orders"], or command = "SELECT * FROM orders""#,
    ),
];

/// The keys of `[sinks.screen]`, whose header is line 1 and whose `from` is line 2.
pub(super) const SINK: Cases = &[
    (
        r#"kind = "redis"
url = "redis://h"
maxlen = 0"#,
        r#"job.toml:1: sink `screen`: `stream` is missing; write stream = "totals"
job.toml:5: sink `screen`: `maxlen` is 0; write a number of at least 1"#,
    ),
    (
        r#"kind = "redis"
url = "rediss://h"
tls = { name = "other" }
stream = "s""#,
        "job.toml:5: sink `screen`: `tls.name` is not for kind `redis`; write the name in the certificate into \
        `url`",
    ),
    (
        r#"kind = "mqtt"
url = "mqtt://h""#,
        r#"job.toml:1: sink `screen`: `topic` is missing; write topic = "plant/alerts", or topic_from = "topic", the name of a column"#,
    ),
    (
        r#"kind = "mqtt"
url = "mqtt://h"
topic = "a/#""#,
        r#"job.toml:5: sink `screen`: `a/#` is not a topic to publish to: it must not contain `+` or `#`; write one topic, or topic_from = "column""#,
    ),
    (
        r#"kind = "mqtt"
url = "mqtt://h"
topic = "a"
topic_from = "b""#,
        "job.toml:6: sink `screen`: `topic` and `topic_from` both say where messages go; remove one of them",
    ),
    (
        r#"kind = "mqtt"
url = "h:1883"
topic = "a"
format = "csv""#,
        r#"job.toml:6: sink `screen`: `format = "csv"` is not available in this version; write one of: `json`, `text`, `binary`"#,
    ),
    (
        r#"kind = "nats"
url = "nats://h""#,
        r#"job.toml:1: sink `screen`: `stream` is missing; write stream = "TOTALS"
job.toml:1: sink `screen`: `subject` is missing; write subject = "totals.eu", or subject_from = "subject", the name of a column"#,
    ),
    (
        r#"kind = "nats"
url = "redis://h"
stream = "T"
subject = "a.*""#,
        r#"job.toml:4: sink `screen`: `url` begins with neither nats:// nor tls://; write it as "tls://host/path"
job.toml:6: sink `screen`: `a.*` is not a subject to publish to: it contains a wildcard, `*` or `>`; write one, for example "totals.eu", or subject_from = "column""#,
    ),
    (
        r#"kind = "rabbitmq"
url = "amqp://h"
routing_key = "a"
routing_key_from = "b""#,
        "job.toml:6: sink `screen`: `routing_key` and `routing_key_from` both say where messages go; remove one of them",
    ),
    (
        r#"kind = "flight"
url = "http://h:1"
path = ["a", "b"]
token = "two words"
timeout = "0s""#,
        r#"job.toml:4: sink `screen`: `url` begins with neither grpc:// nor grpc+tls://; write it as "grpc+tls://host/path"
job.toml:6: sink `screen`: `token` is empty, or has characters that a header cannot have; write visible ASCII characters
job.toml:7: sink `screen`: `timeout` is 0s, so no server could respond; write a time, for example "5m""#,
    ),
];
