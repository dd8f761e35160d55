//! The sink `kafka` with a real broker, as readers of committed records see the topic.

use millstream_tests::kafka::{BrokerOptions, Record};
use millstream_tests::{Broker, Certificates, Ended, Process, Trial, free_port, wait_until};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// A job with virtual time that writes rows of these columns into a topic.
fn job_at(brokers: &str, columns: &str, topic: &str, more: &str) -> Trial {
    Trial::new(&format!(
        r#"clock = "manual"
[sources.in]
kind = "queue"
path = "input.jsonl"
schema = {{ {columns} }}
[sinks.out]
from = "in"
kind = "kafka"
brokers = "{brokers}"
topic = "{topic}"
{more}
"#
    ))
}

fn job(broker: &Broker, topic: &str, more: &str) -> Trial {
    let trial = job_at(&broker.address(), "k = \"text\", n = \"int64\"", topic, more);
    trial.write("input.jsonl", "[[\"a\",1],[\"b\",null],[\"a\",2]]\n[]\n[[\"c\",-9223372036854775808],[null,4]]\n");
    trial
}

/// A job with checkpoints that counts up and runs for a while: even if it lags behind, a batch has few rows.
fn counting(broker: &Broker, topic: &str, rows: u64, more: &str) -> Trial {
    counting_by(broker, topic, &format!("rows_max = {rows}\nrows_per_batch_max = 20"), more)
}

/// The same without an end: the startup time of a broker depends on the machine. Rows that arrived meanwhile are one batch. So a
/// stop, which commits them all, does not take longer the longer the broker was unreachable.
fn counting_on(broker: &Broker, topic: &str) -> Trial {
    counting_by(broker, topic, "", "")
}

fn counting_by(broker: &Broker, topic: &str, rows: &str, more: &str) -> Trial {
    Trial::new(&format!(
        r#"batch = "20ms"
[checkpoint]
dir = "checkpoint"
every = 5
[sources.in]
kind = "rate"
rows_per_second = 1000
{rows}
[sinks.out]
from = "in"
kind = "kafka"
brokers = "{}"
topic = "{topic}"
{more}
"#,
        broker.address()
    ))
}

fn start(trial: &Trial, faults: &str, arguments: &[&str]) -> Process {
    let mut command = trial.command(&[&["run", "job.toml"], arguments].concat());
    Process::start(command.env("MILLSTREAM_TEST_FAULT", faults).env("PW", Broker::PASSWORD))
}

fn run(trial: &Trial) -> Ended {
    start(trial, "", &[]).wait()
}

#[track_caller]
fn run_ok(trial: &Trial) -> Ended {
    let ended = run(trial);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended
}

/// A job that has waited at its start for a broker, which is there now.
fn started_before_its_broker() -> (Broker, Trial, Process) {
    let mut broker = Broker::start();
    broker.kill();
    let trial = job(&broker, "t", "[checkpoint]\ndir = \"checkpoint\"");
    let mut waiting = start(&trial, "", &[]);
    waiting.wait_for_stderr("the job waits for up to 1h (`wait`)");
    broker.start_again();
    (broker, trial, waiting)
}

/// Runs a job that is rejected with this exit code; returns its message after `error: `.
#[track_caller]
fn rejection(trial: &Trial, code: i32) -> String {
    let mut command = trial.command(&["run", "job.toml"]);
    let ended = Process::start(command.env("PW", Broker::PASSWORD).env("MILLSTREAM_LOG", "off")).wait();
    assert_eq!(ended.code, Some(code), "{}", ended.stderr);
    ended.stderr.trim_start_matches("error: ").trim_end().to_owned()
}

/// The numbers of a job that counts, each of which must be there once.
fn numbers(broker: &Broker, topic: &str) -> Vec<u64> {
    let number = |text: String| serde_json::from_str::<serde_json::Value>(&text).unwrap()["value"].as_u64().unwrap();
    let mut numbers: Vec<_> = broker.strings(topic).into_iter().map(number).collect();
    numbers.sort_unstable();
    numbers
}

/// Keys and values, `-` for null, in the order of partitions.
fn format_records(records: &[Record]) -> Vec<String> {
    let text = |bytes: &Option<Vec<u8>>| match bytes {
        Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        None => "-".into(),
    };
    records.iter().map(|record| format!("{}={}", text(&record.key), text(&record.value))).collect()
}

#[test]
fn rows_arrive_as_records_with_keys() {
    let broker = Broker::shared();
    broker.topic("records", 1, &[]);
    for more in ["", "\n[checkpoint]\ndir = \"checkpoint\"\n"] {
        run_ok(&job(broker, "records", &format!("key = \"k\"{more}")));
    }
    let once = [
        r#"a={"k":"a","n":1}"#,
        r#"b={"k":"b","n":null}"#,
        r#"a={"k":"a","n":2}"#,
        r#"c={"k":"c","n":-9223372036854775808}"#,
        r#"-={"k":null,"n":4}"#,
    ];
    assert_eq!(format_records(&broker.read("records")), [once, once].concat());
    // A missing topic is created.
    run_ok(&job(broker, "made", "format = \"csv\""));
    assert_eq!(format_records(&broker.read("made")), ["-=a,1", "-=b,", "-=a,2", "-=c,-9223372036854775808", "-=,4"]);
    run_ok(&job(broker, "keyed-by-number", "key = \"n\"\nformat = \"text\""));
    assert_eq!(format_records(&broker.read("keyed-by-number")), ["1=a", "-=b", "2=a", "-9223372036854775808=c", "4=-"]);
    let bytes = job_at(&broker.address(), "raw = \"binary\"", "bytes", "format = \"binary\"");
    bytes.write("input.jsonl", "[[\"é\"],[\"\"],[null]]\n");
    run_ok(&bytes);
    assert_eq!(format_records(&broker.read("bytes")), ["-=é", "-=", "-=-"]);
}

/// The hashes are those of Kafka's own client tests.
#[test]
fn keys_are_in_the_same_partitions_as_with_java_clients() {
    const HASHES: [(&str, i32); 6] = [
        ("21", -973932308),
        ("foobar", -790332482),
        ("a-little-bit-long-string", -985981536),
        ("a-little-bit-longer-string", -1486304829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        ("abc", 479470107),
    ];
    let (broker, partitions) = (Broker::shared(), 7);
    broker.topic("hashed", partitions, &[]);
    let trial = job(broker, "hashed", "key = \"k\"");
    let rows: Vec<_> = HASHES.iter().map(|(key, _)| format!("[\"{key}\",0]")).collect();
    trial.write("input.jsonl", format!("[{}]\n", rows.join(",")));
    run_ok(&trial);
    let found: BTreeSet<_> = broker.read("hashed").iter().map(|record| (record.key_text(), record.partition)).collect();
    let expected: BTreeSet<_> =
        HASHES.iter().map(|(key, hash)| (key.to_string(), (hash & 0x7fff_ffff) % partitions)).collect();
    assert_eq!(found, expected);
}

#[test]
fn tombstones_have_a_key_and_no_value() {
    let broker = Broker::shared();
    let columns = "k = \"text\", n = \"int64\", gone = \"bool\"";
    let trial = job_at(&broker.address(), columns, "accounts", "key = \"k\"\ntombstones = \"gone\"");
    trial.write("input.jsonl", "[[\"a\",1,false],[\"b\",2,null]]\n[[\"a\",null,true]]\n");
    run_ok(&trial);
    assert_eq!(broker.setting("accounts", "cleanup.policy"), "compact");
    let records: BTreeSet<_> = format_records(&broker.read("accounts")).into_iter().collect();
    let expected = [r#"a={"k":"a","n":1}"#, r#"b={"k":"b","n":2}"#, "a=-"];
    assert_eq!(records, expected.map(String::from).into());
    // The key is unknown.
    trial.write("input.jsonl", "[[\"c\",1,false],[null,null,true]]\n");
    let output = rejection(&trial, 1);
    assert!(output.contains("sink `out`: batch 1: ") && output.contains("row 2 has no key"), "{output}");
    assert_eq!(broker.read("accounts").len(), 3);
    let output = rejection(&job(broker, "accounts", ""), 2);
    assert!(output.starts_with("job.toml:10: sink `out`: the topic `accounts` is compacted"), "{output}");
    let output = rejection(&job(broker, "accounts", "tombstones = \"n\""), 2);
    assert!(output.contains("`tombstones` needs `key`"), "{output}");
}

#[test]
fn records_can_be_compressed() {
    let broker = Broker::shared();
    let text = "all work and no play ".repeat(100);
    let rows: Vec<_> = (0..200).map(|n| format!("[\"{text}\",{n}]")).collect();
    let mut plain = None;
    for compression in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = format!("compressed-{compression}");
        let trial = job(broker, &topic, &format!("compression = \"{compression}\""));
        trial.write("input.jsonl", format!("[{}]\n", rows.join(",")));
        run_ok(&trial);
        assert_eq!(broker.read(&topic).len(), 200);
        let stored = broker.stored_bytes(&topic);
        let plain = *plain.get_or_insert(stored);
        assert!(compression == "none" || stored * 4 < plain, "{compression}: {stored} of {plain} bytes");
    }
}

/// A batch without rows leaves no transaction, and one with rows leaves rows and marker, or nothing.
#[test]
fn a_batch_is_one_transaction_with_its_marker() {
    let broker = Broker::start();
    broker.topic("t", 1, &[]);
    let trial = job(&broker, "t", "[checkpoint]\ndir = \"checkpoint\"");
    run_ok(&trial);
    assert_eq!(broker.setting("millstream-markers", "cleanup.policy"), "compact");
    let markers = broker.read("millstream-markers");
    let batches: Vec<_> = markers
        .iter()
        .map(|record| serde_json::from_str::<serde_json::Value>(&record.text()).unwrap()["batch"].clone())
        .collect();
    assert_eq!(batches, [serde_json::Value::Null, 1.into(), 3.into()]);
    assert_eq!(markers.iter().map(Record::key_text).collect::<BTreeSet<_>>().len(), 1);
    // Five rows, and a control record for each of two transactions.
    assert_eq!(broker.end("t", 0), 7);

    // The rows and the marker are there, but the transaction is open: none of it is visible.
    let trial = job(&broker, "t", "[checkpoint]\ndir = \"checkpoint\"");
    let ended = start(&trial, "kill@commit.marked:2", &["--unsupervised"]).wait();
    assert_eq!(ended.code, None, "{}", ended.stderr);
    assert!(broker.end("t", 0) >= 7 + 3, "the rows are written");
    assert_eq!(broker.strings("t").len(), 5);
    run_ok(&trial);
    assert_eq!(broker.strings("t").len(), 10);
    run_ok(&trial);
    assert_eq!(broker.strings("t").len(), 10);

    // A topic that deletes old records is not suitable for markers.
    broker.topic("short", 1, &[("cleanup.policy", "delete")]);
    let output = rejection(&job(&broker, "t", "markers = \"short\"\n[checkpoint]\ndir = \"checkpoint\""), 1);
    assert!(output.contains("the topic `short` records the committed batches, but deletes old records"), "{output}");
}

/// How often a job logs that a batch waits.
fn waits_logged(job: &str) -> usize {
    job.lines().filter(|line| line.contains("sink `out`: batch ") && line.contains("the job waits")).count()
}

/// A start that was taken for dead comes back in the middle of a transaction, after another one has taken the job over: it
/// commits nothing.
#[test]
fn an_older_start_has_lost_the_job() {
    let broker = Broker::shared();
    broker.topic("lost", 2, &[]);
    let trial = counting(broker, "lost", 400, "");
    let mut older = start(&trial, "stop@commit.marked:2", &["--unsupervised"]);
    let open = || broker.read_uncommitted("lost").len() > broker.read("lost").len();
    older.wait_until("it stands in the middle of a transaction", |_| open());
    // Elsewhere, with the same checkpoints.
    let elsewhere = Trial::new(&trial.text("job.toml"));
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .args([trial.path("checkpoint"), elsewhere.path("checkpoint")])
        .status();
    assert!(copied.unwrap().success());
    run_ok(&elsewhere);
    assert_eq!(numbers(broker, "lost"), (0..400).collect::<Vec<_>>());
    assert!(!older.has_ended());
    older.signal("CONT");
    let ended = older.wait();
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("the job was restarted elsewhere (generation "), "{}", ended.stderr);
    assert_eq!(numbers(broker, "lost"), (0..400).collect::<Vec<_>>());
}

/// A late start with a smaller number that ends the current owner's transaction takes nothing away from it.
#[test]
fn a_late_older_start_does_not_take_the_job_back() {
    let broker = Broker::shared();
    broker.topic("late", 1, &[]);
    let trial = counting(broker, "late", 2_000, "");
    let elsewhere = Trial::new(&trial.text("job.toml"));
    // It stops when it has begun, before it records that.
    let first = start(&trial, "kill@commit.after:1", &["--unsupervised"]).wait();
    assert_eq!(first.code, None, "{}", first.stderr);
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .args([trial.path("checkpoint"), elsewhere.path("checkpoint")])
        .status();
    assert!(copied.unwrap().success());
    let late = start(&elsewhere, "stop@start.sink:1", &["--unsupervised"]);
    wait_until("the late one is at its sink", || millstream_tests::stopped(late.id()));
    // Two starts, so that the job has a greater number than the late one.
    let second = start(&trial, "kill@commit.after:1", &["--unsupervised"]).wait();
    assert_eq!(second.code, None, "{}", second.stderr);
    let mut job = start(&trial, "", &["--unsupervised"]);
    job.wait_for_stderr("resumes after the checkpoint");
    late.signal("CONT");
    let ended = late.wait();
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("the job was restarted elsewhere (generation "), "{}", ended.stderr);
    let ended = job.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(numbers(broker, "late"), (0..2_000).collect::<Vec<_>>());
}

/// Nothing of a batch with such a row is written, with or without checkpoints, and it is not retried.
#[test]
fn a_too_large_row_is_reported_before_any_write() {
    let broker = Broker::shared();
    broker.topic("small", 1, &[("max.message.bytes", "2000")]);
    for more in ["", "[checkpoint]\ndir = \"checkpoint\""] {
        let end = broker.end("small", 0);
        let trial = job(broker, "small", more);
        trial.write("input.jsonl", format!("[[\"a\",1],[\"{}\",2]]\n", "x".repeat(3_000)));
        let output = rejection(&trial, 1);
        assert!(output.contains("sink `out`: batch 1: Kafka topic `small` at 127.0.0.1:"), "{output}");
        assert!(output.contains("row 2 makes a record of 3"), "{output}");
        assert!(output.contains("but the topic accepts at most 2000 (`max.message.bytes`)"), "{output}");
        assert!(!output.contains(" from the last checkpoint in "), "{output}");
        assert_eq!(broker.end("small", 0), end);
    }
    // Just small enough.
    let trial = job(broker, "small", "format = \"csv\"");
    trial.write("input.jsonl", format!("[[\"{}\",2]]\n", "x".repeat(2_000 - 128 - 2)));
    run_ok(&trial);
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    /// The job waits for a broker that is unreachable for a while, and no row is lost or duplicated.
    #[test]
    fn a_broker_may_be_unreachable_for_a_while() {
        for checkpoint in [true, false] {
            let mut broker = Broker::start();
            broker.topic("t", 3, &[]);
            let trial = counting_on(&broker, "t");
            if !checkpoint {
                trial.change("[checkpoint]\ndir = \"checkpoint\"\nevery = 5\n", "");
            }
            let mut job = start(&trial, "", &[]);
            for _ in 0..2 {
                let before = numbers(&broker, "t").len();
                wait_until("rows arrive", || numbers(&broker, "t").len() > before);
                let warnings = waits_logged(&job.stderr());
                let gone_on = |job: &Process| job.stderr().matches("has recovered; the job continues").count();
                let before = gone_on(&job);
                broker.kill();
                job.wait_until("it says that it waits", |job| waits_logged(&job.stderr()) > warnings);
                broker.start_again();
                job.wait_until("it goes on", |job| gone_on(job) > before);
            }
            let printed = job.stop();
            // On a busy machine a broker that has just recovered may miss a request again; it is not reported repeatedly.
            let gone_on = printed.matches("has recovered; the job continues").count();
            assert!(
                (2..=4).contains(&waits_logged(&printed)) && gone_on == waits_logged(&printed),
                "once for each time: {printed}"
            );
            let numbers = numbers(&broker, "t");
            assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>(), "{printed}");
        }
    }

    #[test]
    fn a_cluster_may_require_a_password_and_tls() {
        let certificates = Certificates::make();
        let tls = Some(certificates.of("broker", "IP:127.0.0.1", 2));
        let broker = Broker::with(BrokerOptions { login: true, tls, ..BrokerOptions::default() });
        let ca = certificates.ca();
        let sink = |mechanism: &str, user: &str, password: &str, tls: &str| {
            let more = format!(
                "tls = {tls}\nsasl = {{ mechanism = \"{mechanism}\", user = \"{user}\", password = \"{password}\" }}\n\
             [checkpoint]\ndir = \"checkpoint\""
            );
            let trial = job_at(&broker.guarded(), "k = \"text\", n = \"int64\"", "t", &more);
            trial.write("input.jsonl", "[[\"a\",1]]\n");
            trial
        };
        let trusted = format!("{{ ca = \"{}\" }}", ca.display());
        for (number, mechanism) in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"].iter().enumerate() {
            run_ok(&sink(mechanism, Broker::USER, "${PW}", &trusted));
            assert_eq!(broker.strings("t").len(), number + 1);
            let output = rejection(&sink(mechanism, Broker::USER, "guess", &trusted), 1);
            assert!(output.contains("authentication failed"), "{output}");
            assert!(output.starts_with("job.toml:9: sink `out`: ") && !output.contains("guess"), "{output}");
        }
        let output = rejection(&sink("PLAIN", Broker::USER, "${PW}", "true"), 1);
        assert!(output.contains("TLS: ") && output.contains("certificate verify failed"), "{output}");
        let output = rejection(&sink("PLAIN", Broker::STRANGER, "${PW}", &trusted), 1);
        assert!(output.contains("permission denied"), "{output}");
        assert_eq!(broker.strings("t").len(), 3);
    }

    #[test]
    fn an_unreachable_cluster_is_waited_for_and_reported() {
        let port = free_port();
        let columns = "k = \"text\", n = \"int64\"";
        let dead = job_at(&format!("127.0.0.1:{port}"), columns, "t", "wait = \"300ms\"");
        dead.write("input.jsonl", "[]\n");
        let output = rejection(&dead, 1);
        let start_ = format!("job.toml:9: sink `out`: Kafka at 127.0.0.1:{port}: ");
        assert!(output.starts_with(&start_), "{output}");
        assert!(output.ends_with("; start the cluster, or check `brokers`, or raise `wait`"), "{output}");
        let output = Process::start(&mut dead.command(&["validate", "job.toml"])).wait();
        assert!(
            output.code == Some(1) && output.stderr.contains("start the cluster, or check `brokers`"),
            "{}",
            output.stderr
        );

        let (mut broker, trial, waiting) = started_before_its_broker();
        let ended = waiting.wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(ended.stderr.contains("is reachable; the job starts"), "{}", ended.stderr);
        assert_eq!(broker.strings("t").len(), 5);
        // No longer than the time of the command.
        broker.kill();
        let ended = start(&trial, "", &["--timeout", "1s"]).wait_within(Duration::from_secs(15));
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(ended.stderr.contains("did not respond within --timeout"), "{}", ended.stderr);
    }

    #[test]
    fn a_cluster_that_stops_responding_during_a_start_is_waited_for() {
        let (broker, _trial, mut waiting) = started_before_its_broker();
        waiting.wait_for_stderr("is reachable; the job starts");
        // Longer than a request waits for its response.
        broker.suspend();
        let requests = Instant::now();
        waiting.wait_until("a question is given up", |job| {
            job.stderr().matches("the job waits").count() > 1 || requests.elapsed() > Duration::from_secs(12)
        });
        broker.resume();
        let ended = waiting.wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert_eq!(broker.strings("t").len(), 5);
    }

    /// A broker that does not respond is treated like an unreachable one.
    #[test]
    fn a_broker_may_hang() {
        let broker = Broker::start();
        broker.topic("t", 1, &[]);
        let trial = counting_on(&broker, "t");
        let mut job = start(&trial, "", &[]);
        wait_until("rows arrive", || !numbers(&broker, "t").is_empty());
        broker.suspend();
        job.wait_until("it says that it waits", |job| waits_logged(&job.stderr()) > 0);
        broker.resume();
        job.wait_for_stderr("has recovered; the job continues");
        let printed = job.stop();
        let numbers = numbers(&broker, "t");
        assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>(), "{printed}");
    }

    /// The cluster aborts a transaction that takes too long: none of it is visible, and the job starts it again.
    #[test]
    fn a_transaction_that_times_out_is_repeated() {
        let often = "transaction.abort.timed.out.transaction.cleanup.interval.ms=100";
        let broker = Broker::with(BrokerOptions { settings: vec![often.into()], ..BrokerOptions::default() });
        broker.topic("t", 1, &[]);
        let trial = counting(&broker, "t", 500, "transaction = \"1s\"");
        let mut job = start(&trial, "stop@commit.marked:2", &["--unsupervised"]);
        let open = || broker.read_uncommitted("t").len() > broker.read("t").len();
        job.wait_until("it stands in the middle of a transaction", |_| open());
        // Another transaction is visible only after the previous one has ended.
        broker.produce("t", &[Record::at(0, "{\"value\":1000}")]);
        wait_until("the cluster gives it up", || numbers(&broker, "t").contains(&1000));
        assert!(!job.has_ended());
        job.signal("CONT");
        let ended = job.wait();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(ended.stderr.contains("the cluster has ended the transaction"), "{}", ended.stderr);
        assert_eq!(numbers(&broker, "t"), (0..500).chain([1000]).collect::<Vec<_>>());
    }
}
