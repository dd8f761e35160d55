//! Every error of a job file with its complete message.

mod clickhouse;
mod kafka;
mod kinesis;
mod plugins;
mod servers;
mod sinks;
mod socket;
mod sources;
mod stages;
mod lumberjack;
mod syslog;
mod windows;

use super::{read, read_with};

/// Keys, and their errors.
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
        ("sources::SOURCE", sources::SOURCE, "[sources.lines]\n".into(), SCREEN.into()),
        ("kafka::SOURCE", kafka::SOURCE, "[sources.lines]\nkind = \"kafka\"\n".into(), SCREEN.into()),
        ("servers::SOURCE", servers::SOURCE, "[sources.lines]\n".into(), SCREEN.into()),
        ("servers::SINK", servers::SINK, "[sinks.screen]\nfrom = \"lines\"\n".into(), LINES.into()),
        ("STAGE", STAGE, "[stages.words]\n".into(), format!("{LINES}{SCREEN}")),
        ("stages::STAGE", stages::STAGE, "[stages.words]\nfrom = \"lines\"\n".into(), format!("{LINES}{SCREEN}")),
        ("stages::WHOLE", stages::COMPLETE, String::new(), format!("{LINES}{SCREEN}")),
        ("windows::STAGE", windows::STAGE, "[stages.words]\nfrom = \"lines\"\n".into(), format!("{LINES}{SCREEN}")),
        ("windows::WHOLE", windows::COMPLETE, String::new(), format!("{LINES}{SCREEN}")),
        ("plugins::STAGE", plugins::STAGE, "[stages.words]\nfrom = \"lines\"\n".into(), format!("{LINES}{SCREEN}")),
        ("sinks::SINK", sinks::SINK, "[sinks.screen]\n".into(), LINES.into()),
        ("WHOLE", COMPLETE, String::new(), String::new()),
    ];
    let mut wrong = Vec::new();
    for (group, cases, before, after) in groups {
        wrong.extend(differing(group, cases, &before, &after));
    }
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n\n"));
}

/// Returns differences from the expected errors, for job files with these strings around each case.
fn differing(group: &str, cases: Cases, before: &str, after: &str) -> Vec<String> {
    let errors_of = |text: &str| match read(&format!("{before}{text}\n{after}")) {
        Ok(_) => "no error".to_string(),
        Err(error) => error.message,
    };
    let cases = cases.iter().enumerate().map(|(at, (text, expected))| (at, text, expected, errors_of(text)));
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
            "--set sources.lines.kind.x: `sources.lines.kind` is not a table, so it has no keys; set `sources.lines.kind` itself",
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
            "--set sinks.screen.rows: sink `screen`: `rows` is text, needs an integer; write rows = 10",
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
        r#"job.toml:1: `batch` is an integer, needs a time; write an integer and one of us, ms, s, m, h, d, for example "1s""#,
    ),
    (
        r#"batch = "1 sec""#,
        r#"job.toml:1: `batch = "1 sec"` is not a time; write an integer and one of us, ms, s, m, h, d, for example "1s""#,
    ),
    (
        r#"batch = "1.5s""#,
        r#"job.toml:1: `batch = "1.5s"` is not a time; write an integer and one of us, ms, s, m, h, d, for example "1s""#,
    ),
    (
        r#"batch = "999999999h""#,
        r#"job.toml:1: `batch = "999999999h"` is not a time; that is more than ten years; write a shorter time"#,
    ),
    (
        r#"name = "my job""#,
        "job.toml:1: the job's name: `my job` is not a valid name: use a-z, A-Z, 0-9, `-` and `_`, with a letter \
        first; write `my-job`",
    ),
    (
        r#"name = "sales.rejected""#,
        "job.toml:1: the job's name: `sales.rejected` is not a valid name: use a-z, A-Z, 0-9, `-` and `_`, with a \
        letter first; write `sales-rejected`",
    ),
    (r#"name = """#, r#"job.toml:1: `name` is empty; write name = "word-count""#),
    ("workers = 0", "job.toml:1: `workers` is 0; write a number of 1 to 1024"),
    (r#"workers = "two""#, "job.toml:1: `workers` is text, needs an integer; write workers = 10"),
    (r#"clock = "virtual""#, r#"job.toml:1: `clock = "virtual"` is unknown; write one of: `wall`, `manual`"#),
    (
        r#"clock = "manual""#,
        r#"job.toml:4: source `lines`: clock = "manual" works with `queue` sources only, but this is kind `socket`; remove `clock`, or make it a queue"#,
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
        r#"job.toml:1: `checkpoint.dir = "gs://bucket"` is a URL of another kind; write a directory, for example dir = "checkpoints/word-count", s3://bucket/prefix, or hdfs://namenode:8020/dir"#,
    ),
    (
        r#"checkpoint.dir = "s3:///prefix""#,
        r#"job.toml:1: `checkpoint.dir = "s3:///prefix"` names no bucket; write s3://bucket/prefix"#,
    ),
    (
        r#"checkpoint.dir = "hdfs:///prefix""#,
        r#"job.toml:1: `checkpoint.dir = "hdfs:///prefix"` names no server; write hdfs://namenode:8020/dir, or the name service instead of host and port"#,
    ),
    (r#"checkpoint = { dir = "c", evry = "10s" }"#, "job.toml:1: unknown key `checkpoint.evry`; did you mean `every`?"),
    (
        r#"checkpoint = { dir = "c", every = "10 sec" }"#,
        r#"job.toml:1: `checkpoint.every = "10 sec"` is neither a time nor a number; write an integer and one of us, ms, s, m, h, d, for example "1s", or a number of batches of at least 1"#,
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
        r#"job.toml:3: `checkpoint.every` is a number, needs a time or a number of batches; write an integer and one of us, ms, s, m, h, d, for example "1s", or a number of batches of at least 1"#,
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
        "job.toml:2: stage `words`: it reads its own rows, which would circulate indefinitely; remove its name from its `from`",
    ),
    (
        r#"from = ["lines", "lines"]"#,
        "job.toml:2: stage `words`: `from` names `lines` twice, which would double its rows; remove one",
    ),
    ("from = []", r#"job.toml:2: stage `words`: `from` is empty; write from = "lines" or from = ["a", "b"]"#),
    (
        "from = 7",
        r#"job.toml:2: stage `words`: `from` is an integer, needs a string or a list of strings; write from = "lines" or from = ["a", "b"]"#,
    ),
    (
        r#"from = "screen""#,
        "job.toml:2: stage `words`: `from` names the sink `screen`, but a sink has no rows to read; name a source \
        or stage",
    ),
    (
        r#"from = "lines.late""#,
        "job.toml:2: stage `words`: `from` names `lines.late`, but the source `lines` has no late rows: only stages \
        with `time` have late rows; read `<stage>.late` of such a stage",
    ),
    (
        r#"from = "lines.refused""#,
        "job.toml:2: stage `words`: `from` names `lines.refused`, which the source `lines` does not emit; there are `lines`, `lines.rejected`",
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
        r#"job.toml:3: stage `words`: `plugin` is an integer, needs text; write plugin = "plugins/split-words""#,
    ),
    (
        r#"from = "lines"
plugin = "split-words@latest""#,
        r#"job.toml:3: stage `words`: `plugin = "split-words@latest"` is not a package: `latest` is not a valid version: unexpected character 'l' while parsing major version number; write one as 1.2.3; write a package as name@1.2.3, or a path with ./ in front"#,
    ),
    (
        r#"from = "lines"
plugin = "Split@1.2.0""#,
        r#"job.toml:3: stage `words`: `plugin = "Split@1.2.0"` is not a package: `Split` is not a valid package name: use a-z and 0-9, with single `-` between them, at most 64 characters; write a package as name@1.2.3, or a path with ./ in front"#,
    ),
    (
        r#"from = "lines"
plugin = "oci://registry.example/split-words:1.2.0""#,
        r#"job.toml:3: stage `words`: `plugin = "oci://registry.example/split-words:1.2.0"`: a job names a package by name and version, and millstream.lock has its registry; write plugin = "name@1.2.3", and pin it with `millstream add name@1.2.3 --registry oci://…`"#,
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
        "job.toml:4: stage `words`: unknown key `plugn`; did you mean `plugin`, which is already set?",
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
        "job.toml:4: stage `words`: `config` holds nan, a number that JSON cannot hold; write it as text",
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
        r#"job.toml:4: stage `words`: `emit = "update"` is for windows of event time; write window = { size = "30s" } and time = "…" with a timestamp column, or remove it"#,
    ),
    (
        r#"from = "lines"
plugin = "p"
timeout = 30"#,
        r#"job.toml:4: stage `words`: `timeout` is an integer, needs a time; write an integer and one of us, ms, s, m, h, d, for example "1s""#,
    ),
    (
        r#"from = "lines"
plugin = "p"
timeout = "0s""#,
        r#"job.toml:4: stage `words`: `timeout` is zero, which would remove every key immediately; write a time such as "30m""#,
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
        r#"job.toml:3: stage `words`: `aggregate.n`: `price * 2` is not the name of a column, and only a column name is allowed here; compute it in a stage before this one, for example select = "price * 2 as value""#,
    ),
    (
        r#"from = "lines"
aggregate = { n = "sum(*)" }"#,
        r#"job.toml:3: stage `words`: `aggregate.n`: `sum` needs a column; write its name, for example "sum(price)""#,
    ),
    (
        r#"from = "lines"
aggregate = { n = "count()" }"#,
        r#"job.toml:3: stage `words`: `aggregate.n`: `count()` has no argument; write "count(*)" or "count(column)""#,
    ),
    (
        r#"from = "lines"
aggregate = { n = "sum(distinct x)" }"#,
        r#"job.toml:3: stage `words`: `aggregate.n`: `distinct` is for `count` only; write "sum(x)", or "count(distinct x)""#,
    ),
    (
        r#"from = "lines"
aggregate = { n = "count" }"#,
        r#"job.toml:3: stage `words`: `aggregate.n`: `count` is not an aggregate; write a function and its column, for example "sum(price)""#,
    ),
    (
        r#"from = "lines"
key = "word"
aggregate = { word = "count(*)" }"#,
        "job.toml:4: stage `words`: column `word` is a key already; give the aggregate another name",
    ),
];

/// Complete files.
const COMPLETE: Cases = &[
    (
        r#"sources = 3
stages = { words = 5 }
sinks = []
"#,
        r#"job.toml:1: `sources` is an integer, needs a table; write [sources.name] and its keys below it
job.toml:2: `stages.words` is an integer, needs a table; write [stages.words] and the keys of the stage below it
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
job.toml:4: sink `screen`: `from` names `lines`, which is neither a source nor a stage; the job has no other stream"#,
    ),
    (
        "",
        r#"job.toml: the job has no source; add one, for example [sources.lines] with kind = "socket" and address = "127.0.0.1:9999"
job.toml: the job has no sink, so its rows go nowhere; add one, for example [sinks.screen] with from = "…" and kind = "print""#,
    ),
    (
        r#"[sources.lines]
kind = "socket"
address = "127.0.0.1:9999"
"#,
        r#"job.toml: the job has no sink, so its rows go nowhere; add one, for example [sinks.screen] with from = "…" and kind = "print""#,
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
        "job.toml:4: stage `lines`: a source `lines` already exists; every source and stage needs a unique name",
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
        r#"job.toml:4: stage: `b.rejected` is not a valid name: use a-z, A-Z, 0-9, `-` and `_`, with a letter first; write `b-rejected`
job.toml:8: stage: `my stage` is not a valid name: use a-z, A-Z, 0-9, `-` and `_`, with a letter first; write `my-stage`
job.toml:10: sink: `1st` is not a valid name: use a-z, A-Z, 0-9, `-` and `_`, with a letter first; write `job-1st`"#,
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
        r#"job.toml:5: stage `c`: a cycle, in which rows would circulate indefinitely: `c` → `a` → `b` → `c`; remove one of these from a `from`
job.toml:13: stage `self`: it reads its own rows, which would circulate indefinitely; remove its name from its `from`"#,
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
        r#"job.toml:2: clock = "manual" counts time in batch intervals, but `batch` is zero; write batch = "1s"
job.toml:8: source `lines`: clock = "manual" works with `queue` sources only, but this is kind `rate`; remove `clock`, or make it a queue"#,
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
        r#"job.toml:2: `batch = "1 sec"` is not a time; write an integer and one of us, ms, s, m, h, d, for example "1s"
job.toml:5: source `lines`: `kind = "sockt"` is unknown; did you mean `socket`?
job.toml:6: source `lines`: unknown key `adress`; did you mean `address`?
job.toml:9: stage `words`: unknown key `form`; did you mean `from`?
job.toml:13: stage `totals`: `from` names `word`, which is neither a source nor a stage; did you mean `words`?
job.toml:14: stage `totals`: unknown key `sperator`; these keys fit: `key`, `window`, `time`, `lateness`, `idle`, `ahead_max`, `emit`, `plugin`, `config`, `aggregate`, `op`, `inverse`, `sql`, `functions`, `join`, `cogroup`, `enrich`, `top`, `latest`, `distinct`, `deduplicate`, `pattern`, `sample`, `split`, `repartition`, `filter`, `select`, `on`, `timeout`, `initial`, `instance`, `limits`, `grant`, `on_error`, `max_rejected`, `replayable`
job.toml:19: sink `screen`: `rows` is text, needs an integer; write rows = 10"#,
    ),
];
