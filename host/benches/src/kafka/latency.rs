//! The latency of a record from topic to topic, at 10,000 records/s: with a job, and with a loop that writes each record as it reads it.

use super::{RESPONSE_TIMEOUT, client, reader, send};
use crate::measure::{figure, job, millstream, quantile, show_command};
use rdkafka::consumer::BaseConsumer;
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka::{Message, Offset};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const ROWS: usize = 50_000;
const ROWS_PER_MS: usize = 10;
const WARM_UP_ROWS: usize = 10_000;

/// Runs this part.
pub fn run(brokers: &str, dir: &Path) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        make(brokers, &["echo-in", "echo-out"]);
        let echo = scope.spawn(|| echo(brokers, &stop));
        report("a plain loop", measure(brokers, "echo-in", "echo-out"));
        stop.store(true, Ordering::Release);
        echo.join().expect("the loop ends");
    });
    for (name, checkpoint) in
        [("at least once", ""), ("exactly once", "[checkpoint]\ndir = \"checkpoint\"\nevery = \"1s\"\n")]
    {
        let topic = |end: &str| format!("{}-{end}", name.replace(' ', "-"));
        make(brokers, &[&topic("in"), &topic("out")]);
        let text = format!(
            "batch = \"0s\"\n{checkpoint}[sources.in]\nkind = \"kafka\"\nbrokers = \"{brokers}\"\ntopic = \"{}\"\n\
             [sinks.out]\nfrom = \"in\"\nkind = \"kafka\"\nbrokers = \"{brokers}\"\ntopic = \"{}\"\nformat = \"text\"\n",
            topic("in"),
            topic("out")
        );
        show_command("millstream run job.toml --workers 1", &text);
        let own = dir.join(topic("job"));
        std::fs::create_dir_all(&own).expect("a directory");
        let path = job(&own, &text);
        let started = millstream(&["run", &path.to_string_lossy(), "--workers", "1"]).spawn();
        let mut job = started.expect("the job starts");
        report(&format!("a job, {name}"), measure(brokers, &topic("in"), &topic("out")));
        // The supervisor, with which the job ends.
        job.kill().expect("the job is stopped");
        job.wait().expect("it ends");
    }
}

fn report(what: &str, mut latencies: Vec<f64>) {
    let mut format_quantile = |share| format!("{:.2}", quantile(&mut latencies, share));
    figure(&format!("{what}, 10,000 records a second, median, ms"), format_quantile(0.5), "");
    figure("  99th percentile, ms", format_quantile(0.99), "");
}

/// Creates topics by writing to them.
fn make(brokers: &str, topics: &[&str]) {
    let producer: BaseProducer = client(brokers).create().expect("a client");
    for topic in topics {
        send(&producer, topic, b"0");
        producer.flush(RESPONSE_TIMEOUT).expect("the broker takes the record");
    }
}

/// Writes each record as it reads it.
fn echo(brokers: &str, stop: &AtomicBool) {
    let consumer = reader(brokers, "echo-in", Offset::Beginning);
    let producer: BaseProducer = client(brokers).set("linger.ms", "0").create().expect("a client");
    while !stop.load(Ordering::Acquire) {
        if let Some(message) = consumer.poll(Duration::from_millis(10)) {
            send(&producer, "echo-out", message.expect("no error").payload().unwrap_or_default());
        }
        producer.poll(Duration::ZERO);
    }
}

/// Writes records that contain the time of writing, and reads the results. Returns the latencies in milliseconds.
fn measure(brokers: &str, from: &str, to: &str) -> Vec<f64> {
    // After the record that created the topic.
    let consumer: BaseConsumer = reader(brokers, to, Offset::Offset(1));
    let began = Instant::now();
    let mut latencies = Vec::with_capacity(ROWS);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let producer: BaseProducer = client(brokers).set("linger.ms", "0").create().expect("a client");
            // The job may still be starting: its first records are not measured.
            let start = Instant::now();
            for burst in 0..(ROWS + WARM_UP_ROWS) / ROWS_PER_MS {
                let due = Duration::from_millis(burst as u64);
                std::thread::sleep(due.saturating_sub(start.elapsed()));
                let now = began.elapsed().as_nanos().to_string();
                (0..ROWS_PER_MS).for_each(|_| send(&producer, from, now.as_bytes()));
                producer.poll(Duration::ZERO);
            }
            producer.flush(RESPONSE_TIMEOUT).expect("the broker takes the records");
        });
        let mut seen = 0;
        while seen < ROWS + WARM_UP_ROWS {
            let message = consumer.poll(RESPONSE_TIMEOUT).expect("a record").expect("no error");
            let text = std::str::from_utf8(message.payload().unwrap_or_default()).expect("text");
            let sent: u128 = text.parse().expect("a time");
            if sent == 0 {
                continue;
            }
            seen += 1;
            if seen > WARM_UP_ROWS {
                latencies.push((began.elapsed().as_nanos() - sent) as f64 / 1e6);
            }
        }
    });
    latencies
}
