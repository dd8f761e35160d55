//! Rows from a file through a stateful plugin into two topics of a real Kafka broker, with one transaction per batch or per
//! worker. A reader of committed records follows them and must see each row once. Each life of the job has other workers, in one
//! process or in several.

use super::entries::{Entry, compare, expected, keys};
use millstream_tests::kafka::{Follower, Record};
use millstream_tests::{Broker, Killer, Process, Trial, Victim, hosts, plugin};
use serde_json::Value;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const ROWS: u64 = 3000;
const PARTITIONS: i32 = 3;

const JOB: &str = r#"name = "topic"
batch = "BATCH"
[checkpoint]
dir = "checkpoint"
every = EVERY
[sources.lines]
kind = "file"
path = "lines.jsonl"
format = "json"
schema = { n = "int64", k = "text" }
rows_per_batch_max = 20
[stages.entries]
from = "lines"
key = "k"
plugin = "PLUGIN"
[sinks.all]
from = "entries"
kind = "kafka"
brokers = "BROKER"
topic = "TOPIC"
key = "k"
parts = "PARTS"
[sinks.again]
from = "entries"
kind = "kafka"
brokers = "BROKER"
topic = "TOPIC-again"
key = "k"
"#;

/// The configuration of the job.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// As in the job file.
    pub batch: &'static str,
    pub every: &'static str,
    /// Which process commits to the first sink.
    pub parts: &'static str,
}

/// A trial with a setting of the killer's choice.
pub fn trial(broker: &Broker, killer: &mut Killer, kills: u64) -> Result<(), String> {
    let batch = *killer.random.one_of(&["0s", "5ms", "20ms"]);
    let every = *killer.random.one_of(&["4", "\"50ms\"", "\"150ms\""]);
    // The second sink commits complete batches.
    trial_of(broker, killer, kills, Setting { batch, every, parts: "worker" })
}

/// Runs the job to its end, killed this many times, and compares.
pub fn trial_of(broker: &Broker, killer: &mut Killer, kills: u64, setting: Setting) -> Result<(), String> {
    run_trial(broker, killer, kills, setting).map_err(|output| format!("{setting:?}: {output}"))
}

fn run_trial(broker: &Broker, killer: &mut Killer, kills: u64, setting: Setting) -> Result<(), String> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let topic = format!("killed-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let topics = [topic.clone(), format!("{topic}-again")];
    topics.iter().for_each(|topic| broker.topic(topic, PARTITIONS, &[]));
    let keys = keys(ROWS, &mut killer.random);
    let expected = expected(&keys);
    let Setting { batch, every, parts } = setting;
    let text = JOB.replace("BATCH", batch).replace("EVERY", every).replace("TOPIC", &topic).replace("PARTS", parts);
    let text = text.replace("PLUGIN", &plugin("ledger").display().to_string()).replace("BROKER", &broker.address());
    let job = Topic { trial: Trial::new(&text), starts: AtomicU64::new(0) };
    let lines = (1..).zip(&keys).map(|(n, k)| format!("{{\"n\":{n},\"k\":\"{k}\"}}\n"));
    job.trial.write("lines.jsonl", lines.collect::<String>());
    let stop = AtomicBool::new(false);
    let (ran, followed) = std::thread::scope(|scope| {
        let followers = topics.each_ref().map(|topic| {
            let (follower, stop) = (broker.follow(topic), &stop);
            scope.spawn(move || follow(&follower, stop))
        });
        let ran = killer.run(&job, kills);
        stop.store(true, Ordering::Release);
        (ran, followers.map(|follower| follower.join().expect("a reader does not panic")))
    });
    ran?;
    for (topic, followed) in topics.iter().zip(followed) {
        compare(&format!("reader of {topic}"), &entries(&followed)?, &expected)?;
        killer.tally.rows += compare(topic, &entries(&broker.read(topic))?, &expected)?;
    }
    Ok(())
}

/// Reads until it is stopped, and then what is still there.
fn follow(follower: &Follower, stop: &AtomicBool) -> Vec<Record> {
    let mut records = Vec::new();
    loop {
        let last = stop.load(Ordering::Acquire);
        // The last look has to reach the end.
        records.extend(follower.more(Duration::from_millis(if last { 1_000 } else { 50 })));
        if last {
            return records;
        }
    }
}

fn entries(records: &[Record]) -> Result<Vec<Entry>, String> {
    let value = |record: &Record| -> Result<Value, String> {
        serde_json::from_str(&record.text()).map_err(|cause| format!("not a row: {record:?}: {cause}"))
    };
    records.iter().map(|record| Entry::of(&value(record)?)).collect()
}

struct Topic {
    trial: Trial,
    starts: AtomicU64,
}

impl Victim for Topic {
    fn dir(&self) -> &Path {
        self.trial.dir()
    }

    /// Every third start has one process per worker.
    fn start(&self, workers: u64, faults: &str) -> Process {
        let apart = self.starts.fetch_add(1, Ordering::Relaxed) % 3 == 2 && workers > 1;
        let (number, addresses) = (workers.to_string(), hosts(workers as usize));
        let together = ["--workers", &number];
        let processes = ["--workers", "1", "--processes", &number, "--hosts", &addresses];
        let place = if apart { &processes[..] } else { &together };
        let mut command = self.trial.command(&[&["run", "job.toml"], place].concat());
        Process::start(command.env("MILLSTREAM_TEST_FAULT", faults))
    }
}
