//! More groups and rows than one call of a plugin takes: the calls are split between groups, without a visible effect.

use millstream_tests::{Trial, plugin};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// More than the rows or groups of a call, and one key with more rows than that.
const KEYS: i64 = 70_000;

fn queue(rows: impl Iterator<Item = Value>) -> String {
    format!("{}\n", Value::Array(rows.collect()))
}

#[test]
fn a_cogroup_of_many_keys_and_of_one_large_one() {
    let job = format!(
        r#"clock = "manual"
[sources.people]
kind = "queue"
path = "people.jsonl"
schema = {{ k = "int64", name = "text" }}
[sources.orders]
kind = "queue"
path = "orders.jsonl"
schema = {{ k = "int64", amount = "int64" }}
[sources.clicks]
kind = "queue"
path = "clicks.jsonl"
schema = {{ k = "int64", page = "text" }}
[stages.all]
from = "people"
cogroup = ["orders", "clicks"]
key = "k"
plugin = "{}"
[sinks.out]
from = "all"
kind = "queue"
path = "out.jsonl"
"#,
        plugin("beside").display()
    );
    let trial = Trial::new(&job);
    trial.write("people.jsonl", queue((0..KEYS).map(|k| json!([k, k.to_string()]))));
    trial.write("orders.jsonl", queue((0..KEYS).map(|n| json!([-1, n]))));
    trial.write("clicks.jsonl", queue((0..KEYS).step_by(3).map(|k| json!([k, "/"]))));
    let strings = ["1", "2"].map(|workers| {
        trial.run_ok(&["--workers", workers]);
        trial.text("out.jsonl")
    });
    assert!(strings[0] == strings[1], "one worker and two");
    let mut found: BTreeMap<i64, [String; 3]> = BTreeMap::new();
    for row in trial.rows("out.jsonl") {
        let text = |name: &str| row[name].as_str().unwrap().to_owned();
        let all = ["names", "amounts", "pages"].map(text);
        assert!(found.insert(row["k"].as_i64().unwrap(), all).is_none(), "a key comes once: {row}");
    }
    assert_eq!(found.len() as i64, KEYS + 1);
    let amounts = (0..KEYS).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    assert!(found.remove(&-1) == Some([String::new(), amounts, String::new()]), "all orders, in their order");
    for (k, [name, amounts, pages]) in found {
        let page = if k % 3 == 0 { "/" } else { "" };
        assert_eq!((name, amounts.as_str(), pages.as_str()), (k.to_string(), "", page), "{k}");
    }
}

#[test]
fn timers_of_many_keys_that_are_due_together() {
    let job = format!(
        r#"clock = "manual"
[sources.orders]
kind = "queue"
path = "orders.jsonl"
schema = {{ k = "int64", todo = "text", second = "int64" }}
[stages.alarms]
from = "orders"
key = "k"
plugin = "{}"
[sinks.out]
from = "alarms"
kind = "queue"
path = "out.jsonl"
"#,
        plugin("alarm").display()
    );
    let trial = Trial::new(&job);
    let twice = (0..KEYS).flat_map(|k| [json!([k, "set", 3]), json!([k, "set", k % 2 + 2])]);
    trial.write("orders.jsonl", format!("{}[]\n[]\n[]\n", queue(twice)));
    let strings = ["1", "2"].map(|workers| {
        trial.run_ok(&["--workers", workers]);
        trial.text("out.jsonl")
    });
    assert!(strings[0] == strings[1], "one worker and two");
    for batch in trial.batches("out.jsonl") {
        let number = batch["batch"].as_i64().unwrap();
        let mut keys = Vec::new();
        for row in batch["rows"].as_array().unwrap() {
            assert_eq!((row["second"].as_i64(), row["rows"].as_i64()), (Some(number), Some(0)), "{row}");
            keys.push(row["k"].as_i64().unwrap());
        }
        keys.sort_unstable();
        let expected: Vec<i64> = match number {
            2 => (0..KEYS).step_by(2).collect(),
            3 => (0..KEYS).collect(),
            _ => Vec::new(),
        };
        assert!(keys == expected, "batch {number}: {} keys and not {}", keys.len(), expected.len());
    }
}

#[test]
fn states_that_are_large_together_are_passed_a_few_at_a_time() {
    let job = format!(
        r#"clock = "manual"
[sources.numbers]
kind = "queue"
path = "numbers.jsonl"
schema = {{ k = "int64", n = "int64" }}
[stages.books]
from = "numbers"
key = "k"
plugin = "{}"
initial = "states.jsonl"
limits = {{ memory = "32MiB" }}
[sinks.out]
from = "books"
kind = "queue"
path = "out.jsonl"
"#,
        plugin("ledger-2").display()
    );
    // Far fewer groups than a call may have, and more bytes than the plugin has memory.
    const KEYS: i64 = 5_000;
    let trial = Trial::new(&job);
    let note = "x".repeat(8_000);
    let state = |k| json!({"k": k, "digest": k, "place": 1, "taken_over": null, "note": note}).to_string();
    trial.write("states.jsonl", (0..KEYS).map(|k| state(k) + "\n").collect::<String>());
    let rows = |n: i64| queue((0..KEYS).map(move |k| json!([k, n])));
    trial.write("numbers.jsonl", format!("{}{}", rows(1), rows(2)));
    let strings = ["1", "2"].map(|workers| {
        trial.run_ok(&["--workers", workers]);
        trial.text("out.jsonl")
    });
    assert!(strings[0] == strings[1], "one worker and two");
    let rows = trial.rows("out.jsonl");
    assert_eq!(rows.len() as i64, 2 * KEYS);
    assert!(
        rows.iter().all(|row| row["place"].as_i64() == row["n"].as_i64().map(|n| n + 1)),
        "each state is its key's"
    );
}
