//! Topics of a real broker with one partition, compared with a plain program that uses the same client: reading and decoding, from topic to topic
//! through a plugin, and the latency of a record.

mod latency;
mod plain;

use crate::comparison::{Comparison, Cost, rows_or, run_continued, run_job, run_own};
use crate::measure::{dir_on_disk, figure, job, median, root};
use crate::rows::{self, JOB, SCHEMA};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const ROWS: usize = 1_000_000;
const TOPIC: &str = "bench";
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

/// A broker that ends with its handle.
struct Broker(Child);

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have exited on its own.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs this part.
pub fn run() {
    let rows = rows_or(ROWS);
    let dir = dir_on_disk();
    let free = || TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port").port();
    let (port, controller) = (free(), free());
    let mut command = Command::new(root().join("scripts/kafka.sh"));
    command.arg(port.to_string()).arg(dir.path().join("kafka")).env("KAFKA_CONTROLLER_PORT", controller.to_string());
    let started = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let _broker = Broker(started.expect("the broker starts"));
    let brokers = format!("127.0.0.1:{port}");
    fill(&brokers, rows);
    read(&brokers, dir.path(), rows);
    through(&brokers, dir.path(), rows);
    latency::run(&brokers, dir.path());
}

/// Runs a plain program, if this process was started as one.
pub fn own_part(arguments: &[String]) -> bool {
    let [part, brokers, rows] = arguments else { return false };
    let rows = || rows.parse().expect("a number of rows");
    match part.as_str() {
        "--kafka-read" => plain::read(brokers, rows()),
        "--kafka-copy" => plain::copy(brokers, rows()),
        _ => return false,
    }
    true
}

/// Reads and decodes.
fn read(brokers: &str, dir: &Path, rows: usize) {
    let text = rows::reading("kafka", &format!("brokers = \"{brokers}\"\ntopic = \"{TOPIC}\""));
    let path = job(dir, &text);
    let baseline = "a program with the same client, librdkafka";
    Comparison { connector: ("`kafka`", "source"), rows, baseline, job: &text }
        .run(|_| run_own("kafka-read", &[brokers, &rows.to_string()]), |_| run_job(&path, rows));
}

/// From a topic to a topic.
fn through(brokers: &str, dir: &Path, rows: usize) {
    let text = |topic: &str| {
        let plugin = root().join("plugins/filter-expr");
        format!(
            r#"[sources.rows]
kind = "kafka"
brokers = "{brokers}"
topic = "{TOPIC}"
format = "json"
{SCHEMA}
[stages.kept]
from = "rows"
plugin = "{}"
config = {{ where = "amount > 0" }}
[sinks.out]
from = "kept"
kind = "kafka"
brokers = "{brokers}"
topic = "{topic}"
"#,
            plugin.display()
        )
    };
    let jobs = ["at-least-once", "exactly-once"].map(|name| {
        let dir = dir.join(name);
        std::fs::create_dir_all(&dir).expect("a directory");
        let head = if name == "exactly-once" { JOB } else { "batch = \"100ms\"\n" };
        let text = format!("{head}{}", text(name));
        (job(&dir, &text), text)
    });
    let [(least, _), (once, text)] = &jobs;
    let mut costs = Vec::new();
    let baseline = "a program that copies from topic to topic at least once with the same client, librdkafka";
    Comparison { connector: ("`kafka`", "sink"), rows, baseline, job: text }.run(
        |_| run_own("kafka-copy", &[brokers, &rows.to_string()]),
        |_| {
            let cost = (run_continued(least, rows)?, run_job(once, rows)?);
            costs.push(cost);
            Some(cost.1)
        },
    );
    let middle = |of: fn(&(Cost, Cost)) -> f64| median(costs.iter().skip(1).map(of).collect());
    figure("  the same at least once, thousands of rows a second", thousands(rows, middle(|cost| cost.0.0)), "");
    let [least, once] = [middle(|cost| cost.0.1), middle(|cost| cost.1.1)].map(|cpu| cpu / rows as f64 * 1e9);
    figure("  its processor time of a row, ns", format!("{least:.0}"), "");
    figure("  exactly once to at least once", format!("{:.2}", once / least), "target: at most 1.3");
}

fn thousands(rows: usize, time: f64) -> String {
    format!("{:.0}", rows as f64 / time / 1e3)
}

fn client(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", "bench").set("auto.offset.reset", "error");
    config.set("enable.auto.commit", "false").set("isolation.level", "read_committed");
    config
}

/// Returns a client that reads a topic of one partition from here on.
fn reader(brokers: &str, topic: &str, from: Offset) -> BaseConsumer {
    // Otherwise it would pause for a second whenever it is ahead of the reader.
    let consumer: BaseConsumer = client(brokers).set("fetch.queue.backoff.ms", "10").create().expect("a client");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, from).expect("an offset");
    consumer.assign(&list).expect("it can be assigned");
    consumer
}

/// Writes the records, once the broker responds.
fn fill(brokers: &str, rows: usize) {
    let began = Instant::now();
    let producer: BaseProducer = client(brokers).set("linger.ms", "20").create().expect("a client");
    while producer.client().fetch_metadata(None, Duration::from_secs(1)).is_err() {
        assert!(began.elapsed() < Duration::from_secs(120), "the broker does not answer");
    }
    rows::rows(rows).for_each(|row| send(&producer, TOPIC, row.as_bytes()));
    producer.flush(RESPONSE_TIMEOUT).expect("the broker takes the records");
}

/// Hands a record to a client, once there is room for it.
fn send(producer: &BaseProducer, topic: &str, value: &[u8]) {
    let mut record = BaseRecord::<(), [u8]>::to(topic).payload(value).partition(0);
    while let Err((_, again)) = producer.send(record) {
        producer.poll(Duration::from_millis(10));
        record = again;
    }
}
