//! Every mistake of a job file with the whole message that its author sees.

mod clickhouse;
mod kafka;
mod kinesis;
mod plugins;
mod servers;
mod sinks;
mod socket;
mod stages;
mod lumberjack;
mod syslog;
mod windows;

use super::{read, read_with};

/// Keys, and what is said about them.
type Cases = &'static [(&'static str, &'static str)];

const LINES: &str = r#"
[sources.lines]
kind = "socket"
address = "127.0.0.1:9999"
"#;
const SCREEN: &str = r#"
[sinks.screen]
from = "lines"
kind = "print"
"#;

#[test]
fn each_mistake_says_where_it_is_what_is_wrong_and_what_to_write() {
    let groups: [(&str, Cases, String, String); 13] = [
        ("TOP", TOP, String::new(), format!("{LINES}{SCREEN}")),
        ("SOURCE", SOURCE, "[sources.lines]\n".into(), SCREEN.into()),
        ("kafka::SOURCE", kafka::SOURCE, "[sources.lines]\nkind = \"kafka\"\n".into(), SCREEN.into()),
        ("servers::SOURCE", servers::SOURCE, "[sources.lines]\n".into(), SCREEN.into()),
        ("servers::SINK", servers::SINK, "[sinks.screen]\nfrom = \"lines\"\n".into(), LINES.into()),
        ("STAGE", STAGE, "[stages.words]\n".into(), format!("{LINES}{SCREEN}")),
        ("stages::STAGE", stages::STAGE, "[stages.words]\nfrom = \"lines\"\n".into(), format!("{LINES}{SCREEN}")),
        ("stages::WHOLE", stages::WHOLE, String::new(), format!("{LINES}{SCREEN}")),
        ("windows::STAGE", windows::STAGE, "[stages.words]\nfrom = \"lines\"\n".into(), format!("{LINES}{SCREEN}")),
        ("windows::WHOLE", windows::WHOLE, String::new(), format!("{LINES}{SCREEN}")),
        ("plugins::STAGE", plugins::STAGE, "[stages.words]\nfrom = \"lines\"\n".into(), format!("{LINES}{SCREEN}")),
        ("sinks::SINK", sinks::SINK, "[sinks.screen]\n".into(), LINES.into()),
        ("WHOLE", WHOLE, String::new(), String::new()),
    ];
    let mut wrong = Vec::new();
    for (group, cases, before, after) in groups {
        wrong.extend(differing(group, cases, &before, &after));
    }
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n\n"));
}

/// What is said otherwise than expected, of job files with these texts around each case.
fn differing(group: &str, cases: Cases, before: &str, after: &str) -> Vec<String> {
    let told = |text: &str| match read(&format!("{before}{text}\n{after}")) {
        Ok(_) => "no error".to_string(),
        Err(error) => error.message,
    };
    let cases = cases.iter().enumerate().map(|(at, (text, expected))| (at, text, expected, told(text)));
    let wrong = cases.filter(|(_, _, expected, found)| found != *expected);
    wrong
        .map(|(at, text, expected, found)| format!("{group} {at}:\n{text}\nexpected: {expected}\nfound:    {found}"))
        .collect()
}

#[test]
fn mistakes_in_set_name_the_option() {
    let good = format!("{LINES}{SCREEN}");
    let wrong = [
        (
            ("sources.linse.address", "h:1"),
            "--set sources.linse.address: the job has no source `linse`; did you mean `lines`?",
        ),
        (("stages.words.key", "a"), "--set stages.words.key: the job has no stage `words`; it has none"),
        (
            ("sources.lines.kind.x", "a"),
            "--set sources.lines.kind.x: `sources.lines.kind` is no table, so it has no keys; set `sources.lines.kind` itself",
        ),
        (
            ("address of lines", "h:1"),
            "--set address of lines: that is not the path of a key; write it as sources.lines.address=127.0.0.1:9999",
        ),
        (
            ("sources.lines.address", "nowhere"),
            "--set sources.lines.address: source `lines`: `address = \"nowhere\"` is not host and port; write it as \
             \"127.0.0.1:9999\" or \"[::1]:9999\"",
        ),
        (
            ("sinks.screen.\"rows\"", "x"),
            "--set sinks.screen.rows: sink `screen`: `rows` is text, needs a whole number; write rows = 10",
        ),
        (("bacth", "1s"), "--set bacth: unknown key `bacth`; did you mean `batch`?"),
    ];
    for (set, expected) in wrong {
        assert_eq!(read_with(&good, &[set]).unwrap_err().to_string(), expected);
    }
}

/// Keys of the file itself; a source and a sink follow.
const TOP: Cases = &[
    (r#"batc = "2s""#, "job.toml:1: unknown key `batc`; did you mean `batch`?"),
    (
        "batch = 1",
        r#"job.toml:1: `batch` is a whole number, needs a time; write a whole number and one of us, ms, s, m, h, d, as "1s""#,
    ),
    (
        r#"batch = "1 sec""#,
        r#"job.toml:1: `batch = "1 sec"` is not a time; write a whole number and one of us, ms, s, m, h, d, as "1s""#,
    ),
    (
        r#"batch = "1.5s""#,
        r#"job.toml:1: `batch = "1.5s"` is not a time; write a whole number and one of us, ms, s, m, h, d, as "1s""#,
    ),
    (
        r#"batch = "999999999h""#,
        r#"job.toml:1: `batch = "999999999h"` is not a time; that is more than ten years; write a shorter time"#,
    ),
    (
        r#"name = "my job""#,
        "job.toml:1: the job's name: `my job` is not a name: names are of letters, digits, `-` and `_` and begin with a letter; write `my-job`",
    ),
    (
        r#"name = "sales.rejected""#,
        "job.toml:1: the job's name: a name cannot end in the word `rejected`, which stands for rejected rows; write another name",
    ),
    (r#"name = """#, r#"job.toml:1: `name` is empty; write name = "word-count""#),
    ("workers = 0", "job.toml:1: `workers` is 0; write a number of 1 to 1024"),
    (r#"workers = "two""#, "job.toml:1: `workers` is text, needs a whole number; write workers = 10"),
    (r#"clock = "virtual""#, r#"job.toml:1: `clock = "virtual"` is unknown; write one of: `wall`, `manual`"#),
    (
        r#"clock = "manual""#,
        r#"job.toml:4: source `lines`: clock = "manual" works with `queue` sources only, and this is kind `socket`; remove `clock`, or make it a queue"#,
    ),
    ("state = \"2GiB\"", r#"job.toml:1: `state` is text, needs a table; write state = { memory = "2GiB" }"#),
    (
        "state = { memory = \"1KiB\" }",
        r#"job.toml:1: `state.memory = "1KiB"` is out of range; write 1MiB to 1048576GiB"#,
    ),
    ("state = { memroy = \"1GiB\" }", "job.toml:1: unknown key `state.memroy`; did you mean `memory`?"),
    ("in_flight_max = -1", "job.toml:1: `in_flight_max` is -1; write a number of 1 to 1000"),
    (
        r#"checkpoint = "checkpoints""#,
        r#"job.toml:1: `checkpoint` is text, needs a table; write [checkpoint] and dir = "checkpoints/word-count" below it"#,
    ),
    (r#"checkpoint = {}"#, r#"job.toml:1: `checkpoint.dir` is missing; write dir = "checkpoints/word-count""#),
    (r#"checkpoint.dir = """#, r#"job.toml:1: `checkpoint.dir` is empty; write dir = "checkpoints/word-count""#),
    (
        r#"checkpoint.dir = "gs://bucket""#,
        r#"job.toml:1: `checkpoint.dir = "gs://bucket"` is a URL of another kind; write a folder, as dir = "checkpoints/word-count", s3://bucket/prefix, or hdfs://namenode:8020/folder"#,
    ),
    (
        r#"checkpoint.dir = "s3:///prefix""#,
        r#"job.toml:1: `checkpoint.dir = "s3:///prefix"` names no bucket; write s3://bucket/prefix"#,
    ),
    (
        r#"checkpoint.dir = "hdfs:///prefix""#,
        r#"job.toml:1: `checkpoint.dir = "hdfs:///prefix"` names no server; write hdfs://namenode:8020/folder, or the name service in the place of host and port"#,
    ),
    (r#"checkpoint = { dir = "c", evry = "10s" }"#, "job.toml:1: unknown key `checkpoint.evry`; did you mean `every`?"),
    (
        r#"checkpoint = { dir = "c", every = "10 sec" }"#,
        r#"job.toml:1: `checkpoint.every = "10 sec"` is neither a time nor a number; write a whole number and one of us, ms, s, m, h, d, as "1s", or a number of batches of at least 1"#,
    ),
    (
        "[checkpoint]\ndir = \"c\"\nevery = 0",
        r#"job.toml:3: `checkpoint.every` is 0; write a number of batches of at least 1, or a time such as "10s""#,
    ),
    (
        "[checkpoint]\ndir = \"c\"\nevery = \"0s\"",
        r#"job.toml:3: `checkpoint.every` is zero; write a time such as "10s", or every = 1 for every batch"#,
    ),
    (
        "[checkpoint]\ndir = \"c\"\nevery = 1.5",
        r#"job.toml:3: `checkpoint.every` is a number, needs a time or a number of batches; write a whole number and one of us, ms, s, m, h, d, as "1s", or a number of batches of at least 1"#,
    ),
    (
        "[checkpoint]\ndir = \"c\"\nkeep = 5",
        "job.toml:3: `checkpoint.keep` is not available in this version; remove it",
    ),
    ("sinks = 3", "job.toml:7: not TOML: cannot extend value of type integer with a dotted key at `sinks`"),
    (
        "batch = 99999999999999999999",
        "job.toml:1: 99999999999999999999 does not fit into 64 bits; write a smaller number",
    ),
    ("batch = 1s", "job.toml:1: not TOML: string values must be quoted, expected literal string at `1s`"),
    (
        "sources = { lines = 5 }",
        "job.toml:3: not TOML: cannot extend value of type inline table with a dotted key at `sources`",
    ),
];

/// The keys of `[sources.lines]`, whose header is line 1.
const SOURCE: Cases = &[
    (
        r#"address = "127.0.0.1:9999""#,
        r#"job.toml:1: source `lines`: `kind` is missing; write kind = "socket", or one of raw-socket, http, directory, file, kafka, redis, mqtt, nats, rabbitmq, zeromq, flight, kinesis, postgres-changes, syslog, otlp, lumberjack, plugin, rate, nexmark, queue"#,
    ),
    (r#"kind = "sockte""#, r#"job.toml:2: source `lines`: `kind = "sockte"` is unknown; did you mean `socket`?"#),
    (
        r#"kind = "s3""#,
        r#"job.toml:2: source `lines`: `kind = "s3"` is not available in this version; write one of: `socket`, `raw-socket`, `http`, `directory`, `file`, `kafka`, `redis`, `mqtt`, `nats`, `rabbitmq`, `zeromq`, `flight`, `kinesis`, `syslog`, `otlp`, `lumberjack`, `postgres-changes`, `plugin`, `rate`, `nexmark`, `queue`"#,
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
        "job.toml:4: source `lines`: `path` is not for kind `socket` but for `directory`, `file`, `queue`, `flight`; remove it",
    ),
    (
        r#"kind = "socket"
address = "127.0.0.1:9999"
format = "binary""#,
        r#"job.toml:4: source `lines`: a `socket` source reads lines, which binary records are not; write kind = "raw-socket", which reads frames"#,
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
        r#"job.toml:5: source `lines`: column `k` is a whole number; write its type, as k = "int64""#,
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
        r#"job.toml:6: source `lines`: `separator` can be no quote and no end of line; write ",", ";" or "\t""#,
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
        r#"job.toml:5: source `lines`: `schema.k.path` has an empty name; write names with dots between, as path = "user.id""#,
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
        "job.toml:5: source `lines`: column `at` is timestamp, and format `binary` holds times as whole numbers; write their unit: timestamp(s), timestamp(ms), timestamp(us) or timestamp(ns)",
    ),
    (
        r#"kind = "queue"
path = "in"
schema = { at = "timestamp(m)" }"#,
        "job.toml:4: source `lines`: column `at`: `timestamp(m)` is no way to write times; write timestamp(s), (ms), (us) or (ns) for numbers, or a pattern, as timestamp(%Y-%m-%d %H:%M:%S)",
    ),
    (
        r#"kind = "queue"
path = "in"
schema = { at = "timestamp(%H:%M)" }"#,
        "job.toml:4: source `lines`: column `at`: `%H:%M` does not say a whole date: a time needs year, month and day, as %Y-%m-%d %H:%M:%S",
    ),
    (
        r#"kind = "queue"
path = "in"
schema = { at = "timestamp(%Y-%m-%d %Z)" }"#,
        "job.toml:4: source `lines`: column `at`: `%Z` in `%Y-%m-%d %Z` is a name such as CET, which stands for other offsets elsewhere; write %z for an offset, or leave it out and say zone = \"Europe/Berlin\"",
    ),
    (
        r#"kind = "queue"
path = "in"
schema = { at = { type = "timestamp", zone = "Europe/Berlni" } }"#,
        "job.toml:4: source `lines`: `schema.at.zone = \"Europe/Berlni\"` is no time zone; did you mean `Europe/Berlin`?",
    ),
    (
        r#"kind = "queue"
path = "in"
schema = { at = { type = "timestamp(s)", zone = "Europe/Berlin" } }"#,
        "job.toml:4: source `lines`: column `at` has a `zone`, and seconds since 1970 are the same in all of them; remove it",
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
        "job.toml:4: source `lines`: `schema` is not for kind `rate` but for `socket`, `raw-socket`, `http`, `directory`, `file`, `kafka`, `redis`, `mqtt`, `nats`, `rabbitmq`, `zeromq`, `flight`, `kinesis`, `postgres-changes`, `queue`, `syslog`, `otlp`, `lumberjack`; remove it",
    ),
    (
        r#"kind = "rate"
rows_per_second = 0.5"#,
        "job.toml:3: source `lines`: `rows_per_second` is a number, needs a whole number; write rows_per_second = 10",
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
        r#"job.toml:4: source `lines`: `bytes_per_batch_max = "64MO"` is not a size; write bytes as a number, or with one of B, KB, MB, GB, KiB, MiB, GiB, as "64MiB"
job.toml:5: source `lines`: `record_bytes_max = "2GiB"` is out of range; write 1B to 1GiB
job.toml:6: source `lines`: `rows_per_batch_max` is 0; write a number of at least 1"#,
    ),
];

/// The keys of `[stages.words]`, whose header is line 1.
const STAGE: Cases = &[
    (
        r#"plugin = "plugins/split""#,
        r#"job.toml:1: stage `words`: `from` is missing; write from = "…" with the name of a source or stage"#,
    ),
    (
        r#"from = "linse"
plugin = "plugins/split""#,
        "job.toml:2: stage `words`: `from` names `linse`, which is neither a source nor a stage; did you mean `lines`?",
    ),
    (
        r#"from = "words""#,
        "job.toml:2: stage `words`: it reads its own rows, which would go round for ever; take its name out of its `from`",
    ),
    (
        r#"from = ["lines", "lines"]"#,
        "job.toml:2: stage `words`: `from` names `lines` twice, which would double its rows; remove one",
    ),
    ("from = []", r#"job.toml:2: stage `words`: `from` is empty; write from = "lines" or from = ["a", "b"]"#),
    (
        "from = 7",
        r#"job.toml:2: stage `words`: `from` is a whole number, needs text or a list of texts; write from = "lines" or from = ["a", "b"]"#,
    ),
    (
        r#"from = "screen""#,
        "job.toml:2: stage `words`: `from` names the sink `screen`, and a sink has no rows to read; name what the sink reads",
    ),
    (
        r#"from = "lines.late""#,
        "job.toml:2: stage `words`: `from` names `lines.late`, and the source `lines` has no late rows: they come with stages that have `time`; read `<stage>.late` of one of these",
    ),
    (
        r#"from = "lines.refused""#,
        "job.toml:2: stage `words`: `from` names `lines.refused`, which the source `lines` does not put out; there are `lines`, `lines.rejected`",
    ),
    (
        r#"from = "linse.rejected""#,
        "job.toml:2: stage `words`: `from` names `linse`, which is neither a source nor a stage; did you mean `lines.rejected`?",
    ),
    (
        r#"from = "lines"
key = "word""#,
        r#"job.toml:3: stage `words`: `key` does nothing in a stage without an operator; remove it, or add plugin = "…" or aggregate = { … }"#,
    ),
    (
        r#"from = "lines"
plugin = 5"#,
        r#"job.toml:3: stage `words`: `plugin` is a whole number, needs text; write plugin = "plugins/split-words""#,
    ),
    (
        r#"from = "lines"
plugin = "split-words@latest""#,
        r#"job.toml:3: stage `words`: `plugin = "split-words@latest"` names no package: `latest` is no version: unexpected character 'l' while parsing major version number; write one as 1.2.3; write a package as name@1.2.3, or a path with ./ in front"#,
    ),
    (
        r#"from = "lines"
plugin = "Split@1.2.0""#,
        r#"job.toml:3: stage `words`: `plugin = "Split@1.2.0"` names no package: `Split` is no name of a package: small letters and digits, with single `-` between them, at most 64; write a package as name@1.2.3, or a path with ./ in front"#,
    ),
    (
        r#"from = "lines"
plugin = "oci://registry.example/split-words:1.2.0""#,
        r#"job.toml:3: stage `words`: `plugin = "oci://registry.example/split-words:1.2.0"`: a job names a package by name and version, and millstream.lock says where it comes from; write plugin = "name@1.2.3", and pin it with `millstream add name@1.2.3 --registry oci://…`"#,
    ),
    (
        r#"from = "lines"
plugin = "p"
aggregate = { n = "count(*)" }"#,
        "job.toml:4: stage `words`: a stage has one operator, and this one has `plugin` and `aggregate`; make two stages of it",
    ),
    (
        r#"from = "lines"
plugin = "p"
key = ["a", "a"]"#,
        "job.toml:4: stage `words`: `key` names `a` twice; remove one",
    ),
    (
        r#"from = "lines"
plugin = "p"
plugn = "q""#,
        "job.toml:4: stage `words`: unknown key `plugn`; did you mean `plugin`, which is there already?",
    ),
    (
        r#"from = "lines"
plugin = "p"
sperator = " ""#,
        "job.toml:4: stage `words`: unknown key `sperator`; these keys fit: `key`, `window`, `time`, `lateness`, `idle`, `ahead_max`, `emit`, `config`, `aggregate`, `op`, `inverse`, `sql`, `functions`, `join`, `cogroup`, `enrich`, `top`, `latest`, `distinct`, `deduplicate`, `pattern`, `sample`, `split`, `repartition`, `filter`, `select`, `on`, `timeout`, `initial`, `instance`, `limits`, `grant`, `on_error`, `max_rejected`, `replayable`",
    ),
    (
        r#"from = "lines"
plugin = "p"
config = { ratio = nan }"#,
        "job.toml:4: stage `words`: `config` holds nan, a number that JSON has no word for; write it as text",
    ),
    (
        r#"from = "lines"
plugin = "p"
on = "touch""#,
        r#"job.toml:4: stage `words`: `on = "touch"` is unknown; write one of: `touched`, `all`"#,
    ),
    (
        r#"from = "lines"
plugin = "p"
emit = "update""#,
        r#"job.toml:4: stage `words`: `emit = "update"` is for windows, and this stage has none; add window = { size = "30s" }, or remove it"#,
    ),
    (
        r#"from = "lines"
plugin = "p"
timeout = 30"#,
        r#"job.toml:4: stage `words`: `timeout` is a whole number, needs a time; write a whole number and one of us, ms, s, m, h, d, as "1s""#,
    ),
    (
        r#"from = "lines"
plugin = "p"
timeout = "0s""#,
        r#"job.toml:4: stage `words`: `timeout` is zero, which would remove every key at once; write a time such as "30m""#,
    ),
    (
        r#"from = "lines"
config = { a = 1 }
emit = "state""#,
        r#"job.toml:3: stage `words`: `config` is for stages with a plugin; add plugin = "…", or remove it
job.toml:4: stage `words`: `emit` is for stages with a plugin; add plugin = "…", or remove it"#,
    ),
    (
        r#"from = "lines"
aggregate = "plugins/sum""#,
        r#"job.toml:3: stage `words`: `aggregate` is text, needs a table of output columns; write aggregate = { n = "count(*)" }, or plugin = "…" for a plugin of world aggregate"#,
    ),
    (
        r#"from = "lines"
aggregate = {}"#,
        r#"job.toml:3: stage `words`: `aggregate` is empty; write aggregate = { n = "count(*)" }"#,
    ),
    (
        r#"from = "lines"
aggregate = { n = "count(*)" }
timeout = "30m""#,
        "job.toml:4: stage `words`: `timeout` is for stages with a plugin; remove it",
    ),
    (
        r#"from = "lines"
aggregate = { n = "cuont(*)" }"#,
        "job.toml:3: stage `words`: `aggregate.n`: unknown function `cuont`; did you mean `count`? the functions are `count`, `sum`, `min`, `max`, `avg`, `first`, `last`",
    ),
    (
        r#"from = "lines"
aggregate = { n = "median(x)" }"#,
        "job.toml:3: stage `words`: `aggregate.n`: unknown function `median`; the functions are `count`, `sum`, `min`, `max`, `avg`, `first`, `last`",
    ),
    (
        r#"from = "lines"
aggregate = { n = "sum(price * 2)" }"#,
        r#"job.toml:3: stage `words`: `aggregate.n`: `price * 2` is not the name of a column, and only one fits here; compute it in a stage before this one, as select = "price * 2 as value""#,
    ),
    (
        r#"from = "lines"
aggregate = { n = "sum(*)" }"#,
        r#"job.toml:3: stage `words`: `aggregate.n`: `sum` needs a column; write its name, as "sum(price)""#,
    ),
    (
        r#"from = "lines"
aggregate = { n = "count()" }"#,
        r#"job.toml:3: stage `words`: `aggregate.n`: `count()` counts nothing; write "count(*)" or "count(column)""#,
    ),
    (
        r#"from = "lines"
aggregate = { n = "sum(distinct x)" }"#,
        r#"job.toml:3: stage `words`: `aggregate.n`: `distinct` is for `count` only; write "sum(x)", or "count(distinct x)""#,
    ),
    (
        r#"from = "lines"
aggregate = { n = "count" }"#,
        r#"job.toml:3: stage `words`: `aggregate.n`: `count` is not an aggregate; write a function and its column, as "sum(price)""#,
    ),
    (
        r#"from = "lines"
key = "word"
aggregate = { word = "count(*)" }"#,
        "job.toml:4: stage `words`: column `word` is a key already; give the aggregate another name",
    ),
];

/// Whole files.
const WHOLE: Cases = &[
    (
        r#"sources = 3
stages = { words = 5 }
sinks = []
"#,
        r#"job.toml:1: `sources` is a whole number, needs a table; write [sources.name] and its keys below it
job.toml:2: `stages.words` is a whole number, needs a table; write [stages.words] and the keys of the stage below it
job.toml:3: `sinks` is a list, needs a table; write [sinks.name] and its keys below it"#,
    ),
    (
        r#"[sources.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx]
kind = "rate"
[sinks.screen]
from = "lines"
kind = "print"
"#,
        r#"job.toml:1: the name of a source is 65 bytes long; write at most 64
job.toml:4: sink `screen`: `from` names `lines`, which is neither a source nor a stage; there is nothing else to read"#,
    ),
    (
        "",
        r#"job.toml: the job has no source; add one, as [sources.lines] with kind = "socket" and address = "127.0.0.1:9999"
job.toml: the job has no sink, so its rows go nowhere; add one, as [sinks.screen] with from = "…" and kind = "print""#,
    ),
    (
        r#"[sources.lines]
kind = "socket"
address = "127.0.0.1:9999"
"#,
        r#"job.toml: the job has no sink, so its rows go nowhere; add one, as [sinks.screen] with from = "…" and kind = "print""#,
    ),
    (
        r#"[source.lines]
kind = "socket"
address = "127.0.0.1:9999"
[sinks.screen]
from = "lines"
kind = "print"
"#,
        "job.toml:1: unknown key `source`; did you mean `sources`?",
    ),
    (
        r#"[sources.lines]
kind = "rate"
rows_per_second = 1
[sources.lines]
kind = "rate"
"#,
        "job.toml:4: not TOML: duplicate key at `lines`",
    ),
    (
        r#"[sources.lines]
kind = "rate"
kind = "queue"
"#,
        "job.toml:3: not TOML: duplicate key at `kind`",
    ),
    (
        r#"[sources.lines
kind = "rate"
"#,
        "job.toml:1: not TOML: unclosed table, expected `]`",
    ),
    (
        r#"name = "x"
[sources.lines]
kind = print
"#,
        "job.toml:3: not TOML: string values must be quoted, expected literal string at `print`",
    ),
    (
        r#"[sources.lines]
kind = "rate"
rows_per_second = 1
[stages.lines]
from = "lines"
[sinks.screen]
from = "lines"
kind = "print"
"#,
        "job.toml:4: stage `lines`: there is a source `lines` already; every source and stage needs a name of its own",
    ),
    (
        r#"[sources.lines]
kind = "rate"
rows_per_second = 1
[stages."b.rejected"]
from = "lines"
[stages.late]
from = "lines"
[stages."my stage"]
from = "lines"
[sinks.1st]
from = "lines"
kind = "print"
"#,
        r#"job.toml:4: stage: a name cannot end in the word `rejected`, which stands for rejected rows; write another name
job.toml:6: stage: a name cannot end in the word `late`, which stands for late rows; write another name
job.toml:8: stage: `my stage` is not a name: names are of letters, digits, `-` and `_` and begin with a letter; write `my-stage`
job.toml:10: sink: `1st` is not a name: names are of letters, digits, `-` and `_` and begin with a letter; write `job-1st`"#,
    ),
    (
        r#"[sources.lines]
kind = "rate"
rows_per_second = 1
[stages.c]
from = "b"
[stages.a]
from = ["lines", "c"]
[stages.b]
from = "a.rejected"
[stages.after]
from = "b"
[stages.self]
from = "self"
[sinks.screen]
from = "after"
kind = "print"
"#,
        r#"job.toml:5: stage `c`: a cycle, in which rows would go round for ever: `c` → `a` → `b` → `c`; take one of these out of a `from`
job.toml:13: stage `self`: it reads its own rows, which would go round for ever; take its name out of its `from`"#,
    ),
    (
        r#"clock = "manual"
batch = "0s"
[sources.q]
kind = "queue"
path = "q"
schema = { a = "text" }
[sources.lines]
kind = "rate"
rows_per_second = 1
[sinks.screen]
from = "q"
kind = "print"
"#,
        r#"job.toml:2: clock = "manual" counts time in batch intervals, and `batch` is zero; write batch = "1s"
job.toml:8: source `lines`: clock = "manual" works with `queue` sources only, and this is kind `rate`; remove `clock`, or make it a queue"#,
    ),
    (
        r#"name = "word-count"
batch = "1 sec"

[sources.lines]
kind = "sockt"
adress = "127.0.0.1:9999"

[stages.words]
form = "lines"
plugin = "plugins/split-words"

[stages.totals]
from = "word"
sperator = " "

[sinks.screen]
from = "totals"
kind = "print"
rows = "ten"
"#,
        r#"job.toml:2: `batch = "1 sec"` is not a time; write a whole number and one of us, ms, s, m, h, d, as "1s"
job.toml:5: source `lines`: `kind = "sockt"` is unknown; did you mean `socket`?
job.toml:6: source `lines`: unknown key `adress`; did you mean `address`?
job.toml:9: stage `words`: unknown key `form`; did you mean `from`?
job.toml:13: stage `totals`: `from` names `word`, which is neither a source nor a stage; did you mean `words`?
job.toml:14: stage `totals`: unknown key `sperator`; these keys fit: `key`, `window`, `time`, `lateness`, `idle`, `ahead_max`, `emit`, `plugin`, `config`, `aggregate`, `op`, `inverse`, `sql`, `functions`, `join`, `cogroup`, `enrich`, `top`, `latest`, `distinct`, `deduplicate`, `pattern`, `sample`, `split`, `repartition`, `filter`, `select`, `on`, `timeout`, `initial`, `instance`, `limits`, `grant`, `on_error`, `max_rejected`, `replayable`
job.toml:19: sink `screen`: `rows` is text, needs a whole number; write rows = 10"#,
    ),
];
