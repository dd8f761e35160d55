//! The source `redis` with a real server.

use millstream_tests::page::PageAddress;
use millstream_tests::redis::RedisReply;
use millstream_tests::{Certificates, Process, Random, Redis, Trial, is_alive, kill, signal, wait_until};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// A job that reads streams, keeps checkpoints, and puts rows into a queue.
fn job(url: &str, source: &str) -> Trial {
    Trial::new(&format!(
        r#"name = "reader"
batch = "20ms"
[checkpoint]
dir = "checkpoint"
every = 5
[sources.in]
kind = "redis"
url = "{url}"
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

const NUMBERS: &str = "schema = { n = \"int64\", stream = { type = \"text\", from = \"topic\" } }";

/// Runs the job until no more rows arrive; returns its complete output.
#[track_caller]
fn run_to_idle(trial: &Trial) -> Vec<Value> {
    trial.run_ok(&["--until-idle"]);
    trial.rows("out.jsonl")
}

/// Runs a job that ends with this exit code; returns its output.
#[track_caller]
fn fails(trial: &Trial, code: i32) -> String {
    let ended = Process::start(&mut trial.command(&["run", "job.toml", "--until-idle", "--unsupervised"])).wait();
    assert_eq!(ended.code, Some(code), "{}", ended.stderr);
    ended.stderr
}

/// Whatever dies, each entry arrives once, in the order of its stream.
#[test]
fn entries_arrive_once_after_any_kill() {
    thread::scope(|scope| {
        for (seed, processes) in [(1, 1), (2, 2)] {
            scope.spawn(move || disturbed(seed, processes));
        }
    });
}

fn disturbed(seed: u64, processes: usize) {
    let (mut random, mut redis) = (Random::new(seed), Redis::start());
    let trial = job(&redis.url(), &format!("stream = [\"a\", \"b\"]\n{NUMBERS}"));
    let (port, enough) = (redis.port(), AtomicBool::new(false));
    thread::scope(|scope| {
        let adding = scope.spawn(|| {
            let mut number = 0_u64;
            while !enough.load(Ordering::Relaxed) {
                let stream = if number.is_multiple_of(3) { "b" } else { "a" };
                // If the server is unreachable, the message is sent again, and may then be duplicated.
                match Redis::try_add_at(port, stream, &[("n", number.to_string().as_bytes())]) {
                    true => number += 1,
                    false => thread::sleep(Duration::from_millis(20)),
                }
            }
        });
        let mut running = trial.start_processes(processes, 2);
        for _ in 0..10 {
            thread::sleep(Duration::from_millis(random.from(100, 900)));
            match random.from(0, 3) {
                0 => {
                    redis.kill();
                    thread::sleep(Duration::from_millis(random.from(0, 300)));
                    redis.start_again();
                }
                1 => {
                    let children = running.children();
                    running.kill();
                    wait_until("its workers are gone", || children.iter().all(|child| !is_alive(*child)));
                    let processes = if processes == 1 { 1 } else { random.from(1, 3) as usize };
                    running = trial.start_processes(processes, 2);
                }
                _ => running.children().iter().filter(|child| is_alive(**child)).for_each(|child| kill(*child)),
            }
        }
        enough.store(true, Ordering::Relaxed);
        adding.join().unwrap();
        let expected: BTreeMap<&str, Vec<i64>> =
            ["a", "b"].into_iter().map(|stream| (stream, numbers(&redis, stream))).collect();
        let count: usize = expected.values().map(Vec::len).sum();
        running.wait_until("all entries came", |_| trial.rows("out.jsonl").len() >= count);
        // It may be just starting.
        running.wait_until("it has begun", |running| running.stderr().contains(" batch "));
        running.stop();
        let mut found = BTreeMap::from([("a", Vec::new()), ("b", Vec::new())]);
        for row in trial.rows("out.jsonl") {
            found.get_mut(row["stream"].as_str().unwrap()).unwrap().push(row["n"].as_i64().unwrap());
        }
        assert_eq!(found, expected, "seed {seed}");
        assert!(trial.rows("bad.jsonl").is_empty());
    });
}

fn numbers(redis: &Redis, stream: &str) -> Vec<i64> {
    let number = |entry: Vec<(String, Vec<u8>)>| String::from_utf8(entry[0].1.clone()).unwrap().parse().unwrap();
    redis.entries(stream).into_iter().map(number).collect()
}

#[test]
fn fields_are_columns_and_entries_have_ids_and_times() {
    let redis = Redis::start();
    let schema = r#"schema = { n = "int64", x = "float64", ok = "bool", name = "text", raw = "binary", at = "timestamp", user = { type = "text", path = "who.id" }, id = { type = "text", from = "id" }, time = { type = "timestamp", from = "timestamp" } }"#;
    // A name with all kinds of special characters.
    let stream = "odd {name} = 'ü' #%\\\"";
    let trial = job(&redis.url(), &format!("stream = '''{stream}'''\n{schema}"));
    let row = [
        ("n", "7"),
        ("x", "1.5"),
        ("ok", "true"),
        ("name", "12"),
        ("raw", "a\u{0}b"),
        ("at", "2026-11-22T10:00:00Z"),
        ("who", r#"{"id":"u1"}"#),
        ("more", "nobody asks"),
    ];
    let mut message = vec!["XADD", stream, "1700000000123-5"];
    row.iter().for_each(|(name, value)| message.extend([*name, *value]));
    redis.send_request(&message);
    redis.add(stream, &[("unknown", "x")]);
    redis.add(stream, &[("n", "seven")]);
    redis.add(stream, &[("n", "8"), ("name", "")]);
    assert!(redis.try_add(stream, &[("more", b"\xff\xfe")]));
    assert!(redis.try_add(stream, &[("name", b"\xff\xfe")]));
    let mut rows = run_to_idle(&trial);
    let first = rows.remove(0);
    let expected = json!({
        "n": 7, "x": 1.5, "ok": true, "name": "12", "raw": "610062", "at": "2026-11-22T10:00:00.000000Z", "user": "u1",
        "id": "1700000000123-5", "time": "2023-11-14T22:13:20.123000Z",
    });
    assert_eq!(first, expected);
    let of = |name: &str| rows.iter().map(|row| row[name].clone()).collect::<Vec<_>>();
    assert_eq!(of("n"), [Value::Null, json!(8), Value::Null]);
    assert_eq!(of("name"), [Value::Null, json!(""), Value::Null]);
    let bad: Vec<String> =
        trial.rows("bad.jsonl").iter().map(|row| row["reason"].as_str().unwrap().to_owned()).collect();
    assert_eq!(bad.len(), 2, "{bad:?}");
    assert!(bad.iter().any(|why| why.contains("field `name` is not UTF-8")), "{bad:?}");
}

#[test]
fn one_field_has_a_record_of_any_format() {
    let redis = Redis::start();
    for (stream, value) in [("json", r#"{"n":1}"#), ("csv", "1,\"a,b\""), ("text", "a line")] {
        redis.add(stream, &[("other", "x"), ("data", value)]);
        redis.add(stream, &[("other", "no such field")]);
    }
    for (stream, rest, expected) in [
        ("json", "format = \"json\"\nschema = { n = \"int64\" }", json!({ "n": 1 })),
        ("csv", "format = \"csv\"\nschema = { n = \"int64\", s = \"text\" }", json!({ "n": 1, "s": "a,b" })),
        ("text", "", json!({ "value": "a line" })),
    ] {
        let trial = job(&redis.url(), &format!("stream = \"{stream}\"\nfield = \"data\"\n{rest}"));
        let rows = run_to_idle(&trial);
        assert_eq!(rows[0], expected, "{stream}");
        // An entry without the field has no value: the row is null, or rejected with a reason.
        assert_eq!(rows.len() + trial.rows("bad.jsonl").len(), 2, "{stream}: {rows:?}");
    }
}

#[test]
fn a_job_begins_at_the_configured_position_and_then_resumes() {
    let redis = Redis::start();
    redis.add("s", &[("n", "1")]);
    let of =
        |start: &str| job(&redis.url(), &format!("stream = \"s\"\nstart = \"{start}\"\nschema = {{ n = \"int64\" }}"));
    let (earliest, latest) = (of("earliest"), of("latest"));
    assert_eq!(run_to_idle(&earliest), [json!({ "n": 1 })]);
    assert_eq!(run_to_idle(&latest), [json!({})][..0]);
    redis.add("s", &[("n", "2")]);
    assert_eq!(run_to_idle(&earliest), [json!({ "n": 1 }), json!({ "n": 2 })]);
}

/// A source that starts at the latest position starts at the end as of its first look, whatever happens to the connection before
/// an entry arrives.
#[test]
fn messages_during_an_outage_are_after_the_latest_position() {
    let mut redis = Redis::start();
    redis.add("s", &[("n", "1")]);
    let trial = job(&redis.url(), "stream = \"s\"\nstart = \"latest\"\nschema = { n = \"int64\" }");
    let mut running = trial.start(&[]);
    wait_until(
        "it reads",
        || matches!(redis.send_request(&["CLIENT", "LIST"]), RedisReply::Bytes(list) if String::from_utf8_lossy(&list).contains("cmd=xread")),
    );
    redis.kill();
    running.wait_for_stderr("retrying until it works");
    redis.start_again();
    redis.add("s", &[("n", "2")]);
    running.wait_until("a row came", |_| !trial.rows("out.jsonl").is_empty());
    running.stop();
    assert_eq!(trial.rows("out.jsonl"), [json!({ "n": 2 })]);
}

/// Redis drops entries beyond the limit, read or not.
#[test]
fn entries_that_were_trimmed_before_they_were_read_end_the_job() {
    let redis = Redis::start();
    let trial = job(&redis.url(), "stream = \"s\"\nschema = { n = \"int64\" }");
    for number in 0..10 {
        redis.add("s", &[("n", &number.to_string())]);
    }
    assert_eq!(run_to_idle(&trial).len(), 10);
    // Entries that were read may be deleted.
    redis.send_request(&["XTRIM", "s", "MAXLEN", "2"]);
    assert_eq!(run_to_idle(&trial).len(), 10);
    for number in 10..20 {
        redis.add("s", &[("n", &number.to_string())]);
    }
    redis.send_request(&["XTRIM", "s", "MAXLEN", "4"]);
    let output = fails(&trial, 2);
    assert!(output.contains("source `in`: stream `s`: 6 entries after "), "{output}");
    assert!(output.contains("let the stream keep more (MAXLEN, MINID)"), "{output}");
    assert_eq!(trial.rows("out.jsonl").len(), 10, "nothing behind them is read");
    // All of them are deleted, and no more arrive.
    redis.send_request(&["XTRIM", "s", "MAXLEN", "0"]);
    assert!(fails(&trial, 2).contains("10 entries after "));
}

#[test]
fn another_stream_of_the_same_name_ends_the_job() {
    let redis = Redis::start();
    let trial = job(&redis.url(), "stream = \"s\"\nschema = { n = \"int64\" }");
    for number in 0..5 {
        redis.add("s", &[("n", &number.to_string())]);
    }
    assert_eq!(run_to_idle(&trial).len(), 5);
    for entries in [3, 8] {
        redis.send_request(&["DEL", "s"]);
        for number in 0..entries {
            redis.add("s", &[("n", &number.to_string())]);
        }
        let output = fails(&trial, 2);
        assert!(output.contains("the job has read another stream of this name up to entry"), "{output}");
        assert!(output.contains("restart the job, with `--drop-state in` if it has a checkpoint"), "{output}");
    }
    assert_eq!(trial.rows("out.jsonl").len(), 5);
    trial.run_ok(&["--until-idle", "--drop-state", "in"]);
    assert_eq!(trial.rows("out.jsonl").len(), 5 + 8);
}

#[test]
fn an_unreachable_server_or_missing_stream_is_waited_for() {
    let mut redis = Redis::not_started(&[]);
    let trial = job(&redis.url(), "stream = \"s\"\nschema = { n = \"int64\" }");
    let mut running = trial.start(&[]);
    running.wait_for_stderr("retrying until it works");
    redis.start_again();
    redis.add("s", &[("n", "1")]);
    running.wait_until("a row came", |_| trial.rows("out.jsonl").len() == 1);
    redis.kill();
    running.wait_until("it is missed", |running| running.stderr().matches("retrying until it works").count() == 2);
    redis.start_again();
    redis.add("s", &[("n", "2")]);
    running.wait_until("a row came", |_| trial.rows("out.jsonl").len() == 2);
    redis.send_request(&["DEL", "s"]);
    running.wait_for_stderr("stream `s` no longer exists; retrying until it works");
    running.stop();
}

#[test]
fn errors_of_a_server_are_reported() {
    let redis = Redis::with(&["--requirepass", "secret-of-redis"]);
    let url = |login: &str| redis.url().replace("redis://", &format!("redis://{login}"));
    let stream = "stream = \"s\"\nschema = { n = \"int64\" }";
    let output = fails(&job(&url(""), stream), 2);
    assert!(
        output.contains("source `in`: stream `s`: ") && output.contains("add user and password to `url`"),
        "{output}"
    );
    let output = fails(&job(&url(":guessed-password@"), stream), 2);
    assert!(output.contains("authentication failed; check user and password in `url`"), "{output}");
    assert!(!output.contains("guessed-password"), "{output}");
    let trial = job(&url(":${REDIS_PW}@"), stream);
    let mut command = trial.command(&["run", "job.toml", "--until-idle"]);
    let ended = Process::start(command.env("REDIS_PW", "secret-of-redis")).wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let open = Redis::start();
    open.send_request(&["SET", "s", "text"]);
    let output = fails(&job(&open.url(), stream), 2);
    assert!(output.contains("stream `s`: this key is not a stream; check `stream`"), "{output}");
    for url in ["redis://:top-secret@:port/", "redis://:top-secret@127.0.0.1:99999", "redis://:top-secret@127.0.0.1/x"]
    {
        let output = fails(&job(url, stream), 2);
        assert!(output.contains("`url` cannot be used") && !output.contains("top-secret"), "{url}: {output}");
    }
}

#[test]
fn a_server_is_read_over_tls() {
    let (certificates, others) = (Certificates::make(), Certificates::make());
    let own = certificates.of("redis", "DNS:localhost,IP:127.0.0.1", 2);
    let redis = Redis::with_tls(&own, &certificates.ca());
    let url = redis.url().replace("redis://", "rediss://");
    let reading = |ca: &Certificates| {
        job(&url, &format!("tls = {{ ca = \"{}\" }}\nstream = \"s\"\nschema = {{ n = \"int64\" }}", ca.ca().display()))
    };
    assert!(run_to_idle(&reading(&certificates)).is_empty());
    let output = fails(&reading(&others), 2);
    assert!(output.contains("the server's certificate was issued by a CA that this job does not trust"), "{output}");
}

/// The response that contains it is not kept, and the entries around it arrive.
#[test]
fn a_too_large_entry_is_a_rejected_row() {
    let redis = Redis::start();
    let trial =
        job(&redis.url(), "stream = \"s\"\nrecord_bytes_max = \"1MiB\"\nschema = { n = \"int64\", text = \"text\" }");
    for n in 0..30 {
        let text = "x".repeat(if n == 7 { 18 << 20 } else { 10 });
        redis.add("s", &[("n", &n.to_string()), ("text", &text)]);
    }
    let rows = run_to_idle(&trial);
    let found: Vec<i64> = rows.iter().map(|row| row["n"].as_i64().unwrap()).collect();
    assert_eq!(found, (0..30).filter(|n| *n != 7).collect::<Vec<_>>());
    let bad = trial.rows("bad.jsonl");
    assert_eq!(bad.len(), 1);
    let reason = bad[0]["reason"].as_str().unwrap();
    assert!(reason.starts_with("1887") && reason.ends_with(" bytes, record_bytes_max is 1048576"), "{reason}");
}

/// A server that does not respond is treated like an unreachable one.
#[test]
fn a_server_that_hangs_is_waited_for() {
    let redis = Redis::start();
    let trial = job(&redis.url(), "stream = \"s\"\nschema = { n = \"int64\" }");
    redis.add("s", &[("n", "1")]);
    let mut running = trial.start(&[]);
    running.wait_until("a row came", |_| trial.rows("out.jsonl").len() == 1);
    redis.suspend();
    running.wait_for_stderr("retrying until it works");
    redis.resume();
    redis.add("s", &[("n", "2")]);
    running.wait_until("a row came", |_| trial.rows("out.jsonl").len() == 2);
    signal("TERM", running.id());
    assert_eq!(running.wait().code, Some(0));
}

/// Each stream has its read position and event time.
#[test]
fn a_status_lists_each_stream() {
    let redis = Redis::start();
    let counts = "[stages.counts]\nfrom = \"in\"\naggregate = { n = \"count(*)\" }\ntime = \"at\"\nwindow = { size = \"10s\" }\n\
                  [sinks.counted]\nfrom = \"counts\"\nkind = \"nothing\"";
    let trial = job(&redis.url(), &format!("stream = [\"a\", \"b\"]\nschema = {{ at = \"timestamp(s)\" }}\n{counts}"));
    for (stream, rows) in [("a", 40), ("b", 20)] {
        (0..rows).for_each(|at| redis.add(stream, &[("at", &(1_600_000_000 + at).to_string())]));
    }
    let (job, page) = PageAddress::start(&trial, &[]);
    let output = |status: &Value| -> BTreeMap<String, (Option<u64>, Option<i64>)> {
        let furthest = status["sources"][0]["partitions"]["furthest"].as_array().cloned().unwrap_or_default();
        let one = |of: &Value| (of["rows"].as_u64(), of["times_us"]["counts"].as_i64());
        furthest.iter().map(|of| (of["name"].as_str().unwrap().to_owned(), one(of))).collect()
    };
    let seen = |at: i64| Some((1_600_000_000 + at) * 1_000_000);
    let expected = BTreeMap::from([("a".to_owned(), (Some(40), seen(39))), ("b".to_owned(), (Some(20), seen(19)))]);
    let view = page.wait_for_json("", |view| output(&view["status"]) == expected);
    let source = &view["status"]["sources"][0];
    assert_eq!(source["partitions"]["count"], 2);
    assert_eq!(source["behind"], Value::Null, "nobody knows: {source}");
    let place = source["partitions"]["furthest"][0]["place"].as_str().unwrap();
    let id: Vec<u64> = place.split('-').map(|number| number.parse().unwrap()).collect();
    assert_eq!(id.len(), 2, "the id of an entry: {place}");
    let message = trial.run_command_ok(&["status", "job.toml"]);
    let line = message.lines().find(|line| line.contains("part    b at ")).unwrap_or_else(|| panic!("{message}"));
    assert!(line.contains(", 20 rows, counts: 2020-09-13 12:26:59.000 UTC"), "{message}");
    job.stop();
}
