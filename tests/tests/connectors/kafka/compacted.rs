//! The source `kafka` and compacted topics: records of a batch may be deleted before it is replayed.

use millstream_tests::kafka::{BrokerOptions, Record};
use millstream_tests::{Broker, Process, Trial, wait_until};
use serde_json::Value;
use std::collections::BTreeMap;

/// Settings of a topic that is compacted as soon as its broker looks.
const COMPACTED: [(&str, &str); 3] =
    [("cleanup.policy", "compact"), ("segment.ms", "1000"), ("min.cleanable.dirty.ratio", "0.001")];

fn broker() -> Broker {
    let settings = vec!["log.cleaner.backoff.ms=100".to_owned()];
    Broker::with(BrokerOptions { settings, ..BrokerOptions::default() })
}

/// A job that counts the records of each key, and has no checkpoint after its batches if it is killed soon.
fn job(broker: &Broker, topic: &str) -> Trial {
    Trial::new(&format!(
        r#"name = "compacted"
batch = "20ms"
[checkpoint]
dir = "checkpoint"
every = 100000
[sources.in]
kind = "kafka"
brokers = "{}"
topic = "{topic}"
poll = "100ms"
rows_per_batch_max = 7
schema = {{ value = "text", key = {{ type = "text", from = "key" }}, offset = {{ type = "int64", from = "offset" }} }}
[sinks.out]
from = "in"
kind = "queue"
path = "out.jsonl"
[stages.counts]
from = "in"
key = "key"
aggregate = {{ n = "count(*)" }}
window = "all"
[sinks.counts]
from = "counts"
kind = "queue"
path = "counts.jsonl"
"#,
        broker.address()
    ))
}

/// Records of a few keys; those of each call are later than those of the previous one by more than a segment's duration.
fn records_of_call(call: i64) -> Vec<Record> {
    let record = |number: i64| Record {
        partition: 0,
        timestamp_ms: Some(1_000_000 + call * 10_000),
        // A tombstone at regular intervals.
        value: (number % 5 != 4).then(|| format!("{call}.{number}").into_bytes()),
        ..Record::of(&format!("k{}", number % 3), "")
    };
    (0..20).map(record).collect()
}

fn offsets(trial: &Trial) -> Vec<i64> {
    if !trial.path("out.jsonl").exists() {
        return Vec::new();
    }
    trial.rows("out.jsonl").iter().map(|row| row["offset"].as_i64().unwrap()).collect()
}

/// The newest count of each key.
fn counts(trial: &Trial) -> BTreeMap<String, Value> {
    trial
        .rows("counts.jsonl")
        .into_iter()
        .map(|row| (row["key"].as_str().unwrap().to_owned(), row["n"].clone()))
        .collect()
}

/// Writes records that close the segment of earlier ones, and waits until none of these is left; returns the end of the topic.
fn compact(broker: &Broker, topic: &str, calls: std::ops::Range<i64>) -> i64 {
    let before = broker.end(topic, 0);
    for call in calls {
        broker.produce(topic, &records_of_call(call));
    }
    wait_until("the topic is compacted", || {
        let left = broker.read(topic).iter().filter(|record| record.offset < before).count();
        left == 0
    });
    broker.end(topic, 0)
}

#[test]
fn a_job_resumes_after_compaction_removed_records_of_its_batches() {
    let broker = broker();
    broker.topic("compacted", 1, &COMPACTED);
    // So that a delete may come in between.
    let both = COMPACTED.map(|(name, value)| match name {
        "cleanup.policy" => (name, "compact,delete"),
        _ => (name, value),
    });
    broker.topic("both", 1, &both);
    for topic in ["compacted", "both"] {
        broker.produce(topic, &records_of_call(0));
        let trial = job(&broker, topic);
        let mut running = trial.start(&[]);
        running.wait_for_stderr(&format!("topic `{topic}` is compacted"));
        running.wait_until("all have come", |_| offsets(&trial).len() == 20);
        running.kill();
        let end = compact(&broker, topic, 1..4);
        if topic == "both" {
            broker.delete_records(topic, 0, 20);
        }
        // What is left of the others, whatever compaction removes while it is read.
        trial.run_ok(&["--until-idle", "--workers", "2"]);
        let found = offsets(&trial);
        assert_eq!(found.get(..20), Some(&(0..20).collect::<Vec<_>>()[..]), "{topic}");
        assert!(found.is_sorted_by(|a, b| a < b) && found.last() == Some(&(end - 1)), "{topic}: {found:?}");
        let n: i64 = counts(&trial).values().map(|n| n.as_i64().unwrap()).sum();
        assert_eq!(n as usize, found.len(), "{topic}: each counts once in what the job has kept");
    }
}

#[test]
fn a_topic_that_becomes_compacted_is_kept_from_then_on() {
    let broker = broker();
    broker.topic("turned", 1, &[("segment.ms", "1000")]);
    let trial = job(&broker, "turned");
    let mut running = trial.start(&[]);
    running.wait_for_stderr("reads 1 partition");
    broker.set("turned", &COMPACTED);
    running.wait_for_stderr("topic `turned` is compacted");
    broker.produce("turned", &records_of_call(0));
    running.wait_until("all have come", |_| offsets(&trial).len() == 20);
    running.kill();
    compact(&broker, "turned", 1..3);
    trial.run_ok(&["--until-idle"]);
    assert_eq!(offsets(&trial).get(..20), Some(&(0..20).collect::<Vec<_>>()[..]));
    // And no longer when it is not.
    let mut running = trial.start(&[]);
    running.wait_for_stderr("topic `turned` is compacted");
    broker.set("turned", &[("segment.ms", "1000")]);
    running.wait_for_stderr("topic `turned` is no longer compacted");
    running.stop();
}

#[test]
fn a_panic_while_querying_policies_ends_the_job() {
    let broker = Broker::shared();
    broker.topic("policies", 1, &[]);
    let trial = job(broker, "policies");
    let mut command = trial.command(&["run", "job.toml", "--unsupervised"]);
    let ended = Process::start(command.env("MILLSTREAM_TEST_FAULT", "panic@kafka-policies:1")).wait();
    let output = "error: the thread that requests policies of source `in` panicked: a test wants";
    assert!(ended.code == Some(1) && ended.stderr.contains(output), "{}", ended.stderr);
}
