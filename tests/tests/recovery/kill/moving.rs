//! The partitions of a topic on a real Kafka broker, read by one, two or three processes. Each life assigns them to other
//! processes, and each row must arrive once and in the order of its partition.

use millstream_tests::kafka::Record;
use millstream_tests::{Broker, Killer, Process, Trial, Victim, hosts};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

const PARTITIONS: i32 = 6;
/// Rows of each partition.
const ROWS: u64 = 300;

const JOB: &str = r#"name = "moving"
batch = "5ms"
[checkpoint]
dir = "checkpoint"
every = EVERY
[sources.in]
kind = "kafka"
brokers = "BROKER"
topic = "TOPIC"
format = "json"
schema = { p = "int64", n = "int64" }
rows_per_batch_max = 5
[sinks.out]
from = "in"
kind = "queue"
path = "out.jsonl"
"#;

/// Runs the job until all rows are there, killed this many times, and compares.
pub fn trial(broker: &Broker, killer: &mut Killer, kills: u64) -> Result<(), String> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let topic = format!("moving-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    broker.topic(&topic, PARTITIONS, &[]);
    let row = |p: i32, n: u64| Record::at(p, &format!("{{\"p\":{p},\"n\":{n}}}"));
    let records: Vec<Record> = (0..ROWS).flat_map(|n| (0..PARTITIONS).map(move |p| row(p, n))).collect();
    broker.produce(&topic, &records);
    let every = *killer.random.one_of(&["4", "\"50ms\"", "\"150ms\""]);
    let text = JOB.replace("EVERY", every).replace("TOPIC", &topic).replace("BROKER", &broker.address());
    let job = Moving { trial: Trial::new(&text) };
    killer.run(&job, kills).map_err(|output| format!("every {every}: {output}"))?;
    let rows = job.trial.rows("out.jsonl");
    killer.tally.rows += rows.len() as u64;
    for p in 0..PARTITIONS {
        let found = rows.iter().filter(|row| row["p"] == p).map(|row| row["n"].as_u64().unwrap_or(u64::MAX));
        let found: Vec<u64> = found.collect();
        if !found.iter().copied().eq(0..ROWS) {
            return Err(format!("every {every}: partition {p} came as {found:?}"));
        }
    }
    Ok(())
}

struct Moving {
    trial: Trial,
}

impl Victim for Moving {
    fn dir(&self) -> &Path {
        self.trial.dir()
    }

    /// Starts as many processes as `workers` says.
    fn start(&self, workers: u64, faults: &str) -> Process {
        let (processes, addresses) = (workers.to_string(), hosts(workers as usize));
        let together: &[&str] = if workers == 1 { &[] } else { &["--processes", &processes, "--hosts", &addresses] };
        let mut command = self.trial.command(&[&["run", "job.toml", "--workers", "1"], together].concat());
        Process::start(command.env("MILLSTREAM_TEST_FAULT", faults))
    }

    fn done(&self) -> bool {
        self.trial.rows("out.jsonl").len() as u64 >= ROWS * PARTITIONS as u64
    }
}
