//! `idle` of a stage that reads a topic: a partition with unread rows is not idle, however long that takes, and one without rows
//! is.

use millstream_tests::kafka::Record;
use millstream_tests::{Broker, Process, Trial, wait_until};
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::Write;
use std::time::{Duration, Instant};

const TIME: u64 = 1_600_000_000;
/// Length of a window, in seconds of event time.
const WINDOW: u64 = 100;

/// Counts the rows of a topic, and of another source if there is one, by windows of their times. Batches are small, so that rows
/// of one partition wait long for those of another.
fn job(broker: &Broker, topic: &str, other: &str, idle: &str) -> Trial {
    let from = if other.is_empty() { "\"in\"" } else { "[\"in\", \"other\"]" };
    Trial::new(&format!(
        r#"name = "{topic}"
batch = "10ms"
[checkpoint]
dir = "checkpoint"
every = 7
[sources.in]
kind = "kafka"
brokers = "{}"
topic = "{topic}"
poll = "100ms"
format = "json"
schema = {{ at = "timestamp(s)" }}
rows_per_batch_max = 150
{other}
[stages.counts]
from = {from}
aggregate = {{ n = "count(*)" }}
time = "at"
idle = "{idle}"
window = {{ size = "{WINDOW}s" }}
[sinks.out]
from = "counts"
kind = "queue"
path = "out.jsonl"
[sinks.missed]
from = "counts.late"
kind = "queue"
path = "late.jsonl"
"#,
        broker.address()
    ))
}

/// Produces this many rows of a partition, in order, from one time to another.
fn produce(broker: &Broker, topic: &str, partition: i32, rows: u64, (from, to): (u64, u64)) {
    let at = |row: u64| TIME + from + row * (to - from) / rows;
    let record = |row: u64| Record::at(partition, &json!({ "at": at(row) }).to_string());
    broker.produce(topic, &(0..rows).map(record).collect::<Vec<_>>());
}

/// The counts of the windows that came out, in order.
fn counts(trial: &Trial) -> Vec<u64> {
    trial.rows("out.jsonl").iter().map(|row| row["n"].as_u64().unwrap()).collect()
}

/// Checks that each row is in its window, and none is late.
#[track_caller]
fn check_complete(trial: &Trial, windows: usize, rows_of_each: u64) {
    let late = trial.rows("late.jsonl").len();
    assert_eq!((late, counts(trial)), (0, vec![rows_of_each; windows]));
}

/// The number of rows that the source has emitted.
fn rows_read(trial: &Trial) -> u64 {
    let ended = trial.run_command(&["status", "job.toml", "--json"]);
    let output: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap_or_default();
    output["sources"][0]["rows"].as_u64().unwrap_or(0)
}

/// Appends rows of these times to a file.
fn append(trial: &Trial, times: impl IntoIterator<Item = u64>) {
    let mut file = OpenOptions::new().append(true).create(true).open(trial.path("other.jsonl")).unwrap();
    let lines = times.into_iter().map(|at| format!("{}\n", json!({ "at": TIME + at })));
    file.write_all(lines.collect::<String>().as_bytes()).unwrap();
}

const OTHER: &str = r#"[sources.other]
kind = "file"
path = "other.jsonl"
follow = true
poll = "10ms"
format = "json"
schema = { at = "timestamp(s)" }
"#;

/// Lets the other source continue for a while, and returns whether windows were output.
fn windows_come(trial: &Trial, from: u64, time: Duration) -> bool {
    let (before, began) = (counts(trial).len(), Instant::now());
    let mut at = from;
    while began.elapsed() < time {
        append(trial, [at]);
        at += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    counts(trial).len() > before
}

#[test]
fn a_missing_topic_holds_nothing_up() {
    let broker = Broker::shared();
    let trial = job(broker, "not-yet", OTHER, "200ms");
    append(&trial, [10, 20]);
    let mut job = trial.start_processes(1, "1");
    job.wait_for_stderr("topic `not-yet` does not exist");
    wait_until("a window comes out", || {
        append(&trial, [150]);
        counts(&trial) == [2]
    });
    broker.topic("not-yet", 1, &[]);
    produce(broker, "not-yet", 0, 1, (160, 170));
    job.wait_for_stderr("reads 1 partition");
    // It may have been idle for longer than `idle` when its row arrived, and then holds nothing up until the row is read.
    wait_until("its row is read", || rows_read(&trial) == 1);
    wait_until("its row counts", || {
        append(&trial, [250]);
        counts(&trial).len() == 2
    });
    job.stop();
    assert_eq!(trial.rows("late.jsonl"), [Value::Null; 0]);
}

#[test]
fn a_panic_while_querying_partition_ends_ends_the_job() {
    let broker = Broker::shared();
    broker.topic("asked", 1, &[]);
    let trial = job(broker, "asked", "", "200ms");
    let mut command = trial.command(&["run", "job.toml", "--unsupervised"]);
    let ended = Process::start(command.env("MILLSTREAM_TEST_FAULT", "panic@kafka-ends:1")).wait();
    let output = "error: the thread that requests the ends of source `in` panicked: a test wants";
    assert!(ended.code == Some(1) && ended.stderr.contains(output), "{}", ended.stderr);
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    #[test]
    fn rows_of_a_backlog_are_not_late_with_any_idle() {
        let broker = Broker::shared();
        for (processes, workers) in [(1, "1"), (1, "2"), (2, "1")] {
            let topic = format!("backlog-{processes}-{workers}");
            broker.topic(&topic, 2, &[]);
            let trial = job(broker, &topic, "", "100ms");
            // One partition has three times as many rows as the other, and both are in order.
            let backlog = |from, to| {
                produce(broker, &topic, 0, 36_000, (from, to));
                produce(broker, &topic, 1, 12_000, (from, to));
            };
            backlog(0, 6_000);
            let mut job = trial.start_processes(processes, workers);
            job.wait_until("some windows", |_| counts(&trial).len() >= 20);
            job.kill();
            let mut job = trial.start_processes(processes, if workers == "1" { "2" } else { "1" });
            job.wait_until("all windows but the last", |_| counts(&trial).len() >= 59);
            job.stop();
            check_complete(&trial, 59, 800);
            // Rows that arrive while the job is down are a backlog as well.
            backlog(6_000, 12_000);
            let mut job = trial.start_processes(3 - processes, workers);
            job.wait_until("all windows but the last", |_| counts(&trial).len() >= 119);
            job.stop();
            check_complete(&trial, 119, 800);
        }
    }

    #[test]
    fn a_partition_with_an_unreachable_broker_is_not_idle() {
        let mut broker = Broker::start();
        broker.topic("stalled", 2, &[]);
        let trial = job(&broker, "stalled", OTHER, "300ms");
        produce(&broker, "stalled", 0, 10, (0, 50));
        produce(&broker, "stalled", 1, 10, (0, 50));
        append(&trial, [10]);
        // The partitions are not known yet.
        broker.suspend();
        let mut job = trial.start_processes(1, "1");
        job.wait_until("the other source is read", |_| !trial.text("other.jsonl").is_empty());
        assert!(!windows_come(&trial, 1_000, Duration::from_millis(1500)), "{}", job.stderr());
        broker.resume();
        // If all are idle, time does not advance.
        job.wait_until("all are read, and those that are silent are left out", |_| {
            append(&trial, [1_090]);
            counts(&trial).len() == 1
        });
        assert_eq!((trial.rows("late.jsonl").len(), counts(&trial)), (0, vec![21]));
        // They are known, and were idle for long.
        broker.suspend();
        let answers_are_old = Duration::from_millis(1_500);
        windows_come(&trial, 1_300, answers_are_old);
        assert!(!windows_come(&trial, 2_000, Duration::from_millis(1500)), "{}", job.stderr());
        broker.resume();
        let comes_again = |at: u64, before: usize| {
            append(&trial, [at]);
            counts(&trial).len() > before
        };
        let before = counts(&trial).len();
        job.wait_until("windows come again", |_| comes_again(2_500, before));
        // A start does not know the current state, whatever the last one knew.
        job.stop();
        broker.kill();
        let before = counts(&trial).len();
        let mut job = trial.start_processes(1, "2");
        job.wait_for_stderr("no broker of the cluster");
        assert!(!windows_come(&trial, 3_000, Duration::from_millis(1500)), "{}", job.stderr());
        broker.start_again();
        job.wait_until("windows come again", |_| comes_again(3_500, before));
        job.stop();
        assert_eq!(trial.rows("late.jsonl"), [Value::Null; 0]);
    }

    #[test]
    fn a_partition_without_rows_holds_windows_back_no_longer_than_idle() {
        let broker = Broker::shared();
        for (processes, idle) in [(1, "200ms"), (2, "1500ms")] {
            let topic = format!("silent-{processes}");
            // One of them never has a row.
            broker.topic(&topic, 3, &[]);
            let trial = job(broker, &topic, "", idle);
            produce(broker, &topic, 0, 50, (0, 150));
            produce(broker, &topic, 1, 400, (0, 1_000));
            let mut job = trial.start_processes(processes, "2");
            job.wait_until("windows of the one that has rows", |_| counts(&trial).len() >= 9);
            for more in 1..=3_u64 {
                produce(broker, &topic, 1, 400, (1_000 * more, 1_000 * (more + 1)));
                job.wait_until("those of the rows that have come", |_| counts(&trial).len() as u64 >= 9 + 10 * more);
            }
            // It counts again when it has rows. Until these are read it is idle, so nothing newer may come before.
            produce(broker, &topic, 0, 10, (4_000, 4_050));
            wait_until("its rows are read", || rows_read(&trial) >= 50 + 1_600 + 10);
            produce(broker, &topic, 1, 10, (4_000, 4_200));
            wait_until("so are those of the other", || rows_read(&trial) >= 50 + 1_600 + 20);
            wait_until("the window in which both are", || {
                produce(broker, &topic, 1, 1, (4_250, 4_250));
                counts(&trial).len() > 40
            });
            job.stop();
            assert_eq!(trial.rows("late.jsonl").len(), 0, "{processes} processes");
            assert_eq!(counts(&trial)[..41].iter().sum::<u64>(), 50 + 1_600 + 15, "{:?}", counts(&trial));
        }
    }
}
