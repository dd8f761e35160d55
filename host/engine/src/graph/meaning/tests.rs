//! The meaning of tables, and what does not affect it.

use crate::checkpoint::meaning::{MeaningDigests, TableMeaning};
use crate::graph::Graph;
use millstream_base::retry::StartupRetry;
use millstream_plugins::plugin::PluginHost;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const JOB: &str = r#"
[sources.s]
kind = "socket"
address = "127.0.0.1:9"
format = "json"
schema = { k = "text", x = "int64", y = "int64" }
[stages.front]
from = "s"
filter = "x > 0 and y < 9"
select = "k, x * 2 as z, y"
[stages.q]
from = "front"
window = "all"
sql = "select k, sum(z) as n from front where z > 5 group by k having count(*) > 1"
[sinks.out]
from = "q"
kind = "queue"
path = "out.jsonl"
"#;

fn graph(text: &str) -> Graph {
    let kinds = millstream_connectors::kinds::all();
    let spec = millstream_job::parse(text, kinds, Path::new("job.toml"), Path::new("."), &[]).unwrap();
    Graph::resolve(spec, kinds, &PluginHost::new().unwrap(), false, StartupRetry::No).unwrap()
}

fn digests(text: &str, unnamed: &[&str]) -> BTreeMap<String, MeaningDigests> {
    let unnamed: BTreeSet<String> = unnamed.iter().map(|name| (*name).to_owned()).collect();
    let tables = graph(text).meanings(&unnamed);
    tables.iter().map(|(name, table)| (name.clone(), TableMeaning::digests(table))).collect()
}

#[test]
fn names_of_stages_and_other_columns_do_not_matter() {
    let before = digests(JOB, &[]);
    assert_eq!(before.keys().collect::<Vec<_>>(), ["q-totals"]);
    for (from, to) in [
        ("x > 0 and y < 9", "9 > y AND (x>0)"),
        ("k, x * 2 as z, y", "upper(k) as other, x * 2 as z, k"),
        ("schema = { k", "schema = { new = \"text\", k"),
        ("having count(*) > 1", "HAVING 1 < count(*)"),
        ("filter = \"x > 0 and y < 9\"", "filter = \"y < 9\""),
    ] {
        let mut text = JOB.replace(from, to).replace("front", "other");
        if to == "filter = \"y < 9\"" {
            text =
                text.replace("from = \"s\"", "from = \"more\"") + "[stages.more]\nfrom = \"s\"\nfilter = \"x > 0\"\n";
        }
        assert_eq!(digests(&text, &[]), before, "{to}");
    }
}

#[test]
fn the_sink_and_the_state_are_told_apart() {
    let before = &digests(JOB, &[])["q-totals"];
    for (from, to, state, sink) in [
        ("count(*) > 1", "count(*) > 2", true, false),
        ("sum(z) as n", "sum(z) + 1 as n", true, false),
        ("sum(z) as n", "sum(y) as n", false, false),
        ("z > 5", "z > 6", false, false),
        ("x > 0", "x > 1", false, false),
        ("x * 2 as z", "x * 3 as z", false, false),
        ("path = \"out.jsonl\"", "path = \"other.jsonl\"", true, true),
    ] {
        let now = &digests(&JOB.replace(from, to), &[])["q-totals"];
        assert_eq!((now.state == before.state, now.sinks == before.sinks), (state, sink), "{to}");
    }
}

#[test]
fn a_source_of_another_name_is_another_unless_it_is_given_up() {
    let renamed = JOB.replace("[sources.s]", "[sources.t]").replace("from = \"s\"", "from = \"t\"");
    assert_ne!(digests(&renamed, &[]), digests(JOB, &[]));
    assert_eq!(digests(&renamed, &["t"]), digests(JOB, &["s"]));
}

/// Checkpoints hold these digests: if they change, `FORM` in `checkpoint/meaning` must, too.
#[test]
fn digests_do_not_change_from_version_to_version() {
    let digests = &digests(JOB, &[])["q-totals"];
    assert_eq!(digests.state, "1:d9c9c9529bb746cbb4323a1e9ea908b2");
}

#[test]
fn who_follows_changes_is_known() {
    let text = r#"
[sources.s]
kind = "socket"
address = "127.0.0.1:9"
format = "json"
schema = { k = "text", x = "int64" }
[stages.newest]
from = "s"
key = "k"
latest = true
[stages.some]
from = "newest"
filter = "x > 0"
select = "k, x as y, op"
[stages.sums]
from = "some"
window = "all"
op = "op"
sql = "select y, count(*) as n from some group by y order by n desc nulls last limit 2"
[stages.beside]
from = "s"
enrich = { stream = "some", on = "k", op = "op" }
[stages.plain]
from = "s"
key = "k"
window = "all"
aggregate = { n = "count(*)" }
[sinks.out]
from = "sums"
kind = "queue"
path = "out.jsonl"
[sinks.copy]
from = "some"
kind = "queue"
path = "copy.jsonl"
[sinks.screen]
from = "beside"
kind = "print"
[sinks.counts]
from = ["plain"]
kind = "queue"
path = "counts.jsonl"
"#;
    let followers = graph(text).followers();
    let of = |makers: &BTreeSet<String>| makers.iter().cloned().collect::<Vec<_>>().join(", ");
    let stages: Vec<(&str, String)> =
        followers.stages.iter().map(|(stage, makers)| (stage.as_str(), of(makers))).collect();
    let expected = [("beside", "newest"), ("sums", "sums-totals"), ("sums-totals", "newest")];
    assert_eq!(stages, expected.map(|(stage, makers)| (stage, makers.to_owned())));
    let sinks: Vec<(&str, String)> =
        followers.sinks.iter().map(|(sink, follows)| (sink.as_str(), of(&follows.makers))).collect();
    let expected = [("copy", "newest"), ("counts", ""), ("out", "sums")];
    assert_eq!(sinks, expected.map(|(sink, makers)| (sink, makers.to_owned())));
    assert_eq!(of(&followers.connected_stages("beside")), "beside, newest, sums, sums-totals");
    assert_eq!(of(&followers.connected_stages("plain")), "plain");
}
