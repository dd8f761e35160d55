//! The order of rows is the same on any number of workers and processes, also where parts of a batch are not.

use millstream_tests::{Trial, plugin, two_hosts};
use serde_json::Value;

/// Numbers with a group each, in two batches of each source; returns the output of every sink.
fn outputs(job: &str, sinks: &[&str], arguments: &[&str]) -> Vec<Vec<Value>> {
    let mut text =
        String::from("name = \"order\"\nclock = \"manual\"\nbatch = \"1s\"\n[checkpoint]\ndir = \"checkpoint\"\n");
    for source in ["a", "b"] {
        text += &format!(
            "[sources.{source}]\nkind = \"queue\"\npath = \"{source}.q\"\n\
             schema = {{ k = \"int64\", v = \"int64\", at = \"timestamp(s)\" }}\n"
        );
    }
    text += job;
    for sink in sinks {
        text += &format!(
            "[sinks.{}]\nfrom = \"{sink}\"\nkind = \"queue\"\npath = \"{sink}.out\"\n",
            sink.replace('.', "-")
        );
    }
    let trial = Trial::new(&text);
    let row = |k: u64, v: u64| serde_json::json!({ "k": k, "v": v, "at": 1_795_000_000 + k / 7 }).to_string();
    for (source, step) in [("a", 7), ("b", 5)] {
        let batch = |from: u64| {
            format!("[{}]\n", (from..from + 60).map(|k| row(k % 80, k * step % 11)).collect::<Vec<_>>().join(","))
        };
        trial.write(&format!("{source}.q"), batch(0) + &batch(40));
    }
    trial.run_ok(arguments);
    sinks.iter().map(|sink| trial.batches(&format!("{sink}.out"))).collect()
}

#[track_caller]
fn same_everywhere(job: &str, sinks: &[&str]) {
    let one = outputs(job, sinks, &[]);
    assert!(one.iter().flatten().any(|batch| batch["rows"].as_array().is_some_and(|rows| rows.len() > 1)), "{one:?}");
    let hosts = two_hosts();
    let processes = ["--workers", "2", "--processes", "2", "--hosts", &hosts];
    for arguments in [&["--workers", "2"][..], &["--workers", "3"], &processes] {
        let other = outputs(job, sinks, arguments);
        for (sink, (one, other)) in sinks.iter().zip(one.iter().zip(&other)) {
            assert_eq!(one, other, "`{sink}` with {arguments:?}");
        }
    }
}

#[test]
fn a_union_with_the_output_of_a_keyed_stage_has_one_order() {
    let job = "[stages.once]\nfrom = \"a\"\nkey = [\"k\", \"v\"]\ndeduplicate = { within = \"1s\" }\n\
               [stages.both]\nfrom = [\"once\", \"b\"]\n[stages.again]\nfrom = [\"b\", \"both\"]\n\
               [stages.first]\nfrom = \"again\"\ndistinct = \"k\"\n[stages.totals]\nfrom = \"both\"\nkey = \"k\"\nwindow = \"all\"\n\
               aggregate = { first = \"first(v)\", last = \"last(v)\" }\n";
    same_everywhere(job, &["both", "again", "first", "totals"]);
}

#[test]
fn branches_after_a_key_have_one_order() {
    let job = "[stages.sums]\nfrom = \"a\"\nkey = \"k\"\naggregate = { v = \"sum(v)\" }\n[stages.halves]\nfrom = \"sums\"\n\
               split = { odd = \"v % 2 = 1\", even = \"v % 2 = 0\" }\n[stages.both]\nfrom = [\"halves.even\", \"halves.odd\"]\n";
    same_everywhere(job, &["both"]);
}

#[test]
fn windows_in_a_union_have_one_order() {
    let window = |name: &str, from: &str, size: &str| {
        format!(
            "[stages.{name}]\nfrom = \"{from}\"\nkey = \"v\"\nwindow = {{ size = \"{size}\", time = \"at\" }}\n\
             aggregate = {{ n = \"count(*)\" }}\n"
        )
    };
    let job = window("short", "a", "1s") + &window("long", "b", "2s") + "[stages.both]\nfrom = [\"long\", \"short\"]\n";
    same_everywhere(&job, &["both"]);
}

#[test]
fn rows_with_one_key_after_another_have_one_order() {
    let job = format!(
        "[stages.sums]\nfrom = [\"a\", \"b\"]\nkey = \"k\"\naggregate = {{ v = \"sum(v)\" }}\n[stages.spread]\nfrom = \"sums\"\n\
         key = \"v\"\nrepartition = {{}}\n[stages.in-five]\nfrom = \"sums\"\nkey = \"v\"\nrepartition = {{ partitions = 5 }}\n\
         [stages.passed]\nfrom = \"sums\"\nkey = \"v\"\nplugin = \"{}\"\nconfig = {{ where = \"v > 3\" }}\n",
        plugin("filter-expr").display()
    );
    same_everywhere(&job, &["spread", "in-five", "passed"]);
}
