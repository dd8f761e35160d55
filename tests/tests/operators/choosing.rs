//! Stages that select or distribute rows, on batches spread over all workers, compared with the rows themselves.

use millstream_tests::Trial;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const ROWS: i64 = 40_000;

/// Row i: its number, one of 700 keys, and a value with many duplicates and some nulls.
fn row(i: i64) -> Value {
    let v = if i % 97 == 0 { Value::Null } else { json!(i * 7919 % 5003) };
    json!([i, format!("k{}", i * 31 % 700), v])
}

fn batch(rows: std::ops::Range<i64>) -> String {
    format!("{}\n", Value::Array(rows.map(row).collect()))
}

fn job(stages: &[(&str, &str)]) -> Trial {
    let mut text = r#"
        clock = "manual"
        [sources.rows]
        kind = "queue"
        path = "input.jsonl"
        schema = { i = "int64", k = "text", v = "int64" }
        "#
    .to_owned();
    for (name, stage) in stages {
        text += &format!(
            "[stages.{name}]\n{stage}\n[sinks.{name}-out]\nfrom = \"{name}\"\nkind = \"queue\"\npath = \"{name}.jsonl\"\n"
        );
    }
    let trial = Trial::new(&text);
    trial.write("input.jsonl", batch(0..ROWS) + &batch(ROWS / 2..2 * ROWS) + "[]\n" + &batch(0..10));
    trial
}

/// Runs the job with one to four workers; the output of the stages must be the same.
fn run(trial: &Trial, stages: &[(&str, &str)]) {
    let outputs = ["1", "2", "3", "4"].map(|workers| {
        trial.run_ok(&["--workers", workers]);
        stages.iter().map(|(name, _)| trial.text(&format!("{name}.jsonl"))).collect::<Vec<_>>()
    });
    for output in &outputs {
        for (place, (name, _)) in stages.iter().enumerate() {
            assert!(output[place] == outputs[0][place], "`{name}` depends on the number of workers");
        }
    }
}

/// The input, batch by batch.
fn input() -> Vec<Vec<i64>> {
    vec![(0..ROWS).collect(), (ROWS / 2..2 * ROWS).collect(), Vec::new(), (0..10).collect()]
}

fn key(i: i64) -> i64 {
    i * 31 % 700
}

fn value(i: i64) -> Option<i64> {
    (i % 97 != 0).then_some(i * 7919 % 5003)
}

/// The numbers of the rows, batch by batch.
fn numbers(trial: &Trial, name: &str) -> Vec<Vec<i64>> {
    let rows = |batch: Value| batch["rows"].as_array().unwrap().iter().map(|row| row["i"].as_i64().unwrap()).collect();
    trial.batches(name).into_iter().map(rows).collect()
}

#[test]
fn selections_from_large_batches_do_not_depend_on_the_number_of_workers() {
    let from = "from = \"rows\"";
    let stages = [
        ("pairs", format!("{from}\ndistinct = [\"k\", \"v\"]")),
        ("best", format!("{from}\ntop = {{ n = 1000, by = \"v\" }}")),
        ("of-each", format!("{from}\nkey = \"k\"\ntop = {{ n = 3, by = \"v\", order = \"asc\" }}")),
        ("once", format!("{from}\nkey = \"k\"\ndeduplicate = {{ within = \"2s\" }}")),
        ("in-turn", format!("{from}\nrepartition = {{ partitions = 7 }}")),
        ("by-key", "from = \"in-turn\"\nkey = \"k\"\nrepartition = { partitions = 3 }".to_owned()),
        ("named", "from = \"rows\"\nenrich = { file = \"names.csv\", on = \"k\", type = \"inner\" }".to_owned()),
        ("some", "from = \"in-turn\"\nsample = 0.25".to_owned()),
        // The parts of what is sampled depend on the number of workers; which rows are chosen does not.
        ("some-of-each", "from = \"of-each\"\nsample = 0.5".to_owned()),
        ("some-by-key", "from = \"by-key\"\nsample = 0.5".to_owned()),
    ];
    let stages: Vec<(&str, &str)> = stages.iter().map(|(name, stage)| (*name, stage.as_str())).collect();
    let trial = job(&stages);
    let names: String = (0..350).map(|k| format!("k{},{k}\n", k * 2)).collect();
    trial.write("names.csv", format!("k,half\n{names}"));
    run(&trial, &stages);

    let pairs = |rows: &Vec<i64>| {
        let mut seen = BTreeSet::new();
        rows.iter().copied().filter(|i| seen.insert((key(*i), value(*i)))).collect::<Vec<_>>()
    };
    assert_eq!(numbers(&trial, "pairs.jsonl"), input().iter().map(pairs).collect::<Vec<_>>());

    let best = |rows: &Vec<i64>| {
        let mut rows = rows.clone();
        rows.sort_by_key(|i| std::cmp::Reverse(value(*i)));
        rows.truncate(1000);
        rows
    };
    assert_eq!(numbers(&trial, "best.jsonl"), input().iter().map(best).collect::<Vec<_>>());

    for (batch, rows) in numbers(&trial, "of-each.jsonl").into_iter().zip(input()) {
        let mut expected: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        rows.iter().for_each(|i| expected.entry(key(*i)).or_default().push(*i));
        for of_key in expected.values_mut() {
            of_key.sort_by_key(|i| (value(*i).is_none(), value(*i)));
            of_key.truncate(3);
        }
        let mut found: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        batch.iter().for_each(|i| found.entry(key(*i)).or_default().push(*i));
        assert_eq!(found, expected);
        assert_eq!(batch.chunk_by(|a, b| key(*a) == key(*b)).count(), found.len(), "keys stand together");
    }

    // All keys arrive in the first batch; in the second they arrived a second before; the fourth is three seconds later.
    let once: [Vec<i64>; 4] = [(0..700).collect(), Vec::new(), Vec::new(), (0..10).collect()];
    assert_eq!(numbers(&trial, "once.jsonl"), once, "in the order in which they came");

    let named = |rows: &Vec<i64>| rows.iter().copied().filter(|i| key(*i) % 2 == 0).collect::<Vec<_>>();
    assert_eq!(numbers(&trial, "named.jsonl"), input().iter().map(named).collect::<Vec<_>>());
    assert!(trial.rows("named.jsonl").iter().all(|row| row["half"] == key(row["i"].as_i64().unwrap()) / 2));

    assert_eq!(numbers(&trial, "in-turn.jsonl"), input());
    let by_key = numbers(&trial, "by-key.jsonl");
    for (mut batch, rows) in by_key.into_iter().zip(input()) {
        batch.sort_unstable();
        assert_eq!(batch, rows);
    }
    for (batch, rows) in numbers(&trial, "some.jsonl").into_iter().zip(input()) {
        assert!(batch.is_sorted());
        let share = rows.len() / 4;
        assert!(batch.len().abs_diff(share) <= share / 10 + 10, "{} of {}", batch.len(), rows.len());
    }
}
