//! Sources and sinks of kind `mqtt` with a real server.

use millstream_tests::{Certificates, Mosquitto, Process, Random, Trial, is_alive, kill, wait_until};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

/// A job that reads topics, keeps checkpoints, and puts rows into a queue.
fn job(url: &str, source: &str) -> Trial {
    Trial::new(&format!(
        r#"name = "reader"
batch = "20ms"
[checkpoint]
dir = "checkpoint"
every = 5
[sources.in]
kind = "mqtt"
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

/// A job that counts, and sends each row.
fn counting(url: &str, rows: u64, more: &str) -> Trial {
    Trial::new(&format!(
        r#"name = "writer"
batch = "20ms"
[checkpoint]
dir = "checkpoint"
every = 5
[sources.numbers]
kind = "rate"
rows_per_second = 1000
rows_max = {rows}
[stages.named]
from = "numbers"
select = "value as n, concat('t/', value % 2) as place"
[sinks.out]
from = "named"
kind = "mqtt"
url = "{url}"
{more}
"#
    ))
}

fn lines(numbers: std::ops::Range<u64>) -> Vec<String> {
    numbers.map(|number| format!("line {number}")).collect()
}

/// Runs a job that ends on its own with this exit code; returns its output.
#[track_caller]
fn fails(trial: &Trial, code: i32) -> String {
    let ended = Process::start(&mut trial.command(&["run", "job.toml", "--unsupervised"])).wait();
    assert_eq!(ended.code, Some(code), "{}", ended.stderr);
    ended.stderr
}

/// Ends a job in order, which may be just starting.
#[track_caller]
fn stop(mut running: Process) {
    running.wait_until("it has begun", |running| running.stderr().contains(" batch "));
    running.stop();
}

/// Runs the job until it has a session, and stops it.
#[track_caller]
fn subscribe(trial: &Trial, server: &Mosquitto) {
    let mut running = trial.start(&[]);
    // It is subscribed when a message arrives.
    wait_until("it is subscribed", || {
        server.publish("t/first", &["first".into()], &[]);
        trial.values("out.jsonl").contains(&"first".to_owned())
    });
    assert!(!running.has_ended());
    stop(running);
}

/// Whatever dies, no message is lost; some are duplicated.
#[test]
fn messages_arrive_at_least_once_after_any_kill() {
    let (mut random, mut server) = (Random::new(3), Mosquitto::start());
    let trial = job(&server.url(), "topic = \"t/#\"");
    subscribe(&trial, &server);
    let mut running = trial.start_processes(1, 2);
    let mut sent = BTreeSet::new();
    for round in 0..10 {
        let more = lines(round * 100..round * 100 + 100);
        server.publish("t/x", &more, &[]);
        sent.extend(more);
        thread::sleep(Duration::from_millis(random.from(0, 300)));
        match random.from(0, 3) {
            // In order: a killed server loses what it has not written to disk.
            0 => {
                server.stop();
                thread::sleep(Duration::from_millis(random.from(0, 300)));
                server.start_again();
            }
            1 => {
                let children = running.children();
                running.kill();
                wait_until("its workers are gone", || children.iter().all(|child| !is_alive(*child)));
                running = trial.start_processes(1, 2);
            }
            _ => running.children().iter().filter(|child| is_alive(**child)).for_each(|child| kill(*child)),
        }
    }
    let found = || trial.values("out.jsonl").into_iter().filter(|line| line != "first").collect::<BTreeSet<_>>();
    running.wait_until("all came", |_| found().len() >= sent.len());
    stop(running);
    assert_eq!(found(), sent);
}

/// Messages that the server stores while the job is down arrive when it comes back; once each, if nothing dies.
#[test]
fn a_server_keeps_messages_for_a_stopped_job() {
    let mut server = Mosquitto::start();
    let trial = job(&server.url(), "topic = \"t/#\"");
    subscribe(&trial, &server);
    server.publish("t/x", &lines(0..500), &[]);
    server.stop();
    server.start_again();
    let mut running = trial.start(&[]);
    running.wait_until("all came", |_| trial.values("out.jsonl").iter().any(|line| line == "line 499"));
    stop(running);
    let found: Vec<String> = trial.values("out.jsonl").into_iter().filter(|line| line != "first").collect();
    assert_eq!(found, lines(0..500));
    wait_until("all of it is acknowledged", || {
        let before = trial.values("out.jsonl").len();
        trial.run_ok(&["--until-idle"]);
        trial.values("out.jsonl").len() == before
    });
}

/// Previewing the first rows uses another client: what the server keeps for the job stays, also for a running job.
#[test]
fn a_preview_consumes_nothing_and_a_limit_repeats_nothing() {
    let server = Mosquitto::start();
    let trial = job(&server.url(), "topic = \"t/#\"");
    subscribe(&trial, &server);
    server.publish("t/x", &lines(0..30), &[]);
    trial.run_ok(&["--sample"]);
    trial.run_ok(&["--limit", "10"]);
    let mut running = trial.start(&[]);
    running.wait_until("all came", |_| trial.values("out.jsonl").contains(&"line 29".to_owned()));
    trial.run_ok(&["--sample"]);
    server.publish("t/x", &lines(30..40), &[]);
    running.wait_until("it reads on", |_| trial.values("out.jsonl").contains(&"line 39".to_owned()));
    assert!(!running.stderr().contains("closed the connection"), "{}", running.stderr());
    stop(running);
    let mut found: Vec<String> = trial.values("out.jsonl").into_iter().filter(|line| line != "first").collect();
    found.sort_by_key(|line| (line.len(), line.clone()));
    assert_eq!(found, lines(0..40));
}

/// A process that dies before and after the plan of a batch is durable: before it, nothing was acknowledged.
#[test]
fn a_message_is_acknowledged_once_its_plan_is_durable() {
    for step in ["plan.durable:1", "commit.before:1", "commit.after:1"] {
        let server = Mosquitto::start();
        let trial = job(&server.url(), "topic = \"t/#\"");
        subscribe(&trial, &server);
        server.publish("t/x", &lines(0..50), &[]);
        let mut command = trial.command(&["run", "job.toml", "--unsupervised"]);
        let ended = Process::start(command.env("MILLSTREAM_TEST_FAULT", format!("kill@{step}"))).wait();
        assert_eq!(ended.code, None, "it does not come to {step}: {}", ended.stderr);
        let mut running = trial.start(&[]);
        let found = || trial.values("out.jsonl").into_iter().filter(|line| line != "first").collect::<BTreeSet<_>>();
        running.wait_until("all came", |_| found().len() >= 50);
        stop(running);
        assert_eq!(found(), lines(0..50).into_iter().collect(), "{step}");
    }
}

#[test]
fn topics_and_properties_are_columns() {
    let server = Mosquitto::start();
    let schema = r#"format = "json"
schema = { n = "int64", topic = { type = "text", from = "topic" }, all = { type = "text", from = "headers" }, trace = { type = "text", from = "header.trace" } }"#;
    let trial = job(&server.url(), &format!("topic = [\"plant/+/temperature\", \"other\"]\n{schema}"));
    let mut running = trial.start(&[]);
    wait_until("it is subscribed", || {
        server.publish("other", &["{\"n\":0}".into()], &[]);
        !trial.rows("out.jsonl").is_empty()
    });
    let user = ["-D", "publish", "user-property", "trace", "t1"];
    server.publish("plant/ü 1/temperature", &["{\"n\":1}".into()], &user);
    server.publish("plant/1/pressure", &["{\"n\":2}".into()], &[]);
    server.publish("plant/1/temperature", &["none".into()], &[]);
    server.publish("plant/2/temperature", &["{\"n\":3}".into()], &[]);
    running.wait_until("the last came", |_| trial.rows("out.jsonl").iter().any(|row| row["n"] == 3));
    stop(running);
    let rows: Vec<Value> = trial.rows("out.jsonl").into_iter().filter(|row| row["n"] != 0).collect();
    let first = json!({ "n": 1, "topic": "plant/ü 1/temperature", "all": "{\"trace\":\"t1\"}", "trace": "t1" });
    assert_eq!(rows[0], first);
    assert_eq!((rows.len(), &rows[1]["n"]), (2, &json!(3)));
    assert_eq!(trial.rows("bad.jsonl").len(), 1);
}

#[test]
fn large_and_unusual_messages_arrive_unchanged() {
    let server = Mosquitto::start();
    let schema = "schema = { value = \"text\", topic = { type = \"text\", from = \"topic\" } }";
    let trial = job(&server.url(), &format!("topic = \"t/#\"\nrecord_bytes_max = \"3MiB\"\n{schema}"));
    let mut running = trial.start(&[]);
    wait_until("it is subscribed", || {
        server.publish("t", &["first".into()], &[]);
        !trial.rows("out.jsonl").is_empty()
    });
    let large = "x".repeat(2 << 20);
    server.publish("t/large", &[large.clone(), "y".repeat(4 << 20), String::new(), "last".into()], &[]);
    running.wait_until("the last came", |_| trial.values("out.jsonl").iter().any(|line| line == "last"));
    stop(running);
    let found: Vec<String> = trial.values("out.jsonl").into_iter().filter(|line| line != "first").collect();
    assert!(found == [large, String::new(), "last".into()], "{:?}", found.iter().map(String::len).collect::<Vec<_>>());
    let bad = trial.rows("bad.jsonl");
    assert_eq!(bad.len(), 1);
    assert!(bad[0]["reason"].as_str().unwrap().contains("record_bytes_max is 3145728"), "{}", bad[0]["reason"]);
}

/// The server still has the topics that the job named before.
#[test]
fn topics_no_longer_in_the_job_are_skipped() {
    let server = Mosquitto::start();
    let trial = job(&server.url(), "topic = \"t/#\"");
    subscribe(&trial, &server);
    trial.change("topic = \"t/#\"", "topic = \"t/b\"");
    server.publish("t/a", &lines(0..5), &[]);
    server.publish("t/b", &lines(5..10), &[]);
    let mut running = trial.start(&[]);
    running.wait_until("all came", |_| trial.values("out.jsonl").iter().any(|line| line == "line 9"));
    stop(running);
    let found: Vec<String> = trial.values("out.jsonl").into_iter().filter(|line| line != "first").collect();
    assert_eq!(found, lines(5..10));
}

#[test]
fn an_unreachable_server_is_waited_for() {
    let mut server = Mosquitto::not_started("allow_anonymous true\n");
    let trial = job(&server.url(), "topic = \"t/#\"");
    let mut running = trial.start(&[]);
    running.wait_for_stderr("retrying until it works");
    server.start_again();
    wait_until("it is subscribed", || {
        server.publish("t", &["first".into()], &[]);
        !trial.rows("out.jsonl").is_empty()
    });
    server.stop();
    running.wait_until("it is missed", |running| running.stderr().matches("retrying until it works").count() == 2);
    server.start_again();
    server.publish("t", &["second".into()], &[]);
    running.wait_until("it came", |_| trial.values("out.jsonl").iter().any(|line| line == "second"));
    stop(running);
}

#[test]
fn errors_of_a_server_are_reported() {
    let (_passwords, settings) = Mosquitto::login("p@ss/w%rd");
    let server = Mosquitto::with(&settings);
    let url = |login: &str| server.url().replace("mqtt://", &format!("mqtt://{login}"));
    let output = fails(&job(&url("me:guessed-password@"), "topic = \"t\""), 2);
    assert!(output.contains("source `in`: MQTT at 127.0.0.1:"), "{output}");
    assert!(output.contains("check user and password in `url`"), "{output}");
    assert!(!output.contains("guessed-password"), "{output}");
    let output = fails(&job(&url(""), "topic = \"t\""), 2);
    assert!(output.contains("`url`"), "{output}");
    let trial = job(&url("me:${MQTT_PW}@"), "topic = \"t\"");
    let mut command = trial.command(&["run", "job.toml", "--until-idle"]);
    let ended = Process::start(command.env("MQTT_PW", "p@ss/w%rd")).wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for url in ["mqtt://me:top-secret@:port/", "mqtt://me:top-secret@127.0.0.1:99999", "mqtt://me:top-secret@h/x"] {
        let output = fails(&job(url, "topic = \"t\""), 2);
        assert!(output.contains("`url` ") && !output.contains("top-secret"), "{url}: {output}");
    }
    let open = Mosquitto::with("allow_anonymous true\nmax_qos 0\n");
    let output = fails(&job(&open.url(), "topic = \"t\""), 2);
    assert!(output.contains("set qos = 0"), "{output}");
    let old = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = old.local_addr().unwrap().port();
    thread::spawn(move || {
        use std::io::{Read, Write};
        for mut client in old.incoming().flatten() {
            let _ = client.read(&mut [0; 100]);
            let _ = client.write_all(b"\x20\x02\x00\x01");
        }
    });
    let output = fails(&job(&format!("mqtt://127.0.0.1:{port}"), "topic = \"t\""), 2);
    assert!(output.contains("it does not support MQTT 5"), "{output}");
}

#[test]
fn another_client_with_the_same_name_is_reported() {
    let server = Mosquitto::start();
    let trial = job(&server.url(), "topic = \"t\"\nclient_id = \"same\"");
    let mut running = trial.start(&[]);
    wait_until("it is subscribed", || {
        server.publish("t", &["first".into()], &[]);
        !trial.rows("out.jsonl").is_empty()
    });
    drop(server.subscribe("other", "same"));
    running.wait_for_stderr("another client");
    assert!(running.stderr().contains("`client_id`"), "{}", running.stderr());
    stop(running);
}

#[test]
fn a_server_is_read_over_tls() {
    let (certificates, others) = (Certificates::make(), Certificates::make());
    let (certificate, key) = certificates.of("mosquitto", "DNS:localhost,IP:127.0.0.1", 2);
    let server = Mosquitto::with(&format!(
        "allow_anonymous true\ncertfile {}\nkeyfile {}\n",
        certificate.display(),
        key.display()
    ));
    let url = server.url().replace("mqtt://", "mqtts://");
    let reading = |ca: &Certificates| job(&url, &format!("tls = {{ ca = \"{}\" }}\ntopic = \"t\"", ca.ca().display()));
    reading(&certificates).run_ok(&["--until-idle"]);
    let output = fails(&reading(&others), 2);
    assert!(output.contains("the server's certificate was issued by a CA that this job does not trust"), "{output}");
}

/// Whatever dies, each row is there; some are there twice.
#[test]
fn rows_are_sent_at_least_once_after_any_kill() {
    const ROWS: u64 = 4000;
    let (mut random, mut server) = (Random::new(5), Mosquitto::start());
    let mut subscriber = server.subscribe("t/#", "reader");
    let trial = counting(&server.url(), ROWS, "topic_from = \"place\"");
    let mut running = trial.start_processes(1, 2);
    let mut received_bytes: BTreeSet<String> = BTreeSet::new();
    for _ in 0..8 {
        thread::sleep(Duration::from_millis(random.from(100, 600)));
        if running.has_ended() {
            break;
        }
        match random.from(0, 3) {
            0 => {
                // The subscriber reconnects on its own.
                server.stop();
                server.start_again();
            }
            _ => running.children().iter().filter(|child| is_alive(**child)).for_each(|child| kill(*child)),
        }
    }
    let ended = running.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let expected: BTreeSet<String> = (0..ROWS).map(|n| format!("t/{} {{\"n\":{n}}}", n % 2)).collect();
    subscriber.wait_until("all came", |subscriber| {
        received_bytes = Mosquitto::received(subscriber).into_iter().collect();
        received_bytes.is_superset(&expected)
    });
    // Nothing else was sent.
    assert_eq!(received_bytes, expected);
}

#[test]
fn rows_are_messages_of_a_topic() {
    let server = Mosquitto::start();
    let more = "topic = \"t/all\"\nretain = true";
    counting(&server.url(), 50, more).run_ok(&[]);
    // The last one was retained for later subscribers.
    let mut late = server.subscribe("t/#", "late");
    late.wait_until("the last came", |late| Mosquitto::received(late).iter().any(|line| line.contains("\"n\":49")));
    assert_eq!(Mosquitto::received(&late), ["t/all {\"n\":49,\"place\":\"t/1\"}"]);
    let trial = counting(&server.url(), 50, "topic_from = \"place\"\nformat = \"text\"");
    let output = trial.rejected_message(&["validate", "job.toml"]);
    assert!(output.contains("format `text` writes a single text column next to the topic"), "{output}");
    trial.change("value as n", "concat('number ', value) as n");
    trial.run_ok(&[]);
    late.wait_until("they came", |late| Mosquitto::received(late).iter().any(|line| line == "t/1 number 49"));
    let output = counting(&server.url(), 5, "topic_from = \"n\"").rejected_message(&["validate", "job.toml"]);
    assert!(
        output.contains("`topic_from` names `n`, and the rows have") && output.contains("write one of type text"),
        "{output}"
    );
}

#[test]
fn a_row_with_an_invalid_topic_ends_the_job() {
    let server = Mosquitto::start();
    let trial = counting(&server.url(), 50, "topic_from = \"place\"");
    trial.change("concat('t/', value % 2)", "concat('t/#', value)");
    let output = fails(&trial, 1);
    assert!(output.contains("sink `out`: batch ") && output.contains("has the topic `t/#0`"), "{output}");
    assert!(output.contains("remove such rows with `filter` before the sink"), "{output}");
}

#[test]
fn a_server_without_permissions_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let acl = dir.path().join("acl");
    std::fs::write(&acl, "topic read t/#\n").unwrap();
    let server = Mosquitto::with(&format!("allow_anonymous true\nacl_file {}\n", acl.display()));
    let output = fails(&counting(&server.url(), 50, "topic = \"t/all\""), 1);
    assert!(output.contains("a message to `t/all`: permission denied"), "{output}");
}

#[test]
fn a_sink_waits_for_an_unreachable_server() {
    let mut server = Mosquitto::not_started("allow_anonymous true\n");
    let trial = counting(&server.url(), 1000, "topic = \"t\"");
    let mut running = trial.start(&[]);
    running.wait_for_stderr("the job waits for up to 1h (`wait`)");
    server.start_again();
    let ended = running.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let ended = counting("mqtt://127.0.0.1:1", 10, "topic = \"t\"\nwait = \"100ms\"").run(&["--unsupervised"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("start the server, or check `url`, or raise `wait`"), "{}", ended.stderr);
}
