//! Source and sink `kinesis`, with a server that speaks its protocol.

use millstream_tests::{DEADLINE, HttpServer, Kinesis, Process, Random, Trial, aggregated, block, wait_until};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A job that reads a stream, keeps checkpoints, and puts rows into a queue.
fn job(source: &str) -> Trial {
    Trial::new(&format!(
        "name = \"reader\"\nbatch = \"20ms\"\n[checkpoint]\ndir = \"kept\"\nevery = 3\n[sources.in]\nkind = \"kinesis\"\n\
         stream = \"orders\"\n{source}\n[sinks.out]\nfrom = \"in\"\nkind = \"queue\"\npath = \"out.jsonl\"\n[sinks.bad]\nfrom = \
         \"in.rejected\"\nkind = \"queue\"\npath = \"bad.jsonl\"\n"
    ))
}

fn start(trial: &Trial, port: u16, arguments: &[&str], fault: &str) -> Process {
    let mut command = trial.command(&[&["run", "job.toml", "--unsupervised"], arguments].concat());
    Process::start(command.envs(Kinesis::settings(port)).env("MILLSTREAM_TEST_FAULT", fault))
}

/// The same in this many processes, which a supervisor restarts if one of them dies.
fn start_processes(trial: &Trial, port: u16, processes: usize) -> Process {
    let (number, hosts) = (processes.to_string(), millstream_tests::hosts(processes));
    let together = ["run", "job.toml", "--workers", "1", "--processes", &number, "--hosts", &hosts];
    Process::start(trial.command(&together).envs(Kinesis::settings(port)))
}

/// Kills one process of a job, or all of it.
fn kill(running: &mut Option<Process>, all: bool) {
    let Some(job) = running.take() else { return };
    let children = job.children();
    let of_all = if all { children.len() } else { 1 };
    for child in children.iter().take(of_all) {
        millstream_tests::kill(*child);
    }
    match all {
        true => {
            job.kill();
            children.iter().for_each(|child| millstream_tests::kill(*child));
            wait_until("its workers are gone", || children.iter().all(|child| !millstream_tests::is_alive(*child)));
        }
        false => *running = Some(job),
    }
}

/// Runs the job until no more rows arrive.
#[track_caller]
fn run_to_idle(trial: &Trial, port: u16) {
    let ended = start(trial, port, &["--until-idle"], "").wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

/// Runs a job that ends with this exit code; returns its output.
#[track_caller]
fn fails(trial: &Trial, port: u16, code: i32) -> String {
    let ended = start(trial, port, &["--until-idle"], "").wait();
    assert_eq!(ended.code, Some(code), "{}", ended.stderr);
    ended.stderr
}

fn strings<'a>(values: &[&'a str]) -> Vec<(&'a str, &'a str)> {
    values.iter().map(|value| ("k", *value)).collect()
}

#[test]
fn a_job_begins_at_the_configured_position_and_then_resumes() {
    let server = Kinesis::start();
    server.create("orders", 1);
    server.put("orders", &strings(&["one", "two"]));
    // The server counts milliseconds.
    std::thread::sleep(Duration::from_millis(20));
    let at = now();
    std::thread::sleep(Duration::from_millis(20));
    server.put("orders", &strings(&["three"]));
    let of = |start: &str| job(&format!("start = \"{start}\""));
    let (earliest, by_time, latest) = (of("earliest"), of(&at), of("latest"));
    run_to_idle(&earliest, server.port());
    assert_eq!(earliest.values("out.jsonl"), ["one", "two", "three"]);
    run_to_idle(&by_time, server.port());
    assert_eq!(by_time.values("out.jsonl"), ["three"]);
    // A plan stores the starting position, so a row has to arrive.
    let running = start(&latest, server.port(), &[], "");
    let mut number = 0;
    wait_until("a row came", || {
        number += 1;
        server.put("orders", &strings(&[&format!("more {number}")]));
        std::thread::sleep(Duration::from_millis(200));
        !latest.rows("out.jsonl").is_empty()
    });
    running.stop();
    server.put("orders", &strings(&["last"]));
    for trial in [&earliest, &by_time, &latest] {
        run_to_idle(trial, server.port());
    }
    let latest = latest.values("out.jsonl");
    assert!(latest[0].starts_with("more"), "{latest:?}");
    assert_eq!(latest.last().unwrap(), "last");
    let more = earliest.values("out.jsonl").split_off(3);
    assert_eq!(by_time.values("out.jsonl")[1..], more);
    assert!(more.ends_with(&latest), "{more:?} {latest:?}");
}

/// The current time in the format of job files.
fn now() -> String {
    let message = std::process::Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%S.%3NZ"]).output().expect("a date");
    String::from_utf8(message.stdout).expect("text").trim().to_owned()
}

const COLUMNS: &str = "format = \"json\"\n[sources.in.schema]\nn = \"int64\"\nk = { type = \"text\", from = \"key\" }\nat = { type = \
                       \"timestamp\", from = \"timestamp\" }\nid = { type = \"text\", from = \"id\" }";

#[test]
fn metadata_of_records_are_columns_and_aggregated_records_are_rows() {
    let server = Kinesis::start();
    server.create("orders", 1);
    let several = aggregated(&[("a", "{\"n\":2}"), ("ü", "{\"n\":3}"), ("c", "no json"), ("a", "{\"n\":4}")]);
    // A record with a wrong digest is treated as a plain record.
    let mut broken = several.clone();
    *broken.last_mut().unwrap() ^= 1;
    server.put("orders", &[("x", b"{\"n\":1}".to_vec()), ("p", several), ("q", broken), ("y", b"{\"n\":5}".to_vec())]);
    let trial = job(COLUMNS);
    run_to_idle(&trial, server.port());
    let rows = trial.rows("out.jsonl");
    let found: Vec<_> = rows.iter().map(|row| (row["n"].as_i64().unwrap(), row["k"].as_str().unwrap())).collect();
    assert_eq!(found, [(1, "x"), (2, "a"), (3, "ü"), (4, "a"), (5, "y")]);
    let ids: Vec<_> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert!(!ids[0].contains('/') && ids[1].ends_with("/0") && ids[3].ends_with("/3"), "{ids:?}");
    assert_eq!(ids[1].split('/').next(), ids[3].split('/').next());
    assert!(rows.iter().all(|row| row["at"].as_str().unwrap().starts_with("20")), "{rows:?}");
    assert_eq!(trial.rows("bad.jsonl").len(), 2);
}

/// Counts of rows by ten; the number of a row is its second.
const WINDOWS: &str = r#"
[stages.windows]
from = "in"
time = "to_timestamp(n)"
window = { size = "10s", slide = "10s" }
aggregate = { rows = "count(*)" }
[sinks.windows]
from = "windows"
kind = "queue"
path = "windows.jsonl"
"#;

fn resharded(seed: u64, spread: bool) {
    let server = Kinesis::start();
    server.create("orders", 2);
    let trial = job(COLUMNS);
    trial.write("job.toml", trial.text("job.toml") + WINDOWS);
    let keys: Vec<String> = (0..20).map(|key| format!("key {key}")).collect();
    let mut random = Random::new(seed);
    let mut written = 0;
    let mut write = |count: i64| {
        let records: Vec<_> = (written..written + count)
            .map(|n| (keys[n as usize % keys.len()].as_str(), format!("{{\"n\":{n}}}")))
            .collect();
        // One after the other, so that the order of a key is known.
        server.put("orders", &records);
        written += count;
    };
    let steps = ["plan.durable", "commit.written", "commit.after", "checkpoint.published", "plan.written"];
    for round in 0..8_u64 {
        let step = steps[round as usize % steps.len()];
        write(40);
        let processes = 1 + (round as usize + 1) % 3;
        let mut running = match spread {
            true => start_processes(&trial, server.port(), processes),
            false => start(&trial, server.port(), &[], &format!("kill@{step}:{}", random.from(1, 6))),
        };
        let shards = server.open_shards("orders");
        match round % 3 {
            0 => server.split("orders", &shards[random.from(0, shards.len() as u64 - 1) as usize]),
            1 => {
                let mut by_place = shards.clone();
                by_place.sort_by_key(|(_, first, _)| *first);
                let at = random.from(0, by_place.len() as u64 - 2) as usize;
                server.merge("orders", &by_place[at].0, &by_place[at + 1].0);
            }
            _ => {}
        }
        write(40);
        if spread {
            let mut running = Some(running);
            for all in [false, true] {
                std::thread::sleep(Duration::from_millis(random.from(500, 5000)));
                kill(&mut running, all);
            }
            continue;
        }
        // It dies on its own if it gets that far, otherwise it is killed.
        let until = Instant::now() + Duration::from_secs(4);
        while !running.has_ended() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        running.kill();
    }
    let deadline = Instant::now() + DEADLINE;
    let mut running = match spread {
        true => start_processes(&trial, server.port(), 3),
        false => start(&trial, server.port(), &[], ""),
    };
    let all = || {
        let [rows, windows] = ["out.jsonl", "windows.jsonl"].map(|file| trial.rows(file).len() as i64);
        rows >= written && windows >= written / 10 - 8
    };
    while !all() && Instant::now() < deadline && !running.has_ended() {
        std::thread::sleep(Duration::from_millis(50));
    }
    // It may be just starting.
    running.wait_until("it has begun", |running| running.stderr().contains(" batch "));
    running.stop();
    let rows = trial.rows("out.jsonl");
    let mut by_key: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for row in &rows {
        by_key.entry(row["k"].as_str().unwrap().to_owned()).or_default().push(row["n"].as_i64().unwrap());
    }
    for (at, key) in keys.iter().enumerate() {
        let expected: Vec<i64> = (0..written).filter(|n| *n as usize % keys.len() == at).collect();
        assert_eq!(by_key[key], expected, "{key}");
    }
    assert_eq!(rows.len(), written as usize);
    // The last ones are open as long as a row of them may arrive.
    let counts: Vec<i64> = trial.rows("windows.jsonl").iter().map(|row| row["rows"].as_i64().unwrap()).collect();
    assert_eq!(counts, vec![10; counts.len()]);
    assert!(counts.len() as i64 >= written / 10 - 8, "{} windows came out", counts.len());
}

/// Errors of a server that is busy, moves, or loses iterators.
#[test]
fn throttling_expired_iterators_and_server_errors_are_retried() {
    let server = Kinesis::start();
    server.create("orders", 1);
    let random = Mutex::new(Random::new(11));
    let proxy = server.proxy(move |action, _, served| {
        let fate = random.lock().expect("nobody panics").from(0, 7);
        let refused = |kind: &str| (400, json!({ "__type": kind, "message": "not now" }));
        match (action, fate) {
            ("GetRecords", 0) => refused("ProvisionedThroughputExceededException"),
            ("GetRecords", 1) => refused("ExpiredIteratorException"),
            (_, 2) => (500, Value::Null),
            (_, 3) => (200, json!({ "Records": 7 })),
            _ => served(),
        }
    });
    let trial = job("record_bytes_max = 100");
    let mut running = start(&trial, proxy.port(), &[], "");
    for number in 0..10 {
        server.put("orders", &[("k", format!("{number}"))]);
        wait_until("it has come", || trial.rows("out.jsonl").len() > number);
    }
    running.wait_for_stderr("retrying until it works");
    running.stop();
    assert_eq!(trial.values("out.jsonl"), (0..10).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_hanging_or_unreachable_server_is_waited_for() {
    let server = Kinesis::start();
    server.create("orders", 1);
    let trial = job("");
    let (port, settings) = (millstream_tests::free_port(), server.port());
    let mut running = start(&trial, port, &[], "");
    running.wait_for_stderr("connection refused; retrying until it works");
    let _proxy = HttpServer::start(port, {
        let forward = server.proxy(|_, _, served| served());
        move |request, _| {
            let _ = settings;
            let action = request.header("x-amz-target")?.to_owned();
            let headers: Vec<String> = ["content-type", "x-amz-date", "authorization"]
                .iter()
                .filter_map(|name| Some(format!("{name}: {}", request.header(name)?)))
                .chain([format!("X-Amz-Target: {action}")])
                .collect();
            let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
            let mut client = millstream_tests::HttpClient::connect(forward.port()).ok()?;
            let reply = client.post(&headers, &request.body).ok()?;
            Some((reply.status, String::new(), reply.body))
        }
    });
    server.put("orders", &strings(&["one"]));
    wait_until("it has come", || trial.values("out.jsonl") == ["one"]);
    server.suspend();
    std::thread::sleep(Duration::from_millis(500));
    server.resume();
    server.put("orders", &strings(&["two"]));
    wait_until("it has come as well", || trial.values("out.jsonl") == ["one", "two"]);
    running.stop();
}

#[test]
fn a_recreated_stream_is_not_read() {
    let server = Kinesis::start();
    server.create("orders", 1);
    server.put("orders", &strings(&["one"]));
    let trial = job("");
    run_to_idle(&trial, server.port());
    server.delete("orders");
    // It is identified by the second of its creation.
    std::thread::sleep(Duration::from_millis(1100));
    server.create("orders", 1);
    let message = fails(&trial, server.port(), 2);
    let expected = "is not the stream that the job has read; restart the job, with `--drop-state in`";
    assert!(message.contains(expected), "{message}");
}

#[test]
fn errors_of_streams_and_credentials_are_reported() {
    let server = Kinesis::start();
    let trial = job("");
    let message = fails(&trial, server.port(), 2);
    assert!(message.contains("ResourceNotFoundException"), "{message}");
    assert!(message.contains("create the stream, or check `stream` or `region`"), "{message}");
    for (kind, help) in [
        ("UnrecognizedClientException", "set AWS_ACCESS_KEY_ID"),
        ("InvalidSignatureException", "check this machine's clock"),
        ("ExpiredTokenException", "set a new AWS_SESSION_TOKEN"),
        ("AccessDeniedException", "grant it to these credentials"),
    ] {
        let proxy = server.proxy(move |_, _, _| (400, json!({ "__type": kind, "message": "no \u{1b}[31m" })));
        let message = fails(&trial, proxy.port(), 2);
        assert!(message.contains(help) && message.contains(kind), "{message}");
        assert!(!message.contains('\u{1b}'), "{message}");
    }
    let refused = |settings: &[(&str, &str)]| {
        let mut command = trial.command(&["validate", "job.toml"]);
        for name in
            ["AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_KINESIS", "AWS_ALLOW_HTTP"]
        {
            command.env_remove(name);
        }
        let ended = Process::start(command.envs(settings.iter().copied())).wait();
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        ended.stderr
    };
    let message = refused(&[]);
    assert!(message.contains("the region of the stream is unknown"), "{message}");
    let message = refused(&[("AWS_REGION", "x"), ("AWS_ENDPOINT_URL", "http://127.0.0.1:1")]);
    assert!(message.contains("set AWS_ALLOW_HTTP=true"), "{message}");
}

/// A job that writes into a stream.
fn writer(sink: &str) -> Trial {
    let trial = Trial::new(&format!(
        "name = \"writer\"\nbatch = \"10ms\"\n[checkpoint]\ndir = \"kept\"\nevery = 5\n[sources.orders]\nkind = \"directory\"\npath = \
         \"in\"\nsettle = \"0s\"\npoll = \"20ms\"\nformat = \"json\"\nschema = {{ n = \"int64\", user = \"text\" \
         }}\nrows_per_batch_max = 50\n[sinks.out]\nfrom = \"orders\"\nkind = \"kinesis\"\nstream = \"orders\"\n{sink}\n"
    ));
    trial
        .write("in/a.jsonl", (0..1000).map(|n| format!("{{\"n\":{n},\"user\":\"u{}\"}}\n", n % 7)).collect::<String>());
    trial
}

fn numbers(records: &[(String, String)]) -> Vec<i64> {
    let number =
        |data: &String| serde_json::from_str::<Value>(data).expect("an object")["n"].as_i64().expect("a number");
    records.iter().map(|(_, data)| number(data)).collect()
}

#[test]
fn rows_become_records_with_the_partition_key_of_a_column() {
    let server = Kinesis::start();
    server.create("orders", 3);
    let trial = writer("key = \"user\"");
    run_to_idle(&trial, server.port());
    let records = server.records("orders");
    let mut all = numbers(&records);
    let mut by_key: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for ((key, _), n) in records.iter().zip(&all) {
        assert_eq!(*key, format!("u{}", n % 7));
        by_key.entry(key.clone()).or_default().push(*n);
    }
    assert!(by_key.values().all(|numbers| numbers.is_sorted()), "{by_key:?}");
    all.sort_unstable();
    assert_eq!(all, (0..1000).collect::<Vec<_>>());
    assert_eq!(records[0].1, format!("{{\"n\":{},\"user\":\"{}\"}}", numbers(&records)[0], records[0].0));

    trial.move_in("in/b.jsonl", format!("{{\"n\":1,\"user\":\"{}\"}}\n", "x".repeat(300)));
    let message = fails(&trial, server.port(), 1);
    assert!(
        message.contains("row 0 of the batch: its partition key has 300 characters; the maximum is 256"),
        "{message}"
    );
}

/// A server takes some records of a request and not others; and the job is killed.
#[test]
fn rejected_records_are_sent_again_in_order_and_all_at_least_once() {
    let server = Kinesis::start();
    server.create("orders", 1);
    let taken: Arc<Mutex<Vec<i64>>> = Arc::default();
    let (message, count) = (taken.clone(), AtomicUsize::new(0));
    let proxy = server.proxy(move |action, requests, served| {
        if action != "PutRecords" {
            return served();
        }
        let number = count.fetch_add(1, Ordering::SeqCst);
        if number % 5 == 4 {
            return (400, json!({ "__type": "ProvisionedThroughputExceededException", "message": "slow" }));
        }
        let records = requests["Records"].as_array().expect("records");
        // Of the first of three requests, only the first half is accepted.
        let half = if number % 3 == 0 { records.len() / 2 } else { records.len() };
        let mut taken = message.lock().expect("nobody panics");
        let answers = records.iter().enumerate().map(|(at, record)| {
            if at >= half {
                return json!({ "ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "slow" });
            }
            taken.push(number_of(record));
            json!({ "SequenceNumber": "1", "ShardId": "s" })
        });
        let answers: Vec<Value> = answers.collect();
        (200, json!({ "FailedRecordCount": records.len() - half, "Records": answers }))
    });
    let trial = writer("");
    for step in ["commit.after:3", "commit.before:4", "commit.after:2"] {
        let ended = start(&trial, proxy.port(), &["--until-idle"], &format!("kill@{step}")).wait();
        assert_eq!(ended.code, None, "it does not come to {step}: {}", ended.stderr);
    }
    run_to_idle(&trial, proxy.port());
    let taken = taken.lock().expect("nobody panics");
    let mut seen = std::collections::BTreeSet::new();
    let first: Vec<i64> = taken.iter().copied().filter(|n| seen.insert(*n)).collect();
    assert_eq!(first, (0..1000).collect::<Vec<_>>(), "seen for the first time they are in order");
    assert!(taken.len() > 1000, "some came twice");
}

fn number_of(record: &Value) -> i64 {
    use base64::Engine as _;
    let data =
        base64::engine::general_purpose::STANDARD.decode(record["Data"].as_str().expect("data")).expect("base64");
    serde_json::from_slice::<Value>(&data).expect("an object")["n"].as_i64().expect("a number")
}

/// The sources and sinks of the page are right.
#[test]
fn the_jobs_of_the_page_are_valid() {
    let page = block("docs/reference/connectors/kinesis.md", "toml", "[sources.orders]");
    let trial = Trial::new(&page.text);
    let ended = Process::start(&mut trial.command(&["validate", "job.toml"])).wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

/// Long tests: `make torture` runs them, `make test` does not.
mod long {
    use super::*;

    /// The same with a job whose processes share the shards, whose number grows and shrinks.
    #[test]
    fn shards_follow_their_parents_across_processes() {
        resharded(8, true);
    }

    /// The job is killed repeatedly while shards are split and merged: each row arrives once, and those of a key in order, though
    /// they are in one shard after the other. None is late: a shard has its own watermark, which continues from those of its
    /// parents.
    #[test]
    fn each_row_arrives_once_and_in_order_across_splits_merges_and_kills() {
        resharded(7, false);
    }

    /// Rows of an aggregated record are split into batches like others, and a job that dies in the middle resumes in the middle.
    #[test]
    fn an_aggregated_record_split_across_batches_is_read_once() {
        let server = Kinesis::start();
        server.create("orders", 1);
        let data: Vec<String> = (0..90).map(|n| format!("{{\"n\":{n}}}")).collect();
        for some in data.chunks(30) {
            let records: Vec<_> = some.iter().map(|data| ("k", data.as_str())).collect();
            server.put("orders", &[("p", aggregated(&records))]);
        }
        for step in ["plan.durable:4", "commit.written:6", "commit.after:9"] {
            let trial = job(&format!("rows_per_batch_max = 7\n{COLUMNS}"));
            let ended = start(&trial, server.port(), &["--until-idle"], &format!("kill@{step}")).wait();
            assert_eq!(ended.code, None, "it does not come to {step}: {}", ended.stderr);
            run_to_idle(&trial, server.port());
            let numbers: Vec<_> = trial.rows("out.jsonl").iter().map(|row| row["n"].as_i64().unwrap()).collect();
            assert_eq!(numbers, (0..90).collect::<Vec<_>>(), "{step}");
        }
    }

    #[test]
    fn records_that_were_deleted_before_they_were_read_end_the_job() {
        let server = Kinesis::start();
        server.create("orders", 1);
        server.put("orders", &strings(&["one"]));
        let trial = job("");
        run_to_idle(&trial, server.port());
        let forgets = |record_is_there: bool| {
            server.proxy(move |action, requests, served| {
                let (status, mut message) = served();
                if action == "DescribeStreamSummary" {
                    message["StreamDescriptionSummary"]["RetentionPeriodHours"] = json!(0);
                }
                let at_record = requests["ShardIteratorType"] == "AT_SEQUENCE_NUMBER";
                if at_record && !record_is_there {
                    return (400, json!({ "__type": "InvalidArgumentException", "message": "trimmed" }));
                }
                (status, message)
            })
        };
        server.put("orders", &strings(&["two"]));
        // The stream may have deleted what came long ago, but has not.
        let there = forgets(true);
        run_to_idle(&trial, there.port());
        assert_eq!(trial.values("out.jsonl"), ["one", "two"]);
        let gone = forgets(false);
        let message = fails(&trial, gone.port(), 2);
        assert!(message.contains("shard `shardId-000000000000` was read up to "), "{message}");
        assert!(
            message.contains("raise the stream's retention, and restart the job, with `--drop-state in`"),
            "{message}"
        );
        assert_eq!(trial.values("out.jsonl"), ["one", "two"]);
    }
}
