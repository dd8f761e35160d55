//! Errors in `kinesis` sources and sinks.

use super::{Cases, LINES, SCREEN, differing};

const SOURCE: Cases = &[
    ("", r#"job.toml:1: source `lines`: `stream` is missing; write stream = "orders""#),
    (
        r#"stream = "arn:aws:kinesis:eu-west-1:1:stream/orders""#,
        "job.toml:3: source `lines`: `arn:aws:kinesis:eu-west-1:1:stream/orders` is not a stream name; write only \
         the name at its end, and its region as `region`",
    ),
    (
        r#"stream = "a b""#,
        "job.toml:3: source `lines`: `a b` is not a stream name; use up to 128 characters of a-z, A-Z, 0-9, `.`, \
        `_` and `-`",
    ),
    (
        "stream = \"orders\"\nregion = \"eu west\"",
        r#"job.toml:4: source `lines`: `eu west` is not a region; write one, for example "eu-west-1""#,
    ),
    (
        "stream = \"orders\"\nstart = \"now\"",
        "job.toml:4: source `lines`: `start = \"now\"` is not a valid start position; write \"earliest\", \"latest\", or a time as \
         \"2026-11-21T12:00:00Z\"",
    ),
    (
        "stream = [\"a\", \"b\"]",
        r#"job.toml:3: source `lines`: `stream` is a list, needs text; write stream = "orders""#,
    ),
    (
        "stream = \"orders\"\nformat = \"json\"\nschema = { n = \"int64\", t = { type = \"text\", from = \"topic\" } }",
        "job.toml:5: source `lines`: column `t` is `topic`, which messages of kind `kinesis` do not have; remove it",
    ),
    (
        "stream = \"orders\"\nurl = \"https://kinesis.eu-west-1.amazonaws.com\"",
        "job.toml:4: source `lines`: `url` is not for kind `kinesis` but for `http`, `redis`, `mqtt`, `nats`, `rabbitmq`, `zeromq`, `flight`, `postgres-changes`; remove it",
    ),
];

const SINK: Cases = &[
    ("", r#"job.toml:5: sink `screen`: `stream` is missing; write stream = "orders""#),
    ("stream = \"\"", "job.toml:8: sink `screen`: `stream` is empty; write stream = \"orders\""),
    (
        "stream = \"orders\"\nkey = \"\"",
        "job.toml:9: sink `screen`: `key` is empty; write key = \"user\", the name of one column",
    ),
    (
        "stream = \"orders\"\ntopic = \"t\"",
        "job.toml:9: sink `screen`: `topic` is not for kind `kinesis` but for `kafka`, `mqtt`; remove it",
    ),
];

#[test]
fn mistakes_about_streams_are_told() {
    let wrong = [
        differing("SOURCE", SOURCE, "[sources.lines]\nkind = \"kinesis\"\n", SCREEN),
        differing("SINK", SINK, &format!("{LINES}[sinks.screen]\nfrom = \"lines\"\nkind = \"kinesis\"\n"), ""),
    ]
    .concat();
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n\n"));
}
