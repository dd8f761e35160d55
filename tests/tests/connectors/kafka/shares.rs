//! The sink `kafka` with `parts = "worker"`: each worker commits its share of a batch in a transaction of its own, and readers of
//! committed records see each row once, whatever dies between two of them and however many workers come next.

use millstream_tests::kafka::Record;
use millstream_tests::{Broker, Ended, Process, Trial, two_hosts, until};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;

const ROWS: u64 = 600;

/// A job that counts up; each worker has rows of each batch. A transaction that nobody ends would hide rows for longer than any test
/// waits.
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
fn run_well(trial: &Trial, arguments: &[&str]) -> Ended {
    let ended = trial.start_with_faults("", arguments).wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended
}

/// The numbers that are there.
fn numbers(broker: &Broker, topic: &str) -> Vec<u64> {
    let number = |text: String| serde_json::from_str::<Value>(&text).unwrap()["value"].as_u64().unwrap();
    let mut numbers: Vec<_> = broker.texts(topic).into_iter().map(number).collect();
    numbers.sort_unstable();
    numbers
}

#[track_caller]
fn all_there(broker: &Broker, topic: &str) {
    assert_eq!(numbers(broker, topic), (0..ROWS).collect::<Vec<_>>());
}

/// The last batches that the markers of a job name, by what stands behind the id of the job in their keys. A topic of their own keeps
/// those of jobs apart that die in the middle of transactions.
fn markers(broker: &Broker, topic: &str) -> BTreeMap<String, Option<u64>> {
    let markers = format!("{topic}-markers");
    if broker.partitions(&markers) == 0 { BTreeMap::new() } else { broker.read(&markers).iter().map(marker).collect() }
}

/// All that was written of them, also in transactions that are open.
fn uncommitted(broker: &Broker, topic: &str) -> Vec<(String, Option<u64>)> {
    broker.read_uncommitted(&format!("{topic}-markers")).iter().map(marker).collect()
}

fn marker(record: &Record) -> (String, Option<u64>) {
    let value: Value = serde_json::from_str(&record.text()).unwrap();
    (record.key_text().split_once('/').unwrap().1.to_owned(), value["batch"].as_u64())
}

/// A copy of a job as it stands, checkpoints included.
fn copy(trial: &Trial) -> Trial {
    let copy = Trial::new(&trial.text("job.toml"));
    let copied = Command::new("cp").arg("-r").args([trial.path("checkpoint"), copy.path("checkpoint")]).status();
    assert!(copied.unwrap().success());
    copy
}

#[test]
fn each_worker_commits_its_share_under_a_marker_of_its_own() {
    let (broker, topic) = (Broker::shared(), "shares");
    let trial = counting_to_end(broker, topic);
    trial.killed("commit.after:12", &["--workers", "3"]);
    trial.killed("commit.after:6", &["--workers", "1"]);
    let processes = ["--processes", "2", "--workers", "2", "--hosts", &two_hosts()];
    let mut together = trial.command(&[&["run", "job.toml"], &processes[..]].concat());
    let ended = Process::start(&mut together).wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    all_there(broker, topic);
    let markers = markers(broker, topic);
    let names: Vec<&str> = markers.keys().map(String::as_str).collect();
    assert_eq!(names, ["out", "out/000", "out/001", "out/002", "out/003"]);
    assert!(markers["out"].is_none() && markers.values().skip(1).all(Option::is_some), "{markers:?}");
    // Without checkpoints there are no transactions, and all workers write as well.
    let plain = counting_to_end(broker, "shares-without");
    plain.change("[checkpoint]\ndir = \"checkpoint\"\nevery = 5\n", "");
    run_well(&plain, &["--workers", "2"]);
    all_there(broker, "shares-without");
}

/// Nothing is committed, and the worker with the open transaction is not there any more: the next start ends it all the same, as
/// readers wait for it.
#[test]
fn the_transaction_of_a_worker_that_is_gone_is_ended() {
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
    // All together, and each of the two workers, write first that this start has the sink.
    trial.killed("commit.marked:4", &["--workers", "2"]);
    let open: Vec<_> = uncommitted(broker, topic).into_iter().filter(|(_, batch)| *batch == Some(1)).collect();
    assert!(matches!(&open[..], [(of, _)] if of == "out/001"), "the second worker has the rows: {open:?}");
    assert_eq!(numbers(broker, topic), [0; 0]);
    run_well(&trial, &["--workers", "1"]);
    assert_eq!(numbers(broker, topic), [0, 1]);
}

/// A start that everybody took for dead comes back with the shares of its workers in the middle of transactions, when another has the
/// job, with fewer workers: it commits nothing.
#[test]
fn an_older_start_has_lost_all_its_shares() {
    let (broker, topic) = (Broker::shared(), "shares-lost");
    let trial = counting_to_end(broker, topic);
    let older = trial.start_with_faults("stop@commit.marked:8", &["--workers", "2"]);
    until("it stands in the middle of a transaction", || millstream_tests::stopped(older.id()));
    let elsewhere = copy(&trial);
    run_well(&elsewhere, &["--workers", "1"]);
    all_there(broker, topic);
    older.signal("CONT");
    let ended = older.wait();
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("the job was restarted elsewhere (generation "), "{}", ended.stderr);
    all_there(broker, topic);
}

/// What takes long: `make torture` runs it, `make test` does not.
mod long {
    use super::*;

    /// One process has committed its share of a batch; the other dies in the middle of its transaction. The next start has as many
    /// workers, fewer, or more. Only the thread that commits is held until then: a process that stops altogether is missed by the first,
    /// which then ends before it has committed what it has.
    #[test]
    fn a_share_that_is_committed_is_skipped_and_the_others_come_again() {
        let broker = Broker::shared();
        for workers in ["2", "1", "3"] {
            let topic = format!("shares-ahead-{workers}");
            let trial = counting_to_end(broker, &topic);
            // Batches are made faster than they are committed, so that there are some that need nothing more of who is stopped.
            trial.change("batch = \"20ms\"", "batch = \"1ms\"");
            trial.change("rows_per_second = 1000", "rows_per_second = 100000");
            let hosts = two_hosts();
            let process = |number, faults| {
                let place = ["--workers", "1", "--processes", "2", "--process", number, "--hosts", &hosts];
                trial.start_with_faults(faults, &place)
            };
            // Not with one of the first batches: the next ones may not be made yet by then.
            let (first, mut second) = (process("0", ""), process("1", "hold@commit.marked:10"));
            second.until_stderr("wants this thread to wait at `commit.marked`");
            let last = |of: &str| {
                uncommitted(broker, &topic).into_iter().filter(|(by, _)| by == of).filter_map(|(_, batch)| batch).max()
            };
            let open = last("out/001");
            assert!(markers(broker, &topic)["out/001"] < open, "it has committed batch {open:?}");
            // A worker begins with a batch when it has committed the one before.
            until("the first has committed its share of a batch", || last("out/000") > open);
            second.kill();
            first.kill();
            run_well(&trial, &["--workers", workers]);
            all_there(broker, &topic);
        }
    }

    /// The first sink to be opened reads markers that a transaction of the second holds up, or of one that the job has no more.
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
            run_well(&trial, &["--timeout", "1m"]);
            // Readers would not see what stands behind a transaction that nobody ends.
            broker.produce(&topic, &[Record::of("7", r#"{"value":7}"#)]);
            assert_eq!(numbers(broker, &topic), if again { vec![0, 1, 7] } else { vec![7] });
        }
    }

    /// All workers wait for the broker, each with a batch of its own, and none loses or doubles a row.
    #[test]
    fn a_broker_that_goes_away_is_waited_for_by_all_workers() {
        let mut broker = Broker::start();
        let trial = counting(&broker, "t", "", "parts = \"worker\"");
        // Else a worker may have committed all batches there are when the broker goes, and has nothing to wait for.
        trial.change("batch = \"20ms\"", "batch = \"20ms\"\nin_flight_max = 1000");
        let mut job = trial.start_with_faults("", &["--workers", "2"]);
        until("rows arrive", || numbers(&broker, "t").len() > 100);
        broker.kill();
        for worker in 0..2 {
            let waits = format!("sink `out`, worker {worker}: batch ");
            let said = |job: &Process| {
                job.stderr().lines().any(|line| line.contains(&waits) && line.contains("the job waits"))
            };
            job.until("it says that it waits", said);
        }
        broker.start_again();
        job.until("both go on", |job| job.stderr().matches("has recovered; the job continues").count() == 2);
        broker.produce("t", &[Record::at(0, "{\"value\":1000000000}")]);
        let said = job.stop();
        let mut numbers = numbers(&broker, "t");
        assert_eq!(numbers.pop(), Some(1_000_000_000));
        assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>(), "{said}");
    }

    #[test]
    fn a_job_may_begin_to_have_shares_and_end_to() {
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
        run_well(&trial, &["--workers", "1"]);
        all_there(broker, topic);
    }

    /// The same with a worker that has had no share yet, so that the later start could not know of it.
    #[test]
    fn an_older_start_does_not_begin_with_a_share_that_nobody_had() {
        let (broker, topic) = (Broker::shared(), "shares-new");
        let trial = counting_to_end(broker, topic);
        trial.killed("commit.after:1", &["--workers", "1"]);
        // It first runs again what is committed, with one worker; then it takes over all together, and then both shares at once.
        let older = trial.start_with_faults("stop@start.sink:4", &["--workers", "2"]);
        until("it is about to begin with its shares", || millstream_tests::stopped(older.id()));
        assert!(!markers(broker, topic).contains_key("out/001"), "{:?}", markers(broker, topic));
        let elsewhere = copy(&trial);
        run_well(&elsewhere, &["--workers", "1"]);
        all_there(broker, topic);
        older.signal("CONT");
        let ended = older.wait();
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(
            ended.stderr.contains("sink `out`, worker ") && ended.stderr.contains("was replaced"),
            "{}",
            ended.stderr
        );
        // Whether the share that nobody had has a marker now depends on which of the two was refused first.
        all_there(broker, topic);
    }

    #[test]
    fn who_waits_for_the_transaction_of_another_job_says_so() {
        let broker = Broker::shared();
        let (died, waits) = (counting_to_end(broker, "waits-died"), counting_to_end(broker, "waits"));
        died.killed("commit.marked:9", &["--workers", "1"]);
        waits.change("waits-markers", "waits-died-markers");
        let mut waiting = waits.start_with_faults("", &[]);
        waiting
            .until_stderr("a transaction is under way in the topic `waits-died-markers`, perhaps one of another job");
        run_well(&died, &[]);
        let ended = waiting.wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        all_there(broker, "waits");
    }
}
