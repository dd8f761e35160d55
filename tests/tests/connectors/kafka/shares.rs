//! The sink `kafka` with `parts = "worker"`: each worker commits its share of a batch in its own transaction. Readers of
//! committed records see each row once, whatever dies between two of them and however many workers come next.

use millstream_tests::kafka::Record;
use millstream_tests::{Broker, Ended, Process, Trial, two_hosts, wait_until};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;

const ROWS: u64 = 600;

/// A job that counts up; each worker has rows of each batch. A transaction that is never ended would hide rows for longer than
/// any test waits.
fn counting(broker: &Broker, topic: &str, rows: &str, parts: &str) -> Trial {
    broker.topic(topic, 3, &[]);
    Trial::new(&format!(
        r#"name = "{topic}"
batch = "20ms"
[checkpoint]
dir = "checkpoint"
every = 5
[sources.in]
kind = "rate"
rows_per_second = 1000
{rows}
[stages.spread]
from = "in"
key = "value"
aggregate = {{ n = "count(*)" }}
[sinks.out]
from = "spread"
kind = "kafka"
brokers = "{}"
topic = "{topic}"
transaction = "14m"
markers = "{topic}-markers"
{parts}
"#,
        broker.address()
    ))
}

fn counting_to_end(broker: &Broker, topic: &str) -> Trial {
    counting(broker, topic, &format!("rows_max = {ROWS}\nrows_per_batch_max = 20"), "parts = \"worker\"")
}

#[track_caller]
fn run_ok(trial: &Trial, arguments: &[&str]) -> Ended {
    let ended = trial.start_with_faults("", arguments).wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended
}

/// The stored numbers.
fn numbers(broker: &Broker, topic: &str) -> Vec<u64> {
    let number = |text: String| serde_json::from_str::<Value>(&text).unwrap()["value"].as_u64().unwrap();
    let mut numbers: Vec<_> = broker.strings(topic).into_iter().map(number).collect();
    numbers.sort_unstable();
    numbers
}

#[track_caller]
fn check_all_stored(broker: &Broker, topic: &str) {
    assert_eq!(numbers(broker, topic), (0..ROWS).collect::<Vec<_>>());
}

/// The last batches in a job's markers, by the part of their keys after the job ID. A separate topic per job separates jobs that
/// die in the middle of transactions.
fn markers(broker: &Broker, topic: &str) -> BTreeMap<String, Option<u64>> {
    let markers = format!("{topic}-markers");
    if broker.partitions(&markers) == 0 { BTreeMap::new() } else { broker.read(&markers).iter().map(marker).collect() }
}

/// All markers that were written, also in open transactions.
fn uncommitted(broker: &Broker, topic: &str) -> Vec<(String, Option<u64>)> {
    broker.read_uncommitted(&format!("{topic}-markers")).iter().map(marker).collect()
}

fn marker(record: &Record) -> (String, Option<u64>) {
    let value: Value = serde_json::from_str(&record.text()).unwrap();
    (record.key_text().split_once('/').unwrap().1.to_owned(), value["batch"].as_u64())
}

/// A copy of the current directory of a job, with its checkpoints.
fn copy(trial: &Trial) -> Trial {
    let copy = Trial::new(&trial.text("job.toml"));
    let copied = Command::new("cp").arg("-r").args([trial.path("checkpoint"), copy.path("checkpoint")]).status();
    assert!(copied.unwrap().success());
    copy
}

#[test]
fn each_worker_commits_its_share_with_its_own_marker() {
    let (broker, topic) = (Broker::shared(), "shares");
    let trial = counting_to_end(broker, topic);
    trial.killed("commit.after:12", &["--workers", "3"]);
    trial.killed("commit.after:6", &["--workers", "1"]);
    let processes = ["--processes", "2", "--workers", "2", "--hosts", &two_hosts()];
    let mut together = trial.command(&[&["run", "job.toml"], &processes[..]].concat());
    let ended = Process::start(&mut together).wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    check_all_stored(broker, topic);
    let markers = markers(broker, topic);
    let names: Vec<&str> = markers.keys().map(String::as_str).collect();
    assert_eq!(names, ["out", "out/000", "out/001", "out/002", "out/003"]);
    assert!(markers["out"].is_none() && markers.values().skip(1).all(Option::is_some), "{markers:?}");
    // Without checkpoints there are no transactions, and all workers write as well.
    let plain = counting_to_end(broker, "shares-without");
    plain.change("[checkpoint]\ndir = \"checkpoint\"\nevery = 5\n", "");
    run_ok(&plain, &["--workers", "2"]);
    check_all_stored(broker, "shares-without");
}

/// Nothing is committed, and the worker with the open transaction no longer exists: the next start ends it anyway, as readers
/// wait for it.
#[test]
fn the_transaction_of_a_lost_worker_is_ended() {
    let (broker, topic) = (Broker::shared(), "shares-gone");
    broker.topic(topic, 1, &[]);
    let trial = Trial::new(&format!(
        r#"name = "{topic}"
clock = "manual"
[checkpoint]
dir = "checkpoint"
[sources.in]
kind = "queue"
path = "input.jsonl"
schema = {{ value = "int64" }}
[sinks.out]
from = "in"
kind = "kafka"
brokers = "{}"
topic = "{topic}"
transaction = "14m"
markers = "{topic}-markers"
parts = "worker"
"#,
        broker.address()
    ));
    trial.write("input.jsonl", "[[0],[1]]\n");
    // The job as a unit, and then each of the two workers, first write that this start owns the sink.
    trial.killed("commit.marked:4", &["--workers", "2"]);
    let open: Vec<_> = uncommitted(broker, topic).into_iter().filter(|(_, batch)| *batch == Some(1)).collect();
    assert!(matches!(&open[..], [(of, _)] if of == "out/001"), "the second worker has the rows: {open:?}");
    assert_eq!(numbers(broker, topic), [0; 0]);
    run_ok(&trial, &["--workers", "1"]);
    assert_eq!(numbers(broker, topic), [0, 1]);
}

/// A start that was taken for dead comes back with its workers' shares in the middle of transactions, after another one with
/// fewer workers has taken the job over: it commits nothing.
#[test]
fn an_older_start_has_lost_all_its_shares() {
    let (broker, topic) = (Broker::shared(), "shares-lost");
    let trial = counting_to_end(broker, topic);
    let older = trial.start_with_faults("stop@commit.marked:8", &["--workers", "2"]);
    wait_until("it stands in the middle of a transaction", || millstream_tests::stopped(older.id()));
    let elsewhere = copy(&trial);
    run_ok(&elsewhere, &["--workers", "1"]);
    check_all_stored(broker, topic);
    older.signal("CONT");
    let ended = older.wait();
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("the job was restarted elsewhere (generation "), "{}", ended.stderr);
    check_all_stored(broker, topic);
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    /// One process has committed its share of a batch; the other dies in the middle of its transaction. The next start has as
    /// many workers, fewer, or more. Only the committing thread is stopped until then: if the complete process stopped, the first
    /// one would detect it and exit before it has committed its share.
    #[test]
    fn committed_shares_are_skipped_and_the_others_replayed() {
        let broker = Broker::shared();
        for workers in ["2", "1", "3"] {
            let topic = format!("shares-ahead-{workers}");
            let trial = counting_to_end(broker, &topic);
            // Batches are made faster than they are committed, so that some need nothing more from the stopped process.
            trial.change("batch = \"20ms\"", "batch = \"1ms\"");
            trial.change("rows_per_second = 1000", "rows_per_second = 100000");
            let hosts = two_hosts();
            let process = |number, faults| {
                let place = ["--workers", "1", "--processes", "2", "--process", number, "--hosts", &hosts];
                trial.start_with_faults(faults, &place)
            };
            // Not with one of the first batches: the next ones may not be made yet by then.
            let (first, mut second) = (process("0", ""), process("1", "hold@commit.marked:10"));
            second.wait_for_stderr("wants this thread to wait at `commit.marked`");
            let last = |of: &str| {
                uncommitted(broker, &topic).into_iter().filter(|(by, _)| by == of).filter_map(|(_, batch)| batch).max()
            };
            let open = last("out/001");
            assert!(markers(broker, &topic)["out/001"] < open, "it has committed batch {open:?}");
            // A worker begins with a batch when it has committed the previous one.
            wait_until("the first has committed its share of a batch", || last("out/000") > open);
            second.kill();
            first.kill();
            run_ok(&trial, &["--workers", workers]);
            check_all_stored(broker, &topic);
        }
    }

    /// The sink that is opened first reads markers behind a transaction of the second one, or of one that the job no longer has.
    #[test]
    fn the_transaction_of_another_sink_is_ended() {
        for (parts, again) in [("", true), ("", false), ("parts = \"worker\"", true), ("parts = \"worker\"", false)] {
            let (broker, topic) = (Broker::shared(), format!("sinks-{}-{again}", parts.len()));
            broker.topic(&topic, 1, &[]);
            let sink = |name: &str, from: &str| {
                format!(
                    r#"[sinks.{name}]
from = "{from}"
kind = "kafka"
brokers = "{}"
topic = "{topic}"
transaction = "14m"
markers = "{topic}-markers"
{parts}
"#,
                    broker.address()
                )
            };
            let job = format!(
                r#"name = "{topic}"
workers = 1
clock = "manual"
[checkpoint]
dir = "checkpoint"
[sources.in]
kind = "queue"
path = "input.jsonl"
schema = {{ value = "int64" }}
[stages.none]
from = "in"
filter = "value < 0"
{}"#,
                sink("first", "none")
            );
            let trial = Trial::new(&format!("{job}{}", sink("second", "in")));
            trial.write("input.jsonl", "[[0],[1]]\n");
            // Each sink, and each share of one, writes first that this start has it.
            trial.killed(if parts.is_empty() { "commit.marked:3" } else { "commit.marked:5" }, &[]);
            let open: Vec<_> = uncommitted(broker, &topic).into_iter().filter(|(_, batch)| *batch == Some(1)).collect();
            assert!(matches!(&open[..], [(of, _)] if of.starts_with("second")), "{open:?}");
            if !again {
                trial.write("job.toml", &job);
            }
            run_ok(&trial, &["--timeout", "1m"]);
            // Readers would not see records after a transaction that is never ended.
            broker.produce(&topic, &[Record::of("7", r#"{"value":7}"#)]);
            assert_eq!(numbers(broker, &topic), if again { vec![0, 1, 7] } else { vec![7] });
        }
    }

    /// All workers wait for the broker, each with its own batch, and none loses or duplicates a row.
    #[test]
    fn all_workers_wait_for_an_unreachable_broker() {
        let mut broker = Broker::start();
        let trial = counting(&broker, "t", "", "parts = \"worker\"");
        // Otherwise a worker may have committed all existing batches when the broker fails, and has nothing to wait for.
        trial.change("batch = \"20ms\"", "batch = \"20ms\"\nin_flight_max = 1000");
        let mut job = trial.start_with_faults("", &["--workers", "2"]);
        wait_until("rows arrive", || numbers(&broker, "t").len() > 100);
        broker.kill();
        for worker in 0..2 {
            let waits = format!("sink `out`, worker {worker}: batch ");
            let output = |job: &Process| {
                job.stderr().lines().any(|line| line.contains(&waits) && line.contains("the job waits"))
            };
            job.wait_until("it says that it waits", output);
        }
        broker.start_again();
        job.wait_until("both go on", |job| job.stderr().matches("has recovered; the job continues").count() == 2);
        broker.produce("t", &[Record::at(0, "{\"value\":1000000000}")]);
        let output = job.stop();
        let mut numbers = numbers(&broker, "t");
        assert_eq!(numbers.pop(), Some(1_000_000_000));
        assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>(), "{output}");
    }

    #[test]
    fn a_job_may_start_and_stop_using_shares() {
        let (broker, topic) = (Broker::shared(), "shares-switched");
        let trial = counting_to_end(broker, topic);
        trial.change("parts = \"worker\"\n", "");
        trial.killed("commit.after:8", &["--workers", "2"]);
        assert!(markers(broker, topic)["out"].is_some());
        trial.change("transaction = \"14m\"\n", "transaction = \"14m\"\nparts = \"worker\"\n");
        trial.killed("commit.after:9", &["--workers", "2"]);
        let before = numbers(broker, topic).len();
        trial.change("parts = \"worker\"\n", "");
        trial.killed("commit.after:4", &["--workers", "3"]);
        assert!(numbers(broker, topic).len() > before);
        trial.change("transaction = \"14m\"\n", "transaction = \"14m\"\nparts = \"worker\"\n");
        run_ok(&trial, &["--workers", "1"]);
        check_all_stored(broker, topic);
    }

    /// The same with a worker that has had no share yet, so that the later start could not know of it.
    #[test]
    fn an_older_start_cannot_begin_a_new_share() {
        let (broker, topic) = (Broker::shared(), "shares-new");
        let trial = counting_to_end(broker, topic);
        trial.killed("commit.after:1", &["--workers", "1"]);
        // It first replays what is committed, with one worker; then it takes over the job as a unit, and then both shares at the
        // same time.
        let older = trial.start_with_faults("stop@start.sink:4", &["--workers", "2"]);
        wait_until("it is about to begin with its shares", || millstream_tests::stopped(older.id()));
        assert!(!markers(broker, topic).contains_key("out/001"), "{:?}", markers(broker, topic));
        let elsewhere = copy(&trial);
        run_ok(&elsewhere, &["--workers", "1"]);
        check_all_stored(broker, topic);
        older.signal("CONT");
        let ended = older.wait();
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(
            ended.stderr.contains("sink `out`, worker ") && ended.stderr.contains("was replaced"),
            "{}",
            ended.stderr
        );
        // Whether the new share has a marker now depends on which of the two was rejected first.
        check_all_stored(broker, topic);
    }

    #[test]
    fn waiting_for_the_transaction_of_another_job_is_reported() {
        let broker = Broker::shared();
        let (died, waits) = (counting_to_end(broker, "waits-died"), counting_to_end(broker, "waits"));
        died.killed("commit.marked:9", &["--workers", "1"]);
        waits.change("waits-markers", "waits-died-markers");
        let mut waiting = waits.start_with_faults("", &[]);
        waiting.wait_for_stderr("a transaction is open in the topic `waits-died-markers`, perhaps of another job");
        run_ok(&died, &[]);
        let ended = waiting.wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        check_all_stored(broker, "waits");
    }
}
