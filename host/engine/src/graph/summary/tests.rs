//! The output of `validate` for each kind of stage.

use super::plugin;
use super::stage::event_time;
use crate::event_time::node::EventTimeNode;
use crate::operators::description::operator;
use crate::operators::stage::Operator;
use crate::operators::window::check::summary as window;
use crate::operators::window::node::WindowNode;
use millstream_job::spec::*;
use std::time::Duration;

const SECOND_US: i64 = 1_000_000;

#[test]
fn windows_show_the_defaults_that_nobody_wrote() {
    let batches = |size, slide| WindowNode::Batches { size_us: size * SECOND_US, slide_us: slide * SECOND_US };
    let sliding = |update| WindowNode::Sliding {
        size_us: 30 * SECOND_US,
        slide_us: 30 * SECOND_US,
        begin: Default::default(),
        update,
    };
    let (gap_us, length_us_max) = (30 * SECOND_US, 24 * 3600 * SECOND_US);
    for (node, expected) in [
        (batches(30, 10), "window 30s every 10s of processing time (each batch: 1s)"),
        (batches(30, 60), "window 30s every 1m of processing time (each batch: 1s); rows between windows are dropped"),
        (sliding(false), "window 30s every 30s of event time, results when a window is complete"),
        (sliding(true), "window 30s every 30s of event time, results refined with every batch"),
        (
            WindowNode::Session { gap_us, length_us_max, update: false },
            "sessions with less than 30s between rows, at most 24h long, of event time, results when a window is complete",
        ),
    ] {
        assert_eq!(window(&node, Duration::from_secs(1)), expected);
    }
}

#[test]
fn event_time_shows_who_is_waited_for() {
    let spec = StageSpec::union("hot", ["a"]).event_time(EventTimeSpec::new("to_timestamp(\n  at)"));
    let node = |idle_us, ahead_us_max| EventTimeNode {
        times: Vec::new(),
        lateness_us: 0,
        idle_us,
        horizon_us: None,
        ahead_us_max,
        clocks: Default::default(),
        clock_ends: Default::default(),
        feeds: Default::default(),
        dirs: Default::default(),
        holding: Default::default(),
    };
    assert_eq!(
        event_time(&spec, &node(None, None), &Operator::Union),
        "event time to_timestamp( at), lateness 0s, late rows to hot.late; every source holds back the watermark"
    );
    assert_eq!(
        event_time(&spec, &node(Some(60 * SECOND_US), Some(3600 * SECOND_US)), &Operator::Union),
        "event time to_timestamp( at), lateness 0s, late rows to hot.late; a source without rows for 1m does not hold \
         back the watermark; rows more than 1h ahead are rejected"
    );
}

#[test]
fn operators_say_what_they_do_in_one_line() {
    let time = EventTimeSpec::new("ts");
    let interval = JoinSpec { within_us: Some((-5 * SECOND_US, 10 * SECOND_US)), ..JoinSpec::on(["user"]) };
    let left = JoinSpec { on: vec![("user".into(), "id".into())], ..JoinSpec::on(["user"]).kind(JoinKind::Left) };
    let password = EnrichSpec {
        table: EnrichTable::Query {
            kind: millstream_job::spec::TableKind(&millstream_connectors::postgres::table::POSTGRES),
            url: "postgres://me:secret@h/d".into(),
            query: "select 1".into(),
            wait: Duration::ZERO,
        },
        ..EnrichSpec::file("", EnrichFormat::Csv, ["sku"])
    };
    let window = WindowSpec::with_size(Duration::from_secs(30));
    let pattern = PatternSpec::new("a{3} followed by b", &[]).unwrap();
    let pattern = pattern.within(Duration::from_secs(3600)).skip(PatternSkip::ToNextRow);
    let count = StageSpec::aggregate("s", ["a"], &[("n", "count(*)")]).unwrap();
    for (stage, expected) in [
        (StageSpec::union("s", ["a"]), None),
        (count.clone(), None),
        (count.inverse(), Some("rows that leave a window are subtracted by the inverse")),
        (StageSpec::cogroup("s", ["a", "b"], "p").key(["k"]), Some("cogroup of a, b by k in each batch")),
        (StageSpec::sql("s", ["a", "b"], "select\n1").window(window), Some("sql over each window of a, b")),
        (
            StageSpec::sql("s", ["a"], "select 1").function("f", "plugins/f").function("g", "plugins/g"),
            Some("sql over each batch of a, with functions f (plugins/f), g (plugins/g)"),
        ),
        (
            StageSpec::join("s", ["a", "b"], interval),
            Some("inner join of a and b on user, within -5s to 10s of event time"),
        ),
        (StageSpec::join("s", ["a", "b"], left), Some("left join of a and b on user = id, in each batch")),
        (
            StageSpec::enrich("s", ["a"], EnrichSpec::file("t.csv", EnrichFormat::Csv, ["sku", "day"])),
            Some("left join with t.csv on sku, day, checked every 1s"),
        ),
        (StageSpec::enrich("s", ["a"], password), Some("left join with a query on sku, checked every 1s")),
        (
            StageSpec::top("s", ["a"], 10, "total", false).key(["k"]),
            Some("top 10 of each batch by total, largest first, for each k"),
        ),
        (StageSpec::top("s", ["a"], 1, "total", true), Some("top 1 of each batch by total, smallest first")),
        (StageSpec::distinct("s", ["a"], ["k", "l"]), Some("the first of the rows of a batch that are equal in k, l")),
        (
            StageSpec::distinct("s", ["a"], [""; 0]),
            Some("the first of the rows of a batch that are equal in all columns"),
        ),
        (
            StageSpec::deduplicate("s", ["a"], Duration::from_secs(600)).key(["k"]),
            Some("the first row of each k within 10m of processing time"),
        ),
        (
            StageSpec::deduplicate("s", ["a"], Duration::from_secs(600)).key(["k"]).event_time(time),
            Some("the first row of each k within 10m of event time"),
        ),
        (
            StageSpec::pattern("s", ["a"], pattern).key(["k"]),
            Some(
                "pattern a{3} followed by b of each k within 1h of event time; after a match the search continues at the row after its \
                 first",
            ),
        ),
        (StageSpec::sample("s", ["a"], 0.25), Some("a share of 0.25 of the rows")),
        (
            StageSpec::split("s", ["a"], &[("x", "a"), ("y", "b")]),
            Some("split into s.x, s.y; the other rows stay in s"),
        ),
        (StageSpec::repartition("s", ["a"], Some(4)).key(["k"]), Some("repartition into 4 parts, by k")),
        (StageSpec::repartition("s", ["a"], None), Some("repartition into one part per worker, in turn")),
    ] {
        assert_eq!(operator(&stage).as_deref(), expected);
    }
}

#[test]
fn plugins_tell_what_they_may_do_beyond_the_defaults() {
    let plugin = |plugin: PluginSpec| plugin::lines(&StageSpec::plugin("s", ["a"], plugin));
    assert_eq!(plugin("p".into()), Vec::<String>::new());
    let strict = PluginSpec::new("p").on_error(OnError::Reject).rejected_max(RejectedMax::Share(0.07));
    assert_eq!(
        plugin(strict),
        [
            "rows that make a call fail go to s.rejected, and the others continue",
            "more than 7 % of the rows of a batch rejected stop the job",
        ]
    );
    let granted =
        PluginSpec::new("p").file("stop", "stop.txt").env("TOKEN", "secret").rejected_max(RejectedMax::Rows(5));
    assert_eq!(
        plugin(granted.http(HttpGrant::to(["a.example.com", "b.example.com"]))),
        [
            "more than 5 rejected rows in a batch stop the job",
            "granted: file stop (stop.txt); variable TOKEN",
            "not replayable: GET, HEAD over HTTP to a.example.com, b.example.com, with new responses when a batch is replayed",
        ]
    );
    let limits = PluginLimits {
        memory_bytes_max: 64 << 20,
        time_max: Duration::ZERO,
        fuel_max: Some(7),
        log_lines_per_second_max: 1,
        compile_time_max: Duration::from_millis(1_500),
        ..PluginLimits::default()
    };
    let limited = PluginSpec::new("p").limits(limits);
    let summary = "limits: memory 64MiB, time without limit, fuel 7, log_lines 1, compile 1500ms";
    assert_eq!(plugin(limited.clone()), [summary]);
    let function = StageSpec::sql("s", ["a"], "select f(k) from a").function("f", limited).function("g", "g");
    assert_eq!(plugin::lines(&function), [format!("function f: {summary}")]);
    assert_eq!(plugin::lines(&StageSpec::union("s", ["a"])), Vec::<String>::new());
}
