//! Topics of a real broker with one partition, beside a plain program over the same client: reading and decoding, from topic to
//! topic through a plugin, and how long a record takes. `KAFKA_ROWS` in the environment is another number of records.

mod latency;
mod plain;

use crate::measure::{
    children_cpu, figure, folder_on_disk, in_turn_so_often, job, median, millstream, root, seconds, show_command,
};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const ROWS: usize = 1_000_000;
const ROUNDS: usize = 3;
const TOPIC: &str = "bench";
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

/// A broker that ends with its handle.
struct Broker(Child);

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs this part.
pub fn run() {
    let rows = std::env::var("KAFKA_ROWS").ok().and_then(|rows| rows.parse().ok()).unwrap_or(ROWS);
    let folder = folder_on_disk();
    let free = || TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port").port();
    let (port, controller) = (free(), free());
    let mut command = Command::new(root().join("scripts/kafka.sh"));
    command.arg(port.to_string()).arg(folder.path().join("kafka")).env("KAFKA_CONTROLLER_PORT", controller.to_string());
    let started = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let _broker = Broker(started.expect("the broker starts"));
    let brokers = format!("127.0.0.1:{port}");
    fill(&brokers, rows);
    read(&brokers, folder.path(), rows);
    through(&brokers, folder.path(), rows);
    latency::run(&brokers, folder.path());
}

/// Reads and decodes.
fn read(brokers: &str, folder: &Path, rows: usize) {
    let text = format!("{}[sinks.none]\nfrom = \"rows\"\nkind = \"nothing\"\n", source(brokers));
    show_command(&format!("millstream run job.toml --workers 1 --limit {rows}"), &text);
    let path = job(folder, &text);
    let times = in_turn_so_often(
        ROUNDS,
        &mut [&mut || seconds(|| plain::read(brokers, rows)), &mut || seconds(|| run_job(&path, rows))],
    );
    let [of_loop, of_job] = times[..] else { return };
    figure("a plain loop, records of 75 bytes, thousands a second", thousands(rows, of_loop), "");
    figure("  a job, from its start to its end", thousands(rows, of_job), "");
    figure("  of the plain loop's rate", format!("{:.2}", of_loop / of_job), "target: at least 0.7");
}

/// From a topic into a topic.
fn through(brokers: &str, folder: &Path, rows: usize) {
    let text = |topic: &str| {
        let plugin = root().join("plugins/filter-expr");
        format!(
            r#"{}[stages.kept]
from = "rows"
plugin = "{}"
config = {{ where = "amount > 0" }}
[sinks.out]
from = "kept"
kind = "kafka"
brokers = "{brokers}"
topic = "{topic}"
"#,
            source(brokers),
            plugin.display()
        )
    };
    let least = folder.join("at-least-once");
    let once = folder.join("exactly-once");
    [&least, &once].iter().for_each(|folder| std::fs::create_dir_all(folder).expect("a folder"));
    let least = job(&least, &text("least"));
    let checkpoint = "[checkpoint]\ndir = \"checkpoint\"\nevery = \"1s\"\n";
    show_command(&format!("millstream run job.toml --workers 1 --limit {rows}"), &(text("once") + checkpoint));
    let once_job = job(&once, &(text("once") + checkpoint));
    let (mut of_least, mut of_once) = (Vec::new(), Vec::new());
    let job_of = |path: &PathBuf, cpu: &mut Vec<f64>| {
        // Each round begins anew.
        let _ = std::fs::remove_dir_all(once.join("checkpoint"));
        let before = children_cpu();
        let time = seconds(|| run_job(path, rows));
        cpu.push(children_cpu() - before);
        time
    };
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..=ROUNDS {
        times[0].push(seconds(|| plain::copy(brokers, rows)));
        times[1].push(job_of(&least, &mut of_least));
        times[2].push(job_of(&once_job, &mut of_once));
    }
    let [plain, at_least, exactly] = times.map(|times| median(times[1..].to_vec()));
    figure("a plain program from topic to topic, thousands a second", thousands(rows, plain), "");
    figure("  a job with a plugin, at least once", thousands(rows, at_least), "");
    figure("  of the plain program's rate", format!("{:.2}", plain / at_least), "target: at least 0.7");
    figure("  the same, exactly once", thousands(rows, exactly), "");
    figure("  of the plain program's rate", format!("{:.2}", plain / exactly), "target: at least 0.7");
    let [least, once] = [of_least, of_once].map(|cpu| median(cpu[1..].to_vec()) / rows as f64 * 1e9);
    figure("  processor time of a record, at least once, ns", format!("{least:.0}"), "");
    figure("  processor time of a record, exactly once, ns", format!("{once:.0}"), "");
    figure("  exactly once to at least once", format!("{:.2}", once / least), "target: at most 1.3");
}

fn source(brokers: &str) -> String {
    // A job of a few seconds would wait for a good part of them until its first second is over.
    format!(
        r#"batch = "100ms"
[sources.rows]
kind = "kafka"
brokers = "{brokers}"
topic = "{TOPIC}"
format = "json"
schema = {{ user = "text", page = "text", n = "int64", amount = "float64" }}
"#
    )
}

fn run_job(path: &Path, rows: usize) {
    let limit = rows.to_string();
    let ran = millstream(&["run", &path.to_string_lossy(), "--workers", "1", "--limit", &limit]).status();
    assert!(ran.is_ok_and(|ran| ran.success()), "the job failed");
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

/// A client that reads a topic of one partition from here on.
fn reader(brokers: &str, topic: &str, from: Offset) -> BaseConsumer {
    let consumer: BaseConsumer = client(brokers).create().expect("a client");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, from).expect("an offset");
    consumer.assign(&list).expect("it can be assigned");
    consumer
}

/// Writes the records, as soon as the broker answers.
fn fill(brokers: &str, rows: usize) {
    let began = Instant::now();
    let producer: BaseProducer = client(brokers).set("linger.ms", "20").create().expect("a client");
    while producer.client().fetch_metadata(None, Duration::from_secs(1)).is_err() {
        assert!(began.elapsed() < Duration::from_secs(120), "the broker does not answer");
    }
    for n in 0..rows {
        // 75 bytes.
        let (user, page, n, amount) = (n % 99_991, n % 977, n + 1_000_000, n % 89 + 10);
        let row = format!(r#"{{"user":"user-{user:06}","page":"/a/page/{page:08}","n":{n},"amount":{amount}.25}}"#);
        send(&producer, TOPIC, row.as_bytes());
    }
    producer.flush(ANSWER_TIME_MAX).expect("the broker takes the records");
}

/// Hands a record to a client, once there is room for it.
fn send(producer: &BaseProducer, topic: &str, value: &[u8]) {
    let mut record = BaseRecord::<(), [u8]>::to(topic).payload(value).partition(0);
    while let Err((_, again)) = producer.send(record) {
        producer.poll(Duration::from_millis(10));
        record = again;
    }
}
