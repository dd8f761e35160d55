//! Valid jobs, and what is read from them.

mod plugins;
mod stages;

pub(super) use stages::STAGES;

use super::super::all;
use super::{read, read_with};
use crate::files::settings::FileWrites;
use crate::files::source::settings::{DirectoryReads, WatchTimes};
use crate::http::source::settings::{ClientReads, HttpShape};
use crate::postgres::sink::settings::PostgresWrites;
use crate::print::settings::PrintWrites;
use crate::queue::QueueReads;
use crate::rate::RateReads;
use crate::socket::settings::SocketReads;
use millstream_base::limits;
use millstream_job::spec::*;
use millstream_job::{check, order, schema};
use millstream_rows::batch::column::ColumnSpec;
use millstream_rows::batch::types::ColumnType;
use millstream_rows::formats::{Compression, FileFormat, Format};
use serde_json::{Value, json};
use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub(super) const EXAMPLE: &str = r#"# Counts words.
name = "word-count"
batch = "250ms"                    # micro-batch interval
workers = 2

[sources.lines]
kind = "socket"
address = "127.0.0.1:9999"
format = "text"
rows_per_batch_max = 1_000_000
bytes_per_batch_max = "1MiB"

[sources.clicks]
kind = "directory"
path = "clicks"
format = "json"
poll = "2s"

[sources.clicks.schema]
user = { type = "text", path = "user.name" }
"odd.name" = { type = "int64", path = ["odd", "na.me"] }
at = "timestamp"

[stages.totals]
from = "words"
key = "word"
plugin = "plugins/running-count"
on = "touched"
emit = "changes"
timeout = "30m"
initial = "totals.csv"
instance = "worker"
limits = { memory = "64MiB", time = "0s" }
grant = { files = { stop = "stop.txt" } }
on_error = "fail"

[stages.words]
from = ["lines"]
plugin = "plugins/split-words"
config = { separator = " ", depth = { n = 3, since = 2026-01-02 }, list = [1, 2.5, true] }

[stages.hot]
from = "words"
key = ["word"]
aggregate = { n = "count(*)", users = "COUNT( distinct user )", top = 'max("odd ""name")', mean = "avg(a.b)" }

[sinks.screen]
from = ["totals", "hot.rejected"]
kind = "print"

[sinks.disk]
from = "hot"
kind = "files"
path = "out"
format = "parquet"
"#;

#[test]
fn the_example_is_read_whole() {
    let job = read(EXAMPLE).unwrap();
    assert_eq!((job.name.as_str(), job.batch, job.workers), ("word-count", Duration::from_millis(250), Some(2)));
    assert_eq!((job.clock, job.in_flight_max), (ClockSpec::Wall, limits::IN_FLIGHT_MAX));
    assert_eq!(
        (job.origin.file.as_deref(), job.origin.dir.as_path()),
        (Some(Path::new("job.toml")), Path::new("jobs"))
    );

    let lines = &job.sources[0];
    assert_eq!(lines.kind, SourceKind::Declared(Arc::new(SocketReads::lines("127.0.0.1:9999"))));
    assert_eq!((&lines.format, &lines.schema), (&Format::Text, &vec![ColumnSpec::new("value", ColumnType::Text)]));
    assert_eq!((lines.rows_per_batch_max, lines.bytes_per_batch_max), (1_000_000, 1 << 20));
    assert_eq!(lines.record_bytes_max, limits::RECORD_BYTES_MAX);
    let clicks = &job.sources[1];
    assert_eq!(
        clicks.kind,
        SourceKind::Declared(Arc::new(DirectoryReads {
            times: WatchTimes { poll: Duration::from_secs(2), settle: Duration::from_secs(1) },
            ..DirectoryReads::new("clicks")
        }))
    );
    let columns = [
        ColumnSpec::new("user", ColumnType::Text).at(["user", "name"]),
        ColumnSpec::new("odd.name", ColumnType::Int64).at(["odd", "na.me"]),
        ColumnSpec::new("at", ColumnType::Timestamp),
    ];
    assert_eq!(clicks.schema, columns);

    let names: Vec<&str> = job.stages.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["totals", "words", "hot"], "stages stay in the order of the file");
    assert_eq!(order(&job).unwrap(), [1, 0, 2], "and run after what they read");
    let OperatorSpec::Plugin(totals) = &job.stages[0].operator else { panic!("a plugin") };
    assert_eq!((totals.path.as_path(), totals.instance), (Path::new("plugins/running-count"), InstanceSpec::Worker));
    assert_eq!(totals.config, json!({}));
    assert_eq!((totals.update.on, totals.update.emit), (Some(UpdateOn::Touched), Some(UpdateEmit::Changes)));
    assert_eq!(totals.update.timeout, Some(Duration::from_secs(1800)));
    assert_eq!(totals.update.initial, Some(PathBuf::from("totals.csv")));
    assert_eq!((totals.limits.memory_bytes_max, totals.limits.time_max), (64 << 20, Duration::ZERO));
    assert_eq!(totals.limits.output_bytes_max, limits::PLUGIN_OUTPUT_BYTES_MAX);
    assert_eq!(totals.grant.files["stop"], PathBuf::from("stop.txt"));
    let OperatorSpec::Plugin(words) = &job.stages[1].operator else { panic!("a plugin") };
    let config = json!({ "separator": " ", "depth": { "n": 3, "since": "2026-01-02" }, "list": [1, 2.5, true] });
    assert_eq!(words.config, config);
    assert!(words.update.on.is_none() && words.update.emit.is_none());
    let OperatorSpec::Aggregate { columns: hot, .. } = &job.stages[2].operator else { panic!("an aggregate") };
    let all: Vec<_> = hot.iter().map(|a| (a.output.as_str(), a.function, a.column.as_deref(), a.distinct)).collect();
    let expected = [
        ("n", AggregateFunction::Count, None, false),
        ("users", AggregateFunction::Count, Some("user"), true),
        ("top", AggregateFunction::Max, Some("odd \"name"), false),
        ("mean", AggregateFunction::Avg, Some("a.b"), false),
    ];
    assert_eq!(all, expected);

    assert_eq!(job.sinks[0].from, ["totals", "hot.rejected"]);
    assert_eq!(job.sinks[0].kind, PrintWrites { rows: 10, once: false }.into());
    assert_eq!(job.sinks[1].kind, FileWrites::new("out", FileFormat::Parquet(Compression::Snappy)).into());
}

#[test]
fn every_key_has_its_line() {
    let job = read(EXAMPLE).unwrap();
    for (path, line) in [
        ("name", 2),
        ("sources.lines", 6),
        ("sources.clicks.schema.odd.name", 21),
        ("sources.clicks.schema.odd.name.path", 21),
        ("stages.totals.limits.time", 33),
        ("stages.totals.key.no.such", 26),
        ("sinks.disk.format", 55),
    ] {
        assert_eq!(job.origin.at(path), format!("job.toml:{line}: "), "{path}");
    }
}

#[test]
fn memory_for_state() {
    let text = |state: &str| {
        format!("{state}\n[sources.in]\nkind = \"file\"\npath = \"in\"\n[sinks.out]\nfrom = \"in\"\nkind = \"print\"")
    };
    assert_eq!(read(&text("")).unwrap().state, None);
    let job = read(&text("state = { memory = \"1MiB\" }")).unwrap();
    assert_eq!(job.state, Some(StateSpec { memory_bytes_max: 1 << 20, dir: None }));
    let job = read(&text("[state]\nmemory = \"2GiB\"\nfolder = \"cold\"")).unwrap();
    assert_eq!(job.state, JobSpec::new("job").state(2 << 30, Some("cold".into())).state);
}

#[test]
fn checkpoints_and_tables() {
    let text = |checkpoint: &str| {
        format!(
            "clock = \"manual\"\n{checkpoint}\n[sources.in]\nkind = \"queue\"\npath = \"q\"\nschema = {{ k = \"text\" }}\n\
             [sinks.out]\nfrom = \"in\"\nkind = \"postgres\"\nurl = \"postgres://me:${{PW}}@h/a\"\ntable = \"s.t\"\n\
             mode = \"upsert\"\nkey = \"k\""
        )
    };
    assert_eq!(read(&text("")).unwrap().checkpoint, None);
    for (every, expected) in [
        ("", CheckpointEvery::Time(Duration::from_millis(limits::CHECKPOINT_EVERY_MS))),
        ("every = \"500ms\"", CheckpointEvery::Time(Duration::from_millis(500))),
        ("every = 7", CheckpointEvery::Batches(7)),
    ] {
        let job = read(&text(&format!("[checkpoint]\ndir = \"s3://b/p\"\n{every}"))).unwrap();
        assert_eq!(job.checkpoint, Some(CheckpointSpec { dir: "s3://b/p".into(), every: expected }));
        let built = JobSpec::new("job").checkpoint("s3://b/p", expected);
        assert_eq!(built.checkpoint, job.checkpoint);
        let mode = TableMode::Upsert { key: vec!["k".into()], op: None };
        let written = PostgresWrites::new("postgres://me:${PW}@h/a", "s.t", mode);
        assert_eq!((written.wait, written.parts), (Duration::from_secs(3600), PartWriter::Batch));
        assert_eq!(job.sinks[0].kind, written.into());
    }
}

#[test]
fn formats_have_the_defaults_of_their_kinds() {
    let text = r#"
        [sources]
        frames = { kind = "raw-socket", address = "[::1]:9" }
        ticks = { kind = "rate", rows_per_second = 5, rows_max = 7 }
        test = { kind = "queue", path = "q.jsonl", schema = { k = "text" } }
        wire = { kind = "socket", address = "h:1", format = "csv", schema = { k = "text" } }
        disk = { kind = "file", path = "a.csv", format = "csv", separator = "\t", schema = { k = "text" } }
        fixed = { kind = "file", path = "a", format = "binary", schema = { a = "int64", b = "bool" } }
        blob = { kind = "directory", path = "a", format = "binary", record_bytes = 64 }
        named = { kind = "file", path = "a.txt", schema = { line = "text" } }
        [sinks.out]
        from = ["frames"]
        kind = "queue"
        path = "out.jsonl"
    "#;
    let job = read(text).unwrap();
    let of = |name: &str| job.sources.iter().find(|s| s.name == name).unwrap();
    let column = |name, kind| vec![ColumnSpec::new(name, kind)];
    assert_eq!(job.name, "job");
    assert_eq!(job.batch, Duration::from_secs(1));
    assert_eq!(of("frames").format, Format::Binary { record_bytes: None });
    assert_eq!(of("frames").schema, column("value", ColumnType::Binary));
    assert_eq!(of("ticks").kind, SourceKind::Declared(Arc::new(RateReads { rows_per_second: 5, rows_max: Some(7) })));
    assert_eq!(of("ticks").schema.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["timestamp", "value"]);
    assert_eq!(of("test").format, Format::Json);
    assert_eq!(of("wire").format, Format::Csv { header: false, separator: b',' });
    assert_eq!(of("disk").format, Format::Csv { header: true, separator: b'\t' });
    assert_eq!(of("fixed").format, Format::Binary { record_bytes: Some(9) });
    assert_eq!(of("blob").format, Format::Binary { record_bytes: Some(64) });
    assert_eq!(of("named").schema, column("line", ColumnType::Text));
}

#[test]
fn set_replaces_values() {
    let sets = [
        ("sources.lines.address", "10.0.0.1:77"),
        ("workers", "3"),
        ("batch", "\"2s\""),
        ("stages.words.config.separator", "true or not"),
        ("stages.hot.key", "[\"a\", \"b\"]"),
        ("sinks.disk.path", "other"),
    ];
    let job = read_with(EXAMPLE, &sets).unwrap();
    assert_eq!(job.sources[0].kind, SourceKind::Declared(Arc::new(SocketReads::lines("10.0.0.1:77"))));
    assert_eq!((job.workers, job.batch), (Some(3), Duration::from_secs(2)));
    let OperatorSpec::Plugin(words) = &job.stages[1].operator else { panic!("a plugin") };
    assert_eq!((&words.config["separator"], &words.config["depth"]["n"]), (&json!("true or not"), &json!(3)));
    assert_eq!(job.stages[2].key, ["a", "b"]);
    assert_eq!(job.sinks[1].kind, FileWrites::new("other", FileFormat::Parquet(Compression::Snappy)).into());
    assert_eq!(read_with(EXAMPLE, &[("batch", "5s")]).unwrap().batch, Duration::from_secs(5), "bare text");
}

#[test]
fn a_program_builds_the_same_job() {
    let split = PluginSpec::new("plugins/split-words").config(json!({ "separator": " " }));
    let counts = StageSpec::aggregate("counts", ["words"], &[("n", "count(*)")]).unwrap().key(["word"]);
    let job = JobSpec::new("word-count")
        .batch(Duration::ZERO)
        .workers(2)
        .source(SourceSpec::from_config("lines", SocketReads::lines("127.0.0.1:9999")))
        .source(SourceSpec::from_config("ticks", RateReads { rows_per_second: 10, rows_max: None }))
        .source(SourceSpec::from_config("frames", SocketReads::frames("127.0.0.1:9998")))
        .source(
            SourceSpec::from_config("test", QueueReads { path: "in.jsonl".into() })
                .schema(vec![ColumnSpec::new("k", ColumnType::Text)]),
        )
        .stage(StageSpec::plugin("words", ["lines"], split))
        .stage(StageSpec::plugin("totals", ["words"], "plugins/running-count").key(["word"]))
        .stage(counts)
        .stage(StageSpec::union("all", ["counts", "totals"]))
        .sink(SinkSpec::new("screen", ["all"], PrintWrites::default()))
        .sink(SinkSpec::new("disk", ["all"], FileWrites::new("out", FileFormat::Csv)));
    check(&job).unwrap();
    // No stage reads a sink, so it may have the name of its input.
    check(&job.clone().sink(SinkSpec::new("counts", ["counts"], PrintWrites::default()))).unwrap();

    let bad = job
        .clone()
        .stage(StageSpec::union("counts", ["wrods"]))
        .source(SourceSpec::from_config("s", SocketReads::lines("nowhere")));
    assert_eq!(
        check(&bad).unwrap_err().message,
        "source `s`: `address = \"nowhere\"` is not host and port; write it as \"127.0.0.1:9999\" or \"[::1]:9999\"\n\
         stage `counts`: a stage `counts` already exists; every source and stage needs a unique name\n\
         stage `counts`: `from` names `wrods`, which is neither a source nor a stage; did you mean `words`?"
    );
    let several = JobSpec::new("x")
        .source(SourceSpec::from_config("s", SocketReads::lines(vec!["a:1".to_owned(), "b:1".to_owned()])))
        .sink(SinkSpec::new("p", ["s"], PrintWrites::default()));
    check(&several).unwrap();
    let text = "name = \"x\"\n[sources.s]\nkind = \"socket\"\naddress = [\"a:1\", \"b:1\"]\n[sinks.p]\nfrom = \"s\"\nkind = \"print\"";
    let same = [&read(text).unwrap(), &several].map(|job| format!("{:?}", job.sources[0].kind));
    assert_eq!(same[0], same[1]);
    let bad = JobSpec::new("x")
        .source(SourceSpec::from_config("s", SocketReads::lines(Vec::new())))
        .sink(SinkSpec::new("p", ["s"], PrintWrites::default()));
    let message = check(&bad).unwrap_err().message;
    assert!(message.starts_with("source `s`: `address` is an empty list; write address = ["), "{message}");
    let none = JobSpec::new("x").source(SourceSpec::from_config("lines", SocketReads::lines("127.0.0.1:9999")));
    assert!(check(&none).unwrap_err().to_string().starts_with("the job has no sink"));
    let error = StageSpec::aggregate("counts", ["words"], &[("n", "sum()")]).unwrap_err().to_string();
    assert_eq!(
        error,
        "stage `counts`: `aggregate.n`: `sum` needs a column; write its name, for example \
                      \"sum(price)\""
    );
}

#[test]
fn the_schema_describes_every_key_of_the_example() {
    let schema = schema(all());
    let job: Value = serde_json::to_value(toml::from_str::<toml::Table>(EXAMPLE).unwrap()).unwrap();
    described(&schema, &job, "job");
    let source = &schema["properties"]["sources"]["additionalProperties"];
    // Alternatively a variable.
    assert_eq!(source["properties"]["kind"]["anyOf"][0]["enum"][0], "socket");
    assert_eq!(source["additionalProperties"], false);
}

/// Checks that every property of `value` that is not a free name has a description in the schema of its table.
fn described(schema: &Value, value: &Value, path: &str) {
    let Some(table) = value.as_object() else { return };
    for (key, inner) in table {
        let path = format!("{path}.{key}");
        if let Some(properties) = schema["properties"].as_object() {
            let property = properties.get(key).unwrap_or_else(|| panic!("{path} is not in the schema"));
            assert!(property["description"].as_str().is_some_and(|text| text.ends_with('.')), "{path} has no text");
            described(property, inner, &path);
        } else if schema["additionalProperties"]["properties"].is_object() {
            described(&schema["additionalProperties"], inner, &path);
        }
    }
}

/// The description of a key of one kind names no other kind.
#[test]
fn keys_are_described_for_their_own_kind() {
    // A column of this name.
    let is_column = |kind: &str, other: &str| (kind, other) == ("lumberjack", "file");
    for part in ["sources", "sinks"] {
        let schema = &schema(all())["properties"][part]["additionalProperties"];
        let rules = schema["allOf"].as_array().unwrap();
        let kind_of = |rule: &Value| rule["if"]["properties"]["kind"]["const"].as_str().unwrap().to_owned();
        let kinds: Vec<String> = rules.iter().map(kind_of).collect();
        assert!(kinds.len() > 2, "{part}: {kinds:?}");
        for (rule, kind) in rules.iter().zip(&kinds) {
            for (key, common) in schema["properties"].as_object().unwrap().iter().filter(|(key, _)| *key != "kind") {
                let description = match &rule["then"]["properties"][key] {
                    Value::Bool(false) => continue,
                    Value::Null => common["description"].as_str().unwrap(),
                    own => own["description"].as_str().unwrap(),
                };
                let names = |other: &&String| *other != kind && description.contains(&format!("`{other}`"));
                let others: Vec<_> = kinds.iter().filter(names).filter(|other| !is_column(kind, other)).collect();
                assert!(others.is_empty(), "{part} of kind {kind}: `{key}` names {others:?}: {description}");
            }
        }
    }
}

/// Tests share the environment, so a default is used.
#[test]
fn a_variable_may_say_that_a_url_is_one_of_a_websocket() {
    let shape = |url: &str, more: &str| {
        let text = format!(
            "[sources.feed]\nkind = \"http\"\nurl = \"{url}\"\n{more}\n[sinks.out]\nfrom = \"feed\"\nkind = \"print\"\n"
        );
        read(&text).map(|job| match &job.sources[0].kind {
            SourceKind::Declared(config) => {
                let config: &dyn Any = &**config;
                config.downcast_ref::<ClientReads>().expect("it reads from a server").shape.clone()
            }
            other => panic!("{other:?}"),
        })
    };
    let send = "send = \"subscribe\"";
    assert_eq!(shape("${SURELY_NOT_SET:-ws://h/}", send).unwrap(), HttpShape::Websocket);
    assert_eq!(shape("${SURELY_NOT_SET}", "stream = \"websocket\"").unwrap(), HttpShape::Websocket);
    assert_eq!(shape("${SURELY_NOT_SET:-http://h/}", "stream = \"sse\"").unwrap(), HttpShape::Events);
    let rejection = |url: &str, more: &str| shape(url, more).unwrap_err().message;
    assert!(rejection("${SURELY_NOT_SET:-ws://h/}", "every = \"1s\"").contains("this one is a WebSocket"));
    assert!(rejection("${SURELY_NOT_SET}", send).contains("stream = \"websocket\" if `url` comes from a variable"));
}
