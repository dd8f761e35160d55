//! The source `nats` with a real server.

use millstream_tests::{Certificates, Nats, Process, Random, Relay, Trial, is_alive, kill, signal, wait_until};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
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
kind = "nats"
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

const NUMBERS: &str = "format = \"json\"\nschema = { n = \"int64\", subject = { type = \"text\", from = \"topic\" } }";
const SHORT: &str = "stream = \"S\"\nformat = \"json\"\nschema = { n = \"int64\" }";

fn number(n: u64) -> String {
    format!("{{\"n\":{n}}}")
}

/// Runs the job until no more rows arrive; returns its complete output.
#[track_caller]
fn run_to_idle(trial: &Trial) -> Vec<Value> {
    trial.run_ok(&["--until-idle"]);
    trial.rows("out.jsonl")
}

/// The numbers of its rows.
#[track_caller]
fn numbers(rows: &[Value]) -> Vec<u64> {
    rows.iter().map(|row| row["n"].as_u64().expect("a number")).collect()
}

/// Runs a job that ends with this exit code; returns its output.
#[track_caller]
fn fails(trial: &Trial, code: i32) -> String {
    let ended = Process::start(&mut trial.command(&["run", "job.toml", "--until-idle", "--unsupervised"])).wait();
    assert_eq!(ended.code, Some(code), "{}", ended.stderr);
    ended.stderr
}

/// A job that ends when its sources are idle does not mistake a slow server for an idle one.
#[test]
fn slow_messages_are_waited_for() {
    let nats = Nats::start();
    nats.stream("S", &["s.*"], &json!({}));
    (0..10).for_each(|n| nats.publish("s.x", &number(n)));
    let relay = Relay::to(nats.port());
    *relay.held_back.lock().unwrap() = Some((b"$JS.ACK.".to_vec(), Duration::from_secs(4)));
    let trial = job(&format!("nats://127.0.0.1:{}", relay.port), SHORT);
    assert_eq!(numbers(&run_to_idle(&trial)), (0..10).collect::<Vec<_>>());
    assert!(relay.held_back.lock().unwrap().is_none(), "it was held back");
}

/// Whatever dies, each message arrives once, in the order of its stream.
#[test]
fn messages_arrive_once_after_any_kill() {
    thread::scope(|scope| {
        for (seed, processes) in [(1, 1), (2, 2)] {
            scope.spawn(move || disturbed(seed, processes));
        }
    });
}

fn disturbed(seed: u64, processes: usize) {
    let (mut random, mut nats) = (Random::new(seed), Nats::start());
    nats.stream("A", &["a.*"], &json!({}));
    nats.stream("B", &["b.*"], &json!({}));
    let trial = job(&nats.url(), &format!("stream = [\"A\", \"B\"]\n{NUMBERS}"));
    let (port, enough) = (nats.port(), AtomicBool::new(false));
    thread::scope(|scope| {
        let adding = scope.spawn(|| {
            let mut n = 0_u64;
            while !enough.load(Ordering::Relaxed) {
                let subject = if n.is_multiple_of(3) { "b.x" } else { "a.x" };
                // If the server is unreachable, the message is sent again, and may then be duplicated.
                match Nats::try_publish_at(port, &json!({}), subject, &[], number(n).as_bytes()) {
                    true => n += 1,
                    false => thread::sleep(Duration::from_millis(20)),
                }
            }
        });
        let mut running = trial.start_processes(processes, 2);
        for _ in 0..10 {
            thread::sleep(Duration::from_millis(random.from(100, 900)));
            match random.from(0, 3) {
                0 => {
                    nats.kill();
                    thread::sleep(Duration::from_millis(random.from(0, 300)));
                    nats.start_again();
                }
                1 => {
                    let children = running.children();
                    running.kill();
                    wait_until("its workers are gone", || children.iter().all(|child| !is_alive(*child)));
                    running = trial.start_processes(processes, 2);
                }
                _ => running.children().iter().filter(|child| is_alive(**child)).for_each(|child| kill(*child)),
            }
        }
        enough.store(true, Ordering::Relaxed);
        adding.join().unwrap();
        let kept = |stream: &str| {
            let kept = nats.messages(stream).into_iter();
            kept.map(|message| serde_json::from_slice::<Value>(&message.data).unwrap()["n"].as_u64().unwrap()).collect()
        };
        let expected: BTreeMap<&str, Vec<u64>> = [("a.x", kept("A")), ("b.x", kept("B"))].into();
        let count: usize = expected.values().map(Vec::len).sum();
        running.wait_until("all messages came", |_| trial.rows("out.jsonl").len() >= count);
        // It may be just starting.
        running.wait_until("it has begun", |running| running.stderr().contains(" batch "));
        running.stop();
        let mut found = BTreeMap::from([("a.x", Vec::new()), ("b.x", Vec::new())]);
        for row in trial.rows("out.jsonl") {
            found.get_mut(row["subject"].as_str().unwrap()).unwrap().push(row["n"].as_u64().unwrap());
        }
        assert_eq!(found, expected, "seed {seed}");
        assert!(trial.rows("bad.jsonl").is_empty());
    });
}

#[test]
fn metadata_of_messages_are_columns() {
    let nats = Nats::start();
    nats.stream("ODD_ü-1", &["odd.>"], &json!({}));
    let schema = r#"stream = "ODD_ü-1"
format = "json"
schema = { n = "int64", subject = { type = "text", from = "topic" }, seq = { type = "int64", from = "offset" }, at = { type = "timestamp", from = "timestamp" }, all = { type = "text", from = "headers" }, trace = { type = "text", from = "header.trace" } }"#;
    let trial = job(&nats.url(), schema);
    assert!(nats.try_publish("odd.ü.$x=1", &[("trace", "t: 1"), ("B", "")], b"{\"n\":1}"));
    nats.publish("odd.plain", "no JSON");
    nats.publish("odd.plain", "");
    nats.publish("odd.plain", "{\"n\":4}");
    let rows = run_to_idle(&trial);
    let expected = json!({ "n": 1, "subject": "odd.ü.$x=1", "seq": 1, "at": rows[0]["at"], "all": "{\"trace\":\"t: 1\",\"B\":\"\"}", "trace": "t: 1" });
    assert_eq!(rows[0], expected);
    assert!(rows[0]["at"].as_str().unwrap().starts_with("20"), "{}", rows[0]["at"]);
    assert_eq!((rows.len(), &rows[1]["n"], &rows[1]["seq"]), (2, &json!(4), &json!(4)));
    assert_eq!(trial.rows("bad.jsonl").len(), 2);
    trial.run_command_ok(&["validate", "job.toml"]);
}

/// A server stores headers in any form. A message that could not be read would be delivered repeatedly.
#[test]
fn headers_in_an_unknown_form_do_not_block_a_stream() {
    let nats = Nats::start();
    nats.stream("S", &["s"], &json!({}));
    let mut server = BufReader::new(TcpStream::connect(("127.0.0.1", nats.port())).unwrap());
    server.get_mut().write_all(b"CONNECT {\"verbose\":false,\"headers\":true}\r\n").unwrap();
    for (n, headers) in [(1, &b"A: \xff"[..]), (2, b"no colon"), (3, b"B: b\r\nA: a")] {
        let (head, data) = ([b"NATS/1.0\r\n", headers, b"\r\n\r\n"].concat(), number(n));
        let line = format!("HPUB s {} {}\r\n", head.len(), head.len() + data.len());
        server.get_mut().write_all(&[line.as_bytes(), &head, data.as_bytes(), b"\r\n"].concat()).unwrap();
    }
    server.get_mut().write_all(b"PING\r\n").unwrap();
    assert!(server.lines().any(|line| line.unwrap() == "PONG"), "the server has read all");
    let schema = "schema = { n = \"int64\", all = { type = \"text\", from = \"headers\" } }";
    let rows = run_to_idle(&job(&nats.url(), &format!("stream = \"S\"\nformat = \"json\"\n{schema}")));
    assert_eq!(numbers(&rows), [1, 2, 3]);
    assert_eq!(
        (&rows[0]["all"], &rows[2]["all"]),
        (&json!("{\"A\":\"\u{fffd}\"}"), &json!("{\"B\":\"b\",\"A\":\"a\"}"))
    );
}

#[test]
fn records_have_any_format_and_large_ones_arrive_unchanged() {
    let nats = Nats::configured("max_payload: 8000000\n", &json!({}));
    nats.stream("T", &["t"], &json!({}));
    let large = "x".repeat(2 << 20);
    for line in ["a line", &large, &"y".repeat(4 << 20), "last"] {
        nats.publish("t", line);
    }
    let trial = job(&nats.url(), "stream = \"T\"\nrecord_bytes_max = \"3MiB\"");
    let found: Vec<usize> = run_to_idle(&trial).iter().map(|row| row["value"].as_str().unwrap().len()).collect();
    assert_eq!(found, [6, 2 << 20, 4]);
    let bad = trial.rows("bad.jsonl");
    assert_eq!(bad.len(), 1);
    assert!(bad[0]["reason"].as_str().unwrap().contains("record_bytes_max is 3145728"), "{}", bad[0]["reason"]);
    nats.stream("C", &["c"], &json!({}));
    nats.publish("c", "1,\"a,b\"");
    let trial = job(&nats.url(), "stream = \"C\"\nformat = \"csv\"\nschema = { n = \"int64\", s = \"text\" }");
    assert_eq!(run_to_idle(&trial), [json!({ "n": 1, "s": "a,b" })]);
}

/// Other subjects are skipped, also if the stream has deleted them while the job was down.
#[test]
fn only_matching_subjects_are_read() {
    let nats = Nats::start();
    nats.stream("S", &["s.>"], &json!({}));
    let trial = job(&nats.url(), &format!("stream = \"S\"\nsubject = [\"s.*.new\", \"s.all\"]\n{NUMBERS}"));
    for (n, subject) in ["s.a.new", "s.a.old", "s.all", "s.new", "s.b.new"].into_iter().enumerate() {
        nats.publish(subject, &number(n as u64));
    }
    assert_eq!(numbers(&run_to_idle(&trial)), [0, 2, 4]);
    let mut running = trial.start(&[]);
    for n in 10..20 {
        nats.publish("s.a.old", &number(n));
    }
    // It knows that none of them matches.
    let passed = || trial.run_command_ok(&["inspect", "checkpoint", "--json"]).contains(&millstream_hex("15 "));
    running.wait_until("its position is behind them", |_| passed());
    running.stop();
    nats.send_request("STREAM.PURGE.S", &json!({ "seq": 16 }));
    nats.publish("s.all", &number(20));
    assert_eq!(numbers(&run_to_idle(&trial)), [0, 2, 4, 20]);
}

/// The encoding of this string in the name of a position.
fn millstream_hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_job_begins_at_the_configured_position_and_then_resumes() {
    let nats = Nats::start();
    nats.stream("S", &["s"], &json!({}));
    nats.publish("s", &number(1));
    let of = |start: &str| job(&nats.url(), &format!("start = \"{start}\"\n{SHORT}"));
    let (earliest, latest) = (of("earliest"), of("latest"));
    assert_eq!(numbers(&run_to_idle(&earliest)), [1]);
    assert!(run_to_idle(&latest).is_empty());
    nats.publish("s", &number(2));
    assert_eq!(numbers(&run_to_idle(&earliest)), [1, 2]);
}

/// A source that starts at the latest position starts at the end as of its first look, whatever happens to the connection before
/// a message arrives.
#[test]
fn messages_during_an_outage_are_after_the_latest_position() {
    let mut nats = Nats::start();
    nats.stream("S", &["s"], &json!({}));
    nats.publish("s", &number(1));
    let trial = job(&nats.url(), &format!("start = \"latest\"\n{SHORT}"));
    let mut running = trial.start(&[]);
    wait_until("it reads", || nats.send_request("CONSUMER.NAMES.S", &json!({}))["total"].as_u64() > Some(0));
    nats.kill();
    running.wait_for_stderr("retrying until it works");
    nats.start_again();
    nats.publish("s", &number(2));
    running.wait_until("a row came", |_| !trial.rows("out.jsonl").is_empty());
    nats.publish("s", &number(3));
    running.wait_until("a row came", |_| trial.rows("out.jsonl").len() > 1);
    running.stop();
    assert_eq!(numbers(&trial.rows("out.jsonl")), [2, 3]);
    // If the stream is created while the job waits for it, all of its messages are new.
    let trial = job(&nats.url(), &format!("start = \"latest\"\n{}", SHORT.replace("\"S\"", "\"N\"")));
    let mut running = trial.start(&[]);
    running.wait_for_stderr("stream `N` does not exist; retrying until it works");
    nats.stream("N", &["n"], &json!({}));
    nats.publish("n", &number(4));
    running.wait_until("a row came", |_| trial.rows("out.jsonl").len() == 1);
    running.stop();
}

/// A stream drops messages beyond its limit, read or not.
#[test]
fn messages_that_were_deleted_before_they_were_read_end_the_job() {
    let nats = Nats::start();
    nats.stream("S", &["s"], &json!({}));
    let trial = job(&nats.url(), SHORT);
    (0..10).for_each(|n| nats.publish("s", &number(n)));
    assert_eq!(run_to_idle(&trial).len(), 10);
    // Messages that were read may be deleted, and so may one that a user removed.
    nats.send_request("STREAM.PURGE.S", &json!({ "seq": 9 }));
    (10..20).for_each(|n| nats.publish("s", &number(n)));
    nats.send_request("STREAM.MSG.DELETE.S", &json!({ "seq": 12 }));
    assert_eq!(numbers(&run_to_idle(&trial))[10..], [10, 12, 13, 14, 15, 16, 17, 18, 19]);
    (20..30).for_each(|n| nats.publish("s", &number(n)));
    nats.send_request("STREAM.PURGE.S", &json!({ "seq": 27 }));
    let output = fails(&trial, 2);
    assert!(
        output.contains("source `in`: stream `S`: 6 messages after 20 were deleted before the job read them"),
        "{output}"
    );
    assert!(output.contains("let the stream keep more (max_age, max_msgs, max_bytes)"), "{output}");
    assert_eq!(trial.rows("out.jsonl").len(), 19, "nothing behind them is read");
    // All of them are deleted, and no more arrive.
    nats.send_request("STREAM.PURGE.S", &json!({}));
    assert!(fails(&trial, 2).contains("10 messages after 20 "));
}

/// Messages deleted while the job hangs were in transit already, or are reported missing.
#[test]
fn nothing_is_silently_skipped_while_a_job_hangs() {
    let nats = Nats::start();
    nats.stream("S", &["s"], &json!({}));
    let trial = job(&nats.url(), SHORT);
    nats.publish("s", &number(0));
    let mut running = trial.start(&["--unsupervised"]);
    running.wait_until("a row came", |_| trial.rows("out.jsonl").len() == 1);
    running.signal("STOP");
    // Its requests expire meanwhile.
    thread::sleep(Duration::from_millis(1500));
    (1..20).for_each(|n| nats.publish("s", &number(n)));
    nats.send_request("STREAM.PURGE.S", &json!({ "seq": 11 }));
    running.signal("CONT");
    running.wait_until("it has read or missed them", |running| {
        trial.rows("out.jsonl").len() == 20 || running.stderr().contains("9 messages after 1 were deleted")
    });
    let found = trial.rows("out.jsonl").len();
    assert!(found == 20 || found == 1, "{found}");
    running.kill();
}

#[test]
fn another_stream_of_the_same_name_ends_the_job() {
    let nats = Nats::start();
    let trial = job(&nats.url(), SHORT);
    for round in 0..3 {
        nats.stream("S", &["s"], &json!({}));
        (0..5 + round).for_each(|n| nats.publish("s", &number(n)));
        if round == 0 {
            assert_eq!(run_to_idle(&trial).len(), 5);
        } else {
            let output = fails(&trial, 2);
            assert!(output.contains("the job has read another stream of this name up to message 5"), "{output}");
            assert!(output.contains("restart the job, with `--drop-state in` if it has a checkpoint"), "{output}");
        }
        if round < 2 {
            nats.send_request("STREAM.DELETE.S", &json!({}));
        }
    }
    assert_eq!(trial.rows("out.jsonl").len(), 5);
    trial.run_ok(&["--until-idle", "--drop-state", "in"]);
    assert_eq!(trial.rows("out.jsonl").len(), 5 + 7);
}

/// Messages that were read once can be read again only if the stream keeps them.
#[test]
fn a_stream_that_deletes_acknowledged_messages_is_rejected() {
    let nats = Nats::start();
    for kind in ["workqueue", "interest"] {
        nats.stream("S", &["s"], &json!({ "retention": kind }));
        let output = fails(&job(&nats.url(), SHORT), 2);
        assert!(
            output.contains(&format!("(retention `{kind}`), so it could not be read again after a crash")),
            "{output}"
        );
        assert!(output.contains("read a stream with retention `limits`"), "{output}");
        nats.send_request("STREAM.DELETE.S", &json!({}));
    }
}

/// In a key-value bucket, replaced values are deleted on purpose.
#[test]
fn replaced_messages_are_not_reported_missing() {
    let nats = Nats::start();
    nats.stream("S", &["s.*"], &json!({ "max_msgs_per_subject": 1 }));
    let trial = job(&nats.url(), SHORT);
    (0..5).for_each(|n| nats.publish("s.a", &number(n)));
    nats.publish("s.b", &number(5));
    assert_eq!(numbers(&run_to_idle(&trial)), [4, 5]);
    (6..10).for_each(|n| nats.publish("s.a", &number(n)));
    nats.publish("s.b", &number(10));
    assert_eq!(numbers(&run_to_idle(&trial)), [4, 5, 9, 10]);
}

#[test]
fn an_unreachable_server_or_missing_stream_is_waited_for() {
    let mut nats = Nats::not_started(&[], &json!({}));
    let trial = job(&nats.url(), SHORT);
    let mut running = trial.start(&[]);
    running.wait_for_stderr("retrying until it works");
    nats.start_again();
    running.wait_for_stderr("stream `S` does not exist; retrying until it works");
    nats.stream("S", &["s"], &json!({}));
    nats.publish("s", &number(1));
    running.wait_until("a row came", |_| trial.rows("out.jsonl").len() == 1);
    let missed = |running: &Process| running.stderr().matches("retrying until it works").count();
    let before = missed(&running);
    nats.kill();
    running.wait_until("it is missed", |running| missed(running) > before);
    nats.start_again();
    nats.publish("s", &number(2));
    running.wait_until("a row came", |_| trial.rows("out.jsonl").len() == 2);
    nats.send_request("STREAM.DELETE.S", &json!({}));
    running.wait_for_stderr("stream `S` no longer exists; retrying until it works");
    running.stop();
}

/// A server that does not respond is treated like an unreachable one.
#[test]
fn a_server_that_hangs_is_waited_for() {
    let nats = Nats::start();
    nats.stream("S", &["s"], &json!({}));
    let trial = job(&nats.url(), SHORT);
    nats.publish("s", &number(1));
    let mut running = trial.start(&[]);
    running.wait_until("a row came", |_| trial.rows("out.jsonl").len() == 1);
    nats.suspend();
    running.wait_for_stderr("retrying until it works");
    nats.resume();
    nats.publish("s", &number(2));
    running.wait_until("a row came", |_| trial.rows("out.jsonl").len() == 2);
    signal("TERM", running.id());
    assert_eq!(running.wait().code, Some(0));
}

#[test]
fn errors_of_a_server_are_reported() {
    let login = json!({ "user": "me", "pass": "p@ss/w%rd" });
    let nats = Nats::with(&["--user", "me", "--pass", "p@ss/w%rd"], &login);
    nats.stream("S", &["s"], &json!({}));
    let url = |login: &str| nats.url().replace("nats://", &format!("nats://{login}"));
    let output = fails(&job(&url(""), SHORT), 2);
    assert!(output.contains("source `in`: stream `S`: NATS at 127.0.0.1:"), "{output}");
    assert!(output.contains("add user and password or a token to `url`"), "{output}");
    let output = fails(&job(&url("me:guessed-password@"), SHORT), 2);
    assert!(output.contains("authentication failed; check user, password or token in `url`"), "{output}");
    assert!(!output.contains("guessed-password"), "{output}");
    let trial = job(&url("me:${NATS_PW}@"), SHORT);
    let mut command = trial.command(&["run", "job.toml", "--until-idle"]);
    let ended = Process::start(command.env("NATS_PW", "p@ss/w%rd")).wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let token = Nats::with(&["--auth", "secret-token"], &json!({ "auth_token": "secret-token" }));
    token.stream("S", &["s"], &json!({}));
    let trial = job(&token.url().replace("nats://", "nats://${NATS_TOKEN}@"), SHORT);
    let mut command = trial.command(&["run", "job.toml", "--until-idle"]);
    let ended = Process::start(command.env("NATS_TOKEN", "secret-token")).wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for url in ["nats://me:top-secret@:port/", "nats://me:top-secret@127.0.0.1:99999", "nats://me:top-secret@h/x"] {
        let output = fails(&job(url, SHORT), 2);
        assert!(output.contains("`url` ") && !output.contains("top-secret"), "{url}: {output}");
    }
    let settings = "authorization { users = [ { user: me, password: pw, permissions: { publish: \"s\" } } ] }\n";
    let few = Nats::configured(settings, &json!({ "user": "me", "pass": "pw" }));
    let output = fails(&job(&few.url().replace("nats://", "nats://me:pw@"), SHORT), 2);
    assert!(
        output.contains("Permissions Violation for Publish to") && output.contains("grant the user this permission"),
        "{output}"
    );
}

#[test]
fn a_server_is_read_over_tls() {
    let (certificates, others) = (Certificates::make(), Certificates::make());
    let (certificate, key) = certificates.of("nats", "DNS:localhost,IP:127.0.0.1", 2);
    let (certificate, key) = (certificate.display().to_string(), key.display().to_string());
    let nats = Nats::with(&["--tls", "--tlscert", &certificate, "--tlskey", &key], &json!({}));
    let url = nats.url().replace("nats://", "tls://");
    let reading = |ca: &Certificates| job(&url, &format!("tls = {{ ca = \"{}\" }}\n{SHORT}", ca.ca().display()));
    // The stream does not exist: the job connected.
    let trial = reading(&certificates);
    let mut running = trial.start(&[]);
    running.wait_for_stderr("stream `S` does not exist; retrying until it works");
    running.kill();
    let output = fails(&reading(&others), 2);
    assert!(output.contains("the server's certificate was issued by a CA that this job does not trust"), "{output}");
    let output = fails(&job(&nats.url(), SHORT), 2);
    assert!(output.contains("it requires TLS; begin `url` with tls://"), "{output}");
    let plain = Nats::start();
    let output = fails(
        &job(
            &plain.url().replace("nats://", "tls://"),
            &format!("tls = {{ ca = \"{}\" }}\n{SHORT}", certificates.ca().display()),
        ),
        2,
    );
    assert!(output.contains("it does not support TLS"), "{output}");
}
