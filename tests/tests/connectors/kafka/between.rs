//! From a topic into a topic, each record once, and `docs/tutorials/kafka-exactly-once.md` from its first line to its last.

use millstream_tests::kafka::{BrokerOptions, Record};
use millstream_tests::{Block, Broker, Process, Trial, block, blocks, holds_within, kill, millstream, plugin, root};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

const PAGE: &str = "docs/tutorials/kafka-exactly-once.md";

/// The counts of each word in the order in which they came.
fn counts(records: &[Record]) -> BTreeMap<String, Vec<u64>> {
    let mut counts: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for record in records {
        let row: Value = serde_json::from_str(&record.text()).unwrap();
        assert_eq!(row["word"].as_str().unwrap(), record.key_text());
        counts.entry(record.key_text()).or_default().push(row["count"].as_u64().unwrap());
    }
    counts
}

/// A job that counts the words of one topic into another.
fn counting(broker: &Broker, lines: &str, counts: &str) -> Trial {
    broker.topic(lines, 3, &[]);
    broker.topic(counts, 2, &[]);
    Trial::new(&format!(
        r#"batch = "20ms"
[checkpoint]
dir = "checkpoint"
every = 5
[sources.lines]
kind = "kafka"
brokers = "{0}"
topic = "{lines}"
[stages.words]
from = "lines"
plugin = "{1}"
[stages.counts]
from = "words"
key = "word"
plugin = "{2}"
[sinks.counts]
from = "counts"
kind = "kafka"
brokers = "{0}"
topic = "{counts}"
key = "word"
"#,
        broker.address(),
        plugin("split-words").display(),
        plugin("running-count").display()
    ))
}

/// Twenty lines more.
fn send(broker: &Broker, lines: &str, sent: &mut u64) {
    let line = |n: u64| Record::at((n % 3) as i32, &format!("every w{} x{}", n % 7, n % 100));
    broker.produce(lines, &(*sent + 1..=*sent + 20).map(line).collect::<Vec<_>>());
    *sent += 20;
}

/// Each count of a word came once, in order, and the last is that of all lines.
#[track_caller]
fn are_right(what: &str, records: &[Record], sent: u64) {
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    for n in 1..=sent {
        for word in ["every".to_owned(), format!("w{}", n % 7), format!("x{}", n % 100)] {
            *expected.entry(word).or_default() += 1;
        }
    }
    let counts = counts(records);
    for (word, counts) in &counts {
        assert!(counts.is_sorted_by(|a, b| a < b), "{what}: {word}: {counts:?}");
    }
    let last: BTreeMap<_, _> = counts.into_iter().map(|(word, counts)| (word, *counts.last().unwrap())).collect();
    assert_eq!(last, expected, "{what}");
}

/// Lines arrive, the job is killed repeatedly, and a reader of committed records sees each count of a word once, up to the last
/// one.
#[test]
fn words_are_counted_between_two_topics_exactly_once() {
    let broker = Broker::shared();
    let trial = counting(broker, "between-lines", "between-counts");
    let follower = broker.follow("between-counts");
    let mut seen = Vec::new();
    let kills = ["commit.marked:3", "commit.after:4", "plan.durable:6", "commit.written:5", "start.sink:1"];
    let mut sent = 0_u64;
    for step in kills {
        let mut command = trial.command(&["run", "job.toml", "--unsupervised"]);
        let mut job = Process::start(command.env("MILLSTREAM_TEST_FAULT", format!("kill@{step}")));
        let comes = holds_within(Duration::from_secs(60), || {
            send(broker, "between-lines", &mut sent);
            seen.extend(follower.more(Duration::from_millis(20)));
            job.has_ended()
        });
        assert!(comes, "it does not come to {step}: {}", job.stderr());
    }
    trial.run_ok(&["--until-idle"]);
    seen.extend(follower.more(Duration::from_secs(1)));
    are_right("followed", &seen, sent);
    are_right("read", &broker.read("between-counts"), sent);
}

/// Sets the flag when it is dropped, also if a test fails.
struct StopGuard<'a>(&'a AtomicBool);

impl Drop for StopGuard<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs these lines in a shell; returns both of its outputs.
#[track_caller]
fn shell(trial: &Trial, lines: &str) -> String {
    let program = millstream();
    let mut path = vec![program.parent().unwrap().to_path_buf()];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));
    let mut shell = Command::new("bash");
    shell.args(["-euc", &format!("exec 2>&1; {lines}")]).current_dir(trial.dir());
    let ended = Process::start(shell.env("PATH", std::env::join_paths(path).unwrap())).wait();
    assert_eq!(ended.code, Some(0), "{lines}\n{}{}", ended.stdout, ended.stderr);
    ended.stdout
}

#[test]
fn the_page_of_kafka_is_true() {
    let broker = Broker::with(BrokerOptions::default());
    let trial = Trial::new("");
    std::os::unix::fs::symlink(root().join("plugins"), trial.path("plugins")).unwrap();
    let mut taken: Vec<Block> = Vec::new();
    let mut take = |language: &str, text: &str| {
        let found = block(PAGE, language, text);
        taken.push(found.clone());
        found.text.replace("127.0.0.1:9092", &broker.address())
    };
    for name in ["fill.toml", "count.toml", "show.toml"] {
        trial.write(name, take("toml", &format!("# {name}\n")));
    }
    shell(&trial, &take("sh", "printf"));
    assert_eq!(broker.strings("lines").len(), 2);
    shell(&trial, &take("sh", "kill -9"));
    let shown = shell(&trial, &take("sh", "show.toml"));
    let counts = counts(&broker.read("counts"));
    let last = |word: &str| counts[word].last().copied().unwrap();
    assert_eq!((last("to"), last("be"), last("question")), (4, 4, 2));
    assert!(counts.values().all(|counts| counts.is_sorted_by(|a, b| a < b)), "{counts:?}");
    assert!(shown.contains("| question | 2"), "{shown}");
    // The broker of this test is started by the same script.
    take("sh", "scripts/kafka.sh 9092\n");
    for block in blocks(PAGE) {
        assert!(taken.contains(&block), "{}: nothing runs this", block.place);
    }
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    /// The same while the job is rescaled, and some processes die.
    #[test]
    fn a_job_between_two_topics_is_scaled_while_lines_flow_in() {
        let broker = Broker::shared();
        let trial = counting(broker, "scaled-lines", "scaled-counts");
        let mut running = Process::start(&mut trial.isolated_command(&["run", "job.toml", "--workers", "1"]));
        let (enough, mut sent) = (AtomicBool::new(false), 0_u64);
        thread::scope(|scope| {
            let sending = scope.spawn(|| {
                while !enough.load(Ordering::Relaxed) {
                    send(broker, "scaled-lines", &mut sent);
                }
            });
            let until = StopGuard(&enough);
            running.wait_until("it runs", |running| running.stderr().contains("begins at batch 1"));
            for (workers, processes) in [("3", "1"), ("1", "2"), ("2", "2"), ("2", "1")] {
                let requests = ["scale", "job.toml", "--workers", workers, "--processes", processes];
                running.wait_until(&format!("it has {workers} workers and {processes} processes"), |_| {
                    trial.run_command(&requests).code == Some(0)
                });
                kill(*running.children().first().expect("a process of the job"));
            }
            drop(until);
            sending.join().unwrap();
        });
        let expected = 3 * sent as usize;
        running.wait_until("all is counted", |_| {
            let records = broker.read("scaled-counts");
            let last = counts(&records).into_values().filter_map(|counts| counts.last().copied());
            last.sum::<u64>() as usize >= expected
        });
        running.stop();
        are_right("read", &broker.read("scaled-counts"), sent);
    }
}
