//! Every mistake of a job file with the whole message that its author sees.

use super::{read, read_with};

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
    let groups: [(&str, &[(&str, &str)], String, String); 5] = [
        ("TOP", TOP, String::new(), format!("{LINES}{SCREEN}")),
        ("SOURCE", SOURCE, "[sources.lines]\n".into(), SCREEN.into()),
        ("STAGE", STAGE, "[stages.words]\n".into(), format!("{LINES}{SCREEN}")),
        ("SINK", SINK, "[sinks.screen]\n".into(), LINES.into()),
        ("WHOLE", WHOLE, String::new(), String::new()),
    ];
    let mut wrong = Vec::new();
    for (group, cases, before, after) in groups {
        for (at, (text, expected)) in cases.iter().enumerate() {
            let found = match read(&format!("{before}{text}\n{after}")) {
                Ok(_) => "no error".to_string(),
                Err(error) => error.to_string(),
            };
            if found != *expected {
                if let Ok(f) = std::env::var("DUMP_JOB") { use std::io::Write; std::fs::write("/tmp/schema_job.json", super::super::schema().to_string()).unwrap(); writeln!(std::fs::OpenOptions::new().append(true).create(true).open(f).unwrap(), "{}", serde_json::json!([format!("{group} {at}"), found])).unwrap(); }
                wrong.push(format!("{group} {at}:\n{text}\nexpected: {expected}\nfound:    {found}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n\n"));
}

#[test]
fn mistakes_in_set_name_the_option() {
    let good = format!("{LINES}{SCREEN}");
    let wrong = [
        (("sources.linse.address", "h:1"), "--set sources.linse.address: the job has no source `linse`; did you mean `lines`?"),
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
        (("sinks.screen.\"rows\"", "x"), "--set sinks.screen.rows: sink `screen`: `rows` is text, needs a whole number; write rows = 10"),
        (("bacth", "1s"), "--set bacth: unknown key `bacth`; did you mean `batch`?"),
    ];
    for (set, expected) in wrong {
        assert_eq!(read_with(&good, &[set]).unwrap_err().to_string(), expected);
    }
}

/// Keys of the file itself; a source and a sink follow.
const TOP: &[(&str, &str)] = &[
    (
        r#"batc = "2s""#,
        "",
    ),
    (
        "batch = 1",
        "",
    ),
    (
        r#"batch = "1 sec""#,
        "",
    ),
    (
        r#"batch = "1.5s""#,
        "",
    ),
    (
        r#"batch = "999999999h""#,
        "",
    ),
    (
        r#"name = "my job""#,
        "",
    ),
    (
        r#"name = "sales.rejected""#,
        "",
    ),
    (
        r#"name = """#,
        "",
    ),
    (
        "workers = 0",
        "",
    ),
    (
        r#"workers = "two""#,
        "",
    ),
    (
        r#"clock = "virtual""#,
        "",
    ),
    (
        r#"clock = "manual""#,
        "",
    ),
    (
        "in_flight_max = -1",
        "",
    ),
    (
        r#"checkpoint = { dir = "checkpoints", every = "10s" }"#,
        "",
    ),
    (
        "sinks = 3",
        "",
    ),
    (
        "batch = 99999999999999999999",
        "",
    ),
    (
        "batch = 1s",
        "",
    ),
    (
        "sources = { lines = 5 }",
        "",
    ),
];

/// The keys of `[sources.lines]`, whose header is line 1.
const SOURCE: &[(&str, &str)] = &[
    (
        r#"address = "127.0.0.1:9999""#,
        "",
    ),
    (
        r#"kind = "sockte""#,
        "",
    ),
    (
        r#"kind = "kafka""#,
        "",
    ),
    (
        r#"kind = "tcp""#,
        "",
    ),
    (
        r#"kind = "socket""#,
        "",
    ),
    (
        r#"kind = "socket"
address = "localhost""#,
        "",
    ),
    (
        r#"kind = "socket"
address = "::1:9999""#,
        "",
    ),
    (
        r#"kind = "raw-socket"
address = "localhost:70000""#,
        "",
    ),
    (
        r#"kind = "socket"
address = "127.0.0.1:9999"
path = "lines.txt""#,
        "",
    ),
    (
        r#"kind = "socket"
address = "127.0.0.1:9999"
format = "binary""#,
        "",
    ),
    (
        r#"kind = "socket"
adress = "127.0.0.1:9999""#,
        "",
    ),
    (
        r#"kind = "file"
path = "a.json"
format = "json""#,
        "",
    ),
    (
        r#"kind = "file"
path = "a.parquet"
format = "parquet""#,
        "",
    ),
    (
        r#"kind = "file"
path = "a.csv"
format = "csv"
schema = { k = "string" }"#,
        "",
    ),
    (
        r#"kind = "file"
path = "a.csv"
format = "csv"
schema = { k = 5 }"#,
        "",
    ),
    (
        r#"kind = "file"
path = "a.csv"
format = "csv"
schema = { k = { type = "text", path = "a.b" } }"#,
        "",
    ),
    (
        r#"kind = "file"
path = "a.csv"
format = "csv"
schema = { k = "text" }
separator = "::""#,
        "",
    ),
    (
        r#"kind = "file"
path = "a.csv"
format = "csv"
schema = { k = "text" }
separator = "\"""#,
        "",
    ),
    (
        r#"kind = "file"
path = "a.json"
format = "json"
schema = { k = { path = "a.b" } }"#,
        "",
    ),
    (
        r#"kind = "file"
path = "a.json"
format = "json"
schema = { k = { type = "text", path = "a..b" } }"#,
        "",
    ),
    (
        r#"kind = "file"
path = "a.txt"
header = true"#,
        "",
    ),
    (
        r#"kind = "file"
path = "a.txt"
schema = { a = "text", b = "text" }"#,
        "",
    ),
    (
        r#"kind = "file"
path = "a.bin"
format = "binary""#,
        "",
    ),
    (
        r#"kind = "directory"
path = "in"
format = "binary"
record_bytes = 16
schema = { a = "int64", b = "bool" }"#,
        "",
    ),
    (
        r#"kind = "directory"
path = "in"
format = "binary"
record_bytes = 16
schema = { a = "int64", b = "text" }"#,
        "",
    ),
    (
        r#"kind = "directory"
path = "in"
poll = "2h""#,
        "",
    ),
    (
        r#"kind = "directory"
path = """#,
        "",
    ),
    (
        r#"kind = "file"
path = "s3://bucket/a.txt""#,
        "",
    ),
    (
        r#"kind = "rate""#,
        "",
    ),
    (
        r#"kind = "rate"
rows_per_second = 10
schema = { k = "int64" }"#,
        "",
    ),
    (
        r#"kind = "rate"
rows_per_second = 0.5"#,
        "",
    ),
    (
        r#"kind = "queue"
path = "input.jsonl""#,
        "",
    ),
    (
        r#"kind = "queue"
path = "input.jsonl"
format = "csv"
schema = { k = "int64" }"#,
        "",
    ),
    (
        r#"kind = "file"
path = "a.txt"
bytes_per_batch_max = "64MO"
record_bytes_max = "2GiB"
rows_per_batch_max = 0"#,
        "",
    ),
];

/// The keys of `[stages.words]`, whose header is line 1.
const STAGE: &[(&str, &str)] = &[
    (
        r#"plugin = "plugins/split""#,
        "",
    ),
    (
        r#"from = "linse"
plugin = "plugins/split""#,
        "",
    ),
    (
        r#"from = "words""#,
        "",
    ),
    (
        r#"from = ["lines", "lines"]"#,
        "",
    ),
    (
        "from = []",
        "",
    ),
    (
        "from = 7",
        "",
    ),
    (
        r#"from = "screen""#,
        "",
    ),
    (
        r#"from = "lines.late""#,
        "",
    ),
    (
        r#"from = "lines.refused""#,
        "",
    ),
    (
        r#"from = "linse.rejected""#,
        "",
    ),
    (
        r#"from = "lines"
key = "word""#,
        "",
    ),
    (
        r#"from = "lines"
plugin = 5"#,
        "",
    ),
    (
        r#"from = "lines"
plugin = "split-words@1.2.0""#,
        "",
    ),
    (
        r#"from = "lines"
plugin = "oci://registry.example/split-words:1.2.0""#,
        "",
    ),
    (
        r#"from = "lines"
plugin = "p"
aggregate = { n = "count(*)" }"#,
        "",
    ),
    (
        r#"from = "lines"
plugin = "p"
key = ["a", "a"]"#,
        "",
    ),
    (
        r#"from = "lines"
plugin = "p"
sperator = " ""#,
        "",
    ),
    (
        r#"from = "lines"
plugin = "p"
config = { ratio = nan }"#,
        "",
    ),
    (
        r#"from = "lines"
plugin = "p"
on = "touch""#,
        "",
    ),
    (
        r#"from = "lines"
plugin = "p"
emit = "update""#,
        "",
    ),
    (
        r#"from = "lines"
plugin = "p"
timeout = 30"#,
        "",
    ),
    (
        r#"from = "lines"
plugin = "p"
timeout = "0s""#,
        "",
    ),
    (
        r#"from = "lines"
plugin = "p"
on_error = "reject""#,
        "",
    ),
    (
        r#"from = "lines"
plugin = "p"
instance = "forever""#,
        "",
    ),
    (
        r#"from = "lines"
plugin = "p"
limits = { memory = "1KiB" }"#,
        "",
    ),
    (
        r#"from = "lines"
plugin = "p"
limits = { memry = "1MiB", time = "2 s", fuel = 3 }"#,
        "",
    ),
    (
        r#"from = "lines"
plugin = "p"
limits = "64MiB""#,
        "",
    ),
    (
        r#"from = "lines"
plugin = "p"
grant = { network = true }"#,
        "",
    ),
    (
        r#"from = "lines"
plugin = "p"
grant = { files = { words = 3 } }"#,
        "",
    ),
    (
        r#"from = "lines"
config = { a = 1 }
emit = "state""#,
        "",
    ),
    (
        r#"from = "lines"
aggregate = "plugins/sum""#,
        "",
    ),
    (
        r#"from = "lines"
aggregate = {}"#,
        "",
    ),
    (
        r#"from = "lines"
aggregate = { n = "count(*)" }
timeout = "30m""#,
        "",
    ),
    (
        r#"from = "lines"
aggregate = { n = "cuont(*)" }"#,
        "",
    ),
    (
        r#"from = "lines"
aggregate = { n = "median(x)" }"#,
        "",
    ),
    (
        r#"from = "lines"
aggregate = { n = "sum(price * 2)" }"#,
        "",
    ),
    (
        r#"from = "lines"
aggregate = { n = "sum(*)" }"#,
        "",
    ),
    (
        r#"from = "lines"
aggregate = { n = "count()" }"#,
        "",
    ),
    (
        r#"from = "lines"
aggregate = { n = "sum(distinct x)" }"#,
        "",
    ),
    (
        r#"from = "lines"
aggregate = { n = "count" }"#,
        "",
    ),
    (
        r#"from = "lines"
key = "word"
aggregate = { word = "count(*)" }"#,
        "",
    ),
    (
        r#"from = "lines"
window = { size = "30s" }
aggregate = { n = "count(*)" }"#,
        "",
    ),
    (
        r#"from = "lines"
sql = "select 1"
config = {}"#,
        "",
    ),
];

/// The keys of `[sinks.screen]`, whose header is line 1.
const SINK: &[(&str, &str)] = &[
    (
        r#"kind = "print""#,
        "",
    ),
    (
        r#"from = "lines""#,
        "",
    ),
    (
        r#"from = "lines"
kind = "postgres""#,
        "",
    ),
    (
        r#"from = "lines"
kind = "prnt""#,
        "",
    ),
    (
        r#"from = "lines"
kind = "print"
rows = "ten""#,
        "",
    ),
    (
        r#"from = "lines"
kind = "print"
rows = -1"#,
        "",
    ),
    (
        r#"from = "lines"
kind = "print"
path = "out""#,
        "",
    ),
    (
        r#"from = "lines"
kind = "files""#,
        "",
    ),
    (
        r#"from = "lines"
kind = "files"
path = "out"
format = "xml""#,
        "",
    ),
    (
        r#"from = "words"
kind = "queue"
path = "out.jsonl""#,
        "",
    ),
];

/// Whole files.
const WHOLE: &[(&str, &str)] = &[
    (
        r#"sources = 3
stages = { words = 5 }
sinks = []
"#,
        "",
    ),
    (
        r#"[sources.xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx]
kind = "rate"
[sinks.screen]
from = "lines"
kind = "print"
"#,
        "",
    ),
    (
        "",
        "",
    ),
    (
        r#"[sources.lines]
kind = "socket"
address = "127.0.0.1:9999"
"#,
        "",
    ),
    (
        r#"[source.lines]
kind = "socket"
address = "127.0.0.1:9999"
[sinks.screen]
from = "lines"
kind = "print"
"#,
        "",
    ),
    (
        r#"[sources.lines]
kind = "rate"
rows_per_second = 1
[sources.lines]
kind = "rate"
"#,
        "",
    ),
    (
        r#"[sources.lines]
kind = "rate"
kind = "queue"
"#,
        "",
    ),
    (
        r#"[sources.lines
kind = "rate"
"#,
        "",
    ),
    (
        r#"name = "x"
[sources.lines]
kind = print
"#,
        "",
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
        "",
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
        "",
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
        "",
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
        "",
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
        "",
    ),
];
