//! Errors in sinks.

use super::Cases;

/// The keys of `[sinks.screen]`, whose header is line 1.
pub(super) const SINK: Cases = &[
    (
        r#"kind = "print""#,
        r#"job.toml:1: sink `screen`: `from` is missing; write from = "…" with the name of a source or stage"#,
    ),
    (
        r#"from = "lines""#,
        r#"job.toml:1: sink `screen`: `kind` is missing; write kind = "print", or one of files, delta, queue, postgres, sqlite, kafka, redis, mqtt, nats, rabbitmq, flight, kinesis, clickhouse, http, websocket, plugin, nothing"#,
    ),
    (
        r#"from = "lines"
kind = "s3""#,
        r#"job.toml:3: sink `screen`: `kind = "s3"` is not available in this version; write one of: `print`, `files`, `delta`, `queue`, `postgres`, `sqlite`, `kafka`, `redis`, `mqtt`, `nats`, `rabbitmq`, `flight`, `kinesis`, `clickhouse`, `http`, `websocket`, `plugin`, `nothing`"#,
    ),
    (
        r#"from = "lines"
kind = "kafka""#,
        r#"job.toml:1: sink `screen`: `topic` is missing; write topic = "counts"
job.toml:1: sink `screen`: `brokers` is missing; write brokers = "127.0.0.1:9092", or a list of such"#,
    ),
    (
        r#"from = "lines"
kind = "kafka"
brokers = "127.0.0.1:9092"
topic = "a b"
markers = "c"
transaction = "10ms""#,
        r#"job.toml:5: sink `screen`: `a b` is not a valid topic name; use up to 249 characters of a-z, A-Z, 0-9, `.`, `_` and `-`
job.toml:7: sink `screen`: `transaction` is 10ms; write "1s" to "24d""#,
    ),
    (
        r#"from = "lines"
kind = "kafka"
brokers = "127.0.0.1"
topic = "c"
markers = "c""#,
        r#"job.toml:4: sink `screen`: `127.0.0.1` is not host and port; write it as "127.0.0.1:9092"
job.toml:5: sink `screen`: `topic` and `markers` are the same topic; the job needs a separate topic for its markers"#,
    ),
    (
        r#"from = "lines"
kind = "postgres""#,
        r#"job.toml:1: sink `screen`: `url` is missing; write url = "postgres://user:${PGPASSWORD}@127.0.0.1/database"
job.toml:1: sink `screen`: `table` is missing; write table = "counts""#,
    ),
    (
        r#"from = "lines"
kind = "postgres"
url = "mysql://h/a"
table = "a.b.c""#,
        r#"job.toml:4: sink `screen`: `url` is not that of a PostgreSQL database; write it as "postgres://user:${PGPASSWORD}@host/database"
job.toml:5: sink `screen`: `table = "a.b.c"` is not a table; write it as "counts" or "schema.counts""#,
    ),
    (
        r#"from = "lines"
kind = "postgres"
url = "postgres://h/a"
table = "t"
key = "value""#,
        r#"job.toml:6: sink `screen`: `key` does nothing without mode = "upsert"; write that, or remove `key`"#,
    ),
    (
        r#"from = "lines"
kind = "postgres"
url = "postgres://me:${PW@h/a"
table = "t"
mode = "append""#,
        r#"job.toml:4: sink `screen`: `url` has `${` without a closing `}`; write ${NAME} for an environment variable, or $${ for the characters themselves"#,
    ),
    (
        r#"from = "lines"
kind = "postgres"
url = "postgres://h/a"
table = "t"
mode = "upsert""#,
        r#"job.toml:1: sink `screen`: `key` is missing; write key = "word", or key = ["a", "b"]"#,
    ),
    (
        r#"from = "lines"
kind = "postgres"
url = "postgres://h/a"
table = "t"
mode = "delete"
key = ["a", "a"]"#,
        r#"job.toml:6: sink `screen`: `mode = "delete"` is not available in this version; write one of: `append`, `upsert`"#,
    ),
    (
        r#"from = "lines"
kind = "postgres"
url = "postgres:///a"
table = "t"
mode = "upsert"
key = ["a", "a"]"#,
        r#"job.toml:4: sink `screen`: `url` names no host; write it as "postgres://user:${PGPASSWORD}@host/database"
job.toml:7: sink `screen`: `key` names `a` twice; remove one"#,
    ),
    (
        r#"from = "lines"
kind = "prnt""#,
        r#"job.toml:3: sink `screen`: `kind = "prnt"` is unknown; did you mean `print`?"#,
    ),
    (
        r#"from = "lines"
kind = "print"
rows = "ten""#,
        "job.toml:4: sink `screen`: `rows` is text, needs an integer; write rows = 10",
    ),
    (
        r#"from = "lines"
kind = "print"
rows = -1"#,
        "job.toml:4: sink `screen`: `rows` is -1; write a number of 0 to 1000000",
    ),
    (
        r#"from = "lines"
kind = "print"
path = "out""#,
        "job.toml:4: sink `screen`: `path` is not for kind `print` but for `files`, `delta`, `queue`, `sqlite`, `flight`; remove it",
    ),
    (
        r#"from = "lines"
kind = "files""#,
        r#"job.toml:1: sink `screen`: `path` is missing; write path = "output""#,
    ),
    (
        r#"from = "lines"
kind = "files"
path = "out"
format = "xml""#,
        r#"job.toml:5: sink `screen`: `format = "xml"` is unknown; write one of: `json`, `text`, `csv`, `parquet`, `avro`"#,
    ),
    (
        r#"from = "words"
kind = "queue"
path = "out.jsonl""#,
        "job.toml:2: sink `screen`: `from` names `words`, which is neither a source nor a stage; there are `lines`",
    ),
];
