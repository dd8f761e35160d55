//! Errors in `kafka` sources.

use super::Cases;

/// The keys of `[sources.lines]`, whose header is line 1 and whose kind is line 2.
pub(super) const SOURCE: Cases = &[
    (
        r#"topic = "t""#,
        r#"job.toml:1: source `lines`: `brokers` is missing; write brokers = "127.0.0.1:9092", or a list of such"#,
    ),
    (
        r#"brokers = "b:1""#,
        r#"job.toml:1: source `lines`: `topic` is missing; write topic = "orders", or topic = ["a", "b"]"#,
    ),
    (
        r#"brokers = ["b:1", "c"]
topic = "t""#,
        r#"job.toml:3: source `lines`: `c` is not host and port; write it as "127.0.0.1:9092""#,
    ),
    (
        r#"brokers = "b:1,c:2"
topic = "t*""#,
        r#"job.toml:4: source `lines`: `t*` is not a valid topic name; write pattern = "orders-*" for all topics of a pattern"#,
    ),
    (
        r#"brokers = "b:1"
topic = ["t", "t"]"#,
        "job.toml:4: source `lines`: `topic` names `t` twice; remove one",
    ),
    (
        r#"brokers = "b:1"
topic = "t"
pattern = "t*""#,
        "job.toml:5: source `lines`: `pattern` and `topic` both say which topics are read; remove one of them",
    ),
    (
        r#"brokers = "b:1"
pattern = "[""#,
        "job.toml:4: source `lines`: `[` is not a pattern: Pattern syntax error near position 0: invalid range pattern; write one as \"orders-*\"",
    ),
    (
        r#"brokers = "b:1"
topic = "t"
start = "now""#,
        r#"job.toml:5: source `lines`: `start = "now"` is not a valid start position; write "earliest", "latest", or a time as "2026-11-21T12:00:00Z""#,
    ),
    (
        r#"brokers = "b:1"
topic = "t"
format = "json"
schema = { o = { type = "text", from = "op" } }"#,
        "job.toml:6: source `lines`: column `o` is `op`, which messages of kind `kafka` do not have; remove it",
    ),
    (
        r#"brokers = "b:1"
topic = "t"
tls = { name = "x" }"#,
        "job.toml:5: source `lines`: unknown key `tls.name`; these keys fit: `ca`, `cert`, `key`",
    ),
    (
        r#"brokers = "b:1"
topic = "t"
sasl = { mechanism = "GSSAPI", user = "u", password = "p" }"#,
        r#"job.toml:5: source `lines`: `sasl.mechanism = "GSSAPI"` is not available in this version; write one of: `PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512`"#,
    ),
    (
        r#"brokers = "b:1"
topic = "t"
sasl = { mechanism = "PLAIN", user = "u" }"#,
        r#"job.toml:5: source `lines`: `sasl.password` is missing; write password = "${KAFKA_PASSWORD}""#,
    ),
    (
        r#"brokers = "b:1"
topic = "t"
header = true"#,
        "job.toml:5: source `lines`: `header` is not for kind `kafka` but for `socket`, `raw-socket`, `http`, `directory`, `file`; remove it",
    ),
    (
        r#"brokers = "b:1"
topic = "t"
schema = { value = "text", k = { type = "text", from = "kye" } }"#,
        "job.toml:5: source `lines`: `schema.k.from = \"kye\"` is unknown; did you mean `key`?",
    ),
    (
        r#"brokers = "b:1"
topic = "t"
schema = { value = "text", k = { type = "int64", from = "key" } }"#,
        "job.toml:5: source `lines`: column `k` is int64, and `key` of a record is `text`, `binary`; write that",
    ),
    (
        r#"brokers = "b:1"
topic = "t"
schema = { k = { type = "text", from = "key" } }"#,
        r#"job.toml:5: source `lines`: format `text` has one column of type text; write schema = { line = "text" } to name it, or format = "json" or "csv" for several columns"#,
    ),
];
