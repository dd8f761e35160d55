//! The partitions of a topic, distributed over the processes of a job: rows are read once and in order while partitions move, and
//! each has its own watermark.

use millstream_tests::kafka::Record;
use millstream_tests::page::PageAddress;
use millstream_tests::{Broker, DEADLINE, Process, Random, Trial, holds_within, hosts, kill, wait_until};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const PARTITIONS: i32 = 5;

fn numbers(topic: &str, more: &str) -> Trial {
    Trial::new(&format!(
        r#"name = "{topic}"
batch = "10ms"
[checkpoint]
dir = "checkpoint"
every = 5
[sources.in]
kind = "kafka"
brokers = "{}"
topic = "{topic}"
poll = "100ms"
format = "json"
schema = {{ p = "int64", n = "int64" }}
rows_per_batch_max = 50
{more}
[sinks.out]
from = "in"
kind = "queue"
path = "out.jsonl"
"#,
        Broker::shared().address()
    ))
}

/// Stops a job, one of whose processes may just have been killed.
fn stop(job: Process) {
    job.signal("TERM");
    let ended = job.wait();
    assert!(ended.code == Some(0) || ended.stderr.contains("died (signal 9) while it stopped"), "{}", ended.stderr);
}

/// Rows from these numbers on, a record of each partition.
fn produce(topic: &str, partitions: i32, numbers: std::ops::Range<u64>) {
    let row = |partition: i32, n| Record::at(partition, &json!({ "p": partition, "n": n }).to_string());
    let records: Vec<Record> = numbers.flat_map(|n| (0..partitions).map(move |p| row(p, n))).collect();
    Broker::shared().produce(topic, &records);
}

/// The rows of each partition so far, in the order in which they arrived.
fn by_partition(trial: &Trial) -> BTreeMap<i64, Vec<u64>> {
    let mut found: BTreeMap<i64, Vec<u64>> = BTreeMap::new();
    for row in trial.rows("out.jsonl") {
        found.entry(row["p"].as_i64().unwrap()).or_default().push(row["n"].as_u64().unwrap());
    }
    found
}

fn is_complete(found: &BTreeMap<i64, Vec<u64>>, partitions: i32, end: u64) -> bool {
    found.len() == partitions as usize && found.values().all(|numbers| numbers.len() as u64 >= end)
}

#[test]
fn partitions_move_between_processes_and_each_row_arrives_once_and_in_order() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut random = Random::new(seed);
    let topic = format!("moving-{seed}");
    Broker::shared().topic(&topic, PARTITIONS, &[]);
    let trial = numbers(&topic, "");
    let start = |random: &mut Random| {
        let (processes, workers) = (random.from(1, 3) as usize, random.from(1, 2));
        let mut job = trial.start_processes(processes, workers);
        // From then on a signal stops it in an orderly way.
        job.wait_until("it runs", |job| {
            ["resumes after the checkpoint", "begins at batch"].iter().any(|runs| job.stderr().contains(runs))
        });
        job
    };
    let (mut partitions, mut end) = (PARTITIONS, 0);
    let mut late: BTreeMap<i64, u64> = BTreeMap::new();
    let mut job = start(&mut random);
    for round in 0..8 {
        let before = end;
        end += random.from(20, 200);
        produce(&topic, partitions, before..end);
        // Somewhere in between, which may be before the first row of them.
        let some = before * partitions as u64 + random.from(0, (end - before) * partitions as u64);
        let came = || trial.rows("out.jsonl").len() as u64 >= some.saturating_sub(late.values().sum());
        assert!(holds_within(DEADLINE, came), "round {round}: {:?}\n{}", by_partition(&trial), job.stderr());
        match random.from(0, 3) {
            0 => {
                // One process of the job; the supervisor restarts all of them.
                let children = job.children();
                let chosen = random.from(0, children.len().max(1) as u64 - 1) as usize;
                children.get(chosen).into_iter().for_each(|child| kill(*child));
            }
            1 => {
                stop(job);
                job = start(&mut random);
            }
            _ => {
                job.children().into_iter().for_each(kill);
                job.kill();
                job = start(&mut random);
            }
        }
        if round == 4 {
            partitions += 2;
            Broker::shared().add_partitions(&topic, partitions as usize);
            late = (PARTITIONS..partitions).map(|new| (i64::from(new), end)).collect();
        }
    }
    let required = |partition: i64| late.get(&partition).copied().unwrap_or(0)..end;
    let complete = |found: &BTreeMap<i64, Vec<u64>>| {
        (0..i64::from(partitions))
            .all(|p| found.get(&p).is_some_and(|numbers| numbers.len() as u64 >= end - required(p).start))
    };
    let all = holds_within(DEADLINE, || complete(&by_partition(&trial)));
    assert!(all, "seed {seed}: {:?}\n{}", by_partition(&trial), job.stderr());
    stop(job);
    for (partition, numbers) in by_partition(&trial) {
        assert_eq!(numbers, required(partition).collect::<Vec<_>>(), "seed {seed}, partition {partition}");
    }
}

/// The processes of a job that receive rows of a source, from their status.
#[test]
fn all_processes_receive_rows() {
    let topic = "everywhere";
    Broker::shared().topic(topic, 4, &[]);
    let trial = numbers(topic, "");
    produce(topic, 4, 0..100);
    let mut job = trial.start_processes(2, 1);
    job.wait_until("all rows", |_| is_complete(&by_partition(&trial), 4, 100));
    let printed = job.stderr();
    assert_eq!(printed.matches("source `in`: reads 2 partitions").count(), 2, "{printed}");
    job.stop();
    let plans = std::fs::read_dir(trial.path("checkpoint/plans")).unwrap();
    let processes: BTreeSet<String> = plans
        .map(|entry| entry.unwrap().file_name().to_string_lossy().split('-').nth(1).unwrap_or_default().to_owned())
        .collect();
    assert_eq!(processes.len(), 2, "each keeps a log of its own: {processes:?}");
}

/// Times in order within each partition, and far apart between partitions: with one watermark for all of them, the rows of the
/// partition that is read last would be late.
#[test]
fn a_partition_that_lags_far_behind_has_no_late_rows() {
    for processes in [1, 2] {
        let topic = format!("apart-{processes}");
        Broker::shared().topic(&topic, 4, &[]);
        let trial = Trial::new(&format!(
            r#"name = "{topic}"
batch = "10ms"
clock = "wall"
[checkpoint]
dir = "checkpoint"
every = 3
[sources.in]
kind = "kafka"
brokers = "{}"
topic = "{topic}"
poll = "100ms"
format = "json"
schema = {{ p = "int64", at = "timestamp(s)" }}
rows_per_batch_max = 40
[stages.counts]
from = "in"
aggregate = {{ n = "count(*)" }}
time = "at"
window = {{ size = "10s" }}
[sinks.out]
from = "counts"
kind = "queue"
path = "out.jsonl"
[sinks.missed]
from = "counts.late"
kind = "queue"
path = "late.jsonl"
"#,
            Broker::shared().address()
        ));
        let row = |p: i32, at: u64| Record::at(p, &json!({ "p": p, "at": 1_600_000_000 + at }).to_string());
        let windows = || trial.rows("out.jsonl").len();
        // Three partitions have all of their rows before the fourth has its first.
        let rows = |p: i32, range: std::ops::Range<u64>| range.map(|at| row(p, at)).collect::<Vec<_>>();
        for partition in [2, 0, 3] {
            Broker::shared().produce(&topic, &rows(partition, 0..300));
        }
        let mut job = trial.start_processes(processes, 2);
        let read = |job: &Process| job.stderr().contains("reads");
        job.wait_until("the partitions are known", |job| read(job));
        Broker::shared().produce(&topic, &rows(1, 0..100));
        job.wait_until("windows up to where the partition that is behind has come", |_| windows() >= 9);
        job.kill();
        let mut job = trial.start_processes(2, 1);
        job.wait_until("it runs again", |job| read(job));
        Broker::shared().produce(&topic, &rows(1, 100..300));
        job.wait_until("all windows but the last", |_| windows() >= 29);
        job.stop();
        assert_eq!(trial.rows("late.jsonl"), [json!(null); 0], "{processes} processes");
        let counts: Vec<u64> = trial.rows("out.jsonl").iter().map(|row| row["n"].as_u64().unwrap()).collect();
        assert_eq!(counts, [40; 29], "{processes} processes");
    }
}

#[test]
fn a_partition_created_while_the_job_is_stopped_is_read_from_its_beginning() {
    for (processes, topic) in [(1, "grown-1"), (3, "grown-3")] {
        Broker::shared().topic(topic, 1, &[]);
        let trial = numbers(topic, "start = \"latest\"");
        let mut job = trial.start_processes(processes, 2);
        job.wait_until("the partition is read", |job| job.stderr().contains("reads 1 partition"));
        wait_until("where it begins is in a plan", || {
            produce(topic, 1, 0..1);
            !trial.rows("out.jsonl").is_empty()
        });
        // Unread rows would come with the next start.
        produce(topic, 1, 999..1000);
        job.wait_until("the last row", |_| trial.rows("out.jsonl").iter().any(|row| row["n"] == 999));
        job.stop();
        let before = trial.rows("out.jsonl").len();
        Broker::shared().add_partitions(topic, 6);
        produce(topic, 6, 1000..1010);
        let mut job = trial.start_processes(processes, 2);
        job.wait_until("all rows of all partitions", |_| trial.rows("out.jsonl").len() >= before + 60);
        assert!(!holds_within(Duration::from_millis(300), || trial.rows("out.jsonl").len() > before + 60));
        job.stop();
        let found = by_partition(&trial);
        assert!((1..6).all(|p| found[&p] == (1000..1010).collect::<Vec<_>>()), "{found:?}");
    }
}

/// Each partition of both processes has its position, lag and event time.
#[test]
fn a_status_lists_each_partition() {
    let broker = Broker::shared();
    broker.topic("told", 3, &[]);
    let trial = Trial::new(&format!(
        r#"name = "told"
batch = "20ms"
[checkpoint]
dir = "checkpoint"
every = 3
[sources.in]
kind = "kafka"
brokers = "{}"
topic = "told"
poll = "100ms"
format = "json"
schema = {{ at = "timestamp(s)" }}
[stages.counts]
from = "in"
aggregate = {{ n = "count(*)" }}
time = "at"
window = {{ size = "10s" }}
[sinks.out]
from = "counts"
kind = "queue"
path = "out.jsonl"
"#,
        broker.address()
    ));
    let rows = |p: i32, count: u64| -> Vec<Record> {
        (0..count).map(|at| Record::at(p, &json!({ "at": 1_600_000_000 + at }).to_string())).collect()
    };
    [(0, 40), (1, 30), (2, 20)].into_iter().for_each(|(p, count)| broker.produce("told", &rows(p, count)));
    let (job, page) = PageAddress::start(&trial, &["--processes", "2", "--hosts", &hosts(2)]);
    let output = |status: &Value| -> Vec<(String, u64, Option<u64>, Option<i64>)> {
        let furthest = status["sources"][0]["partitions"]["furthest"].as_array().cloned().unwrap_or_default();
        let mut all: Vec<_> = furthest
            .iter()
            .map(|p| {
                let (name, position) = (p["name"].as_str().unwrap().to_owned(), p["position"].as_u64().unwrap());
                (name, position, p["behind"].as_u64(), p["times_us"]["counts"].as_i64())
            })
            .collect();
        all.sort();
        all
    };
    let seen = |at: i64| Some((1_600_000_000 + at) * 1_000_000);
    let expected = vec![
        ("told/0".to_owned(), 40, Some(0), seen(39)),
        ("told/1".to_owned(), 30, Some(0), seen(29)),
        ("told/2".to_owned(), 20, Some(0), seen(19)),
    ];
    let view = page.wait_for_json("", |view| output(&view["status"]) == expected);
    assert_eq!(view["status"]["sources"][0]["partitions"]["count"], 3);
    let json = trial.run_command_ok(&["status", "job.toml", "--json"]);
    assert_eq!(output(&serde_json::from_str(&json).unwrap()), expected);
    let text = trial.run_command_ok(&["status", "job.toml"]);
    for line in [
        "part    told/0 at 40, 0 behind, counts: 2020-09-13 12:27:19.000 UTC, process 0\n",
        "part    told/1 at 30, 0 behind, counts: 2020-09-13 12:27:09.000 UTC, process 1\n",
        "part    told/2 at 20, 0 behind",
    ] {
        assert!(text.contains(line), "{text}");
    }
    job.stop();
}
