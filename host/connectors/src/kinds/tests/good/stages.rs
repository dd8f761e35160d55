//! Stages with windows, event time, and every operator.

use super::super::read;
use super::described;
use super::plugins::strict_limits;
use crate::kinds::all;
use crate::print::settings::PrintWrites;
use crate::queue::QueueReads;
use millstream_job::spec::TableKind;
use millstream_job::spec::*;
use millstream_job::{check, order, schema};
use millstream_rows::batch::column::ColumnSpec;
use millstream_rows::batch::types::ColumnType;
use serde_json::Value;
use std::time::Duration;

/// A stage of each kind, in the long spelling.
pub(in crate::kinds::tests) const STAGES: &str = r#"
[sources.orders]
kind = "queue"
path = "orders.jsonl"
schema = { user = "text", sku = "text", price = "int64", ts = "timestamp" }
[sources.clicks]
kind = "queue"
path = "clicks.jsonl"
schema = { user = "text", page = "text", ts = "timestamp" }

[stages.hot]
from = "orders"
key = "sku"
window = { size = "30s", slide = "10s" }
aggregate = { n = "count(*)" }
inverse = true
filter = "n > 0"
select = "sku, n * 2 as double"

[stages.sessions]
from = "clicks"
key = "user"
window = { gap = "30s", length_max = "2h" }
time = "ts"
lateness = "5s"
idle = "1m"
ahead_max = "1h"
emit = "update"
aggregate = { n = "count(*)" }

[stages.both]
from = "orders"
time = ["ts", "ts"]
lateness = "2s"
join = { with = "clicks", on = { user = "user" }, type = "left", within = ["-5s", "10s"] }

[stages.each]
from = ["orders", "clicks"]
join = { on = ["user"], type = "full", window = { size = "2s" } }

[stages.moods]
from = ["orders", "sessions.late"]
sql = "select mood(sku) as m from orders"

[stages.moods.functions]
mood = { plugin = "plugins/mood", config = { a = 1 }, instance = "worker", limits = { memory = "1MiB" }, grant = { env = { LANG = "en" } } }
plain = "plugins/plain"

[stages.groups]
from = "orders"
key = "user"
cogroup = ["clicks", "sessions"]
plugin = "plugins/groups"
config = { a = 1 }

[stages.stock]
from = "orders"
enrich = { file = "stock.csv", on = { sku = "article" }, type = "inner", schema = { article = "text" }, poll = "2s" }

[stages.prices]
from = "orders"
enrich = { url = "postgres://me:${PW}@h/d", query = "select 1", on = "sku" }

[stages.best]
from = "orders"
top = { n = 10, by = "price", order = "asc", key = "user" }

[stages.once]
from = "orders"
distinct = ["user", "sku"]

[stages.new]
from = "orders"
key = "sku"
deduplicate = { within = "10m" }

[stages.dear]
from = "orders"
key = "user"
time = "ts"
pattern = { steps = "low{3} next high", define = { low = "price < 5", high = "price > 100" }, measures = { n = "count(*)" }, within = "1h", skip = "to last low" }

[stages.some]
from = "orders"
sample = 0.25

[stages.parts]
from = "orders"
split = { dear = "price > 100", cheap = "price < 5" }

[stages.spread]
from = ["parts.dear", "parts.cheap", "parts"]
repartition = { partitions = 4 }

[stages.strict]
from = "orders"
plugin = "plugins/strict"
on_error = "reject"
max_rejected = "2.5%"
grant = { env = { REGION = "eu", EMPTY = " " }, files = { skus = "skus.txt" } }

[stages.strict.limits]
memory = "64MiB"
tables = 0
stack = "512KiB"
time = "2s"
fuel = 1_000_000
output = "1MiB"
rows = 5
expansion = 10
batch_output = "2MiB"
rejected = "3MiB"
backtrace = 0
timers_per_key = 7
timers = 70
state_per_key = "1KiB"
state = "5MiB"
log_lines = 0
log = "1KiB"
counters = 3
handles = 4
instances = 6
attempts = 100
compile = "30s"

[stages.asking]
from = "orders"
plugin = "plugins/asking"
grant = { http = { hosts = "api.example.com", methods = ["POST"] } }
replayable = false
max_rejected = 100

[sinks.screen]
from = ["parts.dear", "sessions.late", "strict.rejected"]
kind = "print"
"#;

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn pair(left: &str, right: &str) -> (String, String) {
    (left.into(), right.into())
}

#[test]
fn windows_and_event_time_are_read() {
    let job = read(STAGES).unwrap();
    assert_eq!(order(&job).unwrap().len(), job.stages.len());
    let of = |name: &str| job.stages.iter().find(|stage| stage.name == name).unwrap();
    let hot = of("hot");
    assert_eq!(hot.window, Some(WindowSpec::sliding(seconds(30), seconds(10))));
    assert_eq!((&hot.event_time, hot.filter.as_deref()), (&None, Some("n > 0")));
    assert_eq!(hot.select.as_deref(), Some("sku, n * 2 as double"));
    assert!(matches!(&hot.operator, OperatorSpec::Aggregate { inverse: true, columns } if columns.len() == 1));

    let sessions = of("sessions");
    let extent = WindowExtent::Session { gap: seconds(30), length_max: seconds(7200) };
    assert_eq!(sessions.window, Some(WindowSpec { extent, emit: WindowEmit::Update }));
    let time = EventTimeSpec {
        time: vec!["ts".into()],
        lateness: seconds(5),
        idle: Some(seconds(60)),
        ahead_max: Some(seconds(3600)),
    };
    assert_eq!(sessions.event_time, Some(time));
    assert_eq!(sessions.sides().collect::<Vec<_>>(), ["rejected", "late"]);
    assert_eq!(of("parts").sides().collect::<Vec<_>>(), ["rejected", "dear", "cheap"]);
}

#[test]
fn every_operator_is_read() {
    let job = read(STAGES).unwrap();
    let of = |name: &str| &job.stages.iter().find(|stage| stage.name == name).unwrap().operator;
    let OperatorSpec::Join(both) = of("both") else { panic!("a join") };
    let within_us = Some((-5_000_000, 10_000_000));
    let on = vec![pair("user", "user")];
    assert_eq!(
        *both,
        JoinSpec {
            with: Some("clicks".into()),
            on: on.clone(),
            kind: JoinKind::Left,
            within_us,
            as_of: false,
            ttl: None
        }
    );
    let OperatorSpec::Join(each) = of("each") else { panic!("a join") };
    assert_eq!(*each, JoinSpec { with: None, on, kind: JoinKind::Full, within_us: None, as_of: false, ttl: None });
    let OperatorSpec::Sql { query, functions, .. } = of("moods") else { panic!("sql") };
    assert_eq!(query, "select mood(sku) as m from orders");
    let mood = &functions["mood"];
    assert_eq!((mood.path.to_str(), mood.instance), (Some("plugins/mood"), InstanceSpec::Worker));
    assert_eq!((mood.config["a"].as_i64(), mood.limits.memory_bytes_max), (Some(1), 1 << 20));
    assert_eq!(functions["plain"].path.to_str(), Some("plugins/plain"));
    let OperatorSpec::Cogroup { with, plugin } = of("groups") else { panic!("a cogroup") };
    assert_eq!(
        (with.as_slice(), plugin.path.to_str()),
        (["clicks", "sessions"].map(String::from).as_slice(), Some("plugins/groups"))
    );
    let OperatorSpec::Enrich(stock) = of("stock") else { panic!("an enrichment") };
    let expected = EnrichSpec {
        table: EnrichTable::File { path: "stock.csv".into(), format: EnrichFormat::Csv },
        on: vec![pair("sku", "article")],
        kind: JoinKind::Inner,
        schema: vec![ColumnSpec::new("article", ColumnType::Text)],
        poll: seconds(2),
    };
    assert_eq!(*stock, expected);
    let OperatorSpec::Enrich(prices) = of("prices") else { panic!("an enrichment") };
    let table = EnrichTable::Query {
        kind: TableKind(&crate::postgres::table::POSTGRES),
        url: "postgres://me:${PW}@h/d".into(),
        query: "select 1".into(),
        wait: seconds(3600),
    };
    let (on, kind) = (vec![pair("sku", "sku")], JoinKind::Left);
    assert_eq!(*prices, EnrichSpec { table, on, kind, schema: Vec::new(), poll: seconds(30) });
    let best = job.stages.iter().find(|stage| stage.name == "best").unwrap();
    assert!(matches!(&best.operator, OperatorSpec::Top { n: 10, by, ascending: true, rank: None } if by == "price"));
    assert_eq!(best.key, ["user"]);
    assert!(matches!(of("once"), OperatorSpec::Distinct(columns) if *columns == ["user", "sku"]));
    assert!(matches!(of("new"), OperatorSpec::Deduplicate { within } if *within == seconds(600)));
    assert!(matches!(of("some"), OperatorSpec::Sample(share) if *share == 0.25));
    let branches = vec![pair("dear", "price > 100"), pair("cheap", "price < 5")];
    assert!(matches!(of("parts"), OperatorSpec::Split(split) if *split == branches));
    assert!(matches!(of("spread"), OperatorSpec::Repartition { partitions: Some(4) }));
}

/// Reads a stage with these keys on two sources.
pub(super) fn stage(keys: &str) -> StageSpec {
    let text = format!(
        "[sources.a]\nkind = \"queue\"\npath = \"a\"\nschema = {{ k = \"text\" }}\n[sources.b]\nkind = \"queue\"\npath = \
         \"b\"\nschema = {{ k = \"text\" }}\n[stages.s]\n{keys}\n[sinks.out]\nfrom = \"s\"\nkind = \"print\""
    );
    read(&text).unwrap().stages.remove(0)
}

/// Each line has two spellings of the same stage.
#[test]
fn other_spellings_mean_the_same() {
    for (one, other) in [
        (
            "from = \"a\"\nwindow = { size = \"30s\", time = \"ts\", lateness = \"5s\", idle = \"9s\", ahead_max = \"1h\" }",
            "from = \"a\"\nwindow = { size = \"30s\" }\ntime = \"ts\"\nlateness = \"5s\"\nidle = \"9s\"\nahead_max = \"1h\"",
        ),
        (
            "from = \"a\"\naggregate = { n = \"count(*)\" }\ntime = \"ts\"\nwindow = { size = \"3s\", emit = \"update\" }",
            "from = \"a\"\naggregate = { n = \"count(*)\" }\ntime = [\"ts\"]\nwindow = { size = \"3s\" }\nemit = \"update\"",
        ),
        (
            "from = \"a\"\ntime = \"ts\"\nwindow = { gap = \"30s\" }\nemit = \"close\"",
            "from = \"a\"\ntime = \"ts\"\nwindow = { gap = \"30s\", length_max = \"24h\" }",
        ),
        (
            "from = [\"a\", \"b\"]\nwindow = { size = \"3s\", time = \"ts\" }\njoin = { on = \"k\" }",
            "from = [\"a\", \"b\"]\njoin = { on = { k = \"k\" }, type = \"inner\", window = { size = \"3s\", time = \"ts\" } }",
        ),
        (
            "from = [\"a\", \"b\"]\ntime = \"ts\"\njoin = { on = [\"k\"], within = \"10s\" }",
            "from = [\"a\", \"b\"]\ntime = \"ts\"\njoin = { on = \"k\", within = [\"-10s\", \"+10s\"] }",
        ),
        (
            "from = \"a\"\nkey = \"k\"\ntop = { n = 1, by = \"v\" }",
            "from = \"a\"\ntop = { n = 1, by = \"v\", key = [\"k\"], order = \"desc\" }",
        ),
        ("from = \"a\"\ndistinct = \"k\"", "from = \"a\"\ndistinct = [\"k\"]"),
        ("from = \"a\"\nsample = 1", "from = \"a\"\nsample = 1.0"),
        (
            "from = \"a\"\nenrich = { file = \"a.ndjson\", on = \"k\" }",
            "from = \"a\"\nenrich = { file = \"a.ndjson\", format = \"json\", on = [\"k\"], type = \"left\", poll = \"1s\" }",
        ),
    ] {
        assert_eq!(format!("{:?}", stage(one)), format!("{:?}", stage(other)), "{one}");
    }
    let side_by_side = stage("from = [\"a\", \"b\"]\nkey = \"k\"\nplugin = \"p\"\ncogroup = true");
    let with_cogroup = stage("from = \"a\"\nkey = \"k\"\nplugin = \"p\"\ncogroup = \"b\"");
    assert_eq!(side_by_side.reads().collect::<Vec<_>>(), with_cogroup.reads().collect::<Vec<_>>());
    assert!(matches!(stage("from = \"a\"\ndistinct = true").operator, OperatorSpec::Distinct(all) if all.is_empty()));
    assert!(matches!(stage("from = \"a\"\nrepartition = {}").operator, OperatorSpec::Repartition { partitions: None }));
    let window = stage("from = \"a\"\nwindow = { size = \"30s\", slide = \"60s\" }").window;
    assert_eq!(window, Some(WindowSpec::sliding(seconds(30), seconds(60))), "rows between windows are dropped");
    let plugin = |inverse: &str| {
        let stage = stage(&format!("from = \"a\"\nplugin = \"p\"\nwindow = {{ size = \"3s\" }}\n{inverse}"));
        stage.plugins()[0].inverse
    };
    assert_eq!((plugin(""), plugin("inverse = false")), (None, Some(false)));
}

#[test]
fn a_program_builds_the_same_stages() {
    let job = read(STAGES).unwrap();
    let read = |name: &str| job.stages.iter().find(|stage| stage.name == name).unwrap();
    let count = [("n", "count(*)")];
    let sliding = WindowSpec::sliding(seconds(30), seconds(10));
    let hot = StageSpec::aggregate("hot", ["orders"], &count).unwrap().key(["sku"]).window(sliding).inverse();
    let time = EventTimeSpec { ahead_max: Some(seconds(3600)), ..EventTimeSpec::new("ts") };
    let mut session = WindowSpec::session(seconds(30)).update();
    session.extent = WindowExtent::Session { gap: seconds(30), length_max: seconds(7200) };
    let sessions = StageSpec::aggregate("sessions", ["clicks"], &count).unwrap().key(["user"]).window(session);
    let each = JoinSpec::on(["user"]).kind(JoinKind::Full);
    let mood = PluginSpec::new("plugins/mood").config(serde_json::json!({ "a": 1 })).instance(InstanceSpec::Worker);
    let limits = PluginLimits { memory_bytes_max: 1 << 20, ..PluginLimits::default() };
    let strict = PluginSpec::new("plugins/strict").on_error(OnError::Reject).limits(strict_limits());
    let strict = strict.env("REGION", "eu").env("EMPTY", " ").file("skus", "skus.txt");
    let asking = PluginSpec::new("plugins/asking").rejected_max(RejectedMax::Rows(100));
    let dear = PatternSpec::new("low{3} next high", &[("low", "price < 5"), ("high", "price > 100")]).unwrap();
    let dear = dear.measures(&[("n", "count(*)")]).within(seconds(3600)).skip(PatternSkip::ToLast("low".into()));
    let stages = [
        hot.filter("n > 0").select("sku, n * 2 as double"),
        sessions.event_time(time.lateness(seconds(5)).idle(seconds(60))),
        StageSpec::join("each", ["orders", "clicks"], each).window(WindowSpec::with_size(seconds(2))),
        StageSpec::sql("moods", ["orders", "sessions.late"], "select mood(sku) as m from orders")
            .function("mood", mood.limits(limits).env("LANG", "en"))
            .function("plain", "plugins/plain"),
        StageSpec::top("best", ["orders"], 10, "price", true).key(["user"]),
        StageSpec::distinct("once", ["orders"], ["user", "sku"]),
        StageSpec::deduplicate("new", ["orders"], seconds(600)).key(["sku"]),
        StageSpec::pattern("dear", ["orders"], dear).key(["user"]).event_time(EventTimeSpec::new("ts")),
        StageSpec::sample("some", ["orders"], 0.25),
        StageSpec::split("parts", ["orders"], &[("dear", "price > 100"), ("cheap", "price < 5")]),
        StageSpec::repartition("spread", ["parts.dear", "parts.cheap", "parts"], Some(4)),
        StageSpec::plugin("strict", ["orders"], strict.rejected_max(RejectedMax::Share(0.025))),
        StageSpec::plugin("asking", ["orders"], asking.http(HttpGrant::to(["api.example.com"]).methods(["POST"]))),
    ];
    for built in &stages {
        assert_eq!(format!("{built:?}"), format!("{:?}", read(&built.name)));
    }
    let interval = JoinSpec::on(["user"]).within(seconds(10));
    assert_eq!(interval.within_us, Some((-10_000_000, 10_000_000)));
    let enrich = EnrichSpec::file("stock.csv", EnrichFormat::Csv, ["sku"]);
    let others = [
        StageSpec::join("within", ["orders", "clicks"], interval).event_time(EventTimeSpec::new("ts")),
        StageSpec::cogroup("groups", ["orders", "clicks"], "plugins/groups").key(["user"]),
        StageSpec::enrich("stock", ["orders"], enrich),
    ];
    let sources = job.sources.iter().cloned().fold(JobSpec::new("built"), JobSpec::source);
    let built = stages.into_iter().chain(others).fold(sources, JobSpec::stage).sink(SinkSpec::new(
        "screen",
        ["hot"],
        PrintWrites::default(),
    ));
    check(&built).unwrap();
}

/// Programs can express what files cannot.
#[test]
fn programs_are_refused_as_files_are() {
    let job = |stage: StageSpec| {
        let source = SourceSpec::from_config("a", QueueReads { path: "a".into() })
            .schema(vec![ColumnSpec::new("k", ColumnType::Text)]);
        JobSpec::new("built").source(source).stage(stage).sink(SinkSpec::new("out", ["s"], PrintWrites::default()))
    };
    let window = |window| StageSpec::union("s", ["a"]).window(window);
    let over = Duration::MAX;
    let plugin = |plugin: PluginSpec| StageSpec::plugin("s", ["a"], plugin);
    let limited = |limits| plugin(PluginSpec::new("p").limits(limits));
    for (stage, expected) in [
        (window(WindowSpec::with_size(Duration::from_nanos(1))), "`window.size` is zero; write a time such as \"30s\""),
        (window(WindowSpec::with_size(over)), "`window.size` is more than ten years; write a time such as \"30s\""),
        (
            window(WindowSpec::with_size(seconds(1))).event_time(EventTimeSpec::new("ts").lateness(over)),
            "`lateness` is more than ten years; write a time such as \"10s\"",
        ),
        (
            window(WindowSpec::with_size(seconds(1)))
                .event_time(EventTimeSpec { time: Vec::new(), ..EventTimeSpec::new("") }),
            "`time` is empty; write the name of a timestamp column",
        ),
        (
            window(WindowSpec::with_size(seconds(1)).update()),
            "`emit = \"update\"` is for windows of event time; write time = \"…\" with a timestamp column, or remove it",
        ),
        (StageSpec::top("s", ["a"], 0, "k", false), "`top.n` is 0; write at least 1"),
        (
            StageSpec::sample("s", ["a"], f64::NAN),
            "`sample` is NaN; write a number from 0 to 1, for example sample \
                                                  = 0.1",
        ),
        (StageSpec::repartition("s", ["a"], Some(0)), "`repartition.partitions` is 0; write a number of 1 to 1024"),
        (
            StageSpec::split("s", ["a"], &[("x", "true"), ("x", "false")]),
            "two branches of `split` are named `x`; rename one",
        ),
        (
            plugin(PluginSpec::new("p").rejected_max(RejectedMax::Share(f64::NAN))),
            "`max_rejected` is a share of NaN; write one from 0 to 1, for example max_rejected = 0.1",
        ),
        (
            limited(PluginLimits { memory_bytes_max: 1, time_max: over, ..PluginLimits::default() }),
            "`limits.memory` is 1; write a number of 65536 to 4294967296\nstage `s`: `limits.time` is more than ten \
             years; write a shorter time",
        ),
        (
            limited(PluginLimits { attempts_max: 0, compile_time_max: Duration::ZERO, ..PluginLimits::default() }),
            "`limits.attempts` is 0; write a number of at least 1\nstage `s`: `limits.compile` is zero; write a \
             time such as \"2m\"",
        ),
        (
            plugin(PluginSpec::new("p").http(HttpGrant::to(["h"])).replayable(true)),
            "`grant.http`: HTTP calls may get other responses when a batch is replayed after a failure; write replayable = \
             false in the stage to accept that",
        ),
        (
            StageSpec::sql("s", ["a"], "select 1").function("f", PluginSpec::new("p").on_error(OnError::Reject)),
            "a call of a function that fails stops the job; call the plugin in a separate stage to reject rows",
        ),
        (
            StageSpec::join("s", ["a", "a.rejected"], JoinSpec::on::<String>([]).within(over)),
            "`join.on` is missing; write the columns that must be equal, for example on = \"user\"\nstage `s`: \
             `join.within` is more than ten years; write a time such as \"10s\"",
        ),
    ] {
        assert_eq!(check(&job(stage)).unwrap_err().message, format!("stage `s`: {expected}"));
    }
}

#[test]
fn the_schema_describes_every_key() {
    let job: Value = serde_json::to_value(toml::from_str::<toml::Table>(STAGES).unwrap()).unwrap();
    described(&schema(all()), &job, "job");
}
