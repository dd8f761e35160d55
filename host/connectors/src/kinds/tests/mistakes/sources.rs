//! Errors in sources.

use super::Cases;

/// The keys of `[sources.lines]`, whose header is line 1.
pub(super) const SOURCE: Cases = &[
    (
        r#"address = "127.0.0.1:9999""#,
        r#"job.toml:1: source `lines`: `kind` is missing; write kind = "socket", or one of raw-socket, http, directory, file, kafka, redis, mqtt, nats, rabbitmq, zeromq, flight, kinesis, postgres-changes, syslog, otlp, lumberjack, plugin, rate, nexmark, queue"#,
    ),
    (r#"kind = "sockte""#, r#"job.toml:2: source `lines`: `kind = "sockte"` is unknown; did you mean `socket`?"#),
    (
        r#"kind = "s3""#,
        r#"job.toml:2: source `lines`: `kind = "s3"` is not available in this version; write one of: `socket`, `raw-socket`, `http`, `directory`, `file`, `kafka`, `redis`, `mqtt`, `nats`, `rabbitmq`, `zeromq`, `flight`, `kinesis`, `postgres-changes`, `syslog`, `otlp`, `lumberjack`, `plugin`, `rate`, `nexmark`, `queue`"#,
    ),
    (r#"kind = "tcp""#, r#"job.toml:2: source `lines`: `kind = "tcp"` is unknown; did you mean `socket`?"#),
    (
        "kind = \"tcp\"\nconnect = \"127.0.0.1:9999\"",
        r#"job.toml:2: source `lines`: `kind = "tcp"` is unknown; did you mean `socket`?
job.toml:3: source `lines`: unknown key `connect`, which no kind has"#,
    ),
    (r#"kind = "socket""#, r#"job.toml:1: source `lines`: `address` is missing; write address = "127.0.0.1:9999""#),
    (
        r#"kind = "socket"
address = "localhost""#,
        r#"job.toml:3: source `lines`: `address = "localhost"` is not host and port; write it as "127.0.0.1:9999" or "[::1]:9999""#,
    ),
    (
        r#"kind = "socket"
address = "::1:9999""#,
        r#"job.toml:3: source `lines`: `address = "::1:9999"` is not host and port; write it as "127.0.0.1:9999" or "[::1]:9999""#,
    ),
    (
        r#"kind = "raw-socket"
address = "localhost:70000""#,
        r#"job.toml:3: source `lines`: `address = "localhost:70000"` is not host and port; write it as "127.0.0.1:9999" or "[::1]:9999""#,
    ),
    (
        r#"kind = "socket"
address = "127.0.0.1:9999"
path = "lines.txt""#,
        "job.toml:4: source `lines`: `path` is not for kind `socket` but for `directory`, `file`, `flight`, `queue`; remove it",
    ),
    (
        r#"kind = "socket"
address = "127.0.0.1:9999"
format = "binary""#,
        r#"job.toml:4: source `lines`: a `socket` source reads lines, not binary records; write kind = "raw-socket", which reads frames"#,
    ),
    (
        r#"kind = "socket"
adress = "127.0.0.1:9999""#,
        "job.toml:3: source `lines`: unknown key `adress`; did you mean `address`?",
    ),
    (
        r#"kind = "file"
path = "a.json"
format = "json""#,
        r#"job.toml:1: source `lines`: format `json` needs its columns; write schema = { user = "text", amount = "float64" }"#,
    ),
    (
        r#"kind = "file"
path = "a.parquet"
format = "orc""#,
        r#"job.toml:4: source `lines`: `format = "orc"` is not available in this version; write one of: `text`, `json`, `csv`, `binary`, `parquet`, `avro`, `protobuf`"#,
    ),
    (
        r#"kind = "file"
path = "a.csv"
format = "csv"
schema = { k = "string" }"#,
        "job.toml:5: source `lines`: column `k`: unknown type `string`; did you mean `text`?",
    ),
    (
        r#"kind = "file"
path = "a.csv"
format = "csv"
schema = { k = 5 }"#,
        r#"job.toml:5: source `lines`: column `k` is an integer; write its type, for example k = "int64""#,
    ),
    (
        r#"kind = "file"
path = "a.csv"
format = "csv"
schema = { k = { type = "text", path = "a.b" } }"#,
        "job.toml:5: source `lines`: column `k` has a `path`, which is for formats `json`, `avro` and `protobuf` and not for `csv`; remove it",
    ),
    (
        r#"kind = "file"
path = "a.csv"
format = "csv"
schema = { k = "text" }
separator = "::""#,
        r#"job.toml:6: source `lines`: `separator` is a single character such as ",", ";" or "\t"; write one"#,
    ),
    (
        r#"kind = "file"
path = "a.csv"
format = "csv"
schema = { k = "text" }
separator = "\"""#,
        r#"job.toml:6: source `lines`: `separator` must not be a quote or a line break; write ",", ";" or "\t""#,
    ),
    (
        r#"kind = "file"
path = "a.json"
format = "json"
schema = { k = { path = "a.b" } }"#,
        r#"job.toml:5: source `lines`: `schema.k.type` is missing; write type = "int64""#,
    ),
    (
        r#"kind = "file"
path = "a.json"
format = "json"
schema = { k = { type = "text", path = "a..b" } }"#,
        r#"job.toml:5: source `lines`: `schema.k.path` has an empty name; write names with dots between, for example path = "user.id""#,
    ),
    (
        r#"kind = "file"
path = "a.txt"
header = true"#,
        r#"job.toml:4: source `lines`: `header` is for format `csv`, and the format is `text`; remove it, or write format = "csv""#,
    ),
    (
        r#"kind = "file"
path = "a.txt"
schema = { a = "text", b = "text" }"#,
        r#"job.toml:4: source `lines`: format `text` has one column of type text; write schema = { line = "text" } to name it, or format = "json" or "csv" for several columns"#,
    ),
    (
        r#"kind = "file"
path = "a.bin"
format = "binary""#,
        "job.toml:1: source `lines`: format `binary` needs the length of a record; write record_bytes = 64",
    ),
    (
        r#"kind = "directory"
path = "in"
format = "binary"
record_bytes = 16
schema = { a = "int64", b = "bool" }"#,
        "job.toml:5: source `lines`: the columns take 9 bytes and `record_bytes` is 16; write record_bytes = 9, or columns for all bytes",
    ),
    (
        r#"kind = "directory"
path = "in"
format = "binary"
record_bytes = 16
schema = { a = "int64", b = "text" }"#,
        "job.toml:6: source `lines`: column `b` is text, which has no fixed width: several columns of a binary record are of bool (1 byte), int64, float64 and timestamp (8 bytes); write one of these, or a single binary column",
    ),
    (
        r#"kind = "directory"
path = "in"
format = "binary"
schema = { a = "int64", at = "timestamp" }"#,
        "job.toml:5: source `lines`: column `at` is timestamp, and format `binary` holds times as integers; write their unit: timestamp(s), timestamp(ms), timestamp(us) or timestamp(ns)",
    ),
    (
        r#"kind = "queue"
path = "in"
schema = { at = "timestamp(m)" }"#,
        "job.toml:4: source `lines`: column `at`: `timestamp(m)` is not a valid time format; write timestamp(s), (ms), (us) or (ns) for numbers, or a pattern, as timestamp(%Y-%m-%d %H:%M:%S)",
    ),
    (
        r#"kind = "queue"
path = "in"
schema = { at = "timestamp(%H:%M)" }"#,
        "job.toml:4: source `lines`: column `at`: `%H:%M` is not a complete date: a time needs year, month and day, \
        for example %Y-%m-%d %H:%M:%S",
    ),
    (
        r#"kind = "queue"
path = "in"
schema = { at = "timestamp(%Y-%m-%d %Z)" }"#,
        "job.toml:4: source `lines`: column `at`: `%Z` in `%Y-%m-%d %Z` is a name such as CET, which is ambiguous; write %z for an offset, or remove it and write zone = \"Europe/Berlin\"",
    ),
    (
        r#"kind = "queue"
path = "in"
schema = { at = { type = "timestamp", zone = "Europe/Berlni" } }"#,
        "job.toml:4: source `lines`: `schema.at.zone = \"Europe/Berlni\"` is not a time zone; did you mean `Europe/Berlin`?",
    ),
    (
        r#"kind = "queue"
path = "in"
schema = { at = { type = "timestamp(s)", zone = "Europe/Berlin" } }"#,
        "job.toml:4: source `lines`: column `at` has a `zone`, but seconds since 1970 are the same in all zones; \
        remove it",
    ),
    (
        r#"kind = "queue"
path = "in"
schema = { at = { type = "int64", zone = "Europe/Berlin" } }"#,
        "job.toml:4: source `lines`: column `at` has a `zone`, which is for timestamps, and it is int64; remove it",
    ),
    (
        r#"kind = "directory"
path = "in"
poll = "2h""#,
        "job.toml:4: source `lines`: `poll` is 2h; write a time from 1ms to 1h",
    ),
    (
        r#"kind = "directory"
path = """#,
        r#"job.toml:3: source `lines`: `path` is empty; write path = "incoming""#,
    ),
    (
        r#"kind = "file"
path = "s3://bucket/a.txt""#,
        r#"job.toml:3: source `lines`: `path = "s3://bucket/a.txt"` is in a bucket, which only sources of kind `directory` read, and sinks of kind `files` write; write a local path"#,
    ),
    (
        r#"kind = "nexmark""#,
        r#"job.toml:1: source `lines`: `event` is missing; write event = "bid", or one of person, auction"#,
    ),
    (
        r#"kind = "nexmark"
event = "offer"
hot_bidders = 0
bytes = 5000"#,
        r#"job.toml:3: source `lines`: `event = "offer"` is unknown; write one of: `person`, `auction`, `bid`
job.toml:4: source `lines`: `hot_bidders` is 0; write a number of 1 to 1000000
job.toml:5: source `lines`: `bytes` is 5000; write a number of 1 to 4096"#,
    ),
    (r#"kind = "rate""#, "job.toml:1: source `lines`: `rows_per_second` is missing; write rows_per_second = 1000"),
    (
        r#"kind = "rate"
rows_per_second = 10
schema = { k = "int64" }"#,
        "job.toml:4: source `lines`: `schema` is not for kind `rate` but for `socket`, `raw-socket`, `http`, `directory`, `file`, `kafka`, `redis`, `mqtt`, `nats`, `rabbitmq`, `zeromq`, `flight`, `kinesis`, `postgres-changes`, `syslog`, `otlp`, `lumberjack`, `queue`; remove it",
    ),
    (
        r#"kind = "rate"
rows_per_second = 0.5"#,
        "job.toml:3: source `lines`: `rows_per_second` is a number, needs an integer; write rows_per_second = 10",
    ),
    (
        r#"kind = "queue"
path = "input.jsonl""#,
        r#"job.toml:1: source `lines`: a `queue` source needs its columns; write schema = { user = "text", amount = "float64" }"#,
    ),
    (
        r#"kind = "queue"
path = "input.jsonl"
format = "csv"
schema = { k = "int64" }"#,
        "job.toml:4: source `lines`: a `queue` source holds JSON, not csv; remove `format`, or use kind `file`",
    ),
    (
        r#"kind = "file"
path = "a.txt"
bytes_per_batch_max = "64MO"
record_bytes_max = "2GiB"
rows_per_batch_max = 0"#,
        r#"job.toml:4: source `lines`: `bytes_per_batch_max = "64MO"` is not a size; write bytes as a number, or with one of B, KB, MB, GB, KiB, MiB, GiB, for example "64MiB"
job.toml:5: source `lines`: `record_bytes_max = "2GiB"` is out of range; write 1B to 1GiB
job.toml:6: source `lines`: `rows_per_batch_max` is 0; write a number of at least 1"#,
    ),
];
