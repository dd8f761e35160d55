//! The source `kafka` with a real broker.

use millstream_tests::kafka::{BrokerOptions, Record};
use millstream_tests::{Broker, Certificates, Process, Trial, free_port, plugin, wait_until};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A job that reads topics, keeps checkpoints, and puts rows into a queue.
fn job_at(brokers: &str, source: &str) -> Trial {
    Trial::new(&format!(
        r#"name = "reader"
batch = "20ms"
[checkpoint]
dir = "checkpoint"
every = 5
[sources.in]
kind = "kafka"
brokers = "{brokers}"
poll = "100ms"
{source}
[sinks.out]
from = "in"
kind = "queue"
path = "out.jsonl"
[sinks.bad]
from = "in.rejected"
kind = "queue"
path = "bad.jsonl"
"#
    ))
}

fn job(broker: &Broker, source: &str) -> Trial {
    job_at(&broker.address(), source)
}

fn strings(strings: &[&str]) -> Vec<Record> {
    strings.iter().map(|text| Record::at(0, text)).collect()
}

fn sorted(mut strings: Vec<String>) -> Vec<String> {
    strings.sort();
    strings
}

/// Runs the job until no more rows arrive; returns its complete output, in any order.
#[track_caller]
fn run_to_idle(trial: &Trial) -> Vec<String> {
    trial.run_ok(&["--until-idle"]);
    sorted(trial.values("out.jsonl"))
}

/// Runs a job that ends with this exit code; returns its output.
#[track_caller]
fn fails(trial: &Trial, code: i32) -> String {
    let mut command = trial.command(&["run", "job.toml", "--until-idle", "--unsupervised"]);
    let ended = Process::start(command.env("PW", "wrong")).wait();
    assert_eq!(ended.code, Some(code), "{}", ended.stderr);
    ended.stderr
}

#[test]
fn words_of_a_topic_are_counted() {
    let broker = Broker::shared();
    broker.topic("lines", 2, &[]);
    let lines = ["to be or not", "to be", "that is", "the question to"];
    let records: Vec<_> = lines.iter().zip([0, 1, 0, 1]).map(|(line, partition)| Record::at(partition, line)).collect();
    broker.produce("lines", &records);
    let trial = Trial::new(&format!(
        r#"batch = "20ms"
[sources.lines]
kind = "kafka"
brokers = ["{}"]
topic = "lines"
[stages.words]
from = "lines"
plugin = "{}"
[stages.counts]
from = "words"
key = "word"
aggregate = {{ n = "count(*)" }}
window = "all"
[sinks.out]
from = "counts"
kind = "queue"
path = "out.jsonl"
"#,
        broker.address(),
        plugin("split-words").display()
    ));
    trial.run_ok(&["--until-idle"]);
    let mut last = std::collections::BTreeMap::new();
    for row in trial.rows("out.jsonl") {
        last.insert(row["word"].as_str().unwrap().to_owned(), row["n"].as_i64().unwrap());
    }
    let expected = [("be", 2), ("is", 1), ("not", 1), ("or", 1), ("question", 1), ("that", 1), ("the", 1), ("to", 3)];
    assert_eq!(last.into_iter().collect::<Vec<_>>(), expected.map(|(word, n)| (word.to_owned(), n)));
}

#[test]
fn a_job_begins_at_the_configured_position_and_then_resumes() {
    let broker = Broker::shared();
    broker.topic("starts", 1, &[]);
    let at = |time, text| Record { timestamp_ms: Some(time), ..Record::at(0, text) };
    broker.produce("starts", &[at(1_000, "one"), at(2_000, "two"), at(3_000, "three")]);
    let of = |start: &str| job(broker, &format!("topic = \"starts\"\nstart = \"{start}\""));
    let earliest = of("earliest");
    assert_eq!(run_to_idle(&earliest), ["one", "three", "two"]);
    let by_time = of("1970-01-01T00:00:02Z");
    assert_eq!(run_to_idle(&by_time), ["three", "two"]);
    let latest = of("latest");
    assert_eq!(run_to_idle(&latest), [""; 0]);
    let beyond = of("2999-01-01T00:00:00Z");
    assert_eq!(run_to_idle(&beyond), [""; 0]);
    broker.produce("starts", &[at(4_000, "four")]);
    assert_eq!(run_to_idle(&earliest), ["four", "one", "three", "two"]);
    assert_eq!(run_to_idle(&by_time), ["four", "three", "two"]);
    assert_eq!(run_to_idle(&latest), ["four"], "what came after the first start is read, whenever the next one is");
}

#[test]
fn metadata_of_values_are_columns() {
    let broker = Broker::shared();
    broker.topic("parts", 1, &[]);
    let header = |name: &str, value: &[u8]| (name.to_owned(), Some(value.to_vec()));
    let records = [
        Record {
            headers: vec![header("trace", b"1"), header("trace", b"2"), ("none".into(), None)],
            timestamp_ms: Some(1_700_000_000_123),
            ..Record::of("k1", r#"{"n":1,"u":{"id":"x"}}"#)
        },
        Record { key: None, timestamp_ms: Some(5), ..Record::of("", r#"{"n":2}"#) },
        Record { value: None, timestamp_ms: Some(6), ..Record::of("gone", "") },
        Record { key: Some(vec![0xff]), timestamp_ms: Some(7), ..Record::of("", r#"{"n":3}"#) },
        Record { timestamp_ms: Some(8), ..Record::of("empty", "") },
        Record { timestamp_ms: Some(9), ..Record::of("bad", "{") },
    ];
    broker.produce("parts", &records.map(|record| Record { partition: 0, ..record }));
    let trial = job(
        broker,
        r#"topic = "parts"
format = "json"
[sources.in.schema]
k = { type = "text", from = "key" }
n = "int64"
at = { type = "timestamp", from = "timestamp" }
id = { type = "text", path = "u.id" }
offset = { type = "int64", from = "offset" }
partition = { type = "int64", from = "partition" }
topic = { type = "text", from = "topic" }
trace = { type = "text", from = "header.trace" }
all = { type = "text", from = "headers" }
"#,
    );
    trial.run_ok(&["--until-idle"]);
    let row = |k: Value, n: Value, at: &str, id: Value, offset: i64, trace: Value, all: &str| {
        json!({ "k": k, "n": n, "at": at, "id": id, "offset": offset, "partition": 0, "topic": "parts", "trace": trace,
            "all": all })
    };
    let null = || Value::Null;
    let expected = [
        row(
            json!("k1"),
            json!(1),
            "2023-11-14T22:13:20.123000Z",
            json!("x"),
            0,
            json!("2"),
            r#"{"trace":"2","none":null}"#,
        ),
        row(null(), json!(2), "1970-01-01T00:00:00.005000Z", null(), 1, null(), "{}"),
        row(json!("gone"), null(), "1970-01-01T00:00:00.006000Z", null(), 2, null(), "{}"),
    ];
    assert_eq!(trial.rows("out.jsonl"), expected);
    let bad: Vec<_> = trial.rows("bad.jsonl").iter().map(|row| row["reason"].as_str().unwrap().to_owned()).collect();
    assert_eq!(bad.len(), 3, "{bad:?}");
    assert_eq!(bad[0], "`key`: not UTF-8 at byte 0; make the column binary");
    assert_eq!(bad[1], "the value is empty");
}

#[test]
fn values_are_decoded_by_any_format() {
    let broker = Broker::shared();
    let of = |topic: &str, values: &[&[u8]], source: &str| {
        broker.topic(topic, 1, &[]);
        let records = values.iter().map(|value| Record { value: Some(value.to_vec()), ..Record::at(0, "") });
        broker.produce(topic, &records.collect::<Vec<_>>());
        let trial = job(broker, &format!("topic = \"{topic}\"\n{source}"));
        trial.run_ok(&["--until-idle"]);
        (trial.rows("out.jsonl"), trial.rows("bad.jsonl"))
    };
    let lines: &[&[u8]] = &[b"two\nlines\n", b"", b"\xff"];
    let (rows, bad) = of("as-text", lines, "record_bytes_max = 12");
    assert_eq!(rows, [json!({ "value": "two\nlines\n" }), json!({ "value": "" })]);
    assert_eq!(bad.len(), 1);
    let (rows, bad) = of("too-long", &[b"0123456789", b"01234567890"], "record_bytes_max = 10");
    assert_eq!(rows, [json!({ "value": "0123456789" })]);
    assert_eq!(bad[0]["reason"], "11 bytes, record_bytes_max is 10");
    let cells = "format = \"csv\"\nseparator = \";\"\nschema = { a = \"int64\", p = { type = \"int64\", from = \"partition\" }, \
                 b = \"text\" }";
    let (rows, _) = of("as-csv", &[b"1;x", b"2;\"y;\nz\""], cells);
    assert_eq!(rows, [json!({ "a": 1, "p": 0, "b": "x" }), json!({ "a": 2, "p": 0, "b": "y;\nz" })]);
    let words: &[&[u8]] = &[&7_i64.to_le_bytes(), b"short"];
    let (rows, bad) = of("as-binary", words, "format = \"binary\"\nschema = { n = \"int64\" }");
    assert_eq!(rows, [json!({ "n": 7 })]);
    assert_eq!(bad[0]["reason"], "5 bytes, the columns take 8");
}

#[test]
fn later_partitions_and_topics_are_read_from_their_beginning() {
    let broker = Broker::shared();
    broker.topic("grow-a", 3, &[]);
    let trial = job(broker, "pattern = \"grow-*\"\nstart = \"latest\"");
    broker.produce("grow-a", &[Record::at(1, "before")]);
    let mut running = trial.start(&[]);
    running.wait_for_stderr("reads 3 partitions");
    broker.produce("grow-a", &[Record::at(0, "a0"), Record::at(1, "a1"), Record::at(2, "a2")]);
    running.wait_until("the first come", |_| trial.values("out.jsonl").len() == 3);
    broker.add_partitions("grow-a", 5);
    broker.topic("grow-b", 1, &[]);
    broker.produce("grow-a", &[Record::at(4, "a4"), Record::at(3, "a3")]);
    broker.produce("grow-b", &[Record::at(0, "b0")]);
    running.wait_until("the new ones come", |_| trial.values("out.jsonl").len() == 6);
    running.stop();
    broker.add_partitions("grow-a", 6);
    broker.produce("grow-a", &[Record::at(5, "a5"), Record::at(0, "a0 again")]);
    assert_eq!(run_to_idle(&trial), ["a0", "a0 again", "a1", "a2", "a3", "a4", "a5", "b0"]);
}

#[test]
fn a_missing_topic_is_waited_for() {
    let broker = Broker::shared();
    let trial = job(broker, "topic = \"later\"");
    let mut running = trial.start(&[]);
    running.wait_for_stderr("source `in`: topic `later` does not exist; it is read as soon as it is created");
    broker.topic("later", 1, &[]);
    broker.produce("later", &strings(&["here"]));
    running.wait_until("it is read", |_| trial.values("out.jsonl") == ["here"]);
    assert!(running.stop().contains("topic `later` exists now"));
    broker.delete_topic("later");
    let printed = fails(&trial, 2);
    assert!(
        printed.contains("topic `later` no longer exists, but the job resumes at offset 1 of its partition 0"),
        "{printed}"
    );
}

/// Writes numbered records into all partitions until it is stopped; returns their number.
fn flow(broker: &Broker, topic: &str, partitions: i32, stop: &AtomicBool) -> u64 {
    let mut count = 0;
    while !stop.load(Ordering::Acquire) {
        let numbers: Vec<_> = (count..count + 50)
            .map(|number| Record::at((number % partitions as u64) as i32, &number.to_string()))
            .collect();
        broker.produce(topic, &numbers);
        count += 50;
    }
    count
}

/// Each number up to this one is there once.
#[track_caller]
fn each_once(trial: &Trial, count: u64) {
    let mut numbers: Vec<u64> = trial.values("out.jsonl").iter().map(|text| text.parse().unwrap()).collect();
    numbers.sort_unstable();
    let twice = numbers.windows(2).find(|pair| pair[0] == pair[1]);
    assert_eq!(twice, None);
    assert_eq!((numbers.len() as u64, numbers.first(), numbers.last()), (count, Some(&0), Some(&(count - 1))));
}

#[test]
fn a_job_that_is_killed_repeatedly_reads_each_record_once() {
    let broker = Broker::shared();
    broker.topic("flow", 3, &[]);
    let trial = job(broker, "topic = \"flow\"\nrows_per_batch_max = 40");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let flowing = scope.spawn(|| flow(broker, "flow", 3, &stop));
        for kill in 0..8 {
            let before = trial.text("out.jsonl").len();
            let mut running = trial.start(&["--workers", if kill % 2 == 0 { "1" } else { "2" }]);
            // Further each time, so that kills fall before and after checkpoints.
            running.wait_until("it goes on", |_| trial.text("out.jsonl").len() > before + 300 * kill);
            running.kill();
        }
        stop.store(true, Ordering::Release);
        let count = flowing.join().unwrap();
        run_to_idle(&trial);
        each_once(&trial, count);
    });
}

#[test]
fn a_recreated_topic_stops_the_job() {
    let broker = Broker::shared();
    broker.topic("anew", 1, &[]);
    broker.produce("anew", &strings(&["a", "b", "c"]));
    let trial = job(broker, "topic = \"anew\"");
    run_to_idle(&trial);
    broker.delete_topic("anew");
    broker.topic("anew", 1, &[]);
    // As many as there were, and more.
    broker.produce("anew", &strings(&["w", "x", "y", "z"]));
    let printed = fails(&trial, 2);
    assert!(printed.contains("topic `anew` was deleted and recreated"), "{printed}");
}

#[test]
fn only_committed_records_are_read() {
    let broker = Broker::shared();
    broker.topic("transactions", 1, &[]);
    let minute = Duration::from_secs(60);
    broker.transaction("t1", minute, "transactions", &strings(&["aborted"])).abort();
    broker.transaction("t1", minute, "transactions", &strings(&["one", "two"])).commit();
    let trial = job(broker, "topic = \"transactions\"");
    assert_eq!(run_to_idle(&trial), ["one", "two"]);
    let open = broker.transaction("t1", minute, "transactions", &strings(&["open"]));
    broker.produce("transactions", &strings(&["behind"]));
    assert_eq!(run_to_idle(&trial), ["one", "two"], "nothing behind an open transaction is read");
    open.commit();
    assert_eq!(run_to_idle(&trial), ["behind", "one", "open", "two"]);
    // The control records of transactions at the end are not records that could be missing.
    let end = broker.end("transactions", 0);
    broker.delete_records("transactions", 0, end);
    broker.produce("transactions", &strings(&["last"]));
    assert_eq!(run_to_idle(&trial), ["behind", "last", "one", "open", "two"]);
}

#[test]
fn an_unreachable_cluster_is_waited_for_as_long_as_configured() {
    let port = free_port();
    let trial = job_at(&format!("127.0.0.1:{port}"), "topic = \"t\"\nwait = \"2s\"");
    let printed = fails(&trial, 1);
    let output = format!("source `in`: no broker of the cluster at 127.0.0.1:{port} has responded for 2s (`wait`): ");
    assert!(printed.contains(&output) && printed.contains("Connection refused"), "{printed}");
}

#[test]
fn a_group_gets_the_offsets_of_checkpoints() {
    let broker = Broker::shared();
    broker.topic("lag", 1, &[]);
    broker.produce("lag", &strings(&["a", "b", "c"]));
    let trial = job(broker, "topic = \"lag\"\ngroup = \"readers\"");
    trial.change("every = 5", "every = 1");
    let running = trial.start(&[]);
    let committed = || {
        let mut config = broker.client();
        config.set("group.id", "readers");
        let client: BaseConsumer = config.create().unwrap();
        let mut requests = TopicPartitionList::new();
        requests.add_partition("lag", 0);
        let output = client.committed_offsets(requests, Duration::from_secs(10)).ok()?;
        output.find_partition("lag", 0).map(|found| found.offset())
    };
    wait_until("the group knows", || committed() == Some(Offset::Offset(3)));
    running.stop();
}

#[test]
fn another_cluster_is_rejected() {
    let (one, other) = (Broker::shared(), Broker::start());
    for broker in [one, &other] {
        broker.topic("same-name", 1, &[]);
        broker.produce("same-name", &strings(&["a"]));
    }
    let trial = job(one, "topic = \"same-name\"");
    run_to_idle(&trial);
    trial.change(&one.address(), &other.address());
    let printed = fails(&trial, 2);
    assert!(printed.contains("the brokers belong to another cluster"), "{printed}");
}

#[test]
fn partitions_are_distributed_over_processes() {
    let broker = Broker::shared();
    broker.topic("shared", 6, &[]);
    let numbers = |numbers: std::ops::Range<u64>| {
        let record = |number: u64| Record::at((number % 6) as i32, &number.to_string());
        numbers.map(record).collect::<Vec<_>>()
    };
    broker.produce("shared", &numbers(0..600));
    let trial = job(broker, "topic = \"shared\"\nrows_per_batch_max = 20");
    let hosts = format!("127.0.0.1:{},127.0.0.1:{}", free_port(), free_port());
    let two = ["--workers", "1", "--processes", "2", "--hosts", &hosts];
    let mut running = trial.start(&two);
    running.wait_until("it is under way", |_| trial.values("out.jsonl").len() > 200);
    running.kill();
    broker.produce("shared", &numbers(600..900));
    // One process takes over from two, and two take over from one.
    let mut running = trial.start(&["--workers", "2"]);
    running.wait_until("it goes on", |_| trial.values("out.jsonl").len() > 700);
    running.kill();
    broker.produce("shared", &numbers(900..1_000));
    trial.run_ok(&[&["--until-idle"], &two[..]].concat());
    each_once(&trial, 1_000);
}

/// No process knows what the others have read.
#[test]
fn a_source_read_by_all_processes_has_no_row_limit() {
    let broker = Broker::start();
    broker.topic("words", 1, &[]);
    let trial = job(&broker, "topic = \"words\"");
    let ended = trial.run_command(&["run", "job.toml", "--limit", "5", "--processes", "2"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("its rows cannot be limited; start the job in one process"), "{}", ended.stderr);
}

#[test]
fn a_status_shows_the_lag_of_a_source() {
    let broker = Broker::shared();
    broker.topic("behind", 2, &[]);
    let many: Vec<_> = (0..400).map(|number| Record::at(number % 2, &number.to_string())).collect();
    broker.produce("behind", &many);
    let trial = job(broker, "topic = \"behind\"\nrows_per_batch_max = 1");
    let behind = || {
        let mut command = trial.isolated_command(&["status", "job.toml", "--json"]);
        let ended = Process::start(&mut command).wait();
        let output: Value = serde_json::from_str(&ended.stdout).ok()?;
        output["sources"][0]["behind"].as_u64()
    };
    let running = Process::start(&mut trial.isolated_command(&["run", "job.toml"]));
    wait_until("records wait", || behind().is_some_and(|behind| behind > 0 && behind <= 400));
    wait_until("none do", || behind() == Some(0));
    running.stop();
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    /// TLS, a client certificate, and a password with both; each error is reported.
    #[test]
    fn a_cluster_may_require_tls_and_a_certificate() {
        let (certificates, strangers) = (Certificates::make(), Certificates::make());
        let tls = Some(certificates.of("broker", "IP:127.0.0.1", 2));
        let clients_of = Some(certificates.ca());
        let broker = Broker::with(BrokerOptions { login: true, tls, clients_of, ..BrokerOptions::default() });
        broker.topic("t", 2, &[]);
        broker.produce("t", &[Record::at(0, "one"), Record::at(1, "two")]);
        let source = |ca: &Path, own: Option<(PathBuf, PathBuf)>| {
            let own = own.map(|(cert, key)| format!(", cert = \"{}\", key = \"{}\"", cert.display(), key.display()));
            let tls = format!("tls = {{ ca = \"{}\"{} }}", ca.display(), own.unwrap_or_default());
            let sasl = "sasl = { mechanism = \"SCRAM-SHA-512\", user = \"me\", password = \"${PW}\" }";
            job_at(&broker.guarded(), &format!("topic = \"t\"\nwait = \"1s\"\n{tls}\n{sasl}"))
        };
        let own = || Some(certificates.of("job", "DNS:job", 2));
        let run = |trial: &Trial| {
            let mut command = trial.command(&["run", "job.toml", "--until-idle", "--unsupervised"]);
            Process::start(command.env("PW", Broker::PASSWORD)).wait()
        };
        let trial = source(&certificates.ca(), own());
        let ended = run(&trial);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert_eq!(sorted(trial.values("out.jsonl")), ["one", "two"]);
        // The content of a batch is read again the same way.
        broker.produce("t", &[Record::at(1, "three")]);
        let ended = run(&trial);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert_eq!(sorted(trial.values("out.jsonl")), ["one", "three", "two"]);
        for (trial, output) in [
            (source(&strangers.ca(), own()), "certificate verify failed"),
            (source(&certificates.ca(), None), "SSL alert number"),
            (source(&certificates.ca(), Some(strangers.of("job", "DNS:job", 2))), "SSL alert number"),
        ] {
            let ended = run(&trial);
            assert_eq!(ended.code, Some(1), "{}", ended.stderr);
            assert!(ended.stderr.contains(output), "{output}: {}", ended.stderr);
            assert!(!ended.stderr.contains(Broker::PASSWORD), "{}", ended.stderr);
        }
    }

    #[test]
    fn a_broker_that_is_killed_is_waited_for() {
        let mut broker = Broker::start();
        broker.topic("away", 2, &[]);
        broker.produce("away", &[Record::at(0, "one"), Record::at(1, "two")]);
        let trial = job(&broker, "topic = \"away\"");
        let mut running = trial.start(&[]);
        running.wait_until("the first come", |_| trial.values("out.jsonl").len() == 2);
        broker.kill();
        running.wait_for_stderr("source `in`: no broker of the cluster at");
        broker.start_again();
        broker.produce("away", &[Record::at(1, "three")]);
        running.wait_until("it goes on", |_| trial.values("out.jsonl").len() == 3);
        let printed = running.stop();
        assert!(printed.contains("the cluster responds again"), "{printed}");
        assert_eq!(printed.matches("no broker of the cluster").count(), 1, "{printed}");
    }

    #[test]
    fn a_wrong_password_ends_the_job() {
        let broker = Broker::with(BrokerOptions { login: true, ..BrokerOptions::default() });
        broker.topic("t", 1, &[]);
        broker.produce("t", &strings(&["secret"]));
        for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
            let sasl = format!("sasl = {{ mechanism = \"{mechanism}\", user = \"me\", password = \"${{PW}}\" }}");
            let trial = job_at(&broker.guarded(), &format!("topic = \"t\"\n{sasl}"));
            let printed = fails(&trial, 1);
            assert!(printed.contains("authentication failed"), "{printed}");
            assert!(!printed.contains("wrong"), "{printed}");
            let mut command = trial.command(&["run", "job.toml", "--until-idle"]);
            let ended = Process::start(command.env("PW", Broker::PASSWORD)).wait();
            assert_eq!(ended.code, Some(0), "{}", ended.stderr);
            assert_eq!(trial.values("out.jsonl"), ["secret"]);
        }
        let stranger = format!(
            "topic = \"t\"\nsasl = {{ mechanism = \"PLAIN\", user = \"{}\", password = \"${{PW}}\" }}",
            Broker::STRANGER
        );
        let trial = job_at(&broker.guarded(), &stranger);
        let mut command = trial.command(&["run", "job.toml", "--until-idle", "--unsupervised"]);
        let ended = Process::start(command.env("PW", Broker::PASSWORD)).wait();
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        assert!(ended.stderr.contains("permission denied"), "{}", ended.stderr);
    }

    #[test]
    fn a_batch_with_deleted_records_is_not_replayed() {
        let broker = Broker::shared();
        for (topic, delete, output) in [
            ("replayed", 0, None),
            ("not-replayed", 2, Some("of topic `not-replayed`, offsets 0 to 3, but 1 of them exist")),
        ] {
            broker.topic(topic, 1, &[]);
            broker.produce(topic, &strings(&["a", "b", "c"]));
            let trial = job(broker, &format!("topic = \"{topic}\""));
            // No checkpoint after the batch: its plan is all that there is.
            trial.change("every = 5", "every = 100000");
            let mut running = trial.start(&[]);
            running.wait_until("the batch is committed", |_| trial.values("out.jsonl").len() == 3);
            running.kill();
            if delete > 0 {
                broker.delete_records(topic, 0, delete);
            }
            match output {
                None => assert_eq!(run_to_idle(&trial), ["a", "b", "c"]),
                Some(output) => {
                    let printed = fails(&trial, 2);
                    assert!(
                        printed.contains(output) && printed.contains("the oldest record has offset 2"),
                        "{printed}"
                    );
                }
            }
        }
    }

    #[test]
    fn records_that_were_deleted_before_they_were_read_stop_the_job() {
        let broker = Broker::shared();
        broker.topic("deleted", 1, &[]);
        broker.produce("deleted", &strings(&["a", "b"]));
        let trial = job(broker, "topic = \"deleted\"");
        assert_eq!(run_to_idle(&trial), ["a", "b"]);
        broker.produce("deleted", &strings(&["c", "d", "e"]));
        broker.delete_records("deleted", 0, 4);
        let printed = fails(&trial, 2);
        let expected = "partition 0 of topic `deleted` resumes at offset 2, but the oldest record has offset 4";
        assert!(printed.contains(expected) && printed.contains("--fresh"), "{printed}");
        // Deletions elsewhere do not affect the job.
        broker.topic("retained", 1, &[]);
        broker.produce("retained", &strings(&["a", "b"]));
        let trial = job(broker, "topic = \"retained\"");
        run_to_idle(&trial);
        broker.delete_records("retained", 0, 2);
        broker.produce("retained", &strings(&["c"]));
        assert_eq!(run_to_idle(&trial), ["a", "b", "c"]);
    }
}
